// SPDX-License-Identifier: MIT
//
// The ring itself: how it is made, hears of others, is waited in, and ends.
#include "request/message.hpp"
#include "ring_channel/single_spare.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "channel/bell.hpp"
#include "channel/inner.hpp"
#include "channel/moderation.hpp"
#include "channel/own_epoll.hpp"
#include "channel/queue.hpp"
#include "engine/transfer.hpp"
#include "request/meter.hpp"
#include "runtime/config.hpp"
#include "runtime/probes.hpp"
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

// Whether the kernel's rings can sleep on words.
enum class Words : uint8_t { unknown, no, yes };
std::atomic<Words> knows_words{Words::unknown};

bool can_sleep_on_words(Single *s)
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

// Which eventfd the kernel rings: the bell, or one that the clock hears. False: refused.
bool set_bell(Channel *c, Single *s)
{
	int ear = moderation::on(c) ? moderation::listen(c) : -1, bell = bell::number_of(c);
	bool possible = (ear >= 0 || (!moderation::on(c) && bell >= 0)) && has_number(s);
	if (!possible || io_uring_register_eventfd(&s->ring, ear >= 0 ? ear : bell) != 0) {
		moderation::stop_listening(ear);
		return false;
	}
	moderation::stop_listening(s->ear);
	s->ear = ear;
	s->bell = bell;
	return true;
}

// A ring that this thread has had for a channel before, or a new one. nullptr: refused.
Single *find_ring()
{
	if (Single *s = spare::take(this_thread()); s != nullptr)
		return s;
	auto *s = static_cast<Single *>(calloc(1, sizeof(Single)));
	if (s != nullptr && open_ring(s, config::limits.ring.load(mo::relaxed), completions)) {
		s->words = can_sleep_on_words(s);
		return s;
	}
	free(s);
	return nullptr;
}

void give_up_ring(Single *s)
{
	close_ring(s);
	free(s->used_files);
	free(s);
}

