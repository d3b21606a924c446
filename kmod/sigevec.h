/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The inside of the module sigevec: pools of pages that stay in memory, and transfers into and out
 * of them.
 *
 *   main.c      the device, its ioctls, sysfs, parameters
 *   user.c      what each user has in pools, and the limit
 *   pool.c      pages: allocation, the pool's ioctls, poll
 *   file.c      the pool's file
 *   linger.c    their end
 *   map.c       mmap of pages
 *   dmabuf.c    export
 *   transfer.c  read_iter and write_iter: admission, the queue, the end, cancellation
 *   engine.c    the copy itself: a channel of the DMA engine, else the processor
 *   notify.c    completion ring, moderation
 *   listen.c    eventfds
 *
 * Lifetimes. A pool (`ref') is held by its file, by each dma-buf, by each asynchronous transfer and
 * by each work that is queued; the file is held by descriptors, mappings and requests. Pages have
 * references of their own from mappings and from whoever has pinned them, so they may outlive the
 * pool, and stay charged. The module is held by files and dma-bufs; works and call-backs that run
 * on after the last of them are waited for at exit.
 *
 * Locks, in their order; none is held while memory is allocated or user memory touched, but for
 * `setup'.
 *   pool->setup   making the ring, adding and removing listeners
 *   aio's own context lock: held by the caller of sv_cancel
 *   pool->lock    queue, ring, listeners, counters; taken in timers: interrupts off
 */
#ifndef SV_SIGEVEC_H
#define SV_SIGEVEC_H

#include <linux/bvec.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "uapi.h"

struct dma_chan;

/* Blocks that one entry of a page table maps. */
#define SV_HUGE_ORDER (PMD_SHIFT - PAGE_SHIFT)

struct sv_user {
	struct list_head link;
	kuid_t uid;
	u64 bytes;
};

/* What a mapping shows: pages of a pool from `first' on. */
struct sv_window {
	struct sv_pool *pool;
	unsigned long first;
	unsigned long npages;
};

struct sv_moderation {
	u32 count;
	ktime_t delay;
	bool armed; /* pool->lock: the timer will fire and see what there is by then */
	struct hrtimer timer;
};

struct sv_ring {
	struct sigevec_ring *shared;
	size_t bytes; /* of shared */
	u32 entries;
	u32 tail;
	bool due; /* the moderation's time has come for what is unread */
	struct sv_moderation moderation;
	struct sv_pool *pool;
};

struct sv_listener {
	struct list_head link;
	struct eventfd_ctx *eventfd;
	u32 flags;
	u32 pending; /* ends since it was last signalled */
	struct sv_moderation moderation;
	struct sv_pool *pool;
	wait_queue_entry_t wait; /* on the eventfd, for its end */
	wait_queue_head_t *queue;
	struct work_struct hung_up;
};

struct sv_pool {
	struct kref ref;
	u64 id;
	struct sv_window whole;
	u64 size;
	struct sv_user *user;
	struct page **pages;
	u64 blocks;
	struct list_head lingering; /* when it is gone */
	unsigned int largest_order;
	unsigned int smallest_order;
	unsigned long huge; /* the first so many pages are in blocks of SV_HUGE_ORDER */
	struct dma_chan *channel;

	struct mutex setup;
	spinlock_t lock;
	struct list_head queued; /* transfers that wait for copy_work */
	struct list_head ended;  /* that wait for end_work */
	struct work_struct copy_work;
	struct work_struct end_work;
	u32 in_flight; /* asynchronous transfers, */
	u32 admitted;  /* and all: each has its entry in the ring promised */
	wait_queue_head_t room;

	struct sv_ring *ring;
	struct list_head listeners;
	unsigned int listener_count;
	wait_queue_head_t poll;

	u64 transfers[2]; /* by enum sigevec_op */
	u64 cancelled;
	u64 engine_bytes;
};

enum sv_state { SV_SETUP, SV_QUEUED, SV_RUNNING, SV_ENDED };

/* An asynchronous transfer. */
struct sv_transfer {
	struct list_head link;
	struct sv_pool *pool;
	struct kiocb *iocb;
	enum sigevec_op op;
	enum sv_state state; /* pool->lock */
	bool cancelled;      /* in SV_SETUP */
	bool pinned;
	u64 offset;
	size_t length;
	long result;
	unsigned int count;
	struct bio_vec *memory; /* the other side, in pieces */
};

/* Whether b is the n-th page after a, in memory and in the array of pages. */
static inline bool sv_contiguous(struct page *a, struct page *b, unsigned long n)
{
	if (IS_ENABLED(CONFIG_SPARSEMEM) && !IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP) &&
	    page_to_pfn(b) != page_to_pfn(a) + n)
		return false;
	return b == a + n;
}

