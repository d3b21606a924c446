// SPDX-License-Identifier: MIT
//
// What a request has to do with a region. Part of Call and Request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <sys/types.h>

struct aiocb;
struct event_data;

namespace sigevec {

struct Call;
struct Request;

namespace dma {

struct Ancillary;

// ev_recv: that of the association.
constexpr uint16_t no_region = 0xffff;

struct Use {
	enum class Kind : uint8_t {
		none,
		send,    // it reads from pieces, which it holds
		receive, // it fills a piece that was reserved for it
		wait,    // it waits for what arrives at an associated socket, and gets a piece then
		arrival, // it has got one, or is the event of one
		latest   // the event of whichever datagram is the oldest when it is read
	};
	static constexpr unsigned most_pieces = 4;

	Kind kind;
	bool message;
	bool remote;                // send: to an endpoint on an interconnect (remote/device.hpp)
	uint8_t pieces;             // send: how many it holds
	uint16_t region;            // its place in the table
	uint32_t unit[most_pieces]; // send: what it holds
	char *piece;                // receive, arrival: nullptr: none
	size_t size;                // receive: of the piece; wait: the most that is wanted
	Ancillary *head; // receive of a message, or arrival of one whose event is unread: what
			 // comes beside the data
	uint16_t kept; // arrival, while its event is unread: the place of the region of the piece,
		       // plus 1
	uint32_t association, life; // latest
	void *zero_copy;            // send: the one that is under way (dma/zero_copy.hpp)
	bool copy_reported;         // send: the kernel tells whether it copied

	explicit operator bool() const { return kind != Kind::none; }
};

// What becomes of it: dma/request.hpp's, by the table of process/wiring.cpp.
struct UseOps {
	// The end of a request, before it is published, by whoever publishes it; also of one that
	// was refused. Async-signal-safe.
	void (*ended)(Use &use, struct aiocb *cb, ssize_t result);
	// What an event tells, with what it was admitted for. By the reader of a channel.
	void (*describe)(Request *r, struct event_data *d);
	// Nobody will read the event.
	void (*drop)(Request *r);
};
extern const UseOps use_ops;

} // namespace dma
} // namespace sigevec
