// SPDX-License-Identifier: GPL-2.0-only
/* A pool: its pages, its file, its ioctls. */
#include <linux/dmaengine.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "sigevec.h"
#include "trace.h"

static atomic64_t last_id;

/* --- pages --------------------------------------------------------------------------------- */

struct place {
	int node; /* NUMA_NO_NODE: by the caller's policy */
	unsigned int largest_order;
};

/* For the user: within the cpuset's nodes. Single pages are tried hard for; none of this calls the
 * OOM killer, for the caller can do with less. */
static struct page *allocate_block(const struct place *p, unsigned int order)
{
	gfp_t gfp = GFP_USER | __GFP_ACCOUNT | __GFP_ZERO | __GFP_NOWARN | __GFP_COMP;

	gfp |= order ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;
	if (p->node == NUMA_NO_NODE)
		return alloc_pages(gfp, order);
	return alloc_pages_node(p->node, gfp | __GFP_THISNODE, order);
}

static void free_pages_of(struct sv_pool *pool, unsigned long n)
{
	unsigned long i = 0;

	while (i < n) {
		struct page *block = pool->pages[i];

		i += 1ul << compound_order(block);
		put_page(block);
		cond_resched();
	}
	kvfree(pool->pages);
}

static int allocate_pages(struct sv_pool *pool, const struct place *p)
{
	unsigned long n = pool->whole.npages, done = 0;
	unsigned int order = p->largest_order;

	pool->pages = kvmalloc_array(n, sizeof(*pool->pages), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pool->pages)
		return -ENOMEM;
	pool->smallest_order = order;
	while (done < n) {
		struct page *block;
		unsigned long i;

		order = min_t(unsigned int, order, ilog2(n - done));
		block = fatal_signal_pending(current) ? NULL : allocate_block(p, order);
		if (!block) {
			if (order && !fatal_signal_pending(current)) {
				order--;
				continue;
			}
			free_pages_of(pool, done);
			return -ENOMEM;
		}
		/* Before Linux maps a block by one entry, it compares its end with the file's size.
		 */
		page_folio(block)->index = done;
		for (i = 0; i < 1ul << order; i++)
			pool->pages[done++] = block + i;
		if (order == SV_HUGE_ORDER)
			pool->huge = done;
		pool->blocks++;
		pool->largest_order = max(pool->largest_order, order);
		pool->smallest_order = min(pool->smallest_order, order);
		cond_resched();
	}
	return 0;
}

struct page *sv_pool_page(const struct sv_pool *pool, u64 offset)
{
	return pool->pages[offset >> PAGE_SHIFT];
}

/* --- life ---------------------------------------------------------------------------------- */

static void free_pool(struct kref *ref)
{
	struct sv_pool *pool = container_of(ref, struct sv_pool, ref);

	sv_ring_free(pool);
	sv_engine_put(pool);
	sv_pages_put(pool);
}

void sv_pool_put(struct sv_pool *pool)
{
	kref_put(&pool->ref, free_pool);
}

static struct sv_pool *make_pool(u64 size, const struct place *p)
{
	struct sv_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL_ACCOUNT);
	int e = -ENOMEM;

	if (!pool)
		return ERR_PTR(e);
	kref_init(&pool->ref);
	pool->size = size;
	pool->whole = (struct sv_window){pool, 0, size >> PAGE_SHIFT};
	mutex_init(&pool->setup);
	spin_lock_init(&pool->lock);
	INIT_LIST_HEAD(&pool->queued);
	INIT_LIST_HEAD(&pool->ended);
	INIT_LIST_HEAD(&pool->listeners);
	INIT_WORK(&pool->copy_work, sv_copy_work);
	INIT_WORK(&pool->end_work, sv_end_work);
	init_waitqueue_head(&pool->room);
	init_waitqueue_head(&pool->poll);
	pool->user = sv_charge(size);
	if (IS_ERR(pool->user)) {
		e = PTR_ERR(pool->user);
		goto no_charge;
	}
	e = allocate_pages(pool, p);
	if (e)
		goto no_pages;
	sv_engine_get(pool);
	pool->id = atomic64_inc_return(&last_id);
	return pool;
no_pages:
	sv_uncharge(pool->user, size);
no_charge:
	kfree(pool);
	return ERR_PTR(e);
}

/* --- the file ------------------------------------------------------------------------------ */

static long pool_info(struct sv_pool *pool, unsigned int cmd, unsigned long arg)
{
	struct sigevec_pool_info info = {
		.id = pool->id,
		.size = pool->size,
		.blocks = pool->blocks,
		.largest_order = pool->largest_order,
		.smallest_order = pool->smallest_order,
		.node = page_to_nid(pool->pages[0]),
		.flags = pool->channel ? SIGEVEC_POOL_DMA_ENGINE : 0,
	};

	spin_lock_irq(&pool->lock);
	info.transfers_in = pool->transfers[SIGEVEC_OP_IN];
	info.transfers_out = pool->transfers[SIGEVEC_OP_OUT];
	info.cancelled = pool->cancelled;
	info.engine_bytes = pool->engine_bytes;
	info.in_flight = pool->in_flight;
	spin_unlock_irq(&pool->lock);
	return sv_put_argument(&info, sizeof(info), sizeof(info), cmd, arg);
}

