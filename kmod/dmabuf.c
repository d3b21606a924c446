// SPDX-License-Identifier: GPL-2.0-only
/* Export of a pool, or a part of it, as a dma-buf. */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fcntl.h>
#include <linux/slab.h>

#include "sigevec.h"

struct exported {
	struct sv_window window;
	struct mutex lock; /* the list */
	struct list_head attachments;
};

/* One device's view. */
struct attached {
	struct list_head link;
	struct device *device;
	struct sg_table table;
	bool mapped; /* exported.lock */
};

static int attach(struct dma_buf *buf, struct dma_buf_attachment *a)
{
	struct exported *x = buf->priv;
	struct attached *at = kzalloc(sizeof(*at), GFP_KERNEL);
	int e;

	if (!at)
		return -ENOMEM;
	at->device = a->dev;
	e = sg_alloc_table_from_pages_segment(&at->table, x->window.pool->pages + x->window.first,
					      x->window.npages, 0, buf->size,
					      dma_get_max_seg_size(a->dev), GFP_KERNEL);
	if (e) {
		kfree(at);
		return e;
	}
	a->priv = at;
	mutex_lock(&x->lock);
	list_add(&at->link, &x->attachments);
	mutex_unlock(&x->lock);
	return 0;
}

static void detach(struct dma_buf *buf, struct dma_buf_attachment *a)
{
	struct exported *x = buf->priv;
	struct attached *at = a->priv;

	mutex_lock(&x->lock);
	list_del(&at->link);
	mutex_unlock(&x->lock);
	sg_free_table(&at->table);
	kfree(at);
}

static struct sg_table *map(struct dma_buf_attachment *a, enum dma_data_direction direction)
{
	struct exported *x = a->dmabuf->priv;
	struct attached *at = a->priv;
	int e = dma_map_sgtable(at->device, &at->table, direction, 0);

	if (e)
		return ERR_PTR(e);
	mutex_lock(&x->lock);
	at->mapped = true;
	mutex_unlock(&x->lock);
	return &at->table;
}

static void unmap(struct dma_buf_attachment *a, struct sg_table *table,
		  enum dma_data_direction direction)
{
	struct exported *x = a->dmabuf->priv;
	struct attached *at = a->priv;

	mutex_lock(&x->lock);
	at->mapped = false;
	mutex_unlock(&x->lock);
	dma_unmap_sgtable(at->device, table, direction, 0);
}

static int begin_cpu_access(struct dma_buf *buf, enum dma_data_direction direction)
{
	struct exported *x = buf->priv;
	struct attached *at;

	mutex_lock(&x->lock);
	list_for_each_entry(at, &x->attachments, link)
		if (at->mapped)
			dma_sync_sgtable_for_cpu(at->device, &at->table, direction);
	mutex_unlock(&x->lock);
	return 0;
}

static int end_cpu_access(struct dma_buf *buf, enum dma_data_direction direction)
{
	struct exported *x = buf->priv;
	struct attached *at;

	mutex_lock(&x->lock);
	list_for_each_entry(at, &x->attachments, link)
		if (at->mapped)
			dma_sync_sgtable_for_device(at->device, &at->table, direction);
	mutex_unlock(&x->lock);
	return 0;
}

static int map_for_user(struct dma_buf *buf, struct vm_area_struct *vma)
{
	struct exported *x = buf->priv;

	return sv_map_window(&x->window, vma);
}

static void release(struct dma_buf *buf)
{
	struct exported *x = buf->priv;

	sv_pool_put(x->window.pool);
	kfree(x);
}

static const struct dma_buf_ops export_ops = {
	.attach = attach,
	.detach = detach,
	.map_dma_buf = map,
	.unmap_dma_buf = unmap,
	.begin_cpu_access = begin_cpu_access,
	.end_cpu_access = end_cpu_access,
	.mmap = map_for_user,
	.release = release,
};

long sv_pool_export(struct sv_pool *pool, const struct sigevec_pool_export *e)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *buf;
	struct exported *x;
	int fd;

	if (e->flags || e->pad || !e->size || !PAGE_ALIGNED(e->offset) || !PAGE_ALIGNED(e->size) ||
	    e->size > pool->size || e->offset > pool->size - e->size)
		return -EINVAL;
	x = kzalloc(sizeof(*x), GFP_KERNEL_ACCOUNT);
	if (!x)
		return -ENOMEM;
	mutex_init(&x->lock);
	INIT_LIST_HEAD(&x->attachments);
	x->window = (struct sv_window){pool, e->offset >> PAGE_SHIFT, e->size >> PAGE_SHIFT};
	info.ops = &export_ops;
	info.size = e->size;
	info.flags = O_RDWR;
	info.priv = x;
	buf = dma_buf_export(&info);
	if (IS_ERR(buf)) {
		kfree(x);
		return PTR_ERR(buf);
	}
	kref_get(&pool->ref);
	fd = dma_buf_fd(buf, O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(buf);
	return fd;
}
