/* SPDX-License-Identifier: MIT */
/*
 * DMA regions: memory that is allocated once, pinned where that is possible, shared with children,
 * and divided into pieces. See sigevec_dma(7). What is sent from and received into a region is in
 * sigevec/sio.h.
 */
#ifndef SIGEVEC_DMA_H
#define SIGEVEC_DMA_H 1

#include "sigevec/types.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of dma_alloc; of dma_import only DMA_LAZY. */
#define DMA_LAZY                                                                                   \
	1u /* locked in memory only while an asynchronous request on it is outstanding (the        \
	      paper's MAP_DMA) */
#define DMA_HUGE                                                                                   \
	2u /* huge pages where the system has some to spare, ordinary ones otherwise: dma_stat     \
	      tells */
#define DMA_NODE(n)                                                                                \
	(((unsigned)(n) + 1u) << 16) /* on NUMA node n only; 0 to 1022. Without it: on the         \
					caller's, if there is room */

/* Flags of dma_assoc. */
#define DMA_LATEST                                                                                 \
	1u /* datagrams: when the region is full, the oldest one that nobody has read is dropped   \
	    */
#define DMA_BUFSIZE(n)                                                                             \
	((unsigned)(n) << 8) /* what is received ahead of the program's calls takes pieces of n    \
				bytes, up to 16,777,215 */

/* Flags of dma_attach; not both. */
#define DMA_ZEROCOPY 1u /* rather fail than have arrivals copied */
#define DMA_NODEV                                                                                  \
	2u /* without a device: the kernel copies, and everything else is as with one (Linux 7.1)  \
	    */

/*
 * A flag of aio_send, aio_recv and their like: the request uses the region aio_dma_buf. A send
 * takes its memory from a piece of the region: aio_buf for aio_send, the vector of aio_msg for
 * aio_sendmsg. At the end of a receive aio_buf holds the address of a new piece, of as many bytes
 * as the request returned; NULL when that is nothing. Of the ev_* calls, see ev_recv(3) and
 * dma_assoc(3).
 */
#define AIO_DMA_BUF 0x10000000

/* Opcodes of lio_listio: as LIO_READ and LIO_WRITE, with AIO_DMA_BUF. Any descriptor. */
#define LIO_DMA_READ 20
#define LIO_DMA_WRITE 21

/*
 * dma_alloc: make a region of size bytes and store its handle in *handlep. Returns 0, or -1 with
 * errno:
 *   EINVAL  handlep is NULL, size is 0, unknown flags, a NUMA node that does not exist
 *   EAGAIN  past the process's limit for regions (sigevec_get_limits), or 1,024 regions exist
 *   ENOMEM  the system has not got that much memory or address space
 * Thread-safe; not async-signal-safe. Source: the paper, section 3.
 */
int dma_alloc(dma_mem_t *handlep, size_t size, unsigned flags);

/*
 * dma_import: make a region of memory that the program has placed itself. It stays the program's,
 * must stay mapped until dma_free, and is shared with children only if it is mapped so. Returns 0,
 * or -1 with errno as dma_alloc, and:
 *   EINVAL  addr is NULL, size is too small for one piece, or the memory overlaps another region
 *   EFAULT  not all of it is mapped
 * Thread-safe; not async-signal-safe. Source: ours.
 */
int dma_import(dma_mem_t *handlep, void *addr, size_t size, unsigned flags);

/*
 * dma_free: end a region; pieces that the program still has go with it. size: that of dma_alloc or
 * dma_import. Other threads must not be using the region. Returns 0, or -1 with errno:
 *   EINVAL  no such region, or not its size
 *   EBUSY   requests on it are outstanding, events with pieces of it unread, a socket that is open
 *           is associated with it, or it is attached to a queue
 * Thread-safe; not async-signal-safe. Source: the paper, section 3.
 */
int dma_free(dma_mem_t mem, size_t size);

/*
 * dma_assoc: from now on, what arrives at sock for the sio_* calls and for events lands in the
 * region. A socket may have several regions, which are used in the order of the calls, and a region
 * many sockets. size: that of the region. Returns 0, or -1 with errno:
 *   EINVAL  no such region, not its size, unknown flags, DMA_LATEST for a stream
 *   EBADF, ENOTSOCK  sock
 *   EEXIST  they are associated already
 *   EAGAIN  memory is short, or, with DMA_LATEST, no thread can be had
 * Thread-safe; not async-signal-safe. Source: the paper, section 3.
 */
int dma_assoc(int sock, dma_mem_t mem, size_t size, unsigned flags);

/*
 * dma_disassoc: end that. With the last region of a socket, its armed requests end with ECANCELED,
 * and what had been received and was not read is lost; what had not been received stays in the
 * socket. Returns 0, or -1 with errno:
 *   EINVAL  no such region, not its size, or they are not associated
 *   EBADF, ENOTSOCK  sock
 * Closing the socket's last descriptor ends its associations as well, once no request waits for it
 * any more. Thread-safe; not async-signal-safe.
 */
int dma_disassoc(int sock, dma_mem_t mem, size_t size);

