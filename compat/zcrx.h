/* SPDX-License-Identifier: MIT */
/* io_uring's zero-copy receive, which older headers lack. The values and layouts are the kernel's
 * ABI; the names are our own, for newer headers have the kernel's. */
#ifndef SIGEVEC_COMPAT_ZCRX_H
#define SIGEVEC_COMPAT_ZCRX_H 1

#include <stdint.h>

/* Enumerators and flags. */
#define ZCRX_OP_RECV_ZC 58
#define ZCRX_REGISTER_IFQ 32
#define ZCRX_REGISTER_CTRL 36
#define ZCRX_REGISTER_USE_REGISTERED_RING (1u << 31)
#define ZCRX_SETUP_REGISTERED_FD_ONLY (1u << 15)
#define ZCRX_ENTER_REGISTERED_RING (1u << 4)
#define ZCRX_RECV_MULTISHOT (1u << 1)
#define ZCRX_REGION_USER 1u
#define ZCRX_WITHOUT_DEVICE 2u
#define ZCRX_FLUSH_REFILL 0u
#define ZCRX_AREA_SHIFT 48

struct zcrx_refill_entry {
	uint64_t off;
	uint32_t len, pad;
};

struct zcrx_completion {
	uint64_t off, pad;
};

struct zcrx_region {
	uint64_t user_addr, size;
	uint32_t flags, id;
	uint64_t mmap_offset, reserved[4];
};

struct zcrx_area {
	uint64_t addr, len, token;
	uint32_t flags, dmabuf_fd;
	uint64_t reserved[2];
};

struct zcrx_queue {
	uint32_t if_idx, if_rxq, rq_entries, flags;
	uint64_t area_ptr, region_ptr;
	uint32_t head, tail, rqes, reserved1;
	uint64_t reserved2[2];
	uint32_t zcrx_id, rx_buf_len;
	uint64_t reserved3[3];
};

struct zcrx_control {
	uint32_t zcrx_id, op;
	uint64_t reserved1[2];
	uint64_t reserved2[6];
};

#endif
