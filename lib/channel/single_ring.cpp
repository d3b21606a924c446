// SPDX-License-Identifier: MIT
//
// The ring itself: how it is made, hears of others, is waited in, and ends.
#include "channel/single.hpp"

#ifdef HAVE_LIBURING

#include "channel/bell.hpp"
#include "channel/queue.hpp"
#include "runtime/config.hpp"
#include "runtime/stats.hpp"
#include "runtime/syscalls.hpp"
#include "uring.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace sigevec::single {

namespace {

constexpr unsigned completions = 4096; // beyond, the kernel keeps them in a list

std::atomic<uint64_t> threads{0};
thread_local uint64_t identity __attribute__((tls_model("initial-exec"))) = 0;

bool set_up(struct io_uring *ring)
{
	unsigned entries = config::limits.ring.load(std::memory_order_relaxed), cq = completions;
	int e;
	do {
		struct io_uring_params p = {};
		p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
			  IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
		p.cq_entries = cq > entries ? cq : entries * 2;
		e = io_uring_queue_init_params(entries, ring, &p);
		entries /= 2;
		cq /= 4;
	} while (e == -ENOMEM && entries >= 8);
	return e == 0;
}

} // namespace

uint64_t this_thread()
{
	if (identity == 0)
		identity = threads.fetch_add(1, std::memory_order_relaxed) + 1;
	return identity;
}

// nullptr: refused; the channel goes on without.
Single *make(Channel *c)
{
	bool wanted = config::force == config::Force::automatic || config::force == config::Force::uring;
	auto *s = wanted ? static_cast<Single *>(calloc(1, sizeof(Single))) : nullptr;
	if (s == nullptr || !set_up(&s->ring)) {
		stats::count(stats::uring_unavailable);
		free(s);
		return nullptr;
	}
	int wake = bell::make();
	if (wake < 0 || !bell::mark(s->ring.ring_fd) ||
	    io_uring_register_eventfd(&s->ring, c->bell) != 0) {
		if (wake >= 0)
			sys::close(wake);
		io_uring_queue_exit(&s->ring);
		free(s);
		return nullptr;
	}
	// A child of fork must not find it.
	io_uring_ring_dontfork(&s->ring);
	io_uring_register_ring_fd(&s->ring);
	s->owner = this_thread();
	s->armed = true;
	c->wake.store(wake, std::memory_order_release);
	// Requests that the helper has already may end while the owner sleeps in the ring.
	if (c->sent_to.load(std::memory_order_acquire) != nullptr)
		bell::install(c);
	listen_for_others(c, s);
	listen_inside(c, s);
	return s;
}

struct io_uring_sqe *get_sqe(Single *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
	while (sqe == nullptr) {
		io_uring_submit(&s->ring);
		sqe = io_uring_get_sqe(&s->ring);
	}
	return sqe;
}

void listen_for_others(Channel *c, Single *s)
{
	struct io_uring_sqe *sqe = get_sqe(s);
	io_uring_prep_poll_multishot(sqe, c->wake, POLLIN);
	sqe->user_data = wake_tag;
}

void listen_inside(Channel *c, Single *s)
{
	int inner = c->inner.load(std::memory_order_acquire);
	if (inner < 0)
		return;
	struct io_uring_sqe *sqe = get_sqe(s);
	io_uring_prep_poll_multishot(sqe, inner, POLLIN);
	sqe->user_data = inner_tag;
	s->watching = true;
}

int enter(Channel *c, bool wait, const Deadline &deadline)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	if (!wait)
		return io_uring_submit_and_get_events(&s->ring);
	timespec rest{};
	if (!deadline.never && !deadline.left(rest)) {
		io_uring_submit_and_get_events(&s->ring); // what has come is still taken
		return -ETIMEDOUT;
	}
	struct __kernel_timespec t = {rest.tv_sec, rest.tv_nsec};
	// As in queue.cpp: counted, then looked. A pusher that sees the sleeper makes the ring tell.
	c->sleepers.store(1, std::memory_order_seq_cst);
	int e = 0;
	if (channel::queue_empty(c) && !c->ending.load(std::memory_order_seq_cst)) {
		struct io_uring_cqe *cqe;
		e = deadline.never ? io_uring_submit_and_wait(&s->ring, 1)
				   : io_uring_submit_and_wait_timeout(&s->ring, &cqe, 1, &t, nullptr);
	}
	c->sleepers.store(0, std::memory_order_seq_cst);
	return e == -ETIME ? -ETIMEDOUT : e < 0 ? e : 0;
}

void dispose(Channel *c)
{
	Single *s = c->single.exchange(nullptr, std::memory_order_acq_rel);
	uint64_t events = 0;
	each(s, [&](Operation *o) {
		events += o->parked ? 0 : 1;
		free_operation(s, o);
	});
	if (bell::is_ours(s->ring.ring_fd))
		io_uring_queue_exit(&s->ring);
	bell::close(c->wake.exchange(-1, std::memory_order_acq_rel));
	while (Chunk *k = s->chunks) {
		s->chunks = k->next;
		free(k);
	}
	free(s->numbers);
	free(s);
	channel::drop(c, events);
}

namespace {

// Waits until the kernel has let go of the program's memory.
void cancel_everything(Channel *c, Single *s)
{
	BlockSignals blocked;
	each(s, [](Operation *o) { o->cancelled = true; });
	struct io_uring_sqe *sqe = get_sqe(s);
	io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	sqe->user_data = cancel_tag;
	while (s->in_ring != 0) {
		if (int e = io_uring_submit_and_wait(&s->ring, 1); e < 0 && e != -EINTR)
			return;
		reap(c);
	}
}

// The kernel interrupts the owner of a closed ring once more while it takes the ring apart, a moment later: in here, instead of a
// wait of the program's. The ring has the other end of a pipe, which the kernel closes after that.
class Dismantling {
public:
	explicit Dismantling(Single *s)
	{
		int ends[2];
		if (pipe2(ends, O_CLOEXEC) != 0)
			return;
		if (io_uring_register_files(&s->ring, &ends[1], 1) == 0)
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
		while (end.left(rest) && syscall(SYS_ppoll, &p, 1, &rest, nullptr, 0) < 0 && errno == EINTR)
			;
		sys::close(watched);
	}
	Dismantling(const Dismantling &) = delete;
	Dismantling &operator=(const Dismantling &) = delete;

private:
	static constexpr timespec longest{1, 0};
	int watched = -1;
};

} // namespace

void end(Channel *c)
{
	Single *s = c->single.load(std::memory_order_acquire);
	if (s == nullptr)
		return;
	if (s->owner == this_thread()) {
		cancel_everything(c, s);
		Dismantling awaited(s);
		dispose(c);
		return;
	}
	// Its owner may be asleep in it: then the end is the owner's.
	while (c->sleepers.load(std::memory_order_seq_cst) != 0 && c->single.load(std::memory_order_acquire) != nullptr)
		sched_yield();
	if (c->single.load(std::memory_order_acquire) != nullptr)
		dispose(c);
}

void after_fork(Channel *c)
{
	Single *s = c->single.exchange(nullptr, std::memory_order_relaxed);
	if (s == nullptr)
		return;
	// The mappings are the parent's alone.
	bell::close(s->ring.ring_fd);
	bell::close(c->wake.load(std::memory_order_relaxed));
}

} // namespace sigevec::single

#endif
