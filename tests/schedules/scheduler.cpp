// SPDX-License-Identifier: MIT
//
// A jump to another fiber's stack is none to a frame that has been left.
#undef _FORTIFY_SOURCE

#include "scheduler_impl.hpp"

#include "base/thread_number.hpp"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <ucontext.h>

// Instead of base/thread_number.cpp.
namespace sigevec::detail {
thread_local int thread_number_plus_one __attribute__((tls_model("initial-exec"))) = 1;
int take_thread_number()
{
	return thread_number_plus_one;
}
} // namespace sigevec::detail

namespace schedules {

Scheduler s;

namespace {

constexpr size_t stack_size = 128 * 1024;
constexpr unsigned long most_steps = 5000;

// Whether the store at place i may be seen before those that are older.
bool may_go(const std::deque<Store> &late, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (late[i].release || late[k].where == late[i].where)
			return false;
	return true;
}

} // namespace

// ---- fibers

void Scheduler::body_of(unsigned high, unsigned low)
{
	auto *f = reinterpret_cast<Fiber *>(uint64_t{high} << 32 | low);
	for (;;) {
		f->body();
		f->ended = true;
		if (_setjmp(f->at) == 0)
			s.leave();
	}
}

void Scheduler::enter(Fiber *f)
{
	current = f;
	if (numbers_)
		for (size_t i = 0; i < fibers.size(); i++)
			if (fibers[i].get() == f)
				sigevec::detail::thread_number_plus_one = static_cast<int>(i) + 1;
	if (f->entered)
		_longjmp(f->at, 1);
	f->entered = true;
	setcontext(&f->start);
	abort();
}

void Scheduler::switch_to(Fiber *f)
{
	if (f != current && _setjmp(current->at) == 0)
		enter(f);
}

// The current one has ended: another goes on, or the run is over.
void Scheduler::leave()
{
	Fiber *f = next_one();
	if (f == nullptr)
		_longjmp(outside_, 1);
	enter(f);
	abort();
}

void Scheduler::fail(const std::string &why)
{
	fault_ = why;
	_longjmp(outside_, 2);
}

void Scheduler::prepare(size_t n)
{
	while (fibers.size() < n) {
		auto f = std::make_unique<Fiber>();
		f->stack = std::make_unique<char[]>(stack_size);
		fibers.push_back(std::move(f));
	}
	for (auto &f : fibers) {
		if (!f->ended)
			f->entered = false; // of a run that failed
		if (!f->entered) {
			getcontext(&f->start);
			f->start.uc_stack.ss_sp = f->stack.get();
			f->start.uc_stack.ss_size = stack_size;
			f->start.uc_link = nullptr;
			auto p = reinterpret_cast<uint64_t>(f.get());
			makecontext(&f->start, reinterpret_cast<void (*)()>(body_of), 2,
				    static_cast<unsigned>(p >> 32), static_cast<unsigned>(p));
		}
		f->ended = true;
		f->yielded = f->limited = f->timed_out = false;
		f->waits_for = nullptr;
		f->late.clear();
	}
}

// ---- choices

unsigned Scheduler::choose(unsigned n)
{
	if (n <= 1)
		return 0;
	if (depth_ == path_.size())
		path_.push_back({0, n});
	if (path_[depth_].of != n) {
		fprintf(stderr, "a schedule that is run again takes other steps\n");
		abort();
	}
	return path_[depth_++].taken;
}

bool Scheduler::next_path()
{
	while (!path_.empty() && path_.back().taken + 1 == path_.back().of)
		path_.pop_back();
	if (path_.empty())
		return false;
	path_.back().taken++;
	return true;
}

bool Scheduler::may_be_late()
{
	if (delayed_ >= bounds_.delays || choose(2) == 0)
		return false;
	delayed_++;
	return true;
}

// Who goes on; stores that were late may become visible before that. nullptr: all have ended.
Fiber *Scheduler::next_one()
{
	for (;;) {
		std::vector<Fiber *> who;
		std::vector<std::pair<Fiber *, size_t>> stores;
		bool goes_on = current != nullptr && can_go_on(*current) && !current->yielded;
		if (goes_on)
			who.push_back(current);
		bool may_change = !goes_on || preempted_ < bounds_.preemptions;
		unsigned fresh = 0, waiting = 0;
		for (auto &f : fibers) {
			fresh += can_go_on(*f) && !f->yielded;
			waiting += !f->ended;
			if (may_change && f.get() != current && can_go_on(*f) && !f->yielded)
				who.push_back(f.get());
			for (size_t i = 0; i < f->late.size(); i++)
				if (may_go(f->late, i))
					stores.emplace_back(f.get(), i);
		}
		// Where all have yielded the next one's turn has come; any other order has its
		// price.
		size_t without_price = who.size() + (fresh == 0 ? 1 : 0), at = 0;
		while (at < fibers.size() && fibers[at].get() != current)
			at++;
		for (size_t i = 1; i <= fibers.size(); i++) {
			Fiber *f = fibers[(at + i) % fibers.size()].get();
			if (can_go_on(*f) && f->yielded &&
			    (who.size() < without_price || preempted_ < bounds_.preemptions))
				who.push_back(f);
		}
		if (who.empty() && stores.empty()) {
			if (waiting == 0)
				return nullptr;
			for (auto &f : fibers)
				if (f->waits_for != nullptr && f->limited && time_passes_) {
					f->waits_for = nullptr;
					f->timed_out = true;
					return f.get();
				}
			fail("nobody can go on");
		}
		unsigned i = choose(static_cast<unsigned>(who.size() + stores.size()));
		if (i < who.size()) {
			bool early = i >= without_price;
			preempted_ += early || (who[i] != current && goes_on);
			if (fresh == 0)
				for (auto &f : fibers)
					f->yielded = false;
			return who[i];
		}
		auto [f, n] = stores[i - who.size()];
		commit(f->late[n]);
		if (telling_)
			steps_.push_back({-1, "is seen", f->late[n].where});
		f->late.erase(f->late.begin() + static_cast<long>(n));
	}
}

void Scheduler::point(const char *what, const void *where)
{
	if (++count_ > most_steps)
		fail("it goes on for ever");
	switch_to(next_one());
	if (!telling_)
		return;
	int n = 0;
	while (fibers[static_cast<size_t>(n)].get() != current)
		n++;
	steps_.push_back({n, what, where});
}

void Scheduler::flush(const void *only)
{
	auto &late = current->late;
	for (size_t i = 0; i < late.size();)
		if (only == nullptr || late[i].where == only) {
			commit(late[i]);
			late.erase(late.begin() + static_cast<long>(i));
		} else {
			i++;
		}
}

// ---- runs

void Scheduler::once(Run &run)
{
	prepare(run.threads.size());
	depth_ = preempted_ = delayed_ = 0;
	count_ = clock = 0;
	numbers_ = run.numbers;
	time_passes_ = run.time_passes;
	locked.clear();
	steps_.clear();
	fault_.clear();
	for (size_t i = 0; i < run.threads.size(); i++) {
		fibers[i]->body = run.threads[i];
		fibers[i]->ended = false;
	}
	if (_setjmp(outside_) == 0)
		leave();
	sigevec::detail::thread_number_plus_one = 1;
	bool failed = !fault_.empty();
	current = nullptr;
	if (!failed && run.at_the_end && _setjmp(outside_) == 0)
		run.at_the_end();
}

std::string Scheduler::story() const
{
	std::map<const void *, char> names;
	std::string text = fault_ + "\n";
	for (const Step &step : steps_) {
		if (names.find(step.where) == names.end()) {
			auto next = static_cast<char>('a' + names.size() % 26);
			names[step.where] = next;
		}
		text += step.thread < 0 ? std::string("  (late)")
					: "  thread " + std::to_string(step.thread);
		text += std::string(": ") + step.what + " " + names[step.where] + "\n";
	}
	return text;
}

Outcome Scheduler::try_all(const std::function<Run()> &make, Bounds bounds, Error e)
{
	Outcome o;
	bounds_ = bounds;
	error = e;
	path_.clear();
	do {
		Run run = make();
		once(run);
		o.tried++;
		if (!fault_.empty()) {
			telling_ = true;
			Run again = make();
			once(again);
			telling_ = false;
			o.fault = story();
			return o;
		}
	} while (next_path() && o.tried < bounds.most);
	o.all = path_.empty();
	return o;
}

Outcome try_all(const std::function<Run()> &make, Bounds bounds, Error error)
{
	return s.try_all(make, bounds, error);
}

void require(bool holds, const char *what)
{
	if (!holds)
		s.fail(what);
}

} // namespace schedules
