/* SPDX-License-Identifier: MIT */
/*
 * The system's <aio.h>, with the members that libsigevec adds to struct aiocb and struct aiocb64.
 *
 * pkg-config puts this directory before the system's, so that <aio.h> and <sigevec.h> may be
 * included in any order. The new members lie in the 32 reserved bytes at the end of glibc's
 * structure: size and offsets stay libc's, and no function that exists in POSIX ever reads them.
 */
#ifndef SIGEVEC_SYSTEM_AIO_H
#define SIGEVEC_SYSTEM_AIO_H 1

#if defined __GNUC__
#pragma GCC                                                                                        \
	system_header /* #include_next and the reserved names below are for system headers only */
#endif

#include <features.h>
#include <signal.h>
#include <sys/types.h>
#include <time.h>

struct msghdr;
/* A DMA region (dma_alloc(3)). */
typedef struct dma_mem *dma_mem_t;

/*
 * glibc declares `char __glibc_reserved[32];' as the last member. 8 + 8 + 8 bytes of ours and a
 * pointer make the same 32.
 */
#define __glibc_reserved                                                                           \
	__sigevec_reserved[8];                                                                     \
	struct msghdr *aio_msg;                                                                    \
	dma_mem_t aio_dma_buf;                                                                     \
	char(*__sigevec_tail)
/* Installed in /usr both lie below one folder of the search path, after which there may be no
 * other. */
#if defined __has_include
#if __has_include("../../aio.h")
#include "../../aio.h"
#define __sigevec_aio_found
#endif
#endif
#ifndef __sigevec_aio_found
#include_next <aio.h>
#endif
#undef __sigevec_aio_found
#undef __glibc_reserved

#endif
