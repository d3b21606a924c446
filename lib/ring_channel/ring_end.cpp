// SPDX-License-Identifier: MIT
//
// The end of a ring: everything in it is cancelled, the kernel has let go of the program's memory,
// and the ring is kept for another channel or closed.
#include "ring_channel/ring_spare.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "channel/moderation.hpp"
#include "channel/queue.hpp"
#include "channel/wakeup.hpp"
#include "request/message.hpp"
#include "request/stats_detail.hpp"
#include "uring.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace sigevec::ring_channel {

void forget_use(RingState *s)
{
	RingState kept = *s;
	*s = {};
	s->ring = kept.ring;
	s->claim = kept.claim;
	s->words = kept.words;
	s->dev = kept.dev;
	s->ino = kept.ino;
	s->files = kept.files;
	s->used_files = kept.used_files;
	s->next_file = kept.next_file;
	s->owner = kept.owner;
}

void dispose(Channel *c)
{
	RingState *s = c->ring_state.exchange(nullptr, mo::acq_rel);
	c->ring_owner.store(0, mo::relaxed);
	uint64_t events = 0;
	each(s, [&](RingOperation *o) {
		events += o->parked ? 0 : 1;
		events += take_reserved(o) != nullptr ? 1 : 0;
		close_accepted(o);
		bool request = o->use != RingOperation::Region::arrival &&
			       o->use != RingOperation::Region::given;
		if (request && o->state != RingOperation::State::ready)
			stats_detail::ring_left(*o);
		else if (o->message != nullptr)
			message::close_received(o->message);
		free_operation(s, o);
	});
	wakeup::detach_wake(c);
	moderation::stop_listening(s->coalesce_fd);
	while (Chunk *k = s->chunks) {
		s->chunks = k->next;
		free(k);
	}
	free(s->fd_states);
	if (!spare::keep(s))
		give_up_ring(s);
	channel::drop(c, events);
}

namespace {

// The kernel finds each by its number at once, where "any" makes it look at all that it has
// cancelled already for each that it cancels. It ends few of them in each entry into the ring (20
// in Linux 6.18), so that no entry may ask for more than that.
void cancel_one_by_one(Channel *c, RingState *s)
{
	constexpr uint32_t many = 64;
	if (s->in_ring < many)
		return;
	each(s, [s](RingOperation *o) {
		if (o->state == RingOperation::State::in_ring && !s->ring.lost())
			cancel_in_ring(s, o);
	});
	for (uint32_t before = 0; s->in_ring + s->cancels != before && !s->ring.lost();) {
		before = s->in_ring + s->cancels;
		submit_and_look(s);
		reap(c);
	}
}

// Waits until the kernel has let go of the program's memory. A send that a thread of the kernel's
// has taken over is found by the second attempt, or a later one.
void cancel_everything(Channel *c, RingState *s)
{
	BlockSignals blocked;
	constexpr struct __kernel_timespec patience = {0, 5000000};
	s->ending = true;
	each(s, [](RingOperation *o) { o->cancelled = true; });
	cancel_one_by_one(c, s);
	while (!s->ring.lost() &&
	       (s->in_ring != 0 || s->cancels != 0 || s->listening || s->watching)) {
		struct io_uring_sqe *sqe = get_sqe(s);
		io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
		sqe->user_data = cancel_tag;
		submit_and_wait(s, io_uring_cq_ready(&s->ring) + 2,
				&patience); // that of the cancellation is one
		reap(c);
	}
}

// The kernel interrupts the owner of a closed ring once more while it takes the ring apart, a
// moment later: in here, instead of a wait of the program's. The ring has the other end of a pipe,
// which the kernel closes after that.
class Dismantling {
public:
	explicit Dismantling(RingState *s)
	{
		int ends[2];
		if (!has_number(s) || pipe2(ends, O_CLOEXEC) != 0)
			return;
		// The ring has that in the first place, where operations are done with theirs.
		bool has = s->files != 0
				   ? io_uring_register_files_update(&s->ring, 0, &ends[1], 1) == 1
				   : io_uring_register_files(&s->ring, &ends[1], 1) == 0;
		if (has)
			watched = ends[0];
		else
			sys::close(ends[0]);
		sys::close(ends[1]);
	}
	~Dismantling()
	{
		if (watched < 0)
			return;
		BlockSignals blocked;
		Deadline end = Deadline::after(&longest);
		struct pollfd p = {watched, 0, 0};
		timespec rest;
		while (end.left(rest) && sys::poll(&p, 1, &rest) < 0 && errno == EINTR)
			;
		sys::close(watched);
	}
	Dismantling(const Dismantling &) = delete;
	Dismantling &operator=(const Dismantling &) = delete;

private:
	static constexpr timespec longest{1, 0};
	int watched = -1;
};

// By its owner.
void end_own(Channel *c, RingState *s)
{
	cancel_everything(c, s);
	if (s->from_device)
		poll_devices(s, 0);
	if (s->ring.lost() || !spare::may_keep(s)) {
		Dismantling awaited(s);
		dispose(c);
	} else
		dispose(c);
}

} // namespace

void end(Channel *c)
{
	if (c->ring_state.load(mo::acquire) == nullptr)
		return;
	if (is_own(c)) {
		end_own(c, c->ring_state.load(mo::relaxed));
		return;
	}
	// Its owner may be asleep in it: then the end is the owner's.
	for (int i = 0; c->inside.load(mo::seq_cst); i++) {
		wakeup::signal_owner(c);
		if (i < 100)
			sched_yield();
		else
			usleep(100);
	}
	if (c->ring_state.load(mo::acquire) != nullptr)
		dispose(c);
}

void moderate(Channel *c)
{
	RingState *s = c->ring_state.load(mo::relaxed);
	bool wanted = moderation::on(c);
	bool fits = !wanted || moderation::fits_ring(c->moderate_events.load(mo::relaxed),
						     c->moderate_time.load(mo::relaxed));
	c->without_ring = c->without_ring || !fits;
	if (s == nullptr)
		return;
	bool own = s->owner == this_thread();
	if (own && fits) {
		if (wanted == (s->coalesce_fd >= 0) || change_wakeup(c, s))
			return;
	}
	if (own) {
		Dismantling awaited(s);
		leave(c);
	} else
		leave(c);
}

void close_in_child(Channel *c)
{
	RingState *s = c->ring_state.exchange(nullptr, mo::relaxed);
	c->ring_owner.store(0, mo::relaxed);
	if (s == nullptr)
		return;
	// The memory is the parent's alone.
	if (has_number(s))
		sys::close(s->ring.ring_fd);
	moderation::stop_listening(s->coalesce_fd);
}

} // namespace sigevec::ring_channel

#endif
