// SPDX-License-Identifier: GPL-2.0-only
/*
 * read_iter and write_iter of a pool.
 *
 * A synchronous call copies at once, in the caller's context. An asynchronous one pins the caller's
 * memory, is queued, and returns -EIOCBQUEUED. copy_work takes transfers off the queue one after
 * the other; the end is told by end_work, which a cancelled transfer reaches without waiting for
 * the one that is being copied. Nothing of the caller's address space is used after submission, so
 * it may unmap, fork or exit.
 *
 * Cancellation: aio calls sv_cancel with its context lock held, as long as the kiocb is on its
 * list, and takes it off there in ki_complete. So the transfer, which the kiocb points to, lives
 * until ki_complete has returned; and ki_complete, which takes the same lock, is never called by
 * sv_cancel.
 */
#include <linux/aio.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "sigevec.h"
#include "trace.h"

/* --- admission ----------------------------------------------------------------------------- */

static bool is_full(struct sv_pool *pool)
{
	return READ_ONCE(pool->in_flight) >= SV_MOST_IN_FLIGHT;
}

/* Room for one more, asynchronous or not; 0 or -errno. The reader of a full ring makes room without
 * a call, so nobody can wait for that. */
static int admit(struct sv_pool *pool, bool async, bool may_wait)
{
	for (;;) {
		int e = 0;

		spin_lock_irq(&pool->lock);
		if (async && is_full(pool))
			e = -EBUSY;
		else if (!sv_ring_promise(pool))
			e = -EAGAIN;
		else if (async)
			pool->in_flight++;
		spin_unlock_irq(&pool->lock);
		if (e != -EBUSY)
			return e;
		if (!may_wait)
			return -EAGAIN;
		if (wait_event_interruptible(pool->room, !is_full(pool)))
			return -ERESTARTSYS;
	}
}

static void leave(struct sv_pool *pool)
{
	bool was_full;

	spin_lock_irq(&pool->lock);
	was_full = pool->in_flight-- == SV_MOST_IN_FLIGHT;
	spin_unlock_irq(&pool->lock);
	if (was_full) {
		wake_up_all(&pool->room);
		wake_up_poll(&pool->poll, EPOLLOUT | EPOLLWRNORM);
	}
}

/* --- the caller's memory ------------------------------------------------------------------- */

static void add_piece(struct sv_transfer *t, struct page *page, size_t offset, size_t n)
{
	t->memory[t->count++] = (struct bio_vec){page, n, offset};
}

/* How many of the pages follow each other in memory, of those that n bytes from the offset in the
 * first lie in. */
static unsigned int contiguous(struct page **pages, size_t offset, size_t n)
{
	unsigned int k = 1, all = DIV_ROUND_UP(offset + n, PAGE_SIZE);

	while (k < all && sv_contiguous(pages[0], pages[k], k))
		k++;
	return k;
}

/*
 * As many pages in one call as there are in a segment. They come to the end of the array of pieces,
 * and a piece is as large as two of their pointers, so none is written over that is not one yet.
 */
static int pin_user_memory(struct sv_transfer *t, struct iov_iter *i, unsigned int room)
{
	unsigned int taken = 0;

	BUILD_BUG_ON(sizeof(struct bio_vec) < 2 * sizeof(struct page *));
	t->pinned = true;
	while (iov_iter_count(i)) {
		struct page **pages = (struct page **)(t->memory + room) - (room - taken);
		size_t offset;
		ssize_t n = taken == room ? -EFAULT
					  : sv_pin_user_pages(i, pages, room - taken, &offset);

		if (n <= 0)
			return n ? n : -EFAULT;
		while (n > 0) {
			unsigned int k = contiguous(pages, offset, n);
			size_t part = min_t(size_t, n, k * PAGE_SIZE - offset);

			add_piece(t, *pages, offset, part);
			n -= part;
			pages += k;
			taken += k;
			offset = 0;
		}
	}
	return 0;
}

/* Pages that the caller holds until the end: a registered buffer of io_uring. */
static void take_bvecs(struct sv_transfer *t, const struct iov_iter *i)
{
	size_t skip = i->iov_offset, left = i->count;
	const struct bio_vec *v;

	for (v = i->bvec; left; v++) {
		size_t n = min_t(size_t, left, v->bv_len - skip), at = v->bv_offset + skip;

		add_piece(t, v->bv_page + (at >> PAGE_SHIFT), offset_in_page(at), n);
		left -= n;
		skip = 0;
	}
}

