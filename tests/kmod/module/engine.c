// SPDX-License-Identifier: GPL-2.0-only
/* A DMA engine with one channel, in software. */
#include <linux/device.h>
#include <linux/dmaengine.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "test.h"

#if IS_ENABLED(CONFIG_DMA_ENGINE)

struct job {
	struct dma_async_tx_descriptor tx;
	struct list_head link;
	dma_addr_t to, from;
	size_t n;
};

static struct dma_device engine;
static struct dma_chan channel;
static DEFINE_SPINLOCK(lock);
static LIST_HEAD(submitted);
static LIST_HEAD(issued);
static bool hold, fail;

static struct job *next_job(void)
{
	struct job *j;

	spin_lock_irq(&lock);
	j = hold ? NULL : list_first_entry_or_null(&issued, struct job, link);
	if (j)
		list_del(&j->link);
	spin_unlock_irq(&lock);
	return j;
}

static void run(struct work_struct *work)
{
	struct job *j;

	while ((j = next_job()) != NULL) {
		struct dmaengine_result r = {.result = READ_ONCE(fail) ? DMA_TRANS_ABORTED
								       : DMA_TRANS_NOERROR};

		if (r.result == DMA_TRANS_NOERROR)
			memcpy(phys_to_virt(j->to), phys_to_virt(j->from), j->n);
		channel.completed_cookie = j->tx.cookie;
		if (j->tx.callback_result)
			j->tx.callback_result(j->tx.callback_param, &r);
		kfree(j);
	}
}
static DECLARE_WORK(work, run);

static int set_switch(const char *text, const struct kernel_param *kp)
{
	int e = param_set_bool(text, kp);

	schedule_work(&work);
	return e;
}
static const struct kernel_param_ops switch_ops = {.set = set_switch, .get = param_get_bool};
module_param_cb(hold, &switch_ops, &hold, 0644);
module_param_cb(fail, &switch_ops, &fail, 0644);

static dma_cookie_t submit(struct dma_async_tx_descriptor *tx)
{
	struct job *j = container_of(tx, struct job, tx);

	spin_lock_irq(&lock);
	if (++channel.cookie < DMA_MIN_COOKIE)
		channel.cookie = DMA_MIN_COOKIE;
	tx->cookie = channel.cookie;
	list_add_tail(&j->link, &submitted);
	spin_unlock_irq(&lock);
	return tx->cookie;
}

static struct dma_async_tx_descriptor *prepare(struct dma_chan *c, dma_addr_t to, dma_addr_t from,
					       size_t n, unsigned long flags)
{
	struct job *j = kzalloc(sizeof(*j), GFP_NOWAIT);

	if (!j)
		return NULL;
	dma_async_tx_descriptor_init(&j->tx, c);
	j->tx.tx_submit = submit;
	j->tx.flags = flags;
	j->to = to;
	j->from = from;
	j->n = n;
	return &j->tx;
}

static void issue(struct dma_chan *c)
{
	spin_lock_irq(&lock);
	list_splice_tail_init(&submitted, &issued);
	spin_unlock_irq(&lock);
	schedule_work(&work);
}

static enum dma_status status(struct dma_chan *c, dma_cookie_t cookie, struct dma_tx_state *state)
{
	return dma_async_is_complete(cookie, c->completed_cookie, c->cookie);
}

static int terminate(struct dma_chan *c)
{
	struct job *j, *next;
	LIST_HEAD(gone);

	spin_lock_irq(&lock);
	list_splice_init(&submitted, &gone);
	list_splice_init(&issued, &gone);
	spin_unlock_irq(&lock);
	list_for_each_entry_safe(j, next, &gone, link)
		kfree(j);
	return 0;
}

static void synchronize(struct dma_chan *c)
{
	flush_work(&work);
}

static int allocate(struct dma_chan *c)
{
	return 1;
}

static void release(struct dma_chan *c)
{
}

int test_engine_init(struct device *d)
{
	dma_cap_set(DMA_MEMCPY, engine.cap_mask);
	engine.dev = d;
	engine.device_prep_dma_memcpy = prepare;
	engine.device_issue_pending = issue;
	engine.device_tx_status = status;
	engine.device_terminate_all = terminate;
	engine.device_synchronize = synchronize;
	engine.device_alloc_chan_resources = allocate;
	engine.device_free_chan_resources = release;
	INIT_LIST_HEAD(&engine.channels);
	channel.device = &engine;
	channel.cookie = DMA_MIN_COOKIE;
	channel.completed_cookie = DMA_MIN_COOKIE;
	list_add_tail(&channel.device_node, &engine.channels);
	return dma_async_device_register(&engine);
}

void test_engine_exit(void)
{
	dma_async_device_unregister(&engine);
	flush_work(&work);
}

#else

int test_engine_init(struct device *d)
{
	return 0;
}

void test_engine_exit(void)
{
}

#endif
