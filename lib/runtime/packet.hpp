// SPDX-License-Identifier: MIT
//
// What the library's threads send one another over socketpairs: packets, each with or without a descriptor, several in one message.
#pragma once

#include <cstdint>

namespace sigevec::helper {

enum class What : uint32_t {
	request,    // to the driver: a request and its file
	cancel,     // to the driver: a CancelReply
	look,       // to the driver: something it keeps may be cancelled, or free to run
	returned,   // to the driver: a stream's blocking call has ended
	worker,     // to the driver: another worker is needed
	background, // to the driver: a kernel-AIO context needs its thread
	job,        // to a worker: a request and its file
	file_queue, // to a worker: a file queue and its file
	bell, wake, // to the driver: a channel and an eventfd of its own
	ring,       // to the driver: a channel whose events somebody else may wait for
	close,      // to the driver: a number of its table
	region,     // to the driver: a RegionReply
	program,    // to the driver: the way to the program's thread
	call,       // to the program's thread: a request and its file, to be tried
	install,    // to the program's thread: a request and the descriptor that is its result
};

struct Packet {
	What what;
	uint32_t unused;
	void *object;
};

// In one message. Linux takes 253 descriptors.
constexpr unsigned most_packets = 64;

enum class Sent { yes, no, lost };

// fds: one for each packet, or nullptr. no, lost: nothing has been sent, errno says why; lost: the other end is gone.
// Async-signal-safe.
Sent send(int tx, const Packet *p, const int *fds, unsigned count);

// Receives one message of at most that many packets, with their files (-1: none). Returns how many; 0: nothing there (errno EAGAIN) or
// the other end is gone (0).
unsigned receive(int rx, Packet *p, int *fds, unsigned most, bool wait);

} // namespace sigevec::helper
