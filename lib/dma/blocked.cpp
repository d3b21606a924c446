// SPDX-License-Identifier: MIT
#include "dma/blocked.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "base/thread_id.hpp"
#include "dma/association.hpp"
#include "interrupt.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace sigevec::dma::blocked {

namespace {

// More parts than the kernel takes: EMSGSIZE, before it looks at the socket.
constexpr size_t impossible = ~size_t{0};

} // namespace

Blocked *enter(Association *a, const Region *r)
{
	auto *b = static_cast<Blocked *>(calloc(1, sizeof(Blocked)));
	if (b == nullptr)
		return nullptr;
	b->thread = thread_id();
	b->region = r;
	b->m.msg_iovlen = 1;
	b->next = a->blocked;
	a->blocked = b;
	return b;
}

bool leave(Association *a, Blocked *b)
{
	Blocked **at = a != nullptr ? &a->blocked : nullptr;
	while (at != nullptr && *at != nullptr && *at != b)
		at = &(*at)->next;
	if (at != nullptr && *at == b)
		*at = b->next;
	bool called = b->called;
	free(b);
	// The signal has been sent by now. It is taken here, and interrupts nothing of the
	// program's.
	if (called)
		syscall(SYS_gettid);
	return called;
}

void call_back(Association *a, const Region *r)
{
	int saved = errno;
	for (Blocked *b = a->blocked; b != nullptr; b = b->next) {
		if ((r != nullptr && b->region != r) || !sigevec_can_interrupt())
			continue;
		b->called = true;
		std::atomic_ref<size_t>(b->m.msg_iovlen).store(impossible, mo::seq_cst);
		sigevec_interrupt(b->thread);
	}
	errno = saved;
}

} // namespace sigevec::dma::blocked
