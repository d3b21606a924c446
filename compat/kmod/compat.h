/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that the module is built for, 6.1 and later: each difference
 * once, with the version that made it. The module's sources use the names of today.
 */
#ifndef SIGEVEC_COMPAT_H
#define SIGEVEC_COMPAT_H

#include <linux/eventfd.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/uio.h>
#include <linux/version.h>

/* 6.3: the flags of a mapping are changed by functions. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void sv_vm_flags_mod(struct vm_area_struct *vma, unsigned long set,
				   unsigned long clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#else
#define sv_vm_flags_mod vm_flags_mod
#endif

/* 6.8: eventfd_signal adds 1. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define sv_eventfd_signal(ctx) ((void)eventfd_signal(ctx, 1))
#else
#define sv_eventfd_signal(ctx) eventfd_signal(ctx)
#endif

/* 6.8: MAX_PAGE_ORDER is the largest order; 6.4: so was MAX_ORDER; before, it was one more. */
#ifdef MAX_PAGE_ORDER
#define SV_LARGEST_ORDER MAX_PAGE_ORDER
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define SV_LARGEST_ORDER (MAX_ORDER - 1)
#else
#define SV_LARGEST_ORDER MAX_ORDER
#endif

/* 6.13: a timer gets its function with everything else, and namespaces of symbols are strings. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static inline void sv_hrtimer_setup(struct hrtimer *t, enum hrtimer_restart (*f)(struct hrtimer *),
				    clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(t, clock, mode);
	t->function = f;
}
#define SV_IMPORT_NS(ns) MODULE_IMPORT_NS(ns)
#else
#define sv_hrtimer_setup hrtimer_setup
#define SV_IMPORT_NS(ns) MODULE_IMPORT_NS(#ns)
#endif

/* 6.3: user pages are pinned by iov_iter_extract_pages. Before, by hand; the memory of the iterator
 * must be the user's. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline ssize_t sv_pin_user_pages(struct iov_iter *i, struct page **pages, unsigned int max,
					size_t *offset)
{
	unsigned long address;
	size_t len;
	int n;

	if (iter_is_ubuf(i)) {
		address = (unsigned long)i->ubuf + i->iov_offset;
		len = i->count;
	} else {
		iov_iter_advance(i, 0); /* past empty segments */
		address = (unsigned long)i->iov->iov_base + i->iov_offset;
		len = min(i->count, i->iov->iov_len - i->iov_offset);
	}
	*offset = offset_in_page(address);
	n = pin_user_pages_fast(address & PAGE_MASK,
				min_t(size_t, max, DIV_ROUND_UP(len + *offset, PAGE_SIZE)),
				iov_iter_rw(i) == READ ? FOLL_WRITE : 0, pages);
	if (n <= 0)
		return n ? n : -EFAULT;
	len = min_t(size_t, len, (size_t)n * PAGE_SIZE - *offset);
	iov_iter_advance(i, len);
	return len;
}
#else
static inline ssize_t sv_pin_user_pages(struct iov_iter *i, struct page **pages, unsigned int max,
					size_t *offset)
{
	return iov_iter_extract_pages(i, &pages, SIZE_MAX, max, 0, offset);
}
#endif

#endif
