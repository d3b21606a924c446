// SPDX-License-Identifier: MIT
//
// Why the descriptor is exact with a ring. The kernel rings the bell for what ends while `armed' (the ring's eventfd is enabled).
// A reader that leaves nothing behind silences the bell if it may have been rung, arms it, and looks once more: the kernel
// makes its event visible, then looks whether it is to ring; the reader says that it is, then looks for events. While the reader
// sleeps in the ring the bell is not armed, for the reader will take what comes.
#include "channel/single.hpp"

#include "channel/bell.hpp"
#include "channel/queue.hpp"

#ifdef HAVE_LIBURING

#include "engine/transfer.hpp"
#include "request/stream.hpp"
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

constexpr uint64_t wake_tag = 1, cancel_tag = 2, inner_tag = 3;
constexpr unsigned completions = 4096; // beyond, the kernel keeps them in a list

std::atomic<uint64_t> threads{0};
thread_local uint64_t identity __attribute__((tls_model("initial-exec"))) = 0;

uint64_t this_thread()
{
	if (identity == 0)
		identity = threads.fetch_add(1, std::memory_order_relaxed) + 1;
	return identity;
}

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

void listen_for_others(Channel *c, Single *s);
void listen_inside(Channel *c, Single *s);

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

// What is left of the buffers.
struct iovec rest(Operation *o)
{
	size_t n = o->len - o->done;
	return {static_cast<char *>(o->buf) + o->done, n > transfer::most_at_once ? transfer::most_at_once : n};
}

// Cuts what is done from the front; the operation's own copy of the vector.
void advance_vector(Vector *v, size_t done)
{
	int first = 0;
	for (; first < v->count && done >= v->v[first].iov_len; first++)
		done -= v->v[first].iov_len;
	for (int i = first; i < v->count; i++)
		v->v[i - first] = v->v[i];
	v->count -= first;
	if (v->count > 0) {
		v->v[0].iov_base = static_cast<char *>(v->v[0].iov_base) + done;
		v->v[0].iov_len -= done;
	}
}

struct msghdr *header(Operation *o)
{
	Message *m = o->message;
	m->buffer = rest(o);
	m->header.msg_iov = o->vector != nullptr ? o->vector->v : &m->buffer;
	m->header.msg_iovlen = o->vector != nullptr ? static_cast<size_t>(o->vector->count) : 1;
	return &m->header;
}

// A part that the kernel repeats by itself it would not report if the ring had to be left: hence never MSG_WAITALL.
void prepare_message(struct io_uring_sqe *sqe, Operation *o)
{
	bool inward = o->op == Op::recv;
	int flags = (o->flags & ~MSG_WAITALL) | (inward ? 0 : MSG_NOSIGNAL) | (o->once ? MSG_DONTWAIT : 0);
	if (o->message != nullptr && inward)
		io_uring_prep_recvmsg(sqe, file_of(o), header(o), static_cast<unsigned>(flags));
	else if (o->message != nullptr)
		io_uring_prep_sendmsg(sqe, file_of(o), header(o), static_cast<unsigned>(flags));
	else if (inward)
		io_uring_prep_recv(sqe, file_of(o), rest(o).iov_base, rest(o).iov_len, flags);
	else
		io_uring_prep_send(sqe, file_of(o), rest(o).iov_base, rest(o).iov_len, flags);
}

void prepare(struct io_uring_sqe *sqe, Operation *o)
{
	switch (o->op) {
	case Op::connect:
		// One that has begun is not begun again: the socket tells its end.
		if (o->again)
			io_uring_prep_poll_add(sqe, file_of(o), POLLOUT);
		else
			io_uring_prep_connect(sqe, file_of(o), static_cast<const struct sockaddr *>(o->message->header.msg_name),
					      o->message->header.msg_namelen);
		break;
	case Op::poll:
		io_uring_prep_poll_add(sqe, file_of(o), static_cast<unsigned>(o->flags) & 0xffff);
		break;
	default:
		prepare_message(sqe, o);
	}
}

