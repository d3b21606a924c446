/* SPDX-License-Identifier: MIT */
/*
 * Endpoints on interconnects: the same regions, channels and requests beyond one machine. These
 * functions are libsigevec_fabric's (pkg-config sigevec_fabric). See libsigevec_fabric(7).
 */
#ifndef SIGEVEC_FABRIC_H
#define SIGEVEC_FABRIC_H 1

#include "sigevec/types.h"

#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of fabric_open. */
#define FABRIC_CLOEXEC 1u /* the descriptor is closed by execve */

/* Rights of dma_export. */
#define DMA_READ 1u  /* peers may get */
#define DMA_WRITE 2u /* peers may put */

/*
 * fabric_open: a descriptor for one endpoint, which sends messages to and receives them from any
 * number of others, like a socket of reliable datagrams. provider: libfabric's name for the way
 * ("tcp"), or NULL: the best there is. node and service: the address here, by name or number; NULL:
 * any. Returns the descriptor, or -1 with errno:
 *   EINVAL         unknown flags
 *   ENODEV         no such provider, or none that can do what is needed
 *   EADDRNOTAVAIL  node or service is no address here
 *   EADDRINUSE     somebody else has it
 *   EMFILE, ENFILE, ENOMEM, EAGAIN  there are too many descriptors or threads, or there is too
 *                  little memory
 *   ENOSYS         this library and libsigevec are not of the same version
 * Thread-safe; not async-signal-safe. Source: ours.
 */
int fabric_open(const char *provider, const char *node, const char *service, unsigned flags);

/*
 * fabric_name: stores the address to which peers send in *addr, at most *len bytes, and how long it
 * is in *len. Returns 0, or -1 with errno:
 *   EINVAL           addr or len is NULL
 *   EBADF, ENOTSUP   the descriptor is none of fabric_open's
 * Thread-safe; not async-signal-safe. Source: ours.
 */
int fabric_name(int fabric, struct sockaddr *addr, socklen_t *len);

/* What an endpoint is, and what it has done. */
struct fabric_stat {
	char provider[64];    /* libfabric's name for it */
	uint64_t largest;     /* bytes: of a message that this endpoint takes */
	uint64_t window;      /* messages that a peer may send before one of them is received */
	uint64_t peers;       /* that are known now */
	uint64_t peer_memory; /* bytes that each of them takes here at most */
	uint64_t sent;        /* messages, */
	uint64_t sent_bytes;  /* and bytes of them */
	uint64_t received;    /* the same of what has come and been received by the program */
	uint64_t received_bytes;
	uint64_t waiting; /* messages that have come and that nobody has received */
	uint64_t puts, put_bytes, gets, get_bytes; /* that have ended well */
	uint64_t exported;                         /* keys that are valid */
	uint64_t refused;                          /* keys of peers' that were not */
	uint64_t malformed;     /* messages of no peer of this library's; they are dropped */
	uint64_t lost_peers;    /* that have died, or that nothing was heard of any more */
	uint64_t copied_in;     /* messages that were copied into the region, */
	const char *why_copied; /* and why; never NULL */
	const char *waits_by;   /* what an idle endpoint waits with; never NULL */
};

/*
 * fabric_stat: fills in *s. Returns 0, or -1 with errno:
 *   EINVAL           s is NULL
 *   EBADF, ENOTSUP   the descriptor is none of fabric_open's
 * Thread-safe; not async-signal-safe. Source: ours.
 */
#if defined __cplusplus && defined __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored                                                                     \
	"-Wshadow" /* a function beside a structure of its name, as stat(2) */
#endif
int fabric_stat(int fabric, struct fabric_stat *s);
#if defined __cplusplus && defined __GNUC__
#pragma GCC diagnostic pop
#endif

/* The right to a piece of another program's, which the programs send to each other by their own
 * means. */
typedef struct dma_key {
	unsigned char bytes[64];
} dma_key_t;

/*
 * dma_export: peers that have *key may get from (DMA_READ) and put to (DMA_WRITE) the size bytes at
 * piece, a piece of mem, which is associated with the endpoint. The piece is not used for anything
 * else until dma_revoke. Returns 0, or -1 with errno:
 *   EINVAL           no such region, or it is not the endpoint's; the bytes are not all in one
 *                    piece of the program's; unknown rights or none; key is NULL, size is 0
 *   EBADF, ENOTSUP   the descriptor is none of fabric_open's
 *   EAGAIN           too many processes share the region
 *   ENOMEM           there is too little memory, or the provider takes no more
 * Thread-safe; not async-signal-safe. Source: ours.
 */
int dma_export(dma_mem_t mem, int fabric, void *piece, size_t size, unsigned rights,
	       dma_key_t *key);

/*
 * dma_revoke: the key is none any more. When it returns no peer can touch the piece by it. Returns
 * 0, or -1 with errno:
 *   EINVAL           no such key of this endpoint's
 *   EBADF, ENOTSUP   the descriptor is none of fabric_open's
 * Thread-safe; not async-signal-safe. Source: ours.
 */
int dma_revoke(int fabric, const dma_key_t *key);

/*
 * ev_put: writes the size bytes at piece to where the key says, from its offset on, in the memory
 * of the peer whose endpoint has the address; ev_get reads them from there. piece lies in a piece
 * of a region, which is not used for anything else until the transfer is over. The event comes when
 * it is: its ev_result is size. Returns 0, or -1 with errno, having done nothing:
 *   EINVAL           no address, or one too short or too long; no key, size is 0; piece lies in no
 *                    piece of the program's
 *   EAFNOSUPPORT     the address is not of the endpoint's family
 *   EFAULT           piece lies in no region
 *   EBADF, ENOTSUP   the descriptor is none of fabric_open's; EBADF: or ec is no channel
 *   EAGAIN           the channel's limit, or the process's for requests
 *   ENOMEM           there is too little memory
 * The event's errors:
 *   EACCES           the key was revoked, or made by nobody, or does not give that right
 *   EINVAL           the bytes are not all in what was exported
 *   ECONNREFUSED, EHOSTUNREACH   there is nobody at that address
 *   ECONNRESET, ETIMEDOUT        the peer has died; whether the bytes were moved is not known
 *   ECANCELED        ev_cancel; the same
 *   EBADF            the descriptor has been closed
 * Thread-safe; not async-signal-safe. Source: ours.
 */
int ev_put(int fabric, const struct sockaddr *to, socklen_t tolen, const dma_key_t *key,
	   uint64_t offset, const void *piece, size_t size, ec_t ec, void *data);
int ev_get(int fabric, const struct sockaddr *from, socklen_t fromlen, const dma_key_t *key,
	   uint64_t offset, void *piece, size_t size, ec_t ec, void *data);

#ifdef __cplusplus
}
#endif

#endif
