// SPDX-License-Identifier: MIT
//
// An attachment, for its own files: attachment.cpp (how it comes and goes, its thread),
// attachment_receive.cpp (what is done with an arrival).
#pragma once

#include "base/sync.hpp"
#include "dma/attachment.hpp"
#include "dma/zcrx_ring.hpp"

#include <net/if.h>

namespace sigevec::dma::attachment {

// What its thread is asked to do.
enum class Task : uint32_t { none, receive, refill, end };

// What is asked, and the answer.
struct Question {
	int fd;
	size_t len;
	Fragment *fragments; // room for most_asked of them
	uint32_t count;
	int last;
	ssize_t result;
};

// The area, as this process knows it: the kernel is given back nothing that it has not given out.
struct Area {
	char *base; // nullptr: none is registered
	size_t pages;
	uint64_t *out;      // a bit for each unit: an arrival that begins there
	uint16_t *arrivals; // for each page, how many are out
	size_t pages_out;   // that have some, or are not the kernel's again yet
};

struct Attachment {
	Mutex lock;
	std::atomic<Region *> region{nullptr}; // nullptr: the place is free
	char ifname[IF_NAMESIZE];
	unsigned ifindex, queue, flags;
	const char *reason;
	Area area;
	Arrival *spare_queue; // for an association whose own cannot grow; or nullptr
	bool unaligned;       // arrivals do not begin at units: they are copied

	std::atomic<uint32_t> task{0};
	Question question;
	ZcrxRing ring; // its thread's
};

// At most so many bytes are asked for at once: the kernel may tell of each by itself.
constexpr size_t most_asked = 16384;
// So many, and what an association may have had before.
constexpr uint32_t spare_room = most_asked + 1024;

// The one that a region names by `attached'.
Attachment *at_place(uint32_t place);
// With a's lock held. Has the thread do it, and waits.
void ask(Attachment *a, Task t);

} // namespace sigevec::dma::attachment
