// SPDX-License-Identifier: MIT
//
// The scheduler's state: scheduler.cpp (who goes on) and operations.cpp (what they do) share it.
#pragma once

#include "scheduler.hpp"

#include <csetjmp>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <ucontext.h>
#include <vector>

namespace schedules {

struct Store {
	void *where;
	unsigned size;
	uint64_t value;
	bool release;
};

struct Fiber {
	std::function<void()> body;
	std::unique_ptr<char[]> stack;
	ucontext_t start;
	jmp_buf at;
	bool entered = false;
	bool ended = true, yielded = false;
	const void *waits_for = nullptr;
	bool limited = false, timed_out = false;
	unsigned long since = 0; // who has waited longest is woken first
	std::deque<Store> late;
};

struct Choice {
	unsigned taken, of;
};

struct Step {
	int thread;
	const char *what;
	const void *where;
};

class Scheduler {
public:
	Outcome try_all(const std::function<Run()> &make, Bounds bounds, Error error);
	void point(const char *what, const void *where);
	void fail(const std::string &why);
	void flush(const void *only = nullptr);
	bool may_be_late();

	Fiber *current = nullptr;
	Error error = Error::none;
	std::map<void *, bool> locked;
	std::vector<std::unique_ptr<Fiber>> fibers;
	unsigned long clock = 0;

private:
	void once(Run &run);
	void enter(Fiber *f);
	[[noreturn]] void leave();
	void switch_to(Fiber *f);
	Fiber *next_one();
	unsigned choose(unsigned n);
	bool next_path();
	static bool can_go_on(const Fiber &f) { return !f.ended && f.waits_for == nullptr; }
	std::string story() const;
	static void body_of(unsigned high, unsigned low);
	void prepare(size_t n);

	jmp_buf outside_;
	std::vector<Choice> path_;
	size_t depth_ = 0;
	unsigned preempted_ = 0, delayed_ = 0;
	Bounds bounds_;
	bool numbers_ = false, time_passes_ = true, telling_ = false;
	std::vector<Step> steps_;
	unsigned long count_ = 0;
	std::string fault_;
};

extern Scheduler s;

// A store becomes visible.
void commit(const Store &w);

} // namespace schedules
