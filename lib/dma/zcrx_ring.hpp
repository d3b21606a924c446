// SPDX-License-Identifier: MIT
//
// An io_uring for zero-copy receive: memory of a region is registered as what one queue of a
// network device receives into, or the kernel in its place, and connections are received from
// there.
//
// By raw system calls: the ring needs entries and completions that liburing's older versions do not
// know. It never has a number: it is the thread's alone that has made it (SINGLE_ISSUER,
// REGISTERED_FD_ONLY), goes with that thread, whatever ends it, and no child has it. Its memory is
// the library's own, and no child's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <sys/types.h>

namespace sigevec::dma {

// Where bytes have arrived: so far behind the beginning of the area.
struct Fragment {
	uint64_t offset;
	uint32_t length;
};

// What is to be registered.
struct ZcrxQueue {
	void *area;
	size_t size;
	unsigned ifindex, queue; // ifindex 0: without a device
};

class ZcrxRing {
public:
	// 0 or -errno; *registering: whether it was the registration that failed, not the ring.
	int open(const ZcrxQueue &q, bool *registering);
	void close();

	// What a connection has now, at most len bytes, in pieces of the area, and never waits. 0
	// or -errno as recv, if there is none: -ENOMEM: the area is used up; 0 is the end. *count:
	// how many, at most `most', which is at least len. *last: after these, what came next: 0 or
	// an error.
	ssize_t receive(int fd, size_t len, Fragment *v, uint32_t *count, int *last);
	// One fragment is the kernel's again. False: there is no room in the queue for that now.
	bool give_back(uint64_t offset, uint32_t length);
	// The kernel sees what has been given back. now: it is to take it at once.
	void publish(bool now);
	// What it has not been told to take since.
	uint32_t unpublished() const { return refill_.given - refill_.flushed; }

private:
	int set_up();
	int register_queue(const ZcrxQueue &q);
	int enter();
	void put(unsigned index, uint8_t op, int fd, uint64_t address, uint32_t len, uint64_t name);
	void reap(Fragment *v, uint32_t *count, int *result);

	struct Submissions {
		uint32_t *head, *tail, *array;
		uint32_t mask, next; // next: our tail
		char *entries;
	};
	struct Completions {
		uint32_t *head, *tail;
		uint32_t mask;
		const char *entries;
	};
	// The queue of what is given back.
	struct Refill {
		char *memory;
		uint32_t *head, *tail;
		char *entries;
		uint32_t given;   // our tail
		uint32_t flushed; // what that was when the kernel was told to take all
		uint64_t token;   // of the area
		uint32_t id;      // of the registration
	};

	int index_ = -1; // among this thread's registered rings
	char *memory_ = nullptr;
	Submissions sq_{};
	Completions cq_{};
	Refill refill_{};
	bool final_ = false, cancelling_ = false; // of the receive that is under way
};

} // namespace sigevec::dma
