// SPDX-License-Identifier: MIT
#include "runtime/mailbox.hpp"

#include "base/memory_order.hpp"

#ifdef HAVE_LIBURING

#include "base/descriptor.hpp"
#include "base/same_file.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "base/uring_queue.hpp"
#include "runtime/config.hpp"
#include "runtime/helper.hpp"
#include "runtime/table.hpp"
#include "uring.h"

#include <cerrno>
#include <initializer_list>
#include <sys/resource.h>

namespace sigevec::helper {

namespace {

// What this thread has of a mailbox: its registration, or -1; and how many of its files have been
// waited for. A thread that hands over once or twice is not registered.
struct Reach {
	const Mailbox *of;
	int ring;
	unsigned waited;
};
thread_local Reach reached __attribute__((tls_model("initial-exec"))) = {nullptr, -1, 0};
constexpr unsigned most_waited = 2;

long register_with(int ring, unsigned what, void *argument)
{
	return syscall(SYS_io_uring_register, ring, what, argument, 1);
}

// A thread's registrations are few, and the program may name its own: from the other end.
int register_ring(int number)
{
	constexpr unsigned last = 15, any = ~0u;
	for (unsigned place : {last, any}) {
		struct io_uring_rsrc_update u = {};
		u.offset = place;
		u.data = static_cast<uint64_t>(number);
		if (register_with(number, IORING_REGISTER_RING_FDS_NUMBER, &u) == 1)
			return static_cast<int>(u.offset);
	}
	return -1;
}

bool wanted()
{
	return config::force == config::Force::automatic || config::force == config::Force::uring;
}

// A number that is asked for is the lowest, and 0 to 2 are the program's.
bool standard_ones_are_open()
{
	for (int fd : {0, 1, 2})
		if (sys::closes_on_exec(fd) < 0)
			return false;
	return true;
}

// Where the kernel suddenly does not compare, what is open by the number is what it has just been
// given for.
void close_brought(int number, int inner)
{
	Same s = same_file(thread_id(), number, table::thread_of_helper(), inner);
	if (s == Same::yes || (s == Same::unknown && sys::closes_on_exec(number) >= 0))
		sys::close(number);
}

void unregister_ring(int ring)
{
	struct io_uring_rsrc_update u = {};
	u.offset = static_cast<unsigned>(ring);
	register_with(ring,
		      IORING_UNREGISTER_RING_FDS_NUMBER | IORING_REGISTER_USE_REGISTERED_RING_FLAG,
		      &u);
}

} // namespace

// ---- the ring ----

struct Mailbox::Opening : Errand {
	explicit Opening(Mailbox *m) : Errand(run_it), mailbox(m) {}
	static void run_it(Errand *e) { static_cast<Opening *>(e)->mailbox->open(); }
	Mailbox *mailbox;
};

// By the driver.
void Mailbox::open()
{
	constexpr unsigned entries = 8;
	if (state_.load(mo::relaxed) != State::closed)
		return;
	State s = State::refused;
	if (ring_.open(entries, 0, 0) == 0) {
		struct io_uring_probe *p = io_uring_get_probe_ring(&ring_);
		if (p != nullptr &&
		    io_uring_opcode_supported(p, IORING_OP_FIXED_FD_INSTALL_NUMBER) != 0 &&
		    io_uring_register_files_sparse(&ring_, places) == 0)
			s = State::open;
		io_uring_free_probe(p);
		if (s != State::open)
			ring_.close();
	}
	number_ = ring_.ring_fd;
	state_.store(s, mo::release);
}

// Has the kernel take what was prepared. How much it has taken: what it has not is taken back, and
// of what somebody else has had it take nothing is believed; the ring is used no more then. With
// the lock held.
unsigned Mailbox::enter(int ring, unsigned flags)
{
	auto head = [this] { return io_uring_smp_load_acquire(ring_.sq.khead); };
	unsigned before = head(), own = 0, left;
	for (unsigned in_vain = 0; (left = uring_queue::publish(&ring_)) != 0;) {
		long n = syscall(SYS_io_uring_enter, ring, left, 0, flags, nullptr, 0);
		own += n > 0 ? static_cast<unsigned>(n) : 0;
		if (n <= 0 && (++in_vain == uring_queue::most_in_vain ||
			       (n < 0 && !uring_queue::is_passing(errno))))
			break;
	}
	unsigned taken = head() - before;
	ring_.sq.sqe_tail = before + taken;
	uring_queue::publish(&ring_);
	if (left != 0 || own != taken)
		state_.store(State::refused, mo::release);
	return own == taken ? own : 0;
}

// Of the entry with this mark; those before it are passed over. With the lock held.
int Mailbox::result_of(uint64_t mark)
{
	struct io_uring_cqe *cqe;
	while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
		bool found = cqe->user_data == mark;
		int result = cqe->res;
		io_uring_cqe_seen(&ring_, cqe);
		if (found)
			return result;
	}
	return -EAGAIN;
}

