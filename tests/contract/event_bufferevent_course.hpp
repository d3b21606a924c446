// SPDX-License-Identifier: MIT
//
// What happens to the bufferevents of event_bufferevent_random, written down so that two courses
// can be compared.
#ifndef CONTRACT_EVENT_BUFFEREVENT_COURSE_HPP
#define CONTRACT_EVENT_BUFFEREVENT_COURSE_HPP

#include "libevent.hpp"

#include <chrono>
#include <random>
#include <string>
#include <vector>

namespace contract {

using Random = std::mt19937;

inline unsigned below(Random &r, unsigned n)
{
	return unsigned(r() % n);
}

inline bufferevent_filter_result pass(evbuffer *from, evbuffer *to, ev_ssize_t limit,
				      bufferevent_flush_mode, void *)
{
	if (evbuffer_get_length(from) == 0)
		return BEV_NEED_MORE;
	const size_t n = limit < 0 ? evbuffer_get_length(from)
				   : std::min(size_t(limit), evbuffer_get_length(from));
	return n != 0 && evbuffer_remove_buffer(from, to, n) > 0 ? BEV_OK : BEV_NEED_MORE;
}

inline std::chrono::microseconds moment{
	0}; // how long a quiet turn waits for what comes by the kernel's threads

class Program;

/// A bufferevent, its peer and what has become of them.
struct Actor {
	Program *program;
	std::string name;
	Random random; // of its callbacks
	Fd ours, peer;
	bufferevent *bev = nullptr, *under = nullptr; // under: beneath a filter
	bufferevent_rate_limit_group *group = nullptr;
	bool datagrams = false, limited = false;
	std::vector<std::string> record;
	int callbacks = 0;
	unsigned told = 0; // of callbacks, so far
};

/// What a program has written down, by actor, and how far it was whenever nothing happened any
/// more by itself.
struct Course {
	std::vector<std::vector<std::string>> records;
	std::vector<size_t> states;

	/// One line each, by actor.
	std::vector<std::string> lines() const
	{
		std::vector<std::string> all;
		for (const auto &r : records)
			all.insert(all.end(), r.begin(), r.end());
		return all;
	}
};

} // namespace contract

#endif
