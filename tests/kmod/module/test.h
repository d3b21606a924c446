/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A module for the tests: a device that imports dma-bufs, and, where the kernel has a DMA engine, a
 * channel that copies memory and can be made to hold what it has, or to fail. In
 * /sys/module/sigevec_test/parameters: hold, fail.
 */
#ifndef SIGEVEC_TEST_H
#define SIGEVEC_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

struct test_import {
	__s32 fd;      /* a dma-buf */
	__u32 entries; /* of its scatter list */
	__u64 bytes;   /* in all entries */
	__u64 sum;     /* of the bytes, before each is inverted */
};
#define TEST_IMPORT _IOWR('T', 1, struct test_import)

#ifdef __KERNEL__
struct device;
int test_import(struct device *d, struct test_import *t);
int test_engine_init(struct device *d);
void test_engine_exit(void);
#endif

#endif