static long pool_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct sv_pool *pool = file->private_data;
	union {
		struct sigevec_pool_export export;
		struct sigevec_pool_ring ring;
		struct sigevec_pool_moderation moderation;
		struct sigevec_pool_listen listen;
	} a;
	int e;

	if (sv_is(cmd, SIGEVEC_IOC_POOL_INFO))
		return pool_info(pool, cmd, arg);
	if (sv_is(cmd, SIGEVEC_IOC_POOL_EXPORT)) {
		e = sv_get_argument(&a.export, sizeof(a.export), sizeof(a.export), cmd, arg);
		return e ? e : sv_pool_export(pool, &a.export);
	}
	if (sv_is(cmd, SIGEVEC_IOC_POOL_RING)) {
		e = sv_get_argument(&a.ring, sizeof(a.ring), sizeof(a.ring), cmd, arg);
		return e ? e : sv_ring_create(pool, &a.ring);
	}
	if (sv_is(cmd, SIGEVEC_IOC_POOL_MODERATE)) {
		e = sv_get_argument(&a.moderation, sizeof(a.moderation), sizeof(a.moderation), cmd,
				    arg);
		return e ? e : sv_ring_moderate(pool, &a.moderation);
	}
	if (sv_is(cmd, SIGEVEC_IOC_POOL_LISTEN)) {
		e = sv_get_argument(&a.listen, sizeof(a.listen), sizeof(a.listen), cmd, arg);
		return e ? e : sv_listen(pool, &a.listen);
	}
	return -ENOTTY;
}

static __poll_t pool_poll(struct file *file, poll_table *wait)
{
	struct sv_pool *pool = file->private_data;
	__poll_t events = 0;

	poll_wait(file, &pool->poll, wait);
	spin_lock_irq(&pool->lock);
	if (sv_ring_readable(pool))
		events |= EPOLLIN | EPOLLRDNORM;
	if (pool->in_flight < SV_MOST_IN_FLIGHT)
		events |= EPOLLOUT | EPOLLWRNORM;
	spin_unlock_irq(&pool->lock);
	return events;
}

static int pool_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct sv_pool *pool = file->private_data;

	if (vma->vm_pgoff >= SIGEVEC_RING_OFFSET >> PAGE_SHIFT)
		return sv_ring_map(pool, vma);
	return sv_map_window(&pool->whole, vma);
}

static loff_t pool_llseek(struct file *file, loff_t offset, int whence)
{
	struct sv_pool *pool = file->private_data;

	return fixed_size_llseek(file, offset, whence, pool->size);
}

static int pool_release(struct inode *inode, struct file *file)
{
	struct sv_pool *pool = file->private_data;

	sv_listeners_release(pool);
	sv_pool_put(pool);
	return 0;
}

static const struct file_operations pool_ops = {
	.owner = THIS_MODULE,
	.read_iter = sv_read_iter,
	.write_iter = sv_write_iter,
	.unlocked_ioctl = pool_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = pool_poll,
	.mmap = pool_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.llseek = pool_llseek,
	.release = pool_release,
};

/* 0 or -errno. */
static int find_place(const struct sigevec_pool_create *c, struct place *p)
{
	*p = (struct place){NUMA_NO_NODE, min_t(unsigned int, SV_LARGEST_ORDER, SV_HUGE_ORDER)};
	if (c->flags & ~(SIGEVEC_POOL_NODE | SIGEVEC_POOL_ORDER) || c->pad)
		return -EINVAL;
	if (c->flags & SIGEVEC_POOL_NODE) {
		if (c->node < 0 || c->node >= MAX_NUMNODES || !node_state(c->node, N_MEMORY))
			return -EINVAL;
		p->node = c->node;
	} else if (c->node) {
		return -EINVAL;
	}
	if (c->flags & SIGEVEC_POOL_ORDER) {
		if (c->order > SV_LARGEST_ORDER)
			return -EINVAL;
		p->largest_order = c->order;
	} else if (c->order) {
		return -EINVAL;
	}
	return 0;
}

long sv_pool_create(const struct sigevec_pool_create *c)
{
	struct sv_pool *pool;
	struct place place;
	struct file *file;
	int e, fd;

	e = find_place(c, &place);
	if (e)
		return e;
	if (!c->size || c->size > SIGEVEC_RING_OFFSET)
		return -EINVAL;
	fd = get_unused_fd_flags(O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fd;
	pool = make_pool(round_up(c->size, PAGE_SIZE), &place);
	if (IS_ERR(pool)) {
		put_unused_fd(fd);
		return PTR_ERR(pool);
	}
	file = sv_file(pool, &pool_ops);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		sv_pool_put(pool);
		return PTR_ERR(file);
	}
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE | FMODE_NOWAIT;
	trace_sigevec_create(pool->id, pool->size, pool->blocks);
	fd_install(fd, file);
	return fd;
}