/* Gives the pages back, marked as written where they were. */
static void unpin(struct sv_transfer *t)
{
	unsigned int k;

	for (k = 0; t->pinned && k < t->count; k++) {
		const struct bio_vec *v = &t->memory[k];

		unpin_user_page_range_dirty_lock(v->bv_page,
						 DIV_ROUND_UP(v->bv_offset + v->bv_len, PAGE_SIZE),
						 t->op == SIGEVEC_OP_OUT);
	}
	t->pinned = false;
}

static void free_transfer(struct sv_transfer *t)
{
	unpin(t);
	kvfree(t->memory);
	kfree(t);
}

static struct sv_transfer *make_transfer(struct sv_pool *pool, struct kiocb *iocb,
					 struct iov_iter *i, enum sigevec_op op)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN;
	struct sv_transfer *t = kzalloc(sizeof(*t), gfp);
	unsigned int room = iov_iter_is_bvec(i) ? i->nr_segs : iov_iter_npages(i, INT_MAX);
	int e = 0;

	if (!t)
		return ERR_PTR(-ENOMEM);
	t->pool = pool;
	t->iocb = iocb;
	t->op = op;
	t->offset = iocb->ki_pos;
	t->length = iov_iter_count(i);
	t->memory = kvmalloc_array(room, sizeof(*t->memory), gfp);
	if (!t->memory)
		e = -ENOMEM;
	else if (iov_iter_is_bvec(i))
		take_bvecs(t, i);
	else
		e = pin_user_memory(t, i, room);
	if (e) {
		free_transfer(t);
		return ERR_PTR(e);
	}
	return t;
}

/* --- works --------------------------------------------------------------------------------- */

/* A work that is queued holds the pool. */
static void start(struct sv_pool *pool, struct work_struct *work)
{
	kref_get(&pool->ref);
	if (!queue_work(sv_works, work))
		sv_pool_put(pool);
}

static struct sv_transfer *take(struct sv_pool *pool, struct list_head *list, enum sv_state state)
{
	struct sv_transfer *t;

	spin_lock_irq(&pool->lock);
	t = list_first_entry_or_null(list, struct sv_transfer, link);
	if (t) {
		list_del_init(&t->link);
		t->state = state;
	}
	spin_unlock_irq(&pool->lock);
	return t;
}

void sv_copy_work(struct work_struct *work)
{
	struct sv_pool *pool = container_of(work, struct sv_pool, copy_work);
	struct sv_transfer *t;

	while ((t = take(pool, &pool->queued, SV_RUNNING)) != NULL) {
		t->result = sv_copy(t);
		spin_lock_irq(&pool->lock);
		t->state = SV_ENDED;
		list_add_tail(&t->link, &pool->ended);
		spin_unlock_irq(&pool->lock);
		start(pool, &pool->end_work);
		cond_resched();
	}
	sv_pool_put(pool);
}

static void end(struct sv_pool *pool, struct sv_transfer *t)
{
	struct kiocb *iocb = t->iocb;
	enum sigevec_op op = t->op;
	u64 offset = t->offset, length = t->length;
	long result = t->result;

	if (result > 0)
		iocb->ki_pos += result;
	unpin(t); /* before the caller is told: then it may do with its memory what it likes */
	trace_sigevec_complete(pool->id, op, offset, length, result);
	iocb->ki_complete(iocb, result);
	free_transfer(t);
	sv_tell(pool, op, offset, length, result);
	leave(pool);
}

void sv_end_work(struct work_struct *work)
{
	struct sv_pool *pool = container_of(work, struct sv_pool, end_work);
	struct sv_transfer *t;

	while ((t = take(pool, &pool->ended, SV_ENDED)) != NULL) {
		end(pool, t);
		cond_resched();
	}
	sv_pool_put(pool);
}

/* --- submission and cancellation ----------------------------------------------------------- */

/* With pool->lock held. */
static void cancel(struct sv_pool *pool, struct sv_transfer *t)
{
	t->state = SV_ENDED;
	t->result = -ECANCELED;
	list_add_tail(&t->link, &pool->ended);
	pool->cancelled++;
}

