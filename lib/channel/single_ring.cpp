// SPDX-License-Identifier: MIT
//
// The ring itself: how it is made, hears of others, is waited in, and ends.
#include "channel/single.hpp"

#ifdef HAVE_LIBURING

#include "channel/bell.hpp"
#include "channel/moderation.hpp"
#include "channel/queue.hpp"
#include "runtime/config.hpp"
#include "runtime/meter.hpp"
#include "runtime/probes.hpp"
#include "runtime/syscalls.hpp"
#include "uring.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
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

// Which eventfd the kernel rings: the bell, or one that the clock hears. False: refused.
bool set_bell(Channel *c, Single *s)
{
	int ear = moderation::on(c) ? moderation::listen(c) : -1;
	if ((ear < 0 && moderation::on(c)) || io_uring_register_eventfd(&s->ring, ear >= 0 ? ear : c->bell) != 0) {
		if (ear >= 0)
			sys::close(ear);
		return false;
	}
	bell::close(s->ear);
	s->ear = ear;
	return true;
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
		passed_on(stats::uring_unavailable, c->fd);
		free(s);
		return nullptr;
	}
	int wake = bell::make();
	s->ear = -1;
	if (wake < 0 || !bell::mark(s->ring.ring_fd) || !set_bell(c, s)) {
		if (wake >= 0)
			sys::close(wake);
		io_uring_queue_exit(&s->ring);
		free(s);
		return nullptr;
	}
	// A child of fork must not find it. (It is not registered with its thread, which would save a look at the table of descriptors for
	// each submission: the registration would keep it, and the files of what is in it, when another thread has taken the channel over.)
	io_uring_ring_dontfork(&s->ring);
	s->owner = this_thread();
	s->armed = true;
	c->wake.store(wake, std::memory_order_release);
	// Requests that the helper has already may end while the owner sleeps in the ring.
	if (c->inner_bell.load(std::memory_order_acquire) >= 0)
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

namespace {

// A wait in vain for so long is the occasion to see whether the program has closed the descriptor. Cheaper than to look each time.
constexpr long first_wait = 100 * 1000000;

// Sleeps until there are as many completions.
int sleep(Channel *c, unsigned count, const Deadline &deadline)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	timespec rest{};
	if (!deadline.never && !deadline.left(rest)) {
		io_uring_submit_and_get_events(&s->ring); // what has come is still taken
		return -ETIMEDOUT;
	}
	bool first = !s->checked && (deadline.never || rest.tv_sec > 0 || rest.tv_nsec > first_wait);
	struct __kernel_timespec t = {first ? 0 : rest.tv_sec, first ? first_wait : rest.tv_nsec};
	// As in queue.cpp: counted, then looked. A pusher that sees the sleeper makes the ring tell.
	c->sleepers.store(1, std::memory_order_seq_cst);
	int e = 0;
	bool awake = count == 1 ? !channel::queue_empty(c) : moderation::due(c);
	if (!awake && !c->ending.load(std::memory_order_seq_cst)) {
		struct io_uring_cqe *cqe;
		e = deadline.never && !first ? io_uring_submit_and_wait(&s->ring, count)
					     : io_uring_submit_and_wait_timeout(&s->ring, &cqe, count, &t, nullptr);
	}
	c->sleepers.store(0, std::memory_order_seq_cst);
	return e == -ETIME && first ? 0 : e == -ETIME ? -ETIMEDOUT : e < 0 ? e : 0;
}

} // namespace

int enter(Channel *c, bool wait, const Deadline &deadline)
{
	if (wait)
		return sleep(c, 1, deadline);
	return io_uring_submit_and_get_events(&c->single.load(std::memory_order_relaxed)->ring);
}

int gather(Channel *c, const Deadline &deadline)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	if (!moderation::on(c) || (io_uring_cq_ready(&s->ring) == 0 && channel::queue_empty(c)))
		return 0;
	if (channel::queue_empty(c))
		moderation::note_first(c);
	uint32_t events = c->moderate_events.load(std::memory_order_relaxed);
	Deadline until = moderation::limit(c, deadline);
	for (int e = 0; e == 0 && !c->ending.load(std::memory_order_seq_cst);) {
		unsigned queued = c->pushed.load(std::memory_order_seq_cst) - static_cast<uint32_t>(c->delivered.load(std::memory_order_seq_cst));
		if (events != 0 && io_uring_cq_ready(&s->ring) + queued >= events)
			return 0;
		unsigned count = events != 0 ? events - queued : completions / 2;
		e = sleep(c, count > 1 ? count : 2, until);
		if (e != 0)
			return e;
		if (moderation::due(c) && !channel::queue_empty(c))
			return 0;
	}
	return 0;
}

