// SPDX-License-Identifier: MIT
//
// What the library's threads tell one another. It travels in memory of the process, which no child,
// peer or other process can write: never over a descriptor.
#pragma once

#include <cstdint>

namespace sigevec::helper {

enum class MessageType : uint8_t {
	hand_over,   // to the driver or a worker: files to be taken out of the submitter's table
		     // (runtime/hand_over.hpp)
	hold,        // in a hand-over: a number in the helper's table
	request,     // to the driver: a request with its file
	job,         // to a worker: the same
	file_queue,  // to a worker: a request with its file that begins a file queue
	request_put, // to the driver: a request whose file is in the mailbox
	job_put,     // to a worker, or to the driver for one: the same
	returned,    // to the driver: a stream's call that was made elsewhere has ended
	cancel,      // to the driver: a CancelReply
	unwanted,    // to the driver: a request that was cancelled, or is to end soon
	region,      // to the driver: a RegionReply
	rights,      // to the driver: a RightsReply
	background,  // to the driver: a kernel-AIO context needs its thread
	close,       // to the driver: a number of its table
	errand,      // to the driver: an Errand
	chore,       // to the driver: a Chore
	call,        // to the program's thread: a request with its file, to be tried
	ended,       // to the program's thread: a request that has brought descriptors, to be ended
	unread,      // to the program's thread: one of which nobody will read, to be closed
};

// Part of what it tells of, which is in one queue at a time.
struct Post {
	Post *next;
	MessageType type;
	void *object;
};

// Something that is to be done where the helper's descriptors are, and that nobody waits for.
struct Chore {
	Post post{};
	void (*run)(Chore *) = nullptr;
};

} // namespace sigevec::helper
