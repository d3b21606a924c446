// SPDX-License-Identifier: MIT
//
// The driver's streams: one for each direction of each socket, pipe or device that has requests queued.
#pragma once

#include "request/request.hpp"

namespace sigevec::driver {

struct Stream {
	Stream *next;
	uint64_t dev, ino;
	bool read;
	bool busy;     // the first request is with the ring or a worker
	bool armed;    // epoll will tell when the descriptor is ready
	bool closed;   // emptied; freed when the driver has no event in hand that might name it
	int file;      // in the helper's table
	uint32_t word; // request/stream.hpp
	Request *first, *last;
};

class Streams {
public:
	// The stream of r; nullptr: none.
	Stream *find(const Request *r) const;
	// The same, made if there is none, with file as its descriptor. nullptr: no memory.
	Stream *make(const Request *r, int file);
	// Takes it out and closes its file. It may still be named by events in hand: see sweep.
	void close(Stream *s);
	void sweep();

	template <class F> void each(F f)
	{
		for (Stream *head : table_)
			for (Stream *s = head; s != nullptr;) {
				Stream *next = s->next;
				f(s);
				s = next;
			}
	}

private:
	static constexpr uint32_t size = 4096;
	struct Key {
		uint64_t dev, ino;
		bool read;
	};
	// Descriptors without an inode of their own cannot be told apart, and polls are in no order: each of these requests is a
	// stream of its own.
	static Key key_of(const Request *r);
	static uint32_t slot(const Key &k);
	Stream *table_[size] = {};
	Stream *closed_ = nullptr;
};

void push_back(Stream *s, Request *r);
void push_front(Stream *s, Request *r);
Request *pop(Stream *s);
// Takes out the first cancelled request that nobody is at work on; nullptr: there is none.
Request *take_cancelled(Stream *s);

} // namespace sigevec::driver
