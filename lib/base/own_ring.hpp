// SPDX-License-Identifier: MIT
//
// Every io_uring of the library's is made here.
//
// What a ring says is believed: its completions carry pointers. So its memory must be nobody
// else's. A child (fork, _Fork, clone) has what its parent has mapped, so the memory is the
// library's own (IORING_SETUP_NO_MMAP, Linux 6.5), which no child has from before the ring exists,
// and which nobody can map through the descriptor. The kernel's memory, on older kernels, is taken
// out of children's as soon as it is mapped.
//
// Locks: none. A ring is its owner's.
#pragma once

#include "config.h"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"

#include <atomic>
#include <cstddef>
#include <liburing.h>

namespace sigevec {

class OwnRing : public io_uring {
public:
	// set_up: IORING_SETUP_*. completions: 0 for the kernel's choice. 0 or -errno. Its number
	// is as the kernel gave it, close-on-exec.
	int open(unsigned entries, unsigned completions, unsigned set_up);
	// Closes its number only: the kernel gives up what is in it, and says so in its memory.
	void leave();
	// With its number or registration, unless ring_fd is -1 and it is not registered.
	void close();

	// What a call has ended with that entered it, 0 or an errno. It is lost by any error but a
	// passing one (uring_queue.hpp), and by too many of these one after the other.
	void note(int error);
	// Its owner is to leave it. Others may ask.
	bool lost() const
	{
		return std::atomic_ref<bool>(const_cast<bool &>(lost_)).load(mo::relaxed);
	}
	void lose() { std::atomic_ref<bool>(lost_).store(true, mo::relaxed); }

	// Never nullptr. submit() hands over what has been prepared, until there is room for so
	// many entries in one submission. Of a lost ring it is one that nobody looks at.
	template <class Submit> struct io_uring_sqe *get_sqe(Submit submit, unsigned room = 1)
	{
		for (unsigned left = most_attempts; io_uring_sq_space_left(this) < room; left--) {
			if (left == 0)
				lose();
			if (lost())
				return &nowhere_;
			submit();
		}
		return io_uring_get_sqe(this);
	}
	bool is_nowhere(const struct io_uring_sqe *sqe) const { return sqe == &nowhere_; }

private:
	static constexpr unsigned most_attempts = 1000;

	int open_in_own_memory(unsigned entries, unsigned completions, unsigned set_up);
	int enter_once();
	int open_in_kernel_memory(unsigned entries, unsigned completions, unsigned set_up);

	void *memory_ = nullptr; // the library's, or nullptr: the kernel's
	size_t memory_size_ = 0;
	unsigned in_vain_ = 0; // calls, one after the other
	bool lost_ = false;
	struct io_uring_sqe nowhere_;
	bool registered() const { return enter_ring_fd != ring_fd; }
};

} // namespace sigevec

#endif