int await(Channel *c, const Deadline &deadline)
{
	if (!moderation::on(c))
		return enter(c, true, deadline);
	// Most batches cost one sleep so: the time begins with the wait, for nobody knows when the first event comes during it.
	Single *s = c->single.load(std::memory_order_relaxed);
	uint32_t events = c->moderate_events.load(std::memory_order_relaxed);
	moderation::note_first(c);
	int e = sleep(c, events > 1 ? events : completions / 2, moderation::limit(c, deadline));
	if (e != -ETIMEDOUT)
		return e;
	if (io_uring_cq_ready(&s->ring) != 0 || !channel::queue_empty(c))
		return 0;
	e = enter(c, true, deadline);
	return e == 0 ? gather(c, deadline) : e;
}

bool look(Channel *c, const Deadline &deadline)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	uint32_t us = c->busy_poll.load(std::memory_order_relaxed);
	if (us == 0 || s->from_device)
		return false;
	timespec all{us / 1000000, us % 1000000 * 1000}, rest;
	Deadline end = Deadline::after(&all);
	bool came = false;
	// As in queue.cpp: who pushes meanwhile has nothing to do.
	c->lookers.store(1, std::memory_order_seq_cst);
	while (!came && end.left(rest) && (deadline.never || deadline.left(rest)))
		for (int i = 0; i < 50 && !came; i++) {
			came = io_uring_cq_ready(&s->ring) != 0 || !channel::queue_empty(c) || c->ending.load(std::memory_order_seq_cst) ||
			       (IO_URING_READ_ONCE(*s->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
			relax();
		}
	c->lookers.store(0, std::memory_order_seq_cst);
	return came;
}

namespace {

// The kernel does not know it, or cannot.
std::atomic<bool> no_device_polling{false};

bool poll_devices(Single *s, uint32_t microseconds)
{
	struct {
		uint32_t busy_poll_to;
		uint8_t prefer, opcode, pad[2];
		uint32_t parameter, reserved;
	} napi = {microseconds, 1, 0, {}, 0, 0};
	constexpr unsigned register_napi = 27, unregister_napi = 28;
	return syscall(SYS_io_uring_register, s->ring.ring_fd, microseconds != 0 ? register_napi : unregister_napi, &napi, 1) == 0;
}

} // namespace

void note_device(Channel *c, Single *s, int fd)
{
	unsigned id = 0;
	socklen_t n = sizeof id;
	if (no_device_polling.load(std::memory_order_relaxed) || getsockopt(fd, SOL_SOCKET, SO_INCOMING_NAPI_ID, &id, &n) != 0 || id == 0)
		return;
	s->from_device = poll_devices(s, c->busy_poll.load(std::memory_order_relaxed));
	if (!s->from_device)
		no_device_polling.store(true, std::memory_order_relaxed);
}

void dispose(Channel *c)
{
	Single *s = c->single.exchange(nullptr, std::memory_order_acq_rel);
	uint64_t events = 0;
	each(s, [&](Operation *o) {
		events += o->parked ? 0 : 1;
		bool request = o->use != Operation::Region::arrival && o->use != Operation::Region::given;
		if (request && o->state != Operation::State::ready)
			meter::ring_left(o->op);
		free_operation(s, o);
	});
	if (bell::is_ours(s->ring.ring_fd))
		io_uring_queue_exit(&s->ring);
	bell::close(c->wake.exchange(-1, std::memory_order_acq_rel));
	bell::close(s->ear);
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

void moderate(Channel *c)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	bool wanted = moderation::on(c);
	bool fits = !wanted || moderation::fits_ring(c->moderate_events.load(std::memory_order_relaxed),
						     c->moderate_time.load(std::memory_order_relaxed));
	c->without_ring = c->without_ring || !fits;
	if (s == nullptr)
		return;
	bool own = s->owner == this_thread();
	if (own && fits) {
		if (wanted == (s->ear >= 0) || (io_uring_unregister_eventfd(&s->ring) == 0 && set_bell(c, s)))
			return;
	}
	if (own) {
		Dismantling awaited(s);
		leave(c);
	} else
		leave(c);
}

void busy_poll(Channel *c)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	if (s != nullptr && s->owner == this_thread() && s->from_device)
		s->from_device = poll_devices(s, c->busy_poll.load(std::memory_order_relaxed)) && c->busy_poll != 0;
}

void after_fork(Channel *c)
{
	Single *s = c->single.exchange(nullptr, std::memory_order_relaxed);
	if (s == nullptr)
		return;
	// The mappings are the parent's alone.
	bell::close(s->ring.ring_fd);
	bell::close(c->wake.load(std::memory_order_relaxed));
	bell::close(s->ear);
}

} // namespace sigevec::single

#endif
