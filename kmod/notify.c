// SPDX-License-Identifier: GPL-2.0-only
/*
 * How user space learns of ends without asking: the completion ring, with moderation as network
 * cards have it.
 *
 * The ring never overflows: a transfer is promised its entry when it is admitted. `head' is in
 * memory that user space writes, so it is read once for each use and only counted with; whatever it
 * is, the kernel writes nowhere but to its own entries.
 */
#include <linux/log2.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "sigevec.h"

#define LONGEST 1000000 /* microseconds of moderation */

int sv_check_moderation(const struct sigevec_pool_moderation *m)
{
	/* A count alone would leave the last few unheard of. */
	return m->microseconds > LONGEST || (m->count > 1 && !m->microseconds) ? -EINVAL : 0;
}

void sv_set_moderation(struct sv_moderation *to, const struct sigevec_pool_moderation *m)
{
	to->count = m->count ? m->count : m->microseconds ? U32_MAX : 1;
	to->delay = ns_to_ktime((u64)m->microseconds * NSEC_PER_USEC);
}

/* After the first of several, the time runs. */
void sv_run_timer(struct sv_moderation *m)
{
	/* Not hrtimer_active: that is still true when the function has looked already and is about
	 * to return. */
	if (m->armed)
		return;
	m->armed = true;
	hrtimer_start(&m->timer, m->delay, HRTIMER_MODE_REL);
}

/* --- the ring ------------------------------------------------------------------------------ */

static u32 unread(const struct sv_ring *r)
{
	u32 n = r->tail - READ_ONCE(r->shared->head);

	return min(n, r->entries); /* nonsense is as good as full */
}

static enum hrtimer_restart ring_due(struct hrtimer *timer)
{
	struct sv_ring *r = container_of(timer, struct sv_ring, moderation.timer);
	unsigned long flags;
	bool wake;

	spin_lock_irqsave(&r->pool->lock, flags);
	r->moderation.armed = false;
	r->due = wake = unread(r) != 0;
	spin_unlock_irqrestore(&r->pool->lock, flags);
	if (wake)
		wake_up_poll(&r->pool->poll, EPOLLIN | EPOLLRDNORM);
	return HRTIMER_NORESTART;
}