bool kernel_has_something(const Single *s)
{
	return (IO_URING_READ_ONCE(*s->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

bool ring_has_something(const Single *s)
{
	return io_uring_cq_ready(&s->ring) != 0 || kernel_has_something(s);
}

// The kernel is not to ring while the reader looks.
void disarm(Single *s)
{
	if (!s->armed)
		return;
	io_uring_cq_eventfd_toggle(&s->ring, false);
	s->armed = false;
	s->may_ring = s->may_ring || ring_has_something(s);
}

void arm(Single *s)
{
	io_uring_cq_eventfd_toggle(&s->ring, true);
	s->armed = true;
	// Against the kernel's look at the flag, after it has made its event visible.
	std::atomic_thread_fence(std::memory_order_seq_cst);
}

// After a read: the descriptor says the truth.
void settle(Channel *c, Single *s)
{
	// What came before it was armed the kernel has not rung for; what came before it was silenced, in vain.
	for (bool unheard = false;;) {
		bool from_ring = ring_has_something(s);
		if (from_ring || s->ready != nullptr || !channel::queue_empty(c)) {
			if (!s->armed || unheard || !(from_ring || s->may_ring))
				channel::ring_bell(c);
			s->may_ring = true;
			return;
		}
		if (s->may_ring || c->rung.load(std::memory_order_seq_cst) != 0) {
			channel::silence_bell(c);
			s->may_ring = false;
			unheard = true;
		} else if (!s->armed) {
			arm(s);
			unheard = true;
		} else
			return;
	}
}

bool stream_socket(int fd)
{
	int type = 0;
	socklen_t n = sizeof type;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

// A send or receive goes on until it is whole.
bool goes_on(Operation *o, ssize_t n)
{
	if (n <= 0 || (o->op != Op::send && o->op != Op::recv) || (o->flags & MSG_DONTWAIT) != 0)
		return false;
	if (o->done + static_cast<size_t>(n) >= o->len ||
	    (o->op == Op::recv && ((o->flags & MSG_WAITALL) == 0 || !stream_socket(file_of(o)))))
		return false;
	o->done += static_cast<size_t>(n);
	if (o->vector != nullptr)
		advance_vector(o->vector, static_cast<size_t>(n));
	if (o->op == Op::send && o->message != nullptr) {
		o->message->header.msg_control = nullptr; // it went with the first part
		o->message->header.msg_controllen = 0;
	}
	return true;
}

void put_ready(Single *s, Operation *o)
{
	o->next = nullptr;
	o->state = Operation::State::ready;
	if (s->ready == nullptr)
		s->ready = o;
	else
		s->ready_last->next = o;
	s->ready_last = o;
}

void ended(Channel *c, Single *s, Operation *o, ssize_t n)
{
	s->in_ring--;
	o->state = Operation::State::waiting;
	if (o->once && (n == -EAGAIN || goes_on(o, n))) {
		hand_over(c, o);
		return;
	}
	if (o->op == Op::connect && n == -EAGAIN && !o->cancelled) {
		hand_over(c, o); // a UNIX socket's backlog is full
		return;
	}
	bool disturbed = n == -EINTR || n == -ECANCELED;
	if (o->cancelled && disturbed && o->op == Op::send && o->done != 0 && c->ending.load(std::memory_order_relaxed))
		hand_over(c, o); // it has begun: the rest goes without the channel
	else if (o->cancelled && disturbed)
		finish(s, o, o->done != 0 ? static_cast<ssize_t>(o->done) : -ECANCELED);
	else if (disturbed || goes_on(o, n)) {
		o->again = true;
		restart(s, o);
	} else {
		if (o->op == Op::connect && o->again && n > 0) {
			int error = 0;
			socklen_t size = sizeof error;
			n = getsockopt(o->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ? -errno : -error;
			struct sockaddr_storage peer;
			size = sizeof peer;
			if (n == 0 && getpeername(o->fd, reinterpret_cast<struct sockaddr *>(&peer), &size) != 0)
				n = -errno;
		}
		bool part = o->op == Op::send || o->op == Op::recv;
		finish(s, o, part && o->done != 0 ? static_cast<ssize_t>(o->done) + (n > 0 ? n : 0) : n);
	}
}

void describe(const Operation *o, event_data_t *d)
{
	*d = {};
	d->ev_type = event_type_net;
	d->ev_un.ev_fd = o->fd;
	d->ev_result = o->result < 0 ? -1 : o->result;
	d->ev_errno = o->result < 0 ? static_cast<int>(-o->result) : 0;
	d->ev_data = o->data;
}

// The ring of a channel, if this thread is its owner; made at the first use. nullptr: the channel has none (any more).
Single *own(Channel *c)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	if (s != nullptr && s->owner == this_thread())
		return s;
	if (s != nullptr)
		leave(c);
	else if (!c->without_ring && (s = make(c)) != nullptr) {
		c->single.store(s, std::memory_order_release);
		return s;
	}
	c->without_ring = true;
	return nullptr;
}

// What has to be tried at once, or may block, goes the ordinary way. So does an accept: it waits exclusively, and one in a ring that is
// being left would swallow the wake-up that is meant for its successor.
bool suitable(const Call &call)
{
	if (call.op == Op::accept)
		return false;
	constexpr int beside = MSG_OOB | MSG_ERRQUEUE, peek_all = MSG_PEEK | MSG_WAITALL;
	if (call.op == Op::recv)
		return (call.flags & beside) == 0 && (call.flags & peek_all) != peek_all;
	return call.op != Op::send || (call.flags & MSG_FASTOPEN) == 0;
}

// Whether sends that were handed over are still under way on the stream.
bool others_before(Single *s, int fd)
{
	Number *n = number_of(s, fd);
	if (n == nullptr || !n->handed_over)
		return false;
	n->handed_over = !stream::idle(stream::word_of({n->dev, n->ino, false}));
	return n->handed_over;
}

void submit_now(Channel *c, Single *s, const Call &call)
{
	io_uring_submit(&s->ring);
	if (call.op != Op::send)
		return;
	// It has ended by now, or is to go on elsewhere: then the descriptor must not say that there is an event.
	reap(c);
	if (s->ready == nullptr)
		settle(c, s);
}

} // namespace

void start_in_ring(Single *s, Operation *o)
{
	struct io_uring_sqe *sqe = get_sqe(s);
	prepare(sqe, o);
	sqe->user_data = reinterpret_cast<uint64_t>(o);
	o->state = Operation::State::in_ring;
	s->in_ring++;
}

namespace {

// What next is to end with before it starts, or 0.
ssize_t ends_unstarted(Single *s, const Operation *next)
{
	if (!next->cancelled && still_there(s, next))
		return 0;
	return next->done != 0 ? static_cast<ssize_t>(next->done) : -ECANCELED;
}

} // namespace

void finish(Single *s, Operation *o, ssize_t result)
{
	for (;;) {
		o->result = result;
		if (result >= 0 && o->message != nullptr)
			transfer::tell_caller(o->message);
		Operation *next = leave_lane(s, o);
		put_ready(s, o);
		if (next == nullptr)
			return;
		if ((result = ends_unstarted(s, next)) == 0) {
			start_in_ring(s, next);
			return;
		}
		o = next;
	}
}

void restart(Single *s, Operation *o)
{
	if (ssize_t result = ends_unstarted(s, o); result != 0)
		finish(s, o, result);
	else
		start_in_ring(s, o);
}

void reap(Channel *c)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	struct io_uring_cqe *cqe;
	while (io_uring_cq_ready(&s->ring) != 0 && io_uring_peek_cqe(&s->ring, &cqe) == 0) {
		if (s->armed)
			s->may_ring = true;
		uint64_t tag = cqe->user_data;
		ssize_t n = cqe->res;
		bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;
		io_uring_cqe_seen(&s->ring, cqe);
		if (tag > inner_tag)
			ended(c, s, reinterpret_cast<Operation *>(tag), n);
		else if (tag == wake_tag && !more)
			listen_for_others(c, s);
		else if (tag == inner_tag && !more) {
			s->watching = false;
			if (n >= 0)
				listen_inside(c, s);
		}
	}
}

int start(Channel *c, const Call &call)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	Operation *o = make_operation(s, call);
	if (o == nullptr)
		return EAGAIN;
	// Without EC_BATCH what a send could not do at once goes on by itself, not only when the owner looks.
	o->once = (c->flags & EC_BATCH) == 0 && o->op == Op::send && (o->flags & MSG_DONTWAIT) == 0;
	// What may go on for long, part by part, holds its file. A descriptor that cannot be held need not be: its error is the event.
	constexpr size_t large = 16384;
	if (!o->once && o->len >= large && (o->op == Op::send || (o->flags & MSG_WAITALL) != 0))
		hold(o, nullptr);
	int error;
	bool first = enter_lane(c, o, &error);
	if (error != 0) {
		free_operation(s, o);
		return error;
	}
	if (first)
		start_in_ring(s, o);
	return 0;
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

unsigned take(Channel *c, event_data_t *v, unsigned max)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	reap(c);
	unsigned n = 0;
	while (n < max && s->ready != nullptr) {
		Operation *o = s->ready;
		s->ready = o->next;
		describe(o, &v[n++]);
		free_operation(s, o);
	}
	if (n != 0) {
		c->delivered.fetch_add(n, std::memory_order_relaxed);
		c->pushed.fetch_add(n, std::memory_order_relaxed);
	}
	return n;
}

namespace {

// In c's ring, whose room it has. -1: not for a ring.
int submit_to_ring(Channel *c, const Call &call)
{
	Single *s = suitable(call) ? own(c) : nullptr;
	if (s == nullptr || (call.op == Op::send && others_before(s, call.fd)))
		return -1;
	bool batch = (c->flags & EC_BATCH) != 0;
	if ((s->in_ring == 0 || !batch) && !channel::still_open(c))
		return EBADF;
	int error = start(c, call);
	if (error != 0)
		return error;
	stats::count(stats::requests);
	if (!batch)
		submit_now(c, s, call);
	return 0;
}

} // namespace

int submit(const Call &call)
{
	// The room for its event keeps the channel meanwhile.
	Channel *c = nullptr;
	if (int error = channel::admit(call.event.signo, &c, false); error != 0)
		return error;
	int error = (c->flags & EC_SINGLE) != 0 ? submit_to_ring(c, call) : -1;
	if (error == 0)
		channel::count_kept(c);
	else
		channel::retract(c);
	return error;
}

void watch(Channel *c)
{
	Single *s = (c->flags & EC_SINGLE) != 0 ? c->single.load(std::memory_order_relaxed) : nullptr;
	if (s != nullptr && s->owner != this_thread())
		leave(c);
	else if (s != nullptr && !s->watching) {
		listen_inside(c, s);
		io_uring_submit(&s->ring);
	}
}

void flush(Channel *c)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	if (s != nullptr && s->owner == this_thread())
		io_uring_submit(&s->ring);
}

