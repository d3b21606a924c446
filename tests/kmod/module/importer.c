// SPDX-License-Identifier: GPL-2.0-only
#include <linux/dma-buf.h>
#include <linux/io.h>
#include <linux/scatterlist.h>

#include "test.h"

/* As a device would, by the addresses that are for it: reads all, then inverts it. There is no
 * IOMMU in the guest. */
static void look(struct sg_table *table, struct test_import *t)
{
	struct scatterlist *sg;
	int i;

	for_each_sgtable_dma_sg(table, sg, i)
	{
		u8 *p = phys_to_virt(sg_dma_address(sg));
		unsigned int k;

		t->entries++;
		t->bytes += sg_dma_len(sg);
		for (k = 0; k < sg_dma_len(sg); k++) {
			t->sum += p[k];
			p[k] = ~p[k];
		}
	}
}

int test_import(struct device *d, struct test_import *t)
{
	struct dma_buf *buf = dma_buf_get(t->fd);
	struct dma_buf_attachment *a;
	struct sg_table *table;
	int e = 0;

	*t = (struct test_import){.fd = t->fd};
	if (IS_ERR(buf))
		return PTR_ERR(buf);
	a = dma_buf_attach(buf, d);
	if (IS_ERR(a)) {
		e = PTR_ERR(a);
		goto put;
	}
	table = dma_buf_map_attachment_unlocked(a, DMA_BIDIRECTIONAL);
	if (IS_ERR(table)) {
		e = PTR_ERR(table);
		goto detach;
	}
	e = dma_buf_begin_cpu_access(buf, DMA_BIDIRECTIONAL);
	if (!e) {
		look(table, t);
		e = dma_buf_end_cpu_access(buf, DMA_BIDIRECTIONAL);
	}
	dma_buf_unmap_attachment_unlocked(a, table, DMA_BIDIRECTIONAL);
detach:
	dma_buf_detach(buf, a);
put:
	dma_buf_put(buf);
	return e;
}
