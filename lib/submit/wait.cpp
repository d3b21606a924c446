// SPDX-License-Identifier: MIT
#include "submit/wait.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "base/spin.hpp"
#include "cancellation.h"
#include "completion/completed_table.hpp"
#include "completion/waiters.hpp"
#include "engine/kaio.hpp"
#include "notify/batch.hpp"
#include "runtime/process.hpp"

namespace sigevec::wait {

namespace {

static_assert(kaio::contexts <= 64);

// A list, and what is still to be waited for in it.
struct Waiting {
	const struct aiocb *const *list;
	int n;
	// Which submission of each of the first ones was found in progress: one that has ended and
	// been submitted again meanwhile has ended.
	static constexpr int most_noted = 64;
	int lives[most_noted];
	bool noted = false;
	uint64_t contexts = 0; // kernel-AIO contexts that have outstanding requests of the list
	bool others = false;   // and whether other engines have

	bool one_context() const
	{
		return !others && contexts != 0 && (contexts & (contexts - 1)) == 0;
	}
};

// The context that will report cb, or -1. Any value may stand there.
int context_of(const struct aiocb *cb)
{
	int c = aiocb_layout::context(cb).load(mo::acquire) - 1;
	return c >= 0 && c < kaio::contexts && process::ready() && kaio::exists(c) ? c : -1;
}

bool same_life(const Waiting &w, int i)
{
	return !w.noted || i >= Waiting::most_noted ||
	       aiocb_layout::life(w.list[i]).load(mo::relaxed) == w.lives[i];
}

// Whether the wait is over; else notes who has to be listened to, and marks the requests for bucket
// b (-1: no).
bool over(Waiting &w, int b)
{
	w.contexts = 0;
	w.others = false;
	bool pending = false;
	for (int i = 0; i < w.n; i++) {
		const struct aiocb *cb = w.list[i];
		if (cb == nullptr)
			continue;
		bool running = b < 0 ? aiocb_layout::in_progress(cb)
				     : waiters::mark(cb, static_cast<unsigned>(b));
		if (!running || !same_life(w, i))
			return true;
		if (!w.noted && i < Waiting::most_noted)
			w.lives[i] = aiocb_layout::life(cb).load(mo::relaxed);
		pending = true;
		if (int c = context_of(cb); c >= 0)
			w.contexts |= uint64_t{1} << c;
		else
			w.others = true;
	}
	w.noted = true;
	return !pending;
}

bool over_or_elsewhere(void *p)
{
	auto &w = *static_cast<Waiting *>(p);
	uint64_t before = w.contexts;
	return over(w, -1) || !w.one_context() || w.contexts != before;
}

template <class F> void each_context(uint64_t mask, F f)
{
	for (; mask != 0; mask &= mask - 1)
		f(__builtin_ctzll(mask));
}

// What a sleeper has to undo, also when its thread is cancelled.
struct Sleep {
	waiters::Bucket *bucket;
	uint64_t needed;