/* By aio, its context lock held and interrupts off. */
static int sv_cancel(struct kiocb *iocb)
{
	struct sv_transfer *t = iocb->private;
	struct sv_pool *pool = t->pool;
	unsigned long flags;
	int e = 0;

	spin_lock_irqsave(&pool->lock, flags);
	switch (t->state) {
	case SV_SETUP:
		t->cancelled = true;
		break;
	case SV_QUEUED:
		list_del(&t->link);
		cancel(pool, t);
		start(pool, &pool->end_work);
		break;
	default:
		e = -EAGAIN;
	}
	spin_unlock_irqrestore(&pool->lock, flags);
	if (!e)
		trace_sigevec_cancel(pool->id, t->offset, t->length);
	return e;
}

static void allow_cancellation(struct kiocb *iocb)
{
#ifdef IOCB_AIO_RW
	/* The function takes every kiocb for one of aio's. Kernels without the flag cannot tell:
	 * there nothing is cancelled. */
	if (iocb->ki_flags & IOCB_AIO_RW)
		kiocb_set_cancel_fn(iocb, sv_cancel);
#endif
}

static ssize_t submit(struct sv_pool *pool, struct kiocb *iocb, struct iov_iter *i,
		      enum sigevec_op op)
{
	struct sv_transfer *t = make_transfer(pool, iocb, i, op);

	if (IS_ERR(t))
		return PTR_ERR(t);
	trace_sigevec_submit(pool->id, op, t->offset, t->length, true);
	kref_get(&pool->ref);
	iocb->private = t;
	allow_cancellation(iocb);
	/* Nothing can fail any more. Once the lock is released the transfer may have ended, and t
	 * and iocb are gone. */
	spin_lock_irq(&pool->lock);
	if (t->cancelled) {
		cancel(pool, t);
		start(pool, &pool->end_work);
	} else {
		t->state = SV_QUEUED;
		list_add_tail(&t->link, &pool->queued);
		start(pool, &pool->copy_work);
	}
	spin_unlock_irq(&pool->lock);
	sv_pool_put(pool);
	return -EIOCBQUEUED;
}

/* In the caller's context, from or to whatever it has. */
static ssize_t copy_now(struct sv_pool *pool, u64 offset, struct iov_iter *i, enum sigevec_op op)
{
	size_t done = 0;

	while (iov_iter_count(i)) {
		unsigned int within = offset_in_page(offset + done);
		size_t n = min_t(size_t, iov_iter_count(i), PAGE_SIZE - within);
		struct page *page = sv_pool_page(pool, offset + done);
		size_t copied = op == SIGEVEC_OP_IN ? copy_page_from_iter(page, within, n, i)
						    : copy_page_to_iter(page, within, n, i);

		done += copied;
		if (copied < n)
			break;
		cond_resched();
	}
	return done ? done : -EFAULT;
}

static ssize_t transfer(struct kiocb *iocb, struct iov_iter *i, enum sigevec_op op)
{
	struct sv_pool *pool = iocb->ki_filp->private_data;
	bool async = !is_sync_kiocb(iocb) && (user_backed_iter(i) || iov_iter_is_bvec(i));
	u64 offset = iocb->ki_pos, length;
	ssize_t n;

	if (iocb->ki_pos < 0)
		return -EINVAL;
	if (!iov_iter_count(i))
		return 0;
	if (offset >= pool->size)
		return op == SIGEVEC_OP_IN ? -ENOSPC : 0;
	iov_iter_truncate(i, pool->size - offset);
	length = iov_iter_count(i);
	n = admit(pool, async,
		  !(iocb->ki_flags & IOCB_NOWAIT) && !(iocb->ki_filp->f_flags & O_NONBLOCK));
	if (n)
		return n;
	if (async) {
		n = submit(pool, iocb, i, op);
	} else {
		trace_sigevec_submit(pool->id, op, offset, length, false);
		n = copy_now(pool, offset, i, op);
		trace_sigevec_complete(pool->id, op, offset, length, n);
	}
	if (n == -EIOCBQUEUED)
		return n;
	if (n > 0) {
		iocb->ki_pos += n;
		sv_tell(pool, op, offset, length, n);
	} else {
		sv_ring_withdraw(pool);
	}
	if (async)
		leave(pool);
	return n;
}

ssize_t sv_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	return transfer(iocb, to, SIGEVEC_OP_OUT);
}

ssize_t sv_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	return transfer(iocb, from, SIGEVEC_OP_IN);
}
