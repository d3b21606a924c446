// SPDX-License-Identifier: GPL-2.0-only
/*
 * The copy itself. Where the kernel's DMA engine has a channel that copies memory, the pools share
 * one, and a transfer is a series of batches for it; what the channel does not take, and everything
 * where there is none, the processor copies. Runs on a work, and sleeps.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cache.h>
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/dmaengine.h>
#include <linux/highmem.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "sigevec.h"

#define BATCH 64
#define PATIENCE (30 * HZ) /* then the hardware is broken */

static DEFINE_MUTEX(channel_lock);
static struct dma_chan *channel;
static unsigned int channel_users;
static bool broken;

void sv_engine_get(struct sv_pool *pool)
{
	if (!sv_may_use_engine())
		return;
	mutex_lock(&channel_lock);
	if (!channel) {
		dma_cap_mask_t mask;
		struct dma_chan *c;

		dma_cap_zero(mask);
		dma_cap_set(DMA_MEMCPY, mask);
		c = dma_request_chan_by_mask(&mask);
		channel = IS_ERR(c) ? NULL : c;
		WRITE_ONCE(broken, false);
	}
	pool->channel = channel;
	if (channel)
		channel_users++;
	mutex_unlock(&channel_lock);
}

void sv_engine_put(struct sv_pool *pool)
{
	if (!pool->channel)
		return;
	mutex_lock(&channel_lock);
	if (!--channel_users) {
		/* Waits for call-backs that are just returning: the module may go after this. */
		dmaengine_terminate_sync(channel);
		dma_release_channel(channel);
		channel = NULL;
	}
	mutex_unlock(&channel_lock);
}

/* --- pieces -------------------------------------------------------------------------------- */

struct cursor {
	struct sv_transfer *t;
	u64 offset;          /* in the pool */
	unsigned int k;      /* of t->memory, */
	unsigned int within; /* bytes of it done */
};

struct piece {
	struct page *pool, *memory;
	unsigned int pool_offset, memory_offset;
	size_t n;
};

/* How much of the pool is contiguous behind the cursor, up to `most'. */
static size_t pool_run(const struct cursor *c, size_t most)
{
	const struct sv_pool *pool = c->t->pool;
	unsigned long i = c->offset >> PAGE_SHIFT;
	size_t n = PAGE_SIZE - offset_in_page(c->offset);

	for (; n < most && i + 1 < pool->whole.npages &&
	       sv_contiguous(pool->pages[i], pool->pages[i + 1], 1);
	     i++)
		n += PAGE_SIZE;
	return min(n, most);
}

/* What comes next; false: nothing. */
static bool look(const struct cursor *c, size_t most, struct piece *p)
{
	const struct bio_vec *v = c->t->memory + c->k;
	size_t at;

	if (c->k == c->t->count)
		return false;
	at = v->bv_offset + c->within;
	p->pool = sv_pool_page(c->t->pool, c->offset);
	p->pool_offset = offset_in_page(c->offset);
	p->memory = v->bv_page + (at >> PAGE_SHIFT);
	p->memory_offset = offset_in_page(at);
	p->n = pool_run(c, min_t(size_t, most, v->bv_len - c->within));
	return true;
}

/* By what look() found, or less. */
static void advance(struct cursor *c, size_t n)
{
	c->offset += n;
	c->within += n;
	if (c->within == c->t->memory[c->k].bv_len) {
		c->k++;
		c->within = 0;
	}
}

/*
 * For the channel: whole cache lines of the destination, because a line that the device writes must
 * be nobody else's meanwhile. What is before them, or too little, is for the processor. True: the
 * channel's.
 */
static bool fit(struct piece *p, enum sigevec_op op)
{
	unsigned int to = op == SIGEVEC_OP_IN ? p->pool_offset : p->memory_offset;
	size_t before = -to & (L1_CACHE_BYTES - 1);

	if (before)
		p->n = min(p->n, before);
	else if (p->n >= L1_CACHE_BYTES)
		p->n = round_down(p->n, L1_CACHE_BYTES);
	return !before && p->n >= L1_CACHE_BYTES;
}

static void copy_piece(const struct piece *p, enum sigevec_op op)
{
	size_t done = 0;

	while (done < p->n) {
		struct page *pool = p->pool + ((p->pool_offset + done) >> PAGE_SHIFT);
		struct page *memory = p->memory + ((p->memory_offset + done) >> PAGE_SHIFT);
		unsigned int a = offset_in_page(p->pool_offset + done),
			     b = offset_in_page(p->memory_offset + done);
		size_t n = min3(p->n - done, (size_t)(PAGE_SIZE - a), (size_t)(PAGE_SIZE - b));

		if (op == SIGEVEC_OP_IN) {
			memcpy_page(pool, a, memory, b, n);
			flush_dcache_page(pool);
		} else {
			memcpy_page(memory, b, pool, a, n);
			flush_dcache_page(memory);
		}
		done += n;
		cond_resched();
	}
}

/* --- batches for the channel --------------------------------------------------------------- */

struct mapped {
	dma_addr_t from, to;
	size_t n;
};

struct batch {
	struct dma_chan *channel;
	struct completion done;
	atomic_t pending;
	bool failed;
	unsigned int count;
	struct mapped mapped[BATCH];
};

static void piece_done(void *argument, const struct dmaengine_result *result)
{
	struct batch *b = argument;

	if (result && result->result != DMA_TRANS_NOERROR)
		WRITE_ONCE(b->failed, true);
	if (atomic_dec_and_test(&b->pending))
		complete(&b->done);
}

