// SPDX-License-Identifier: MIT
#include "ring_channel/ring_spare.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "channel/wakeup.hpp"

#include <cstdlib>
#include <pthread.h>

namespace sigevec::ring_channel::spare {

namespace {

constexpr unsigned most = 64, most_of_thread = 4;

// A place belongs to the thread that is its owner; 0: it is free.
struct Place {
	std::atomic<uint64_t> owner;
	std::atomic<RingState *> ring;
};
Place places[most];

// Its destructor is run at the end of every thread that has kept one.
pthread_key_t at_end;
std::atomic<uint32_t> has_key{0}; // 1: being made, 2: there, 3: refused

unsigned fd_state(uint64_t owner)
{
	unsigned n = 0;
	for (Place &p : places)
		n += p.owner.load(mo::relaxed) == owner ? 1 : 0;
	return n;
}

void close_all_of_thread(void *)
{
	while (RingState *s = take(this_thread())) {
		close_ring(s);
		free(s->used_files);
		free(s);
	}
}

bool make_key()
{
	uint32_t none = 0;
	if (has_key.compare_exchange_strong(none, 1, mo::acq_rel))
		has_key.store(pthread_key_create(&at_end, close_all_of_thread) == 0 ? 2 : 3,
			      mo::release);
	return has_key.load(mo::acquire) == 2;
}

} // namespace

RingState *take(uint64_t owner)
{
	for (Place &p : places) {
		if (p.owner.load(mo::relaxed) != owner)
			continue;
		RingState *s = p.ring.exchange(nullptr, mo::acquire);
		p.owner.store(0, mo::release);
		if (has_number(s))
			return s;
		close_ring(s);
		free(s->used_files);
		free(s);
	}
	return nullptr;
}

bool may_keep(const RingState *s)
{
	bool clean = s->ending && !s->ring.lost() && s->in_ring == 0 && s->cancels == 0 &&
		     !s->listening && !s->watching && s->buffer_groups == nullptr;
	return clean && s->owner == this_thread() && fd_state(s->owner) < most_of_thread;
}

bool keep(RingState *s)
{
	if (!may_keep(s) || !has_number(s) || io_uring_unregister_eventfd(&s->ring) != 0 ||
	    !make_key() || pthread_setspecific(at_end, places) != 0)
		return false;
	for (Place &p : places) {
		uint64_t none = 0;
		if (!p.owner.compare_exchange_strong(none, s->owner, mo::acq_rel))
			continue;
		forget_use(s);
		p.ring.store(s, mo::release);
		return true;
	}
	return false;
}

void close_in_child()
{
	for (Place &p : places) {
		RingState *s = p.ring.exchange(nullptr, mo::relaxed);
		p.owner.store(0, mo::relaxed);
		if (s != nullptr && has_number(s))
			sys::close(s->ring.ring_fd);
	}
}

} // namespace sigevec::ring_channel::spare

namespace sigevec::ring_channel {

void close_spares_in_child()
{
	spare::close_in_child();
}

} // namespace sigevec::ring_channel

#endif