int next(Channel *c, event_data_t *v, unsigned max, bool wait, const Deadline &deadline, bool *handled)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	if (s != nullptr && s->owner != this_thread()) {
		leave(c);
		s = nullptr;
	}
	*handled = s != nullptr;
	if (s == nullptr)
		return 0;
	if (io_uring_sq_ready(&s->ring) != 0 || kernel_has_something(s)) {
		bool idle = s->ready == nullptr && io_uring_cq_ready(&s->ring) == 0 && channel::queue_empty(c);
		disarm(s);
		// Most often the submission and the wait are one call.
		if (int e = enter(c, wait && idle, deadline); e == -EINTR && !ring_has_something(s) && channel::queue_empty(c)) {
			settle(c, s);
			return -EINTR;
		}
	}
	for (;;) {
		if (c->ending.load(std::memory_order_seq_cst)) {
			end(c);
			return -EBADF;
		}
		unsigned n = channel::take_queued(c, v, max);
		n += n < max ? take(c, v + n, max - n) : 0;
		if (n != 0) {
			settle(c, s);
			return static_cast<int>(n);
		}
		// Found empty: now is the time to see whether the program has closed it.
		if (s->in_ring == 0 && !channel::check_descriptor(c))
			return -EBADF;
		disarm(s);
		int e = wait || kernel_has_something(s) ? enter(c, wait, deadline) : -ETIMEDOUT;
		if (e >= 0 && !wait)
			e = -ETIMEDOUT; // once more, with what the kernel has done now
		if (e != 0 && !ring_has_something(s) && channel::queue_empty(c)) {
			if (e == -ETIMEDOUT)
				s->may_ring = true; // the kernel may have been late to ring for what has been taken
			settle(c, s);
			return e;
		}
	}
}

