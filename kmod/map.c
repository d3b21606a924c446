// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap of a pool, of a dma-buf, of a completion ring.
 *
 * Mappings have ordinary pages with references, never bare frame numbers: that is what
 * get_user_pages takes, and with it O_DIRECT, registered buffers and sends without a copy. There
 * are two ways:
 *
 *   huge   Pages are entered when they are touched. The fault handler returns one, and Linux maps
 *          its whole block by one entry of the page table, if the block is of SV_HUGE_ORDER and
 *          lies well in the mapping. Whoever pins the memory then takes a block at a time.
 *   small  All pages are entered at once, one by one; the fault handler is for those that
 *          madvise(MADV_DONTNEED) took away. What it returned could bring in a whole block here
 *          too, which in a window that does not begin with a block shows the wrong pages, and some
 *          that are not of the window: so it enters the page itself. Linux marks such a mapping
 *          with VM_MIXEDMAP.
 */
#include "sigevec.h"
#include "trace.h"

#define HUGE (1ul << SV_HUGE_ORDER)

static vm_fault_t window_fault(struct vm_fault *vmf)
{
	struct sv_window *w = vmf->vma->vm_private_data;
	struct page *page;

	if (vmf->pgoff >= w->npages)
		return VM_FAULT_SIGBUS;
	page = w->pool->pages[w->first + vmf->pgoff];
	if (vmf->vma->vm_flags & VM_MIXEDMAP)
		return vmf_insert_page(vmf->vma, vmf->address, page);
	get_page(page);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct window_ops = {
	.fault = window_fault,
};

/* Whether blocks lie in the window and the mapping as they do in the pool, and make up most of what
 * is mapped. */
static bool maps_blocks(const struct sv_window *w, struct vm_area_struct *vma)
{
	unsigned long from = w->first + vma->vm_pgoff, n = vma_pages(vma);
	unsigned long first = round_up(from, HUGE),
		      end = round_down(min(from + n, w->pool->huge), HUGE);

	return IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && IS_ALIGNED(w->first, HUGE) &&
	       IS_ALIGNED((vma->vm_start >> PAGE_SHIFT) - vma->vm_pgoff, HUGE) && end > first &&
	       end - first >= n / 2;
}

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
	trace_sigevec_map(w->pool->id, (u64)(w->first + vma->vm_pgoff) << PAGE_SHIFT,
			  (u64)n << PAGE_SHIFT);
	if (maps_blocks(w, vma))
		return 0;
	return vm_insert_pages(vma, vma->vm_start, w->pool->pages + w->first + vma->vm_pgoff, &n);
}