long sv_ring_create(struct sv_pool *pool, const struct sigevec_pool_ring *a)
{
	struct sv_ring *r;
	long e = sv_check_moderation(&a->moderation);

	if (e || a->pad || !is_power_of_2(a->entries) || a->entries > SIGEVEC_RING_MOST)
		return -EINVAL;
	r = kzalloc(sizeof(*r), GFP_KERNEL_ACCOUNT);
	if (!r)
		return -ENOMEM;
	r->entries = a->entries;
	r->pool = pool;
	r->bytes = PAGE_ALIGN(sizeof(struct sigevec_ring) +
			      a->entries * sizeof(struct sigevec_completion));
	sv_hrtimer_setup(&r->moderation.timer, ring_due, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	sv_set_moderation(&r->moderation, &a->moderation);
	mutex_lock(&pool->setup);
	e = pool->ring ? -EBUSY : sv_charge_more(pool->user, r->bytes);
	if (e)
		goto free;
	r->shared = vmalloc_user(r->bytes);
	if (!r->shared) {
		e = -ENOMEM;
		sv_uncharge(pool->user, r->bytes);
		goto free;
	}
	r->shared->entries = r->entries;
	spin_lock_irq(&pool->lock);
	/* Transfers that are on their way have entries too. */
	if (pool->admitted > r->entries)
		e = -EBUSY;
	else
		pool->ring = r;
	spin_unlock_irq(&pool->lock);
	if (!e) {
		mutex_unlock(&pool->setup);
		return 0;
	}
	sv_uncharge(pool->user, r->bytes);
free:
	mutex_unlock(&pool->setup);
	vfree(r->shared);
	kfree(r);
	return e;
}

long sv_ring_moderate(struct sv_pool *pool, const struct sigevec_pool_moderation *m)
{
	long e = sv_check_moderation(m);

	if (e)
		return e;
	mutex_lock(&pool->setup);
	if (!pool->ring) {
		mutex_unlock(&pool->setup);
		return -ENXIO;
	}
	spin_lock_irq(&pool->lock);
	while (hrtimer_try_to_cancel(&pool->ring->moderation.timer) < 0) {
		/* Its function runs, and wants the lock. */
		spin_unlock_irq(&pool->lock);
		hrtimer_cancel(&pool->ring->moderation.timer);
		spin_lock_irq(&pool->lock);
	}
	pool->ring->moderation.armed = false;
	sv_set_moderation(&pool->ring->moderation, m);
	pool->ring->due = unread(pool->ring) != 0; /* what is there was kept back by other rules */
	spin_unlock_irq(&pool->lock);
	mutex_unlock(&pool->setup);
	wake_up_poll(&pool->poll, EPOLLIN | EPOLLRDNORM);
	return 0;
}

void sv_ring_free(struct sv_pool *pool)
{
	if (!pool->ring)
		return;
	hrtimer_cancel(&pool->ring->moderation.timer);
	sv_uncharge(pool->user, pool->ring->bytes);
	vfree(pool->ring->shared);
	kfree(pool->ring);
}

int sv_ring_map(struct sv_pool *pool, struct vm_area_struct *vma)
{
	unsigned long page = vma->vm_pgoff - (SIGEVEC_RING_OFFSET >> PAGE_SHIFT);
	struct sv_ring *r;

	mutex_lock(&pool->setup);
	r = pool->ring; /* stays as long as the pool */
	mutex_unlock(&pool->setup);
	if (!r)
		return -ENXIO;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	sv_vm_flags_mod(vma, 0, VM_MAYEXEC);
	return remap_vmalloc_range(vma, r->shared, page);
}

bool sv_ring_promise(struct sv_pool *pool)
{
	struct sv_ring *r = pool->ring;

	if (r && unread(r) + pool->admitted >= r->entries)
		return false;
	pool->admitted++;
	return true;
}

void sv_ring_withdraw(struct sv_pool *pool)
{
	spin_lock_irq(&pool->lock);
	pool->admitted--;
	spin_unlock_irq(&pool->lock);
}

bool sv_ring_readable(struct sv_pool *pool)
{
	struct sv_ring *r = pool->ring;
	u32 n;

	if (!r)
		return true;
	n = unread(r);
	return n && (r->due || n >= r->moderation.count);
}

/* With pool->lock held; whether to wake. */
static bool enter(struct sv_ring *r, enum sigevec_op op, u64 offset, u64 length, long result)
{
	struct sigevec_completion *c =
		SIGEVEC_RING_COMPLETIONS(r->shared) + (r->tail & (r->entries - 1));
	bool first = unread(r) == 0;

	*c = (struct sigevec_completion){offset, length, result, op, 0};
	r->tail++;
	smp_store_release(&r->shared->tail,
			  r->tail); /* the entry before; the reader's is the acquire */
	if (first)
		r->due = false;
	if (unread(r) >= r->moderation.count)
		return true;
	sv_run_timer(&r->moderation);
	return false;
}

/* --- both ---------------------------------------------------------------------------------- */

void sv_tell(struct sv_pool *pool, enum sigevec_op op, u64 offset, u64 length, long result)
{
	bool wake = false;

	spin_lock_irq(&pool->lock);
	pool->admitted--;
	if (pool->ring)
		wake = enter(pool->ring, op, offset, length, result);
	if (result > 0) {
		pool->transfers[op]++;
		sv_tell_listeners(pool, op);
	}
	spin_unlock_irq(&pool->lock);
	if (wake)
		wake_up_poll(&pool->poll, EPOLLIN | EPOLLRDNORM);
}