// What wakes the owner on kernels without futexes in rings. False: no descriptor.
bool make_wake(Channel *c, Single *s)
{
	if (!s->words)
		return bell::attach_wake(c);
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
Single *make(Channel *c)
{
	bool wanted =
		config::force == config::Force::automatic || config::force == config::Force::uring;
	Single *s = wanted ? find_ring() : nullptr;
	if (s == nullptr) {
		passed_on(stats::uring_unavailable, c->fd);
		return nullptr;
	}
	s->ear = -1;
	s->owner = this_thread();
	s->armed = true;
	if (!make_wake(c, s) || !set_bell(c, s)) {
		bell::detach_wake(c);
		give_up_ring(s);
		return nullptr;
	}
	io_uring_cq_eventfd_toggle(&s->ring, true); // which a channel before may have left off
	// Requests that the helper has already may end while the owner sleeps in the ring.
	if (c->inner_bell.load(mo::acquire) >= 0)
		bell::install(c);
	listen_for_others(c, s);
	listen_inside(c, s);
	return s;
}

// Sleeps on the word that changes with every wake-up, which needs no descriptor. What changed it
// since the owner looked is told of at once.
void listen_for_others(Channel *c, Single *s)
{
	struct io_uring_sqe *sqe = get_sqe(s);
	if (s->words) {
		constexpr int is_u32 = 2;
		uint32_t value = c->wakes.load(mo::seq_cst);
		io_uring_prep_rw(IORING_OP_FUTEX_WAIT_NUMBER, sqe, is_u32 | FUTEX_PRIVATE_FLAG,
				 &c->wakes, 0, value);
		sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
	} else {
		io_uring_prep_poll_multishot(sqe, c->wake, POLLIN);
		s->unsafe++;
	}
	sqe->user_data = wake_tag;
	s->listening = true;
}

void listen_inside(Channel *c, Single *s)
{
	int inner = inner::number_of(c);
	if (inner < 0)
		return;
	struct io_uring_sqe *sqe = get_sqe(s);
	s->unsafe++;
	io_uring_prep_poll_multishot(sqe, inner, POLLIN);
	sqe->user_data = inner_tag;
	s->watching = true;
}

namespace {

// A wait in vain for so long is the occasion to see whether the program has closed the descriptor.
// Cheaper than to look each time.
constexpr long first_wait = 100 * 1000000;

// Sleeps until there are as many completions.
int sleep(Channel *c, unsigned count, const Deadline &deadline)
{
	Single *s = c->single.load(mo::relaxed);
	timespec rest{};
	if (!deadline.never && !deadline.left(rest)) {
		submit_and_look(s); // what has come is still taken
		return -ETIMEDOUT;
	}
	bool first =
		!s->checked && (deadline.never || rest.tv_sec > 0 || rest.tv_nsec > first_wait);
	struct __kernel_timespec t = {first ? 0 : rest.tv_sec, first ? first_wait : rest.tv_nsec};
	// As in queue.cpp: counted, then looked. A pusher that sees the sleeper makes the ring
	// tell.
	c->sleepers.store(1, mo::seq_cst);
	int e = 0;
	bool awake = count == 1 ? !channel::queue_empty(c) : moderation::due(c);
	if (!awake && !c->ending.load(mo::seq_cst))
		e = submit_and_wait(s, count, deadline.never && !first ? nullptr : &t);
	c->sleepers.store(0, mo::seq_cst);
	return e == -ETIME && first ? 0 : e == -ETIME ? -ETIMEDOUT : e < 0 ? e : 0;
}

} // namespace

int enter(Channel *c, bool wait, const Deadline &deadline)
{
	if (wait)
		return sleep(c, 1, deadline);
	return submit_and_look(c->single.load(mo::relaxed));
}

namespace {

// As ec_moderate says; more than the limit never come.
uint32_t wanted_events(const Channel *c)
{
	uint32_t events = c->moderate_events.load(mo::relaxed), limit = c->limit.load(mo::relaxed);
	return events < limit ? events : limit;
}

} // namespace

int gather(Channel *c, const Deadline &deadline)
{
	Single *s = c->single.load(mo::relaxed);
	if (!moderation::on(c) || (io_uring_cq_ready(&s->ring) == 0 && channel::queue_empty(c)))
		return 0;
	if (channel::queue_empty(c))
		moderation::note_first(c);
	uint32_t events = wanted_events(c);
	Deadline until = moderation::limit(c, deadline);
	for (int e = 0; e == 0 && !c->ending.load(mo::seq_cst);) {
		unsigned queued = c->pushed.load(mo::seq_cst) -
				  static_cast<uint32_t>(c->delivered.load(mo::seq_cst));
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
	// Most batches cost one sleep so: the time begins with the wait, for nobody knows when the
	// first event comes during it.
	Single *s = c->single.load(mo::relaxed);
	uint32_t events = wanted_events(c);
	moderation::note_first(c);
	int e = sleep(c, events > 1 ? events : completions / 2, moderation::limit(c, deadline));
	if (e != -ETIMEDOUT)
		return e;
	if (io_uring_cq_ready(&s->ring) != 0 || !channel::queue_empty(c))
		return 0;
	e = enter(c, true, deadline);
	return e == 0 ? gather(c, deadline) : e;
}

int look(Channel *c, const Deadline &deadline)
{
	Single *s = c->single.load(mo::relaxed);
	uint32_t us = c->busy_poll.load(mo::relaxed);
	if (us == 0 || s->from_device)
		return 0;
	channel::HeldSignals signals;
	timespec all{us / 1000000, us % 1000000 * 1000}, rest;
	Deadline end = Deadline::after(&all);
	bool came = false, interrupted = false;
	// As in queue.cpp: who pushes meanwhile has nothing to do.
	c->lookers.store(1, mo::seq_cst);
	while (!came && !interrupted && end.left(rest) && (deadline.never || deadline.left(rest))) {
		for (int i = 0; i < 200 && !came; i++) {
			came = io_uring_cq_ready(&s->ring) != 0 || !channel::queue_empty(c) ||
			       c->ending.load(mo::seq_cst) ||
			       (IO_URING_READ_ONCE(*s->ring.sq.kflags) &
				(IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
			relax();
		}
		interrupted = !came && signals.one_has_come();
	}
	c->lookers.store(0, mo::seq_cst);
	return interrupted ? -EINTR : came ? 1 : 0;
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
	return has_number(s) &&
	       syscall(SYS_io_uring_register, s->ring.ring_fd,
		       microseconds != 0 ? register_napi : unregister_napi, &napi, 1) == 0;
}

} // namespace

void note_device(Channel *c, Single *s, int fd)
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

void forget_use(Single *s)
{
	Single kept = *s;
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
	Single *s = c->single.exchange(nullptr, mo::acq_rel);
	uint64_t events = 0;
	each(s, [&](Operation *o) {
		events += o->parked ? 0 : 1;
		bool request =
			o->use != Operation::Region::arrival && o->use != Operation::Region::given;
		if (request && o->state != Operation::State::ready)
			meter::ring_left(o->op);
		else if (o->message != nullptr)
			message::close_received(o->message);
		free_operation(s, o);
	});
	bell::detach_wake(c);
	moderation::stop_listening(s->ear);
	while (Chunk *k = s->chunks) {
		s->chunks = k->next;
		free(k);
	}
	free(s->numbers);
	if (!spare::keep(s))
		give_up_ring(s);
	channel::drop(c, events);
}

namespace {

// Waits until the kernel has let go of the program's memory. A send that a thread of the kernel's
// has taken over is found by the second attempt, or a later one.
void cancel_everything(Channel *c, Single *s)
{
	BlockSignals blocked;
	constexpr struct __kernel_timespec patience = {0, 5000000};
	s->ending = true;
	each(s, [](Operation *o) { o->cancelled = true; });
	while (!s->lost && (s->in_ring != 0 || s->cancels != 0 || s->listening || s->watching)) {
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
	explicit Dismantling(Single *s)
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

} // namespace

namespace {

// By its owner.
void end_own(Channel *c, Single *s)
{
	cancel_everything(c, s);
	if (s->from_device)
		poll_devices(s, 0);
	if (s->lost || !spare::may_keep(s)) {
		Dismantling awaited(s);
		dispose(c);
	} else
		dispose(c);
}

} // namespace

void end(Channel *c)
{
	Single *s = c->single.load(mo::acquire);
	if (s == nullptr)
		return;
	if (s->owner == this_thread()) {
		end_own(c, s);
		return;
	}
	// Its owner may be asleep in it: then the end is the owner's.
	for (int i = 0; c->inside.load(mo::seq_cst); i++) {
		bell::ring(c, bell::Which::wake);
		if (i < 100)
			sched_yield();
		else
			usleep(100);
	}
	if (c->single.load(mo::acquire) != nullptr)
		dispose(c);
}

bool change_bell(Channel *c, Single *s)
{
	return has_number(s) && io_uring_unregister_eventfd(&s->ring) == 0 && set_bell(c, s);
}

void moderate(Channel *c)
{
	Single *s = c->single.load(mo::relaxed);
	bool wanted = moderation::on(c);
	bool fits = !wanted || moderation::fits_ring(c->moderate_events.load(mo::relaxed),
						     c->moderate_time.load(mo::relaxed));
	c->without_ring = c->without_ring || !fits;
	if (s == nullptr)
		return;
	bool own = s->owner == this_thread();
	if (own && fits) {
		if (wanted == (s->ear >= 0) || change_bell(c, s))
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
	Single *s = c->single.load(mo::relaxed);
	if (s != nullptr && s->owner == this_thread() && s->from_device)
		s->from_device =
			poll_devices(s, c->busy_poll.load(mo::relaxed)) && c->busy_poll != 0;
}

void close_in_child(Channel *c)
{
	Single *s = c->single.exchange(nullptr, mo::relaxed);
	if (s == nullptr)
		return;
	// The memory is the parent's alone.
	if (has_number(s))
		sys::close(s->ring.ring_fd);
	moderation::stop_listening(s->ear);
}

} // namespace sigevec::single

#endif
