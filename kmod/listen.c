// SPDX-License-Identifier: GPL-2.0-only
/*
 * Eventfds that listen to a pool: they are signalled when transfers have ended, as moderation has
 * it.
 *
 * A listener ends with REMOVE, with the pool's file, or with the eventfd itself: when its last
 * descriptor is closed it wakes who waits on it with EPOLLHUP, within a lock that is also taken in
 * signalling it, with pool->lock held. So that is left to a work. Whoever finds the listener on the
 * list, with pool->lock held, ends it; if that is not the work, it waits for the work.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/slab.h>

#include "sigevec.h"

static enum hrtimer_restart listener_due(struct hrtimer *timer)
{
	struct sv_listener *l = container_of(timer, struct sv_listener, moderation.timer);
	unsigned long flags;

	spin_lock_irqsave(&l->pool->lock, flags);
	l->moderation.armed = false;
	if (l->pending) {
		l->pending = 0;
		sv_eventfd_signal(l->eventfd);
	}
	spin_unlock_irqrestore(&l->pool->lock, flags);
	return HRTIMER_NORESTART;
}

/* Off the list and the queue already. */
static void free_listener(struct sv_listener *l)
{
	hrtimer_cancel(&l->moderation.timer);
	eventfd_ctx_put(l->eventfd);
	kfree(l);
}

/* Off the list already, or never on it; not by the work. */
static void end_listener(struct sv_listener *l)
{
	struct sv_pool *pool = l->pool;

	remove_wait_queue(l->queue, &l->wait); /* so nobody queues the work any more */
	if (cancel_work_sync(&l->hung_up))
		sv_pool_put(pool);
	free_listener(l);
}

/* With pool->lock held. */
static void take_off(struct sv_listener *l)
{
	list_del_init(&l->link);
	l->pool->listener_count--;
}

static void hung_up_work(struct work_struct *work)
{
	struct sv_listener *l = container_of(work, struct sv_listener, hung_up);
	struct sv_pool *pool = l->pool;
	bool ours;

	mutex_lock(&pool->setup);
	spin_lock_irq(&pool->lock);
	ours = !list_empty(&l->link);
	if (ours)
		take_off(l);
	spin_unlock_irq(&pool->lock);
	mutex_unlock(&pool->setup);
	if (ours) {
		remove_wait_queue(l->queue, &l->wait);
		free_listener(l);
	}
	sv_pool_put(pool);
}

/* By the eventfd, with its own lock held. As long as the listener waits on it the pool's file is
 * there, so the pool is. */
static int woken(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct sv_listener *l = container_of(wait, struct sv_listener, wait);

	if (key_to_poll(key) & EPOLLHUP) {
		kref_get(&l->pool->ref);
		if (!queue_work(sv_works, &l->hung_up))
			sv_pool_put(l->pool);
	}
	return 0;
}

struct arming {
	poll_table table;
	struct sv_listener *listener;
};

static void arm(struct file *file, wait_queue_head_t *queue, poll_table *table)
{
	struct sv_listener *l = container_of(table, struct arming, table)->listener;

	l->queue = queue; /* a part of what l->eventfd holds */
	add_wait_queue(queue, &l->wait);
}

/* The file is an eventfd's, which the caller holds until the listener is on the list. */
static struct sv_listener *make_listener(struct sv_pool *pool, const struct sigevec_pool_listen *a,
					 struct file *file)
{
	struct sv_listener *l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);
	struct arming arming = {.listener = l};

	if (!l)
		return ERR_PTR(-ENOMEM);
	l->eventfd = eventfd_ctx_fileget(file);
	l->pool = pool;
	l->flags = a->flags;
	INIT_LIST_HEAD(&l->link);
	INIT_WORK(&l->hung_up, hung_up_work);
	sv_hrtimer_setup(&l->moderation.timer, listener_due, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	sv_set_moderation(&l->moderation, &a->moderation);
	init_waitqueue_func_entry(&l->wait, woken);
	init_poll_funcptr(&arming.table, arm);
	vfs_poll(file, &arming.table);
	return l;
}

/* With pool->setup held. */
static struct sv_listener *find_listener(struct sv_pool *pool, struct eventfd_ctx *eventfd)
{
	struct sv_listener *l;

	list_for_each_entry(l, &pool->listeners, link)
		if (l->eventfd == eventfd)
			return l;
	return NULL;
}

static long stop_listening(struct sv_pool *pool, int fd)
{
	struct eventfd_ctx *eventfd = eventfd_ctx_fdget(fd);
	struct sv_listener *l;

	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	mutex_lock(&pool->setup);
	l = find_listener(pool, eventfd);
	if (l) {
		spin_lock_irq(&pool->lock);
		take_off(l);
		spin_unlock_irq(&pool->lock);
	}
	mutex_unlock(&pool->setup);
	eventfd_ctx_put(eventfd);
	if (!l)
		return -ENOENT;
	end_listener(l);
	return 0;
}

long sv_listen(struct sv_pool *pool, const struct sigevec_pool_listen *a)
{
	struct sv_listener *l;
	struct file *file;
	long e = sv_check_moderation(&a->moderation);

	if (a->flags == SIGEVEC_LISTEN_REMOVE)
		return a->moderation.count || a->moderation.microseconds
			       ? -EINVAL
			       : stop_listening(pool, a->eventfd);
	if (e || !a->flags || a->flags & ~(SIGEVEC_LISTEN_IN | SIGEVEC_LISTEN_OUT))
		return -EINVAL;
	file = eventfd_fget(a->eventfd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	l = make_listener(pool, a, file);
	if (IS_ERR(l)) {
		fput(file);
		return PTR_ERR(l);
	}
	mutex_lock(&pool->setup);
	spin_lock_irq(&pool->lock);
	if (find_listener(pool, l->eventfd)) {
		e = -EBUSY;
	} else if (pool->listener_count == SIGEVEC_LISTENERS_MOST) {
		e = -ENOSPC;
	} else {
		list_add_tail(&l->link, &pool->listeners);
		pool->listener_count++;
	}
	spin_unlock_irq(&pool->lock);
	mutex_unlock(&pool->setup);
	if (e)
		end_listener(l);
	fput(file);
	return e;
}

/* Whoever listens looks whether the pool is still there. */
void sv_listeners_release(struct sv_pool *pool)
{
	struct sv_listener *l;

	do {
		mutex_lock(&pool->setup);
		spin_lock_irq(&pool->lock);
		l = list_first_entry_or_null(&pool->listeners, struct sv_listener, link);
		if (l)
			take_off(l);
		spin_unlock_irq(&pool->lock);
		mutex_unlock(&pool->setup);
		if (l) {
			sv_eventfd_signal(l->eventfd);
			end_listener(l);
		}
	} while (l);
}

void sv_tell_listeners(struct sv_pool *pool, enum sigevec_op op)
{
	u32 wanted = op == SIGEVEC_OP_IN ? SIGEVEC_LISTEN_IN : SIGEVEC_LISTEN_OUT;
	struct sv_listener *l;

	list_for_each_entry(l, &pool->listeners, link) {
		if (!(l->flags & wanted))
			continue;
		if (++l->pending >= l->moderation.count) {
			l->pending = 0;
			sv_eventfd_signal(l->eventfd);
		} else {
			sv_run_timer(&l->moderation);
		}
	}
}
