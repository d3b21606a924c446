// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap of a pool, of a dma-buf, of a completion ring.
 *
 * Mappings have ordinary pages with references, never bare frame numbers: that is what get_user_pages takes, and with it O_DIRECT, registered
 * buffers and sends without a copy. All pages are entered at once; the fault handler is for pages that madvise(MADV_DONTNEED) took away.
 */
#include "sigevec.h"
#include "trace.h"

static vm_fault_t window_fault(struct vm_fault *vmf)
{
	struct sv_window *w = vmf->vma->vm_private_data;

	if (vmf->pgoff >= w->npages)
		return VM_FAULT_SIGBUS;
	/*
	 * This page alone is entered here. Returned to the kernel, a page of a block as large as a huge page may bring in all of the block, which
	 * in a window that does not begin at a block's start shows the wrong pages, and some that are not of the window.
	 */
	return vmf_insert_page(vmf->vma, vmf->address, w->pool->pages[w->first + vmf->pgoff]);
}

static const struct vm_operations_struct window_ops = {
	.fault = window_fault,
};

/* The file of the mapping holds the window. */
int sv_map_window(struct sv_window *w, struct vm_area_struct *vma)
{
	unsigned long n = vma_pages(vma);

	if (vma->vm_pgoff >= w->npages || n > w->npages - vma->vm_pgoff)
		return -EINVAL;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	sv_vm_flags_mod(vma, VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	vma->vm_private_data = w;
	vma->vm_ops = &window_ops;
	trace_sigevec_map(w->pool->id, (u64)(w->first + vma->vm_pgoff) << PAGE_SHIFT, (u64)n << PAGE_SHIFT);
	return vm_insert_pages(vma, vma->vm_start, w->pool->pages + w->first + vma->vm_pgoff, &n);
}
