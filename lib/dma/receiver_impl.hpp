// SPDX-License-Identifier: MIT
//
// The receiver's own files: receiver_numbers.cpp (what the thread waits with), receiver_serve.cpp
// (what it does with a socket that has something), receiver.cpp (the thread, and what others ask of
// it).
#pragma once

#include "base/sync.hpp"
#include "base/thread_signal.hpp"
#include "dma/association.hpp"
#include "runtime/table.hpp"

#include <csignal>
#include <sys/epoll.h>

namespace sigevec::dma::receiver {

// In what is remembered of the alarm, beside sockets.
constexpr uint64_t wake_mark = ~uint64_t{0};

// What a receiver waits with is in the program's table, where the program may close it, or use the
// number for something else: so it has a copy in the helper's table, with which it is compared
// before it is used. Once its thread runs that alone changes it, while the instance is the current
// one with `starting' held: whoever finds that the two do not match looks again with it.
struct Number {
	std::atomic<int> fd{-1}, copy{-1};
};

// A thread and what it waits with.
struct Instance {
	Number epoll, alarm; // alarm: a signalfd, which is never read
	pid_t process = 0;
	std::atomic<uint32_t> thread{0};
	std::atomic<uint32_t> asleep{0};
	ThreadSignal signal;
	table::Way way; // the thread's own: files out of the helper's table
	bool can_fetch = false;
	bool lacking = false;       // something could not be watched: it is looked at now and then
	Instance *before = nullptr; // the one that was made before it
	time_t looked = 0;          // the second in which it last asked this:
	// Whether a thread that always has something to do is to look at what nobody tells it of.
	bool is_time_to_look()
	{
		time_t last = looked;
		looked = monotonic_now().tv_sec;
		return looked != last;
	}
};

// ---- receiver_numbers.cpp

// In place of those that there are; false: none can be had, and there are none.
bool make_numbers(Instance *i);
void close_numbers(Instance *i);
// In a child of fork. Async-signal-safe.
void close_numbers_in_child(Instance *i);
// Whether the instance still can wait.
bool intact(const Instance *i);
// Whether it still watches its alarm; if not, it does again.
bool watches_alarm(const Instance *i);
// Wakes its thread, if it sleeps; by that thread, which is about to.
void call(Instance *i);
void will_sleep(Instance *i);

// ---- receiver_serve.cpp

// The socket of an association for a scope, with its lock held: the program's number if that is
// still it, or else a number for the moment, if requests hold it.
class Inside {
public:
	explicit Inside(Association *a);
	~Inside();
	Inside(const Inside &) = delete;
	Inside &operator=(const Inside &) = delete;
	explicit operator bool() const { return there_; }

private:
	Association *a_;
	bool there_ = false;
};

// An association that has something, if it is still in that life; one that has paused.
void serve(uint32_t index, uint32_t life, bool arrived, uint32_t events = EPOLLIN);
void serve_paused();
// Those that are watched, when the kernel cannot tell.
void serve_watched();
// Whether there is something that the kernel has not told this thread of; some: set if there is
// anything to be told of at all.
bool some_missed(bool *some);
// Network devices do not tell of their end, nor of the end of their descriptors.
void look_at_devices();

// ---- receiver.cpp

// The calling thread's instance, if it is a receiver's.
Instance *own_instance();
// Set before an association that is about to pause looks for room for the last time; who has made
// room looks at it after that.
extern std::atomic<bool> some_paused;

} // namespace sigevec::dma::receiver
