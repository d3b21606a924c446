// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a pool's pages. Somebody may still have some when the pool is gone: a pipe, a socket,
 * a direct read. One such page keeps the whole of its block, so it stays the user's, or a page in a
 * pipe here and there would get him round the limit. Such pools are looked at again until the last
 * block is free.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "sigevec.h"

#define PAUSE HZ

static void look_again(struct work_struct *work);

static LIST_HEAD(lingering);
static DEFINE_MUTEX(lingering_lock); /* before user.c's */
static DECLARE_DELAYED_WORK(look, look_again);

/* From now on `pages' has the blocks, not their pages. */
static void keep_blocks(struct sv_pool *pool)
{
	unsigned long i, n = 0;

	for (i = 0; i < pool->whole.npages; n++) {
		struct page *block = pool->pages[i];

		pool->pages[n] = block;
		i += 1ul << compound_order(block);
	}
	pool->blocks = n;
}

/* Frees the blocks that nobody else has, or all. Whether all are gone, and with them the pool. */
static bool sweep(struct sv_pool *pool, bool all)
{
	unsigned long i, left = 0;
	u64 freed = 0;

	for (i = 0; i < pool->blocks; i++) {
		struct page *block = pool->pages[i];

		if (page_count(block) > 1 && !all) {
			pool->pages[left++] = block;
			continue;
		}
		freed += PAGE_SIZE << compound_order(block);
		put_page(block);
		cond_resched();
	}
	pool->blocks = left;
	sv_uncharge(pool->user, freed); /* whom what is left keeps there */
	if (left)
		return false;
	kvfree(pool->pages);
	kfree(pool);
	return true;
}

static void look_again(struct work_struct *work)
{
	struct sv_pool *pool, *next;

	mutex_lock(&lingering_lock);
	list_for_each_entry_safe(pool, next, &lingering, lingering) {
		list_del(&pool->lingering);
		if (!sweep(pool, false))
			list_add(&pool->lingering, &lingering);
	}
	if (!list_empty(&lingering))
		queue_delayed_work(system_unbound_wq, &look, PAUSE);
	mutex_unlock(&lingering_lock);
}

void sv_pages_put(struct sv_pool *pool)
{
	keep_blocks(pool);
	if (sweep(pool, false))
		return;
	mutex_lock(&lingering_lock);
	list_add(&pool->lingering, &lingering);
	queue_delayed_work(system_unbound_wq, &look, PAUSE);
	mutex_unlock(&lingering_lock);
}

void sv_linger_exit(void)
{
	struct sv_pool *pool, *next;

	cancel_delayed_work_sync(&look);
	list_for_each_entry_safe(pool, next, &lingering, lingering)
		sweep(pool, true);
}
