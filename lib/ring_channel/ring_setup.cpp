// SPDX-License-Identifier: MIT
//
// The ring itself: how it is made, which eventfd it rings, how it hears of others, and which
// network devices it polls.
#include "ring_channel/ring_spare.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "channel/moderation.hpp"
#include "channel/queue.hpp"
#include "channel/reader_fds.hpp"
#include "channel/wakeup.hpp"
#include "runtime/config.hpp"
#include "runtime/probes.hpp"
#include "uring.h"

#include <cstdlib>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sigevec::ring_channel {

namespace {

// Whether the kernel's rings can sleep on words.
enum class Words : uint8_t { unknown, no, yes };
std::atomic<Words> knows_words{Words::unknown};

bool can_sleep_on_words(RingState *s)
{
	Words known = knows_words.load(mo::relaxed);
	if (known == Words::unknown) {
		struct io_uring_probe *p = io_uring_get_probe_ring(&s->ring);
		known = p != nullptr && io_uring_opcode_supported(p, IORING_OP_FUTEX_WAIT_NUMBER) !=
						0
				? Words::yes
				: Words::no;
		io_uring_free_probe(p);
		knows_words.store(known, mo::relaxed);
	}
	return known == Words::yes;
}

std::atomic<uint64_t> threads{0};
thread_local uint64_t identity __attribute__((tls_model("initial-exec"))) = 0;

// Which eventfd the kernel signals: the wakeup, or one that the clock hears. False: refused.
bool set_wakeup(Channel *c, RingState *s)
{
	int coalesce_fd = moderation::on(c) ? moderation::listen(c) : -1, fd = wakeup::number_of(c);
	bool possible = (coalesce_fd >= 0 || (!moderation::on(c) && fd >= 0)) && has_number(s);
	if (!possible ||
	    io_uring_register_eventfd(&s->ring, coalesce_fd >= 0 ? coalesce_fd : fd) != 0) {
		moderation::stop_listening(coalesce_fd);
		return false;
	}
	moderation::stop_listening(s->coalesce_fd);
	s->coalesce_fd = coalesce_fd;
	s->wakeup_fd = fd;
	return true;
}

// A ring that this thread has had for a channel before, or a new one. nullptr: refused.
RingState *find_ring()
{
	if (RingState *s = spare::take(this_thread()); s != nullptr)
		return s;
	auto *s = static_cast<RingState *>(calloc(1, sizeof(RingState)));
	if (s != nullptr &&
	    open_ring(s, config::limits.ring.load(mo::relaxed), room_for_completions)) {
		s->words = can_sleep_on_words(s);
		return s;
	}
	free(s);
	return nullptr;
}

} // namespace

void give_up_ring(RingState *s)
{
	close_ring(s);
	free(s->used_files);
	free(s);
}

namespace {

// What wakes the owner on kernels without futexes in rings. False: no descriptor.
bool make_wake(Channel *c, RingState *s)
{
	if (!s->words)
		return wakeup::attach_wake(c);
	c->wake.store(-1, mo::release);
	return true;
}

} // namespace

uint64_t this_thread()
{
	if (identity == 0)
		identity = threads.fetch_add(1, mo::relaxed) + 1;
	return identity;
}

// nullptr: refused; the channel goes on without.
RingState *make(Channel *c)
{
	bool wanted =
		config::force == config::Force::automatic || config::force == config::Force::uring;
	RingState *s = wanted ? find_ring() : nullptr;
	if (s == nullptr) {
		passed_on(stats::uring_unavailable, c->fd, 0);
		return nullptr;
	}
	s->coalesce_fd = -1;
	s->owner = this_thread();
	s->armed = true;
	if (!make_wake(c, s) || !set_wakeup(c, s)) {
		wakeup::detach_wake(c);
		give_up_ring(s);
		return nullptr;
	}
	io_uring_cq_eventfd_toggle(&s->ring, true); // which a channel before may have left off
	// Requests that the helper has already may end while the owner sleeps in the ring.
	if (c->inner_wakeup.load(mo::acquire) >= 0)
		wakeup::install(c);
	listen_for_others(c, s);
	listen_inside(c, s);
	return s;
}

// Sleeps on the word that changes with every wake-up, which needs no descriptor. What changes it
// after this is told of: so the owner looks for what others have done when it has called this.
void listen_for_others(Channel *c, RingState *s)
{
	struct io_uring_sqe *sqe = get_sqe(s);
	if (s->words) {
		constexpr int is_u32 = 2;
		uint32_t value = c->wakes.load(mo::seq_cst);
		io_uring_prep_rw(IORING_OP_FUTEX_WAIT_NUMBER, sqe, is_u32 | FUTEX_PRIVATE_FLAG,
				 &c->wakes, 0, value);
		sqe->addr3 = channel::ring_waits;
	} else {
		io_uring_prep_poll_multishot(sqe, c->wake, POLLIN);
		s->unsafe++;
	}
	sqe->user_data = wake_tag;
	s->listening = true;
}

void listen_inside(Channel *c, RingState *s)
{
	int inner = reader_fds::number_of(c);
	if (inner < 0)
		return;
	struct io_uring_sqe *sqe = get_sqe(s);
	s->unsafe++;
	io_uring_prep_poll_multishot(sqe, inner, POLLIN);
	sqe->user_data = reader_fds_tag;
	s->watching = true;
}

namespace {

// The kernel does not know it, or cannot.
std::atomic<bool> no_device_polling{false};

} // namespace

bool poll_devices(RingState *s, uint32_t microseconds)
{
	struct {
		uint32_t busy_poll_to;
		uint8_t prefer, opcode, pad[2];
		uint32_t parameter, reserved;
	} napi = {microseconds, 1, 0, {}, 0, 0};
	constexpr unsigned register_napi = 27, unregister_napi = 28;
	return has_number(s) &&
	       syscall(SYS_io_uring_register, s->ring.ring_fd,
		       microseconds != 0 ? register_napi : unregister_napi, &napi, 1) == 0;
}

void note_device(Channel *c, RingState *s, int fd)
{
	unsigned id = 0;
	socklen_t n = sizeof id;
	if (no_device_polling.load(mo::relaxed) ||
	    getsockopt(fd, SOL_SOCKET, SO_INCOMING_NAPI_ID, &id, &n) != 0 || id == 0)
		return;
	s->from_device = poll_devices(s, c->busy_poll.load(mo::relaxed));
	if (!s->from_device)
		no_device_polling.store(true, mo::relaxed);
}

bool change_wakeup(Channel *c, RingState *s)
{
	return has_number(s) && io_uring_unregister_eventfd(&s->ring) == 0 && set_wakeup(c, s);
}

void busy_poll(Channel *c)
{
	RingState *s = is_own(c) ? c->ring_state.load(mo::relaxed) : nullptr;
	if (s != nullptr && s->from_device)
		s->from_device =
			poll_devices(s, c->busy_poll.load(mo::relaxed)) && c->busy_poll != 0;
}

} // namespace sigevec::ring_channel

#endif
