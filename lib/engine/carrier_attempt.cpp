// SPDX-License-Identifier: MIT
//
// What a carrier does: attempts with its caller's rights, and waits between them.
#include "engine/carrier_impl.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "engine/rights.hpp"
#include "engine/transfer.hpp"

#include <algorithm>
#include <cerrno>
#include <poll.h>

namespace sigevec::carrier {

namespace {

// libc's setuid and its like wait while one exists: the thread has the caller's rights, whatever
// the process has now.
class AsCaller {
public:
	explicit AsCaller(const Rights &callers) : before_(block())
	{
		now_ = Rights::own();
		changed_ = now_ != callers;
		if (changed_)
			callers.adopt();
	}
	~AsCaller()
	{
		if (changed_)
			now_.adopt();
		syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, sizeof before_);
	}
	AsCaller(const AsCaller &) = delete;
	AsCaller &operator=(const AsCaller &) = delete;

private:
	static uint64_t block()
	{
		constexpr int of_setuid = 33; // glibc's
		uint64_t before = 0, more = uint64_t{1} << (of_setuid - 1);
		syscall(SYS_rt_sigprocmask, SIG_BLOCK, &more, &before, sizeof before);
		return before;
	}
	uint64_t before_;
	Rights now_{};
	bool changed_;
};

ssize_t attempt_briefly(OwnThread *c, Request *r)
{
	AsCaller as(c->rights);
	if (r->op == Op::connect)
		return transfer::begin_connect(c->file, r->message->header, true);
	return r->kind == Kind::socket ? transfer::attempt(r, c->file)
				       : transfer::one_call(r, c->file);
}

// What takes in nothing but what is there, as the driver attempts it: the waiting call would know
// of time limits, and fetch an error that comes after a part.
bool by_attempts(const Request *r)
{
	return r->op == Op::recv || r->op == Op::poll;
}

ssize_t attempt(OwnThread *c, Request *r)
{
	if (by_attempts(r))
		return transfer::attempt(r, c->file);
	ssize_t n = c->settled ? transfer::one_call(r, c->file) : attempt_briefly(c, r);
	// A UNIX socket's listener has no room.
	return r->op == Op::connect && n == -EINTR && !c->settled ? -EAGAIN : n;
}

// Where readiness does not tell of all that ends the wait, or there is a limit to it.
void pause(OwnThread *c)
{
	constexpr long longest = 16000000;
	struct timespec t = {0, c->pause};
	nanosleep(&t, nullptr);
	c->pause = std::min(c->pause * 2, longest);
}

short awaited(const Request *r)
{
	return r->op == Op::poll ? static_cast<short>(r->call_flags)
	       : r->is_read()    ? POLLIN
				 : POLLOUT;
}

bool is_told_of_all(const OwnThread *c, const Request *r)
{
	return r->op == Op::connect || r->is_read() || transfer::readiness_suffices(c->file);
}

void wait_until_ready(OwnThread *c, Request *r)
{
	struct pollfd p = {c->file, awaited(r), 0};
	bool ready = sys::poll_now(&p) > 0;
	// It says that there is room, but the room that is missing is another socket's; or that
	// there is something, but not enough, or an error that is the program's to fetch.
	if (ready || r->deadline != 0 || !is_told_of_all(c, r))
		pause(c);
	else if (sys::poll(&p, 1, nullptr) >= 0)
		c->pause = OwnThread::first_pause;
	else if (errno != EINTR) // EINVAL: RLIMIT_NOFILE is 0
		pause(c);
}

// Whether a write has waited for as long as it may. Of a settled carrier the call itself has.
bool is_over(const OwnThread *c, Request *r)
{
	if (r->op != Op::write || r->kind != Kind::socket)
		return false;
	if (c->settled)
		return true;
	if (uint64_t limit = r->deadline == 0 ? transfer::limit_of_write(c->file) : 0; limit != 0)
		r->deadline = monotonic_ns() + limit;
	return r->deadline != 0 && monotonic_ns() >= r->deadline;
}

// A whole write, which only a limit, an error or a signal has cut short.
bool is_whole(const OwnThread *c, const Request *r, ssize_t n)
{
	return c->settled && r->op == Op::write && r->kind == Kind::socket && n > 0 &&
	       !c->stop.load(mo::acquire);
}

} // namespace

ssize_t carry_out(OwnThread *c, Request *r)
{
	for (;;) {
		if (c->stop.load(mo::acquire) && r->done == 0)
			return -ECANCELED;
		ssize_t n = attempt(c, r);
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN && !r->nonblocking() && !is_over(c, r)) {
			r->waited = true;
			wait_until_ready(c, r);
		} else if (!transfer::goes_on(r, c->file, n) || is_whole(c, r, n))
			return transfer::total(r, n);
	}
}

ssize_t end_connect(OwnThread *c, Request *r)
{
	for (;;) {
		if (c->stop.load(mo::acquire))
			return -ECANCELED;
		ssize_t n = transfer::end_of_connect(c->file, r->message->header);
		if (n != -EAGAIN)
			return n;
		wait_until_ready(c, r);
	}
}

} // namespace sigevec::carrier
