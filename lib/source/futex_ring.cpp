// SPDX-License-Identifier: MIT
#include "source/futex_ring.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "base/uring_queue.hpp"
#include "nptl.hpp"
#include "runtime/config.hpp"
#include "source/sync.hpp"
#include "uring.h"

namespace sigevec::futex_waiter {

namespace {

using source::Wait;

constexpr unsigned entries = 128;

// What is told of beside waits, by user_data.
constexpr uint64_t own_word = 1, unheard = 2, cleared = 3;

bool knows_futexes(struct io_uring *ring)
{
	struct io_uring_probe *p = io_uring_get_probe_ring(ring);
	bool known = p != nullptr && io_uring_opcode_supported(p, IORING_OP_FUTEX_WAIT_NUMBER) != 0;
	io_uring_free_probe(p);
	return known;
}

void prepare(struct io_uring_sqe *sqe, const void *word, uint32_t value, bool shared)
{
	constexpr int is_u32 = 2;
	io_uring_prep_rw(IORING_OP_FUTEX_WAIT_NUMBER, sqe,
			 is_u32 | (shared ? 0 : FUTEX_PRIVATE_FLAG), word, 0, value);
	sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
}

} // namespace

bool FutexRing::counts()
{
	OwnRing ring;
	if (ring.open(1, 0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) != 0)
		return false;
	bool idle = uring_queue::waits_idly(&ring);
	ring.close();
	return !idle;
}

bool FutexRing::open()
{
	if (config::force != config::Force::automatic && config::force != config::Force::uring)
		return false;
	if (ring_.open(entries, 0,
		       IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			       IORING_SETUP_CLAMP) != 0)
		return false;
	// Registered, it needs no number that the program could close, or a child of fork inherit.
	if (!knows_futexes(&ring_) || io_uring_register_ring_fd(&ring_) != 1) {
		ring_.close();
		return false;
	}
	sys::close(ring_.ring_fd);
	ring_.ring_fd = -1;
	return true;
}

// The registration, and with it the ring, goes with the thread.
void FutexRing::close()
{
	ring_.close();
}

// With room for that many in the same submission.
struct io_uring_sqe *FutexRing::get_sqe(unsigned room)
{
	return ring_.get_sqe([this] { ring_.note(-io_uring_submit(&ring_)); }, room);
}

void FutexRing::link(Wait *w)
{
	w->sync.at.links = {nullptr, asleep_};
	if (asleep_ != nullptr)
		asleep_->sync.at.links.before = w;
	asleep_ = w;
}

void FutexRing::unlink(Wait *w)
{
	Links<Wait> l = w->sync.at.links;
	(l.before != nullptr ? l.before->sync.at.links.after
	 : asleep_ == w      ? asleep_
			     : told_) = l.after;
	if (l.after != nullptr)
		l.after->sync.at.links.before = l.before;
}

void FutexRing::sleep(Wait *w)
{
	const source::SyncCall &c = w->sync;
	link(w);
	struct io_uring_sqe *sqe = get_sqe(2);
	prepare(sqe, c.word, c.value, c.shared);
	sqe->user_data = reinterpret_cast<uint64_t>(w);
	sleeping_++;
	if (!c.timed)
		return;
	sqe->flags |= IOSQE_IO_LINK;
	sqe = get_sqe(1);
	io_uring_prep_link_timeout(sqe, &w->sync.deadline,
				   IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME);
	sqe->user_data = unheard;
}

bool FutexRing::interrupt(Wait *w)
{
	if (ring_.lost()) {
		unlink(w);
		return true;
	}
	struct io_uring_sqe *sqe = get_sqe(1);
	io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(w), 0);
	sqe->user_data = unheard;
	return false;
}

bool FutexRing::many_remainders() const
{
	constexpr unsigned few = 64;
	return remainders_ > few && remainders_ > sleeping_ / 2;
}

// A remainder keeps a reference to its wait. A wake-up of a word that processes share could not be
// passed on once the memory has gone; and kinds with more than one word may sleep again after this.
bool FutexRing::leave(Wait *w)
{
	if (ring_.lost()) {
		unlink(w);
		return false;
	}
	source::hold(w);
	w->sync.at.left_behind = true;
	remainders_++;
	return many_remainders();
}

void FutexRing::clear_remainders()
{
	if (clearing_)
		return;
	struct io_uring_sqe *sqe = get_sqe(1);
	io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
	sqe->user_data = cleared;
	clearing_ = true;
}

bool FutexRing::may_close()
{
	if (ring_.lost())
		return true;
	if (remainders_ != 0)
		clear_remainders();
	return remainders_ == 0;
}

// True: nobody is told.
bool FutexRing::took_remainder(Wait *w, int result)
{
	sleeping_--;
	unlink(w);
	if (!w->sync.at.left_behind)
		return false;
	remainders_--;
	if (result == 0)
		nptl::wake(w->sync.word, 1, false);
	source::release(w);
	return true;
}

void FutexRing::listen(const std::atomic<uint32_t> &word, uint32_t value, int seconds)
{
	seconds_ = seconds;
	own_ = &word;
	own_value_ = value;
	if (many_remainders())
		clear_remainders();
	if (listens_)
		return;
	struct io_uring_sqe *sqe = get_sqe(1);
	prepare(sqe, &word, value, true); // as it is woken
	sqe->user_data = own_word;
	listens_ = true;
}

void FutexRing::wait()
{
	struct __kernel_timespec t = {seconds_, 0};
	if (!ring_.lost())
		ring_.note(uring_queue::wait_idly(&ring_, seconds_ >= 0 ? &t : nullptr));
	if (!ring_.lost())
		return;
	constexpr timespec moment{0, 10000000};
	syscall(SYS_futex, own_, FUTEX_WAIT, own_value_, &moment, nullptr, 0); // as it is woken
}

void FutexRing::awake()
{
	if (!ring_.lost())
		return;
	told_ = asleep_;
	asleep_ = nullptr;
}

bool FutexRing::next_without(Wait **w)
{
	while ((*w = told_) != nullptr) {
		unlink(*w);
		if (!(*w)->sync.at.left_behind)
			return true;
		remainders_--;
		source::release(*w);
	}
	return false;
}

bool FutexRing::next(Wait **w)
{
	struct io_uring_cqe *cqe;
	if (ring_.lost())
		return next_without(w);
	while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
		uint64_t data = cqe->user_data;
		int result = cqe->res;
		io_uring_cqe_seen(&ring_, cqe);
		if (data == cleared)
			clearing_ = false;
		if (data == own_word)
			listens_ = false;
		*w = data > cleared ? reinterpret_cast<Wait *>(data) : nullptr;
		if (data == own_word || (*w != nullptr && !took_remainder(*w, result)))
			return true;
	}
	return false;
}

} // namespace sigevec::futex_waiter

#else

namespace sigevec::futex_waiter {

bool FutexRing::counts()
{
	return false;
}
bool FutexRing::open()
{
	return false;
}
void FutexRing::close()
{
}
void FutexRing::sleep(source::Wait *)
{
}
bool FutexRing::interrupt(source::Wait *)
{
	return true;
}
bool FutexRing::leave(source::Wait *)
{
	return false;
}
void FutexRing::listen(const std::atomic<uint32_t> &, uint32_t, int)
{
}
bool FutexRing::may_close()
{
	return true;
}
void FutexRing::wait()
{
}
void FutexRing::awake()
{
}
bool FutexRing::next(source::Wait **)
{
	return false;
}

} // namespace sigevec::futex_waiter

#endif
