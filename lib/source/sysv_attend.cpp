// SPDX-License-Identifier: MIT
//
// The attendant: a thread that tries the System V calls for which no thread is left, without
// waiting.
#include "source/sysv_impl.hpp"

#include "base/memory_order.hpp"

#include <cerrno>

namespace sigevec::sysv {

namespace {

// Queues whose first has been tried in vain, in one round. Two may look the same; not so in the
// next round.
class Seen {
public:
	explicit Seen(uint64_t round) : round_(round) {}

	// False: it has been there.
	bool add(uint64_t queue)
	{
		uint64_t h = hash_of(queue, round_) % bits;
		uint64_t bit = uint64_t{1} << h % 64;
		bool is_new = (word_[h / 64] & bit) == 0;
		word_[h / 64] |= bit;
		return is_new;
	}

private:
	static constexpr unsigned bits = 16384;
	uint64_t round_;
	uint64_t word_[bits / 64] = {};
};

// With the lock held, which is given up meanwhile. True: it has ended, with w->result.
bool try_one(Wait *w)
{
	w->sysv.place = Place::tried;
	lock.unlock();
	bool ended = attempt_again(w->sysv.call, &w->result);
	lock.lock();
	if (!ended && unwanted(w)) {
		w->result = -ECANCELED;
		ended = true;
	}
	w->sysv.place = Place::queue;
	return ended;
}

// With the lock held, which is given up meanwhile. Returns those that have ended.
Wait *try_all(uint64_t round)
{
	Seen seen(round);
	for (Wait *w = running.first(); w != nullptr; w = Calls::after(w))
		seen.add(w->sysv.queue);
	Wait *ended = nullptr;
	for (Wait *w = waiting.first(), *next; w != nullptr; w = next) {
		bool has_ended = seen.add(w->sysv.queue) && try_one(w);
		next = Calls::after(w); // only now: while it is tried it stays where it is, others
					// do not
		if (!has_ended)
			continue;
		take_off(waiting, w);
		w->sysv.links.after = ended;
		ended = w;
	}
	return ended;
}

int64_t nanoseconds_now()
{
	timespec t = monotonic_now();
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

// How long the attendant pauses after a round.
class Pause {
public:
	void after(bool something_came, int64_t cost)
	{
		length_ = something_came ? shortest : length_ * 2 < longest ? length_ * 2 : longest;
		if (length_ < cost * 100)
			length_ = cost * 100;
	}

	// Until then, or until a call has ended during a long one.
	void make()
	{
		timespec t{static_cast<time_t>(length_ / 1000000000),
			   static_cast<long>(length_ % 1000000000)};
		bool is_long = length_ > shortest;
		long_pause.store(is_long, mo::seq_cst);
		uint32_t now = ends.load(mo::seq_cst);
		if (futex_wait(ends, now, &t) != ETIMEDOUT && is_long)
			length_ = shortest;
		long_pause.store(false, mo::seq_cst);
	}

private:
	static constexpr int64_t shortest = 10000000, longest = 100000000;
	int64_t length_ = shortest;
};

} // namespace

void *attend(void *)
{
	Pause pause;
	lock.lock();
	for (uint64_t round = 1; !waiting.empty(); round++) {
		int64_t begun = nanoseconds_now();
		Wait *ended = try_all(round);
		lock.unlock();
		pause.after(ended != nullptr, nanoseconds_now() - begun);
		while (Wait *w = ended) {
			ended = w->sysv.links.after;
			end_call(w, w->result);
		}
		pause.make();
		lock.lock();
	}
	attended = false;
	lock.unlock();
	return nullptr;
}

} // namespace sigevec::sysv
