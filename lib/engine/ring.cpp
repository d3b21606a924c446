// SPDX-License-Identifier: MIT
#include "engine/ring.hpp"

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "base/uring_queue.hpp"
#include "dma/zero_copy.hpp"
#include "engine/ring_prepare.hpp"
#include "engine/transfer.hpp"
#include "request/stats_detail.hpp"
#include "runtime/config.hpp"
#include "uring.h"

#include <cerrno>
#include <poll.h>

namespace sigevec::driver {

namespace {

const char *reason = nullptr;

} // namespace

const char *Ring::why_not()
{
	return reason;
}

#ifdef HAVE_LIBURING

namespace {

// What a completion is about, in the low bits of user_data; requests are aligned to 8.
constexpr uint64_t request_tag = 0, cancellation_tag = 1, wakeup_tag = 2, zero_copy_tag = 3,
		   readiness_tag = 4, tag_mask = 7;

// A transfer this long is copied by a worker of the ring's, not within the driver's submission.
constexpr size_t large = 256 * 1024;

const char *explain(int error)
{
	switch (error) {
	case -ENOSYS:
		return "the kernel has no io_uring, or a seccomp filter says so";
	case -EPERM:
	case -EACCES:
		return "io_uring is refused (kernel.io_uring_disabled or a seccomp filter)";
	case -ENOMEM:
		return "no memory for a ring (RLIMIT_MEMLOCK)";
	case -EINVAL:
		return "the kernel's io_uring has no DEFER_TASKRUN (Linux 6.1)";
	default:
		return "io_uring_setup failed";
	}
}

// A user with little memory to lock gets a small ring.
int set_up(OwnRing *ring, unsigned entries, unsigned how)
{
	int e;
	do {
		e = ring->open(entries, 0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_CLAMP | how);
		entries /= 2;
	} while (e == -ENOMEM && entries >= 8);
	return e;
}

// Where a sleep in the ring cannot be told from a wait for a device the driver sleeps on the ring's
// descriptor, which says nothing of completions that are deferred until somebody asks.
int set_up(OwnRing *ring, unsigned entries)
{
	int e = set_up(ring, entries, IORING_SETUP_DEFER_TASKRUN);
	if (e == 0 && !uring_queue::waits_idly(ring)) {
		ring->close();
		e = set_up(ring, entries, IORING_SETUP_COOP_TASKRUN);
	}
	reason = e == 0 ? nullptr : explain(e);
	return e;
}

// What the kernel is to heed beside what its arguments say.
int flags_of(const Request *r)
{
	// fcntl may have set O_APPEND since. Where the kernel does not know the flag, a worker
	// makes the call.
	if (r->op == Op::write)
		return is_stream(r->kind) ? 0 : RWF_NOAPPEND;
	// A send never waits in the ring: see driver_streams.cpp.
	return r->op == Op::send ? r->call_flags | MSG_NOSIGNAL | MSG_DONTWAIT : r->call_flags;
}

// What the completion of r's operation is known by.
uint64_t mark_of(const Request *r)
{
	if (r->dma.zero_copy != nullptr)
		return reinterpret_cast<uint64_t>(r->dma.zero_copy) | zero_copy_tag;
	return reinterpret_cast<uint64_t>(r) | request_tag;
}

} // namespace

bool Ring::open(unsigned entries, DriverWakeup *w)
{
	if (set_up(&ring_, entries) != 0)
		return false;
	wakeup_ = w;
	if (!knows_futexes() && (woken_by_ = w->by_signal()) < 0) {
		ring_.close();
		return false;
	}
	// What the ring passes on to threads of the kernel's has as many as the library's own; four
	// to a processor without this.
	unsigned workers[2] = {config::limits.threads.load(mo::relaxed), 0};
	io_uring_register_iowq_max_workers(&ring_, workers);
	return true;
}

bool Ring::probe()
{
	OwnRing ring;
	if (set_up(&ring, 8) != 0)
		return false;
	ring.close();
	return true;
}

struct io_uring_sqe *Ring::get_sqe()
{
	return ring_.get_sqe([this] { ring_.note(-io_uring_submit(&ring_)); });
}

bool Ring::knows_futexes()
{
	struct io_uring_probe *p = io_uring_get_probe_ring(&ring_);
	bool known = p != nullptr && io_uring_opcode_supported(p, IORING_OP_FUTEX_WAIT_NUMBER) != 0;
	io_uring_free_probe(p);
	return known;
}

// A futex that has changed by the time it is submitted ends at once.
void Ring::watch_wakeup()
{
	constexpr int is_u32 = 2;
	struct io_uring_sqe *sqe = get_sqe();
	if (woken_by_ >= 0)
		io_uring_prep_poll_multishot(sqe, woken_by_, POLLIN);
	else {
		io_uring_prep_rw(IORING_OP_FUTEX_WAIT_NUMBER, sqe, is_u32 | FUTEX_PRIVATE_FLAG,
				 &wakeup_->word(), 0, DriverWakeup::asleep);
		sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
	}
	sqe->user_data = wakeup_tag;
	watched_ = true;
}

void Ring::start(Request *r, int file)
{
	stats_detail::step(trace::Step::begun, r, stats_detail::By::uring);
	struct io_uring_sqe *sqe = get_sqe();
	size_t n = prepare_sqe(sqe, r, file, flags_of(r));
	if (r->op == Op::send && r->message == nullptr &&
	    dma::zero_copy::begin(r, file, n) != nullptr) {
		sqe->opcode = IORING_OP_SEND_ZC;
		sqe->ioprio = IORING_SEND_ZC_REPORT_USAGE;
	}
	if (r->op == Op::read || r->op == Op::write) {
		if (r->kind == Kind::fifo || r->kind == Kind::socket)
			sqe->off = static_cast<uint64_t>(-1);
		if (!r->on_stream() && n > large)
			sqe->flags |= IOSQE_ASYNC;
	}
	if (r->dma)
		use_registered(sqe, r);
	sqe->user_data = mark_of(r);
	note_start(r, sqe);
}

void Ring::watch(int epoll)
{
	epoll_ = epoll;
}

void Ring::watch_epoll()
{
	struct io_uring_sqe *sqe = get_sqe();
	io_uring_prep_poll_multishot(sqe, epoll_, POLLIN);
	sqe->user_data = readiness_tag;
	watches_epoll_ = true;
}

void Ring::cancel(Request *r)
{
	struct io_uring_sqe *sqe = get_sqe();
	io_uring_prep_cancel64(sqe, mark_of(r), 0);
	sqe->user_data = reinterpret_cast<uint64_t>(r) | cancellation_tag;
}

void Ring::wait(int ms)
{
	if (!watched_)
		watch_wakeup();
	if (epoll_ >= 0 && !watches_epoll_)
		watch_epoll();
	struct __kernel_timespec t = {ms / 1000, (ms % 1000) * 1000000ll};
	if (uring_queue::waits_idly(&ring_))
		ring_.note(uring_queue::wait_idly(&ring_, ms >= 0 ? &t : nullptr));
	else
		wait_on_descriptor(ms);
}

// Before Linux 6.15.
void Ring::wait_on_descriptor(int ms)
{
	ring_.note(uring_queue::submit_and_look(&ring_));
	if (lost() || io_uring_cq_ready(&ring_) != 0)
		return;
	struct pollfd p = {ring_.ring_fd, POLLIN, 0};
	timespec t = {ms / 1000, (ms % 1000) * 1000000l};
	sys::poll(&p, 1, ms >= 0 ? &t : nullptr);
}

bool Ring::next(Completion *c)
{
	struct io_uring_cqe *cqe;
	if (helper::Post *p = stranded_; p != nullptr) {
		stranded_ = p->next;
		return classify(reinterpret_cast<uint64_t>(p->object), -ECANCELED, true, c);
	}
	if (untaken_ != 0) {
		const struct io_uring_sqe *sqe =
			&ring_.sq.sqes[(ring_.sq.sqe_tail - untaken_--) & *ring_.sq.kring_mask];
		return classify(sqe->user_data, -ECANCELED, true, c);
	}
	if (io_uring_peek_cqe(&ring_, &cqe) != 0)
		return false;
	while ((cqe->flags & IORING_CQE_F_NOTIF) != 0) {
		bool copied = (static_cast<uint32_t>(cqe->res) & IORING_NOTIF_USAGE_ZC_COPIED) != 0;
		dma::zero_copy::released(
			reinterpret_cast<dma::ZeroCopy *>(cqe->user_data & ~tag_mask), copied);
		io_uring_cqe_seen(&ring_, cqe);
		if (io_uring_peek_cqe(&ring_, &cqe) != 0)
			return false;
	}
	uint64_t data = cqe->user_data;
	int result = cqe->res;
	bool ended = (cqe->flags & IORING_CQE_F_MORE) == 0;
	io_uring_cqe_seen(&ring_, cqe);
	return classify(data, result, ended, c);
}

bool Ring::classify(uint64_t data, int result, bool ended, Completion *c)
{
	c->result = result;
	c->request = reinterpret_cast<Request *>(data & ~tag_mask);
	switch (data & tag_mask) {
	case request_tag:
		c->type = CompletionType::request;
		outstanding_--;
		break;
	case cancellation_tag:
		c->type = CompletionType::cancellation;
		break;
	case zero_copy_tag: {
		auto *z = reinterpret_cast<dma::ZeroCopy *>(c->request);
		c->type = CompletionType::request;
		c->request = z->request;
		outstanding_--;
		dma::zero_copy::ended(z, c->result, !ended);
		// A kernel without the operation: a worker sends.
		if (c->result == -EINVAL || c->result == -EOPNOTSUPP)
			c->result = -EAGAIN;
		break;
	}
	case readiness_tag:
		c->type = CompletionType::readiness;
		watches_epoll_ = !ended;
		break;
	default:
		c->type = CompletionType::wakeup;
		watched_ = !ended;
	}
	return true;
}

// A ring that is lost when its queue is full takes no more.
void Ring::note_start(Request *r, const struct io_uring_sqe *sqe)
{
	outstanding_++;
	if (!ring_.is_nowhere(sqe))
		return;
	r->post = {stranded_, helper::MessageType::request,
		   reinterpret_cast<void *>(sqe->user_data)};
	stranded_ = &r->post;
}

bool Ring::lost() const
{
	return ring_.lost();
}

void Ring::leave()
{
	ring_.leave();
	untaken_ = ring_.sq.sqe_tail - io_uring_smp_load_acquire(ring_.sq.khead);
	reason = explain(-EPERM);
}

#else

bool Ring::open(unsigned, DriverWakeup *)
{
	return probe();
}

bool Ring::probe()
{
	reason = "built without liburing";
	return false;
}

void Ring::start(Request *, int)
{
}
void Ring::keep(dma::Region *)
{
}
void Ring::let_go(dma::Region *)
{
}
void Ring::watch(int)
{
}
void Ring::cancel(Request *)
{
}
bool Ring::lost() const
{
	return false;
}
void Ring::leave()
{
}
void Ring::wait(int)
{
}
bool Ring::next(Completion *)
{
	return false;
}

#endif

} // namespace sigevec::driver