/* main.c */
extern struct workqueue_struct *sv_works;
bool sv_may_use_engine(void);
/* The argument of an ioctl: as large as the caller says, at least `least'. 0 or -errno. */
int sv_get_argument(void *to, size_t size, size_t least, unsigned int cmd, unsigned long arg);
int sv_put_argument(const void *from, size_t size, size_t least, unsigned int cmd,
		    unsigned long arg);
/* The same ioctl, whatever the size of its argument. */
static inline bool sv_is(unsigned int cmd, unsigned int known)
{
	return ((cmd ^ known) & ~(_IOC_SIZEMASK << _IOC_SIZESHIFT)) == 0;
}

/* user.c: */
u64 sv_user_limit(void);
void sv_set_user_limit(u64 bytes);
u64 sv_user_bytes(void);              /* the caller's */
u64 sv_total_bytes(void);             /* everybody's */
struct sv_user *sv_charge(u64 bytes); /* or ERR_PTR: EDQUOT */
int sv_charge_more(struct sv_user *user, u64 bytes);
void sv_uncharge(struct sv_user *user, u64 bytes);

/* pool.c */
long sv_pool_create(const struct sigevec_pool_create *c);
void sv_pool_put(struct sv_pool *pool);
struct page *sv_pool_page(const struct sv_pool *pool, u64 offset);

/* file.c */
int sv_file_init(void);
void sv_file_exit(void);
/* Or ERR_PTR. The file has the reference that the caller has; the descriptor is not there yet. */
struct file *sv_file(struct sv_pool *pool, const struct file_operations *ops);

/* linger.c: the pool's last moment */
void sv_pages_put(struct sv_pool *pool);
void sv_linger_exit(void);

/* map.c */
int sv_map_window(struct sv_window *w, struct vm_area_struct *vma);

/* dmabuf.c */
long sv_pool_export(struct sv_pool *pool, const struct sigevec_pool_export *e);

/* transfer.c */
#define SV_MOST_IN_FLIGHT 1024
ssize_t sv_read_iter(struct kiocb *iocb, struct iov_iter *to);
ssize_t sv_write_iter(struct kiocb *iocb, struct iov_iter *from);
void sv_copy_work(struct work_struct *work);
void sv_end_work(struct work_struct *work);

/* engine.c */
void sv_engine_get(struct sv_pool *pool);
void sv_engine_put(struct sv_pool *pool);
/* Bytes or -errno; may sleep. */
long sv_copy(struct sv_transfer *t);

/* notify.c */
long sv_ring_create(struct sv_pool *pool, const struct sigevec_pool_ring *r);
long sv_ring_moderate(struct sv_pool *pool, const struct sigevec_pool_moderation *m);
void sv_ring_free(struct sv_pool *pool);
int sv_ring_map(struct sv_pool *pool, struct vm_area_struct *vma);
/* With pool->lock held. False: there is no room for another entry. */
bool sv_ring_promise(struct sv_pool *pool);
/* The transfer has not happened. */
void sv_ring_withdraw(struct sv_pool *pool);
/* With pool->lock held: what poll says. */
bool sv_ring_readable(struct sv_pool *pool);
/* A transfer has ended, and its result is known to whoever asked for it. */
void sv_tell(struct sv_pool *pool, enum sigevec_op op, u64 offset, u64 length, long result);
int sv_check_moderation(const struct sigevec_pool_moderation *m);
void sv_set_moderation(struct sv_moderation *to, const struct sigevec_pool_moderation *m);
/* With pool->lock held. */
void sv_run_timer(struct sv_moderation *m);

/* listen.c */
long sv_listen(struct sv_pool *pool, const struct sigevec_pool_listen *l);
/* With pool->lock held. */
void sv_tell_listeners(struct sv_pool *pool, enum sigevec_op op);
/* The last descriptor and mapping is gone. */
void sv_listeners_release(struct sv_pool *pool);

#endif
