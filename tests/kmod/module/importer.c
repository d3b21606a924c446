// SPDX-License-Identifier: GPL-2.0-only
#include <linux/dma-buf.h>
#include <linux/highmem.h>
#include <linux/scatterlist.h>

#include "test.h"

/* As a device would: reads all, then inverts it. */
static void go_through(struct page *page, unsigned int offset, unsigned int n, u64 *sum)
{
	u8 *p = kmap_local_page(page);
	unsigned int i;

	for (i = offset; i < offset + n; i++) {
		*sum += p[i];
		p[i] = ~p[i];
	}
	kunmap_local(p);
}

static void look(struct sg_table *table, struct test_import *t)
{
	struct scatterlist *sg;
	int i;

	for_each_sgtable_dma_sg(table, sg, i)
		t->dma_bytes += sg_dma_len(sg);
	for_each_sgtable_sg(table, sg, i) {
		unsigned int done = 0;

		t->entries++;
		t->bytes += sg->length;
		while (done < sg->length) {
			unsigned int at = sg->offset + done;
			unsigned int n = min_t(unsigned int, sg->length - done, PAGE_SIZE - offset_in_page(at));

			go_through(sg_page(sg) + (at >> PAGE_SHIFT), offset_in_page(at), n, &t->sum);
			done += n;
		}
	}
}

int test_import(struct device *d, struct test_import *t)
{
	struct dma_buf *buf = dma_buf_get(t->fd);
	struct dma_buf_attachment *a;
	struct sg_table *table;
	int e = 0;

	*t = (struct test_import){ .fd = t->fd };
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