static void unmap(struct device *d, const struct mapped *m)
{
	dma_unmap_page(d, m->from, m->n, DMA_TO_DEVICE);
	dma_unmap_page(d, m->to, m->n, DMA_FROM_DEVICE);
}

static bool map(struct device *d, const struct piece *p, enum sigevec_op op, struct mapped *m)
{
	m->n = p->n;
	if (op == SIGEVEC_OP_IN) {
		m->from = dma_map_page(d, p->memory, p->memory_offset, p->n, DMA_TO_DEVICE);
		m->to = dma_map_page(d, p->pool, p->pool_offset, p->n, DMA_FROM_DEVICE);
	} else {
		m->from = dma_map_page(d, p->pool, p->pool_offset, p->n, DMA_TO_DEVICE);
		m->to = dma_map_page(d, p->memory, p->memory_offset, p->n, DMA_FROM_DEVICE);
	}
	if (!dma_mapping_error(d, m->from) && !dma_mapping_error(d, m->to))
		return true;
	if (!dma_mapping_error(d, m->from))
		dma_unmap_page(d, m->from, p->n, DMA_TO_DEVICE);
	if (!dma_mapping_error(d, m->to))
		dma_unmap_page(d, m->to, p->n, DMA_FROM_DEVICE);
	return false;
}

/* False: not taken. */
static bool add_piece(struct batch *b, const struct piece *p, enum sigevec_op op)
{
	struct dma_async_tx_descriptor *tx = NULL;
	struct mapped *m = &b->mapped[b->count];
	struct dma_device *d = b->channel->device;

	if (!is_dma_copy_aligned(d, p->pool_offset, p->memory_offset, p->n) ||
	    !map(d->dev, p, op, m))
		return false;
	tx = dmaengine_prep_dma_memcpy(b->channel, m->to, m->from, m->n,
				       DMA_PREP_INTERRUPT | DMA_CTRL_ACK);
	if (!tx) {
		unmap(d->dev, m);
		return false;
	}
	tx->callback_result = piece_done;
	tx->callback_param = b;
	b->count++;
	atomic_inc(&b->pending);
	if (dma_submit_error(dmaengine_submit(tx))) {
		atomic_dec(&b->pending);
		b->failed = true;
	}
	return true;
}

/* 0 or -EIO. `pending' has one more, ours, until everything has been handed over. */
static int run_batch(struct batch *b)
{
	unsigned int i;

	dma_async_issue_pending(b->channel);
	if (!atomic_dec_and_test(&b->pending) && !wait_for_completion_timeout(&b->done, PATIENCE)) {
		pr_warn_once(
			"the DMA channel %s does not answer; the processor copies from now on\n",
			dma_chan_name(b->channel));
		WRITE_ONCE(broken, true);
		/* A channel that cannot be stopped may yet write to the memory and call back:
		 * neither may go before it has. */
		if (dmaengine_terminate_sync(b->channel))
			wait_for_completion(&b->done);
		b->failed = true;
	}
	for (i = 0; i < b->count; i++)
		unmap(b->channel->device->dev, &b->mapped[i]);
	return READ_ONCE(b->failed) ? -EIO : 0;
}

static int copy_by_engine(struct cursor *c, struct batch *b)
{
	size_t most = dma_get_max_seg_size(b->channel->device->dev);
	struct piece p;
	bool more = true, fits;
	u64 bytes;
	int e;

	while (more) {
		reinit_completion(&b->done);
		atomic_set(&b->pending, 1);
		b->count = 0;
		bytes = 0;
		while (b->count < BATCH && (more = look(c, most, &p))) {
			fits = fit(&p, c->t->op);
			if (fits && add_piece(b, &p, c->t->op))
				bytes += p.n;
			else
				copy_piece(&p, c->t->op);
			advance(c, p.n);
		}
		e = run_batch(b);
		if (e)
			return e;
		spin_lock_irq(&c->t->pool->lock);
		c->t->pool->engine_bytes += bytes;
		spin_unlock_irq(&c->t->pool->lock);
	}
	return 0;
}

/* Pieces that follow each other become one, to be given to the channel as one. Here, for whoever
 * asks for the transfer has no time for it. */
static void merge(struct sv_transfer *t)
{
	struct bio_vec *last = t->memory, *v;

	for (v = last + 1; v < t->memory + t->count; v++) {
		unsigned int end = last->bv_offset + last->bv_len;

		if (PAGE_ALIGNED(end) && !v->bv_offset &&
		    sv_contiguous(last->bv_page, v->bv_page, end >> PAGE_SHIFT))
			last->bv_len += v->bv_len;
		else
			*++last = *v;
	}
	t->count = last + 1 - t->memory;
}

long sv_copy(struct sv_transfer *t)
{
	struct cursor c = {.t = t, .offset = t->offset};
	struct batch *b = NULL;
	struct piece p;
	int e = 0;

	merge(t);
	if (t->pool->channel && !READ_ONCE(broken))
		b = kzalloc(sizeof(*b), GFP_KERNEL | __GFP_NOWARN);
	if (b) {
		b->channel = t->pool->channel;
		init_completion(&b->done);
		e = copy_by_engine(&c, b);
		kfree(b);
	}
	while (!e && look(&c, SIZE_MAX, &p)) {
		copy_piece(&p, t->op);
		advance(&c, p.n);
	}
	return e ? e : t->length;
}
