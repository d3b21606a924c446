// SPDX-License-Identifier: MIT
//
// A hand-over that nobody waits for: by the registered files of a ring of the helper's.
//
// The submitter puts its file there itself (IORING_REGISTER_FILES_UPDATE), by the number in its own
// table, and tells the place in a post: the file is held from then on. The thread of the helper's
// that gets the post gives the file a number in the helper's table, and empties the place.
//
// A thread reaches the ring by a registration (IORING_REGISTER_RING_FDS), which is the thread's
// alone: no child of any kind has it, and nothing that closes descriptors undoes it. For that the
// ring has a number in the program's table for a moment, once for each thread. A child that another
// thread makes in that moment has the ring too; its memory, which is nobody else's
// (base/own_ring.hpp), it has not. So a call that has not taken exactly what was prepared is the
// last one here, and whoever takes a file asks whether it is the request's.
//
// Not before Linux 6.8, nor without a free place or where a limit is near: hand_over.hpp. Locks:
// one, for the ring's queue, with all signals blocked; putting needs none.
#pragma once

#include "base/sync.hpp"
#include "config.h"

#ifdef HAVE_LIBURING
#include "base/own_ring.hpp"
#endif

#include <atomic>
#include <cstdint>

namespace sigevec::helper {

class Mailbox {
public:
	// The place of the file of a number in the caller's table, or -1: another way is to be
	// taken. Async-signal-safe once the helper runs.
	int put(int number);
	// By a thread of the helper's: the number of what was put there, or -errno.
	int take(int place);
	// By the same: a number that is in use in its table.
	void note_number(int number);

private:
	static constexpr unsigned places = 128, word = 64;
	enum class State : uint8_t { closed, open, refused };

	int reach();
	int register_thread();
	bool has_room() const;
	int reserve();
	void release(int place);

	std::atomic<uint64_t> taken_[places / word] = {};
	std::atomic<int> highest_{0}; // that a number has been
	std::atomic<State> state_ = State::closed;
	int number_ = -1; // of the ring, in the helper's table

#ifdef HAVE_LIBURING
	struct Opening;
	void open();
	bool is_reached_by(int ring);
	unsigned enter(int ring, unsigned flags);
	int result_of(uint64_t mark);

	OwnRing ring_;
	Mutex lock_;
	uint64_t marks_ = 0;
#endif
};

} // namespace sigevec::helper