// Between its closing and its registration the number may have become another ring's: what goes in
// there comes out here only if it is this one.
bool Mailbox::is_reached_by(int ring)
{
	BlockSignals blocked;
	Guard<Mutex> g(lock_);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring_);
	if (sqe == nullptr)
		return false;
	io_uring_prep_nop(sqe);
	sqe->user_data = ++marks_;
	return enter(ring, IORING_ENTER_REGISTERED_RING_FLAG) == 1 && result_of(marks_) == 0;
}

int Mailbox::take(int place)
{
	static int nothing = -1;
	int file = -EAGAIN;
	bool emptied = false;
	{
		Guard<Mutex> g(lock_);
		struct io_uring_sqe *install = io_uring_get_sqe(&ring_);
		struct io_uring_sqe *empty = io_uring_get_sqe(&ring_);
		if (install != nullptr && empty != nullptr) {
			io_uring_prep_rw(IORING_OP_FIXED_FD_INSTALL_NUMBER, install, place, nullptr,
					 0, 0);
			install->flags |= IOSQE_FIXED_FILE;
			install->user_data = ++marks_;
			io_uring_prep_files_update(empty, &nothing, 1, place);
			empty->user_data = ++marks_;
			unsigned n = enter(ring_.ring_fd, 0);
			file = n >= 1 ? result_of(marks_ - 1) : -EAGAIN;
			emptied = n == 2 && result_of(marks_) == 1;
		}
	}
	if (emptied)
		release(place);
	note_number(file);
	return file;
}

// ---- its places ----

int Mailbox::reserve()
{
	for (unsigned i = 0; i < places / word; i++) {
		uint64_t w = taken_[i].load(mo::relaxed);
		while (~w != 0) {
			auto bit = static_cast<unsigned>(__builtin_ctzll(~w));
			if (taken_[i].compare_exchange_weak(w, w | uint64_t{1} << bit, mo::acquire,
							    mo::relaxed))
				return static_cast<int>(i * word + bit);
		}
	}
	return -1;
}

void Mailbox::release(int place)
{
	auto p = static_cast<unsigned>(place);
	taken_[p / word].fetch_and(~(uint64_t{1} << p % word), mo::release);
}

void Mailbox::note_number(int number)
{
	int h = highest_.load(mo::relaxed);
	while (number > h && !highest_.compare_exchange_weak(h, number, mo::relaxed))
		;
}

// What is taken later must find a number: the caller has been told that it is accepted.
bool Mailbox::has_room() const
{
	constexpr unsigned others = 64;
	struct rlimit r;
	return getrlimit(RLIMIT_NOFILE, &r) == 0 &&
	       r.rlim_cur > static_cast<unsigned>(highest_.load(mo::relaxed)) + places + others;
}

// ---- the submitters ----

// The ring's registration with this thread, or -1. Signals are blocked: a number is ours meanwhile.
int Mailbox::register_thread()
{
	Helper *h = running();
	if (h == nullptr || h->files.way.load(mo::relaxed) != Files::Way::fetch)
		return -1; // the ring would be in the program's table, or a filter is there
	if (!wanted() || !standard_ones_are_open())
		return -1;
	if (state_.load(mo::acquire) == State::closed) {
		Opening opening(this);
		run_inside(&opening);
	}
	if (state_.load(mo::acquire) != State::open || !can_compare())
		return -1;
	BlockSignals blocked;
	int number = table::bring(number_);
	if (number < 0)
		return -1;
	int ring = register_ring(number);
	close_brought(number, number_);
	if (ring >= 0 && !is_reached_by(ring)) {
		unregister_ring(ring);
		ring = -1;
	}
	return ring;
}

int Mailbox::reach()
{
	Reach &t = reached;
	if (t.of != this)
		t = {this, -1, 0};
	if (t.waited > most_waited)
		return t.ring;
	// Counted first: a handler that comes meanwhile goes the other way.
	if (t.waited++ == most_waited)
		t.ring = register_thread();
	return t.ring;
}

int Mailbox::put(int number)
{
	if (state_.load(mo::relaxed) == State::refused || !has_room())
		return -1;
	int ring = reach();
	int place = ring >= 0 ? reserve() : -1;
	if (place < 0)
		return -1;
	struct io_uring_rsrc_update u = {};
	u.offset = static_cast<unsigned>(place);
	u.data = reinterpret_cast<uint64_t>(&number);
	if (register_with(ring,
			  IORING_REGISTER_FILES_UPDATE | IORING_REGISTER_USE_REGISTERED_RING_FLAG,
			  &u) == 1)
		return place;
	release(place);
	return -1;
}

} // namespace sigevec::helper

#else

namespace sigevec::helper {

int Mailbox::put(int)
{
	return -1;
}
int Mailbox::take(int)
{
	return -1;
}
void Mailbox::note_number(int)
{
}

} // namespace sigevec::helper

#endif