	void end()
	{
		each_context(needed, kaio::need_no_more);
		bucket->sleepers.fetch_sub(1, mo::relaxed);
	}
};

void cancelled_asleep(void *p)
{
	static_cast<Sleep *>(p)->end();
}

// When no thread can be asked to listen to a context, the sleeper looks itself.
constexpr timespec look_again{0, 1000000};

// Sleeps while the bucket's generation is `seen'. 0: something may have changed.
int sleep(Sleep &s, uint32_t seen, const Deadline &deadline, bool all_listened_to, bool cancellable)
{
	timespec rest = look_again;
	const timespec *timeout = all_listened_to ? nullptr : &rest;
	bool last = false;
	if (!deadline.never) {
		timespec left;
		if (!deadline.left(left))
			return ETIMEDOUT;
		last = all_listened_to || (left.tv_sec == 0 && left.tv_nsec < look_again.tv_nsec);
		if (last)
			rest = left;
		timeout = &rest;
	}
	long e;
	if (cancellable) {
		long arg[6] = {reinterpret_cast<long>(&s.bucket->generation),
			       FUTEX_WAIT_PRIVATE,
			       static_cast<long>(seen),
			       reinterpret_cast<long>(timeout),
			       0,
			       0};
		e = -sigevec_cancellable_syscall(cancelled_asleep, &s, SYS_futex, arg);
	} else
		e = futex_wait(s.bucket->generation, seen, timeout);
	if (e == ETIMEDOUT)
		return last ? ETIMEDOUT : 0;
	return e == EINTR ? EINTR : 0;
}

bool listen(uint64_t contexts, Sleep &s)
{
	bool all = true;
	each_context(contexts, [&](int c) {
		all &= kaio::need(c);
		s.needed |= uint64_t{1} << c;
	});
	return all;
}

// One sleep in the thread's bucket. follow: a context that another thread leads, or -1. 0: look
// again.
int sleep_in_bucket(Waiting &w, int followed, const Deadline &deadline)
{
	unsigned b = waiters::own_bucket();
	Sleep s{&waiters::bucket[b], 0};
	uint32_t seen = s.bucket->generation.load(mo::acquire);
	s.bucket->sleepers.fetch_add(1, mo::seq_cst);
	bool asleep = !over(w, static_cast<int>(b)) && (followed < 0 || kaio::follow(followed, b));
	int e = 0;
	if (asleep) {
		bool listened = followed >= 0 || listen(w.contexts, s);
		e = sleep(s, seen, deadline, listened, true);
	}
	s.end();
	return e;
}

// One for transfers, one for fsyncs, which take long where the others do not.
thread_local Spin spins[2] __attribute__((tls_model("initial-exec")));

Spin &spin_for(const Waiting &w)
{
	for (int i = 0; i < w.n; i++) {
		if (w.list[i] == nullptr)
			continue;
		int context = aiocb_layout::context(w.list[i]).load(mo::relaxed);
		return spins[context == aiocb_layout::context_of_sync ? 1 : 0];
	}
	return spins[0];
}

// Looks for the end for a moment, where a worker may be about to bring it.
template <class Over> bool comes_soon(Spin &spin, Over over)
{
	if (spin.skip())
		return false;
	Spin::looking.fetch_add(1, mo::relaxed);
	bool ended = spin.until(over);
	Spin::looking.fetch_sub(1, mo::relaxed);
	if (ended)
		Spin::met.fetch_add(1, mo::relaxed);
	return ended;
}

bool ends_soon(Waiting &w, const Deadline &deadline)
{
	return w.contexts == 0 && deadline.never &&
	       comes_soon(spin_for(w), [&w] { return over(w, -1); });
}

} // namespace

int for_list(const struct aiocb *const list[], int n, const Deadline &deadline)
{
	Waiting w;
	w.list = list;
	w.n = n;
	for (;;) {
		if (over(w, -1) || ends_soon(w, deadline))
			return 0;
		int followed = -1, e;
		if (w.one_context()) {
			followed = __builtin_ctzll(w.contexts);
			e = kaio::lead(followed, over_or_elsewhere, &w, deadline, true);
			if (e == 0)
				continue;
		} else {
			e = EBUSY;
			each_context(w.contexts, kaio::poll);
		}
		if (e == EBUSY)
			e = sleep_in_bucket(w, followed, deadline);
		if (e != 0)
			return over(w, -1) ? 0 : e;
	}
}

namespace {

// All that is outstanding will be reported by the caller's kernel-AIO context.
bool in_context_only(const Batch *b)
{
	uint32_t inside = b->in_context.load(mo::acquire);
	return inside != 0 && inside == b->left.load(mo::acquire);
}

bool ended_or_elsewhere(void *p)
{
	auto *b = static_cast<const Batch *>(p);
	return batches::all_ended(b) || !in_context_only(b);
}

// One sleep, until the last one ends. 0: look again.
int sleep_on_batch(Batch *b, int context)
{
	uint32_t left = b->left.load(mo::acquire);
	bool listened = context < 0 || kaio::need(context);
	int e = left != 0 ? futex_wait(b->left, left, listened ? nullptr : &look_again) : 0;
	if (context >= 0)
		kaio::need_no_more(context);
	return e == EINTR ? EINTR : 0;
}

} // namespace

int for_batch(Batch *b)
{
	int context = kaio::own_index();
	for (;;) {
		bool inside = b->in_context.load(mo::acquire) != 0;
		if (batches::all_ended(b) ||
		    (!inside && comes_soon(spins[0], [b] { return batches::all_ended(b); })))
			return 0;
		int e = EBUSY;
		if (in_context_only(b))
			e = kaio::lead(context, ended_or_elsewhere, b, Deadline{}, false);
		else if (inside)
			kaio::poll(context);
		if (e == EBUSY)
			e = sleep_on_batch(b, inside ? context : -1);
		if (e != 0)
			return batches::all_ended(b) ? 0 : e;
	}
}

namespace {

uint64_t all_contexts()
{
	uint64_t mask = 0;
	for (int c = 0; c < kaio::contexts; c++)
		if (kaio::exists(c))
			mask |= uint64_t{1} << c;
	return mask;
}

struct aiocb *take_finished()
{
	struct aiocb *cb = completed_table::take();
	// It is entered just before its status is published.
	while (cb != nullptr && aiocb_layout::in_progress(cb))
		sched_yield();
	return cb;
}

} // namespace

int for_any(struct aiocb **cb, const Deadline &deadline)
{
	for (;;) {
		Sleep s{&waiters::any, 0};
		uint32_t seen = s.bucket->generation.load(mo::acquire);
		s.bucket->sleepers.fetch_add(1, mo::seq_cst);
		each_context(all_contexts(), kaio::poll);
		int e = 0;
		*cb = take_finished();
		if (*cb == nullptr) {
			each_context(all_contexts(), kaio::start_listening);
			bool listened = listen(all_contexts(), s);
			e = sleep(s, seen, deadline, listened, false);
		}
		s.end();
		if (*cb != nullptr || e != 0)
			return *cb != nullptr ? 0 : e;
	}
}

} // namespace sigevec::wait
