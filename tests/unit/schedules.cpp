// SPDX-License-Identifier: MIT
//
// The lock-free parts of the ground floor, in every order of their steps up to a bound
// (tests/schedules/scheduler.hpp). For each there is a deliberate error that is found.
#define BOOST_TEST_MODULE schedules
#include <boost/test/unit_test.hpp>

#include "../schedules/checks.hpp"

#include "base/event_count.hpp"
#include "base/inbox.hpp"
#include "base/pool.hpp"
#include "completion/waiters.cpp"
#include "request/life.hpp"
#include "runtime/driver_wakeup.hpp"
#include "runtime/jobs.cpp"

using namespace schedules;
using namespace sigevec;

// ---- the inbox

namespace {

struct Letter {
	Plain<unsigned> number;
	Plain<Letter *> next;
};

// Two senders, of two letters and of one, and who takes, until all has come.
Run letters()
{
	struct World {
		Inbox<Letter> inbox;
		Letter letter[2][2];
		unsigned firsts = 0;
	};
	auto w = std::make_shared<World>();
	Run run;
	for (unsigned sender = 0; sender < 2; sender++)
		run.threads.push_back([w, sender] {
			for (unsigned i = 0; i < 2 - sender; i++) {
				Letter *l = &w->letter[sender][i];
				l->number = 10 * sender + i + 1;
				w->firsts += w->inbox.push(l);
			}
		});
	run.threads.push_back([w] {
		unsigned taken = 0, times = 0, next[2] = {1, 11};
		while (taken < 3) {
			Letter *l = w->inbox.take_all();
			if (l == nullptr)
				schedules::yield();
			times += l != nullptr;
			for (; l != nullptr; l = l->next, taken++)
				require(l->number == next[l->number / 10]++,
					"a letter is lost, doubled or overtaken");
		}
		require(w->inbox.take_all() == nullptr, "more than was put in");
	});
	run.at_the_end = [w] { require(w->inbox.empty(), "something is left"); };
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(an_inbox_loses_nothing)
{
	holds(letters);
	finds(letters, Error::split_changes);
}

// ---- the driver's sleep

namespace {

// The driver looks, says that it sleeps, looks, and sleeps (engine/driver_wait.cpp).
Run sleeping_driver()
{
	struct World {
		Inbox<Letter> inbox;
		DriverWakeup wakeup;
		Letter letter[2];
	};
	auto w = std::make_shared<World>();
	Run run;
	run.threads.push_back([w] {
		for (unsigned taken = 0; taken < 2;) {
			w->wakeup.will_sleep();
			if (w->inbox.empty())
				sigevec::futex_wait(w->wakeup.word(), DriverWakeup::asleep,
						    nullptr);
			w->wakeup.does_not_sleep();
			for (Letter *l = w->inbox.take_all(); l != nullptr; l = l->next)
				taken++;
		}
	});
	for (unsigned i = 0; i < 2; i++)
		run.threads.push_back([w, i] {
			w->inbox.push(&w->letter[i]);
			w->wakeup.call();
		});
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_driver_sleeps_through_nothing)
{
	holds(sleeping_driver);
	finds(sleeping_driver, Error::late_stores);
	finds(sleeping_driver, Error::late_changes);
}

// ---- event counts

namespace {

// So many who take one thing each, and so many who put one.
Run putting_and_taking(bool wakes_too_early)
{
	struct World {
		EventCount e;
		std::atomic<int> there{0};
	};
	auto w = std::make_shared<World>();
	auto take = [w] {
		for (int n = w->there.load(mo::acquire); n > 0;)
			if (w->there.compare_exchange_weak(n, n - 1))
				return true;
		return false;
	};
	Run run;
	for (int i = 0; i < 2; i++) {
		run.threads.push_back([w, take] {
			for (EventCount::Key key = w->e.key(); !take(); key = w->e.key())
				w->e.sleep(key, nullptr);
		});
		run.threads.push_back([w, wakes_too_early] {
			if (wakes_too_early)
				w->e.notify(1);
			w->there.fetch_add(1, mo::release);
			if (!wakes_too_early)
				w->e.notify(1);
		});
	}
	run.at_the_end = [w] {
		require(w->there.load() == 0, "something is left");
		require(w->e.sleepers() == 0, "somebody is counted who does not sleep");
	};
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(nobody_sleeps_through_an_event)
{
	auto right = [] { return putting_and_taking(false); };
	auto wrong = [] { return putting_and_taking(true); };
	holds(right);
	finds(wrong, Error::none);
	finds(right, Error::split_changes);
	finds(right, Error::late_changes);
	finds(right, Error::early_looks);
}

// ---- pools

namespace {

struct Object : Pooled {
	std::atomic<int> owners{0};
};

// Three take, give back and take again from one chain of free objects.
Run takers(bool numbers, bool from_others)
{
	struct World {
		Pool<Object, 2, 1> pool;
		std::set<Object *> kept;
	};
	auto w = std::make_shared<World>();
	Object *all[3];
	for (Object *&o : all)
		o = w->pool.take(3);
	for (Object *o : all)
		w->pool.give_back(o);
	Run run;
	run.numbers = numbers;
	auto own = [w](Object *o) {
		if (o != nullptr)
			require(o->owners.fetch_add(1, mo::relaxed) == 0, "two have one object");
		return o;
	};
	auto give = [w](Object *o) {
		if (o == nullptr)
			return;
		o->owners.fetch_sub(1, mo::relaxed);
		w->pool.give_back(o);
	};
	run.threads.push_back([w, own, from_others] {
		own(from_others ? w->pool.take_from_others(3) : w->pool.take(3));
	});
	run.threads.push_back([w, own, give] {
		Object *a = own(w->pool.take(3));
		own(w->pool.take(3));
		give(a);
	});
	run.at_the_end = [w] {
		unsigned n = 0;
		for (uint32_t i = 0; i < w->pool.size(); i++)
			n += w->pool.at(i)->owners.load() == 0;
		while (Object *o = w->pool.take(3)) {
			require(o->owners.load() == 0, "one that is used is free");
			require(n-- != 0, "one is free twice");
			o->owners.store(1);
		}
		require(n == 0, "one is lost");
		require(w->pool.size() == 3, "there are more than the limit");
	};
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(nobody_gets_from_a_pool_what_another_has)
{
	auto one_shard = [] { return takers(false, false); };
	holds(one_shard);
	finds(one_shard, Error::low_halves);
	finds(one_shard, Error::split_changes);
	auto shards = [] { return takers(true, true); };
	holds(shards);
	finds(shards, Error::split_changes);
}

// ---- generations

namespace {

enum class Ended : int { no, carried_out, cancelled };

// One request ends and its place becomes the next one, which is carried out by the same executor.
// Another thread has looked at the first one and cancels that.
Run cancelling()
{
	struct World {
		Life life;
		std::atomic<uint64_t> first{0};
		std::atomic<int> ended[2];
		std::atomic<int> cancelled{0};
	};
	auto w = std::make_shared<World>();
	auto begin = [w](uint64_t generation) {
		w->life.state.store(generation << 8 | static_cast<uint8_t>(State::queued),
				    mo::release);
	};
	begin(1);
	w->first.store(w->life.state.load());
	Run run;
	run.threads.push_back([w, begin] {
		for (uint64_t i = 0; i < 2; i++) {
			if (w->life.change(State::queued, State::running))
				w->ended[i].fetch_add(1, mo::relaxed);
			w->life.set(State::done);
			if (i == 0)
				begin(2);
		}
	});
	run.threads.push_back([w] {
		if (w->life.change_exactly(w->first.load(), State::cancelled)) {
			w->cancelled.store(1, mo::relaxed);
			w->ended[0].fetch_add(1, mo::relaxed);
		}
	});
	run.at_the_end = [w] {
		require(w->ended[0].load() == 1, "the first one has not ended once");
		require(w->ended[1].load() == 1, "the second one has not ended once");
	};
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(who_cancels_a_request_cancels_no_later_one)
{
	holds(cancelling);
	finds(cancelling, Error::low_bytes);
	finds(cancelling, Error::split_changes);
}

// ---- the jobs of the workers

namespace {

// Two that submit one job each, and a worker that takes both.
Run jobs()
{
	struct World {
		helper::Jobs jobs;
		helper::Post post[2]{};
	};
	auto w = std::make_shared<World>();
	Run run;
	run.time_passes = false;
	run.threads.push_back([w] {
		Spin spin;
		for (int i = 0; i < 2; i++)
			w->jobs.take(spin, false, {1000000, 0});
	});
	for (auto &post : w->post)
		run.threads.push_back([w, &post] { w->jobs.push(&post); });
	run.at_the_end = [w] {
		require(w->jobs.take_now() == nullptr, "one has been taken twice");
		require(!w->jobs.short_of_workers(), "the counts are wrong");
	};
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(no_job_waits_while_a_worker_sleeps)
{
	holds(jobs);
	finds(jobs, Error::early_looks);
}

// ---- the end of a request

namespace {

// aio_suspend (submit/wait.cpp) of one request that another thread ends (completion.cpp).
Run suspending(bool generation_last)
{
	struct World {
		struct aiocb cb = {};
	};
	auto w = std::make_shared<World>();
	aiocb_layout::status(&w->cb).store(EINPROGRESS, mo::release);
	waiters::after_fork();
	Run run;
	for (int i = 0; i < 2; i++)
		run.threads.push_back([w, generation_last] {
			waiters::Bucket &b = waiters::bucket[waiters::own_bucket()];
			for (;;) {
				uint32_t before = b.generation.load(mo::seq_cst);
				if (!waiters::mark(&w->cb, waiters::own_bucket()))
					break;
				if (generation_last)
					before = b.generation.load(mo::seq_cst);
				b.sleepers.fetch_add(1, mo::seq_cst);
				sigevec::futex_wait(b.generation, before, nullptr);
				b.sleepers.fetch_sub(1, mo::seq_cst);
			}
			require(aiocb_layout::result(&w->cb).load(mo::relaxed) == 7,
				"the end is seen before the result");
		});
	run.threads.push_back([w] {
		aiocb_layout::result(&w->cb).store(7, mo::relaxed);
		int old = aiocb_layout::status(&w->cb).exchange(0, mo::seq_cst);
		waiters::wake(static_cast<uint32_t>(old) >> aiocb_layout::bucket_shift);
	});
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(who_waits_for_a_request_sees_its_end)
{
	auto right = [] { return suspending(false); };
	auto wrong = [] { return suspending(true); };
	holds(right);
	finds(wrong, Error::none);
	finds(right, Error::split_changes);
	finds(right, Error::late_changes);
}

// ---- who sleeps on a kernel-AIO context

namespace {

// Two wait for a request each, which one context reports. One of them leads: it sleeps on the
// context, and takes the events for both. The other one follows it, in its bucket, and leads when
// the leader has left (engine/kaio_wait.cpp, submit/wait.cpp, of whose steps this is a copy: a
// thread is known there by an address of its own, and here all are one).
struct Context {
	struct aiocb cb[2] = {};
	std::atomic<uint32_t> tail{0}; // of the kernel's ring
	Plain<uint32_t> head{0};
	Mutex lock;
	std::atomic<int> leader{0};
	std::atomic<uint32_t> followers{0};

	bool over(int i) { return !aiocb_layout::in_progress(&cb[i]); }

	void take_events()
	{
		Guard<Mutex> g(lock);
		for (; head != tail.load(mo::acquire); head = head + 1) {
			int old = aiocb_layout::status(&cb[1 - head]).exchange(0, mo::seq_cst);
			if (int mask = old >> aiocb_layout::bucket_shift; mask != 0)
				waiters::wake(static_cast<uint32_t>(mask));
		}
	}

	bool begin(int me)
	{
		Guard<Mutex> g(lock);
		if (leader.load(mo::acquire) != 0)
			return false;
		leader.store(me, mo::seq_cst);
		return true;
	}

	void end(bool looks_first)
	{
		uint32_t f = looks_first ? followers.exchange(0, mo::seq_cst) : 0;
		leader.store(0, mo::seq_cst);
		if (!looks_first)
			f = followers.exchange(0, mo::seq_cst);
		if (f != 0)
			waiters::wake(f);
	}

	void lead(int i, bool looks_first)
	{
		for (;;) {
			take_events();
			if (over(i))
				break;
			if (uint32_t seen = head; tail.load(mo::acquire) == seen)
				sigevec::futex_wait(tail, seen, nullptr);
		}
		end(looks_first);
	}

	void follow(int i)
	{
		unsigned b = waiters::own_bucket();
		waiters::Bucket &bucket = waiters::bucket[b];
		uint32_t seen = bucket.generation.load(mo::acquire);
		bucket.sleepers.fetch_add(1, mo::seq_cst);
		if (waiters::mark(&cb[i], b)) {
			followers.fetch_or(1U << b, mo::seq_cst);
			if (leader.load(mo::seq_cst) != 0)
				sigevec::futex_wait(bucket.generation, seen, nullptr);
		}
		bucket.sleepers.fetch_sub(1, mo::seq_cst);
	}
};

// The second one's request ends first.
Run leading(bool looks_first)
{
	auto c = std::make_shared<Context>();
	waiters::after_fork();
	for (struct aiocb &cb : c->cb)
		aiocb_layout::status(&cb).store(EINPROGRESS, mo::release);
	Run run;
	run.numbers = true;
	for (int i = 0; i < 2; i++)
		run.threads.push_back([c, i, looks_first] {
			while (!c->over(i))
				if (c->begin(i + 1))
					c->lead(i, looks_first);
				else
					c->follow(i);
		});
	run.threads.push_back([c] {
		for (int n = 0; n < 2; n++) {
			c->tail.fetch_add(1);
			sigevec::futex_wake(c->tail, INT_MAX);
		}
	});
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(who_follows_a_leader_leads_when_that_has_left)
{
	auto right = [] { return leading(false); };
	auto wrong = [] { return leading(true); };
	holds(right, {2, 0});
	finds(wrong, Error::none, {2, 0});
}