unsigned cancel(Channel *c, const void *data)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	if (s == nullptr)
		return 0;
	if (s->owner != this_thread()) {
		leave(c);
		return 0;
	}
	// What has ended already is not to be cancelled.
	enter(c, false, Deadline{});
	reap(c);
	unsigned found = 0;
	each(s, [&](Operation *o) {
		if (o->data != data || o->state == Operation::State::ready || o->cancelled)
			return;
		found++;
		o->cancelled = true;
		if (o->state == Operation::State::in_ring) {
			struct io_uring_sqe *sqe = get_sqe(s);
			io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(o), 0);
			sqe->user_data = cancel_tag;
		}
	});
	each(s, [&](Operation *o) {
		if (o->cancelled && o->state == Operation::State::waiting)
			finish(s, o, -ECANCELED);
	});
	if (found != 0)
		io_uring_submit(&s->ring);
	settle(c, s);
	return found;
}

unsigned arrived(Channel *c)
{
	Single *s = c->single.load(std::memory_order_relaxed);
	if (s == nullptr || s->owner != this_thread())
		return 0;
	enter(c, false, Deadline{});
	reap(c);
	unsigned n = 0;
	for (Operation *o = s->ready; o != nullptr; o = o->next)
		n++;
	settle(c, s);
	return n;
}

void dispose(Channel *c)
{
	Single *s = c->single.exchange(nullptr, std::memory_order_acq_rel);
	uint64_t events = 0;
	each(s, [&](Operation *o) {
		events++;
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

#else // !HAVE_LIBURING

namespace sigevec::single {

int submit(const Call &)
{
	return -1;
}
int next(Channel *, event_data_t *, unsigned, bool, const Deadline &, bool *handled)
{
	*handled = false;
	return 0;
}
void flush(Channel *) {}
unsigned cancel(Channel *, const void *)
{
	return 0;
}
unsigned arrived(Channel *)
{
	return 0;
}
void watch(Channel *) {}
void end(Channel *) {}
void after_fork(Channel *) {}

} // namespace sigevec::single

#endif
