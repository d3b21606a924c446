/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * The ioctls of /dev/sigevec and of its pools, and the memory of a pool's completion ring: see
 * sigevec(4).
 *
 * Structures have fixed widths and may grow at their end: the size is part of the number of an
 * ioctl. A smaller one than the first version is EINVAL; a larger one than the kernel knows must
 * end in zeros, E2BIG otherwise. Unknown flags, and members that are neither documented for the
 * flags given nor zero: EINVAL.
 */
#ifndef SIGEVEC_UAPI_H
#define SIGEVEC_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SIGEVEC_DEVICE "/dev/sigevec"
#define SIGEVEC_IOC_MAGIC 0xE7

/* --- /dev/sigevec -------------------------------------------------------------------------- */

#define SIGEVEC_VERSION 1

struct sigevec_device_info {
	__u32 version;    /* SIGEVEC_VERSION */
	__u32 pad;        /* 0 */
	__u64 user_limit; /* bytes that one user may have in pools */
	__u64 user_bytes; /* that the caller's user has */
};
#define SIGEVEC_IOC_DEVICE_INFO _IOR(SIGEVEC_IOC_MAGIC, 0x00, struct sigevec_device_info)

#define SIGEVEC_POOL_NODE (1u << 0) /* only memory of `node' */
#define SIGEVEC_POOL_ORDER                                                                         \
	(1u << 1) /* in blocks of at most 2^order pages; else of at most what one entry of the     \
		     page table maps */

struct sigevec_pool_create {
	__u64 size;  /* bytes, rounded up to pages */
	__u32 flags; /* SIGEVEC_POOL_* */
	__u32 order; /* with SIGEVEC_POOL_ORDER, else 0 */
	__s32 node;  /* with SIGEVEC_POOL_NODE, else 0 */
	__u32 pad;   /* 0 */
};
/* Returns a descriptor, close-on-exec: a pool of zeroed pages. */
#define SIGEVEC_IOC_POOL_CREATE _IOW(SIGEVEC_IOC_MAGIC, 0x01, struct sigevec_pool_create)

/* --- a pool -------------------------------------------------------------------------------- */

#define SIGEVEC_POOL_DMA_ENGINE (1u << 0) /* a DMA engine makes the transfers */

struct sigevec_pool_info {
	__u64 id;             /* of this pool, never used again */
	__u64 size;           /* bytes */
	__u64 blocks;         /* physically contiguous ones that it was made of */
	__u32 largest_order;  /* of a block, */
	__u32 smallest_order; /* in powers of two of pages */
	__s32 node;           /* of its first block */
	__u32 flags;          /* SIGEVEC_POOL_DMA_ENGINE */
	__u64 transfers_in;   /* ended well: into the pool, */
	__u64 transfers_out;  /* out of it */
	__u64 cancelled;      /* transfers */
	__u64 engine_bytes;   /* transferred by the DMA engine */
	__u32 in_flight;      /* asynchronous transfers */
	__u32 pad;            /* 0 */
};
#define SIGEVEC_IOC_POOL_INFO _IOR(SIGEVEC_IOC_MAGIC, 0x10, struct sigevec_pool_info)

struct sigevec_pool_export {
	__u64 offset; /* of the first byte; a multiple of the page size */
	__u64 size;   /* bytes, a multiple of the page size */
	__u32 flags;  /* 0 */
	__u32 pad;    /* 0 */
};
/* Returns the descriptor of a dma-buf, close-on-exec. */
#define SIGEVEC_IOC_POOL_EXPORT _IOW(SIGEVEC_IOC_MAGIC, 0x11, struct sigevec_pool_export)

struct sigevec_pool_moderation {
	__u32 count;        /* readable after so many completions, */
	__u32 microseconds; /* or so long after the first; 0, 0: at once */
};

struct sigevec_pool_ring {
	__u32 entries; /* a power of two, up to SIGEVEC_RING_MOST */
	__u32 pad;     /* 0 */
	struct sigevec_pool_moderation moderation;
};
#define SIGEVEC_RING_MOST 4096
/* Makes the pool's completion ring. From now on each transfer needs room in it: EAGAIN. */
#define SIGEVEC_IOC_POOL_RING _IOW(SIGEVEC_IOC_MAGIC, 0x12, struct sigevec_pool_ring)
/* When poll(2) reports POLLIN. */
#define SIGEVEC_IOC_POOL_MODERATE _IOW(SIGEVEC_IOC_MAGIC, 0x13, struct sigevec_pool_moderation)

#define SIGEVEC_LISTEN_IN (1u << 0)     /* for transfers into the pool */
#define SIGEVEC_LISTEN_OUT (1u << 1)    /* for transfers out of it */
#define SIGEVEC_LISTEN_REMOVE (1u << 2) /* alone: no more */

struct sigevec_pool_listen {
	__s32 eventfd;
	__u32 flags; /* SIGEVEC_LISTEN_* */
	struct sigevec_pool_moderation moderation;
};
#define SIGEVEC_LISTENERS_MOST 64
/*
 * The eventfd is signalled when transfers have ended, and once when the pool's last descriptor,
 * mapping and transfer is gone. When its own last descriptor is closed it listens no more.
 */
#define SIGEVEC_IOC_POOL_LISTEN _IOW(SIGEVEC_IOC_MAGIC, 0x14, struct sigevec_pool_listen)

/* --- the completion ring: mmap of the pool at this offset ---------------------------------- */

#define SIGEVEC_RING_OFFSET (1ull << 40)

enum sigevec_op { SIGEVEC_OP_OUT, SIGEVEC_OP_IN };

struct sigevec_completion {
	__u64 offset; /* in the pool */
	__u64 length; /* asked for, up to the end of the pool */
	__s64 result; /* bytes, or a negative errno */
	__u32 op;     /* enum sigevec_op */
	__u32 pad;    /* 0 */
};

/*
 * Entries head to tail - 1, each modulo `entries', are the reader's. It loads tail (acquire),
 * reads, and stores head (release). Whatever it stores there, the kernel only counts with it.
 */
struct sigevec_ring {
	__u32 head; /* the reader's */
	__u32 pad0[15];
	__u32 tail; /* the kernel's */
	__u32 entries;
	__u32 pad1[14];
};
/* The entries, which follow it. */
#define SIGEVEC_RING_COMPLETIONS(ring) ((struct sigevec_completion *)(void *)((ring) + 1))

#endif