/*
 * dma_attach: the region becomes the memory that one receive queue of a network device puts its
 * data into (io_uring's zero-copy receive, Linux 6.15). TCP connections that are associated with
 * the region, and whose flow the device steers to that queue, are received where the device has put
 * them; all others, and all of them where kernel, device or rights do not allow it, as without
 * this: dma_stat says which, and why. Returns 0, or -1 with errno:
 *   EINVAL   no such region, unknown flags, both of them, ifname is NULL or no name (without
 *            DMA_NODEV), the device has no such queue
 *   ENODEV   there is no such device
 *   EBUSY    the region has a queue, or the queue another region, or another user
 *   EAGAIN   no thread can be had, or 64 regions are attached
 * and with DMA_ZEROCOPY or DMA_NODEV:
 *   EPERM    CAP_NET_ADMIN is missing
 *   ENOTSUP  the kernel or the device cannot do it, or io_uring is refused
 *   ENOMEM   memory is short, or the region has no room for 16 pages in a row
 * Thread-safe; not async-signal-safe. Source: ours; the paper's title.
 */
int dma_attach(dma_mem_t mem, const char *ifname, unsigned queue, unsigned flags);

/*
 * dma_detach: end that, with the arguments of dma_attach. What the program has of what came stays
 * its own. Returns 0, or -1 with errno:
 *   EINVAL  no such region, or it is not attached to that queue
 * The end of the process, however it comes, ends its attachments; a child of fork has none.
 * Thread-safe; not async-signal-safe.
 */
int dma_detach(dma_mem_t mem, const char *ifname, unsigned queue);

/* How the memory of a region is held. */
enum dma_held {
	dma_not_held, /* not at all: it can be swapped out */
	dma_lazily,   /* DMA_LAZY: locked while a request is outstanding */
	dma_locked,   /* mlock(2) */
	dma_by_ring,  /* registered with io_uring, and locked */
	dma_by_module /* by the kernel module's pool */
};

/* How frames get into a region that is the memory of a network device's queue: see ether_open. */
enum dma_ether {
	dma_no_ether,       /* there is no such queue */
	dma_ether_generic,  /* copied by the kernel, after it has made packets of them: the driver
			       knows no XDP */
	dma_ether_copy,     /* copied by the kernel, before that */
	dma_ether_zero_copy /* by the device */
};

/* How arrivals get into a region that dma_attach has made the memory of a queue. */
enum dma_attached {
	dma_not_attached,
	dma_attached_by_name,        /* copied, as without that */
	dma_attached_without_device, /* DMA_NODEV: copied by the kernel */
	dma_attached_to_device       /* by the device */
};

/* The state of a region, and what happened since it was made, in this process. */
struct dma_stat {
	uint64_t size;            /* bytes, as given */
	uint64_t page_size;       /* bytes */
	uint64_t unit;            /* bytes: a piece takes a multiple of this */
	uint64_t used;            /* bytes taken by pieces */
	enum dma_held held;       /* how it is held in memory, */
	const char *reason;       /* and why so; never NULL */
	uint64_t sockets;         /* associations */
	uint64_t requests;        /* outstanding asynchronous requests that use it */
	uint64_t sent;            /* bytes sent from it */
	uint64_t received;        /* bytes received into it */
	uint64_t sends_zero_copy; /* sends that the kernel says it made without a copy */
	uint64_t sends_copied;    /* the others */
	uint64_t rearms;          /* times that reception went on after a pause */
	uint64_t full;            /* times that there was no room for a piece */
	uint64_t dropped;         /* datagrams dropped because of DMA_LATEST */
	int32_t node; /* the NUMA node whose memory it is in, as its first page tells; -1: not known
		       */
	enum dma_ether ether; /* how frames get in; with several queues the slowest of them */
	uint64_t frames_received, frames_sent;
	uint64_t frames_dropped; /* by the queues, because there was no room or they were too large
				  */
	uint64_t frames_too_large;   /* of those, the ones that the library has dropped because they
					were larger than a slot */
	enum dma_attached attached;  /* dma_attach: how arrivals get in, */
	const char *attached_reason; /* and why so; never NULL */
	uint64_t placed;             /* bytes that the device has put where they were read, */
	uint64_t placed_by_kernel;   /* that the kernel has in its place (DMA_NODEV), */
	uint64_t placed_by_copy;     /* and that the library has copied from there */
};

/* dma_stat: store the state of mem in *s. Returns 0, or -1 with errno EINVAL: no such region, or s
 * is NULL. Thread-safe. */
#if defined __cplusplus && defined __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored                                                                     \
	"-Wshadow" /* a function beside a structure of its name, as stat(2) */
#endif
int dma_stat(dma_mem_t mem, struct dma_stat *s);
#if defined __cplusplus && defined __GNUC__
#pragma GCC diagnostic pop
#endif

/*
 * async_io_notify: run io_complete(fd, ctx) once, on a thread of the library's, when data has
 * arrived in the memory associated with fd, or the connection has ended. The function may call this
 * again. Returns 0, or -1 with errno:
 *   EINVAL   io_complete is NULL
 *   EBADF    fd is no descriptor
 *   ENOTSUP  fd is no socket or network device (ether_open) with an associated region, and no pool
 *            of the kernel module (sigevec(4))
 *   EBUSY    a function is registered already
 *   EAGAIN   memory is short, or no thread can be had
 * Closing the last descriptor of the socket, or dma_disassoc of its last region, drops it unheard.
 * Thread-safe; not async-signal-safe.
 */
int async_io_notify(int fd, void (*io_complete)(int fd, void *ctx), void *ctx);

#ifdef __cplusplus
}
#endif

#endif
