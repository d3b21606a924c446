// SPDX-License-Identifier: MIT
#include "engine/guess.hpp"

#include "base/spin.hpp"
#include "base/sync.hpp"
#include "completion/completion.hpp"
#include "engine/attempts.hpp"
#include "engine/transfer.hpp"
#include "request/pace.hpp"
#include "runtime/probes.hpp"

#include <cerrno>
#include <fcntl.h>
#include <limits>
#include <sys/uio.h>

namespace sigevec::guess {

namespace {

struct Guess {
	int uses; // left
	Descriptor d;
};
constexpr unsigned remembered = 4;
constexpr int uses = 32;
thread_local Guess guesses[remembered] __attribute__((tls_model("initial-exec")));

Guess &slot(int fd)
{
	return guesses[static_cast<unsigned>(fd) % remembered];
}

bool whole(const Call &c, ssize_t n)
{
	return n > 0 && static_cast<size_t>(n) == c.len;
}

// What is written must be the file that is remembered, or nothing is: see in_memory below.
bool may_be_tried(const Call &c, const Guess &g)
{
	bool known = c.op == Op::read || (c.op == Op::write && g.d.kind == Kind::memory &&
					  (g.d.flags & (O_SYNC | O_DSYNC)) == 0);
	return known && c.len != 0 && c.len <= transfer::copied_in_call && c.done == 0 &&
	       !c.event.needs_memory();
}

// Whether it still is the file in memory, which nothing waits for, and is to be tried.
bool in_memory(const Call &c, Guess &g)
{
	if (!transfer::still_in_memory(g.d)) {
		g.uses = 0;
		return false;
	}
	// It may have become an append since: then it lands anywhere.
	constexpr off_t anywhere = std::numeric_limits<off_t>::max();
	return c.op == Op::read || transfer::may_be_written_in_call(anywhere, c.len, g.d);
}

} // namespace

Attempt attempt(const Call &c)
{
	Attempt a;
	Guess &g = slot(c.fd);
	if (g.uses == 0 || g.d.fd != c.fd || !may_be_tried(c, g))
		return a;
	g.uses--;
	a.kind = g.d.kind;
	bool memory = g.d.kind == Kind::memory;
	if (c.beside || (memory && !in_memory(c, g)))
		return a;
	// As if it had been tried.
	if (!memory && !attempts::pays(g.d.dev, g.d.ino, attempts::Way::read)) {
		passed_on(stats::inline_left_out, c.fd, c.begun);
		a.answer = Answer::doubt;
		a.result = -EAGAIN;
		return a;
	}
	a.result = transfer::at_offset(c.op == Op::read, c.fd, transfer::whole(c),
				       memory ? 0 : RWF_NOWAIT);
	// What has been written, in part too, is not written again: it may have been appended.
	bool believed =
		whole(c, a.result) || (memory && (c.op == Op::read ? a.result >= 0 : a.result > 0));
	a.answer = believed ? Answer::ended : Answer::doubt;
	bool cold = a.result == -EAGAIN || a.result == -EOPNOTSUPP;
	if (believed)
		stats::count(stats::inline_done);
	else if (cold)
		passed_on(a.result == -EAGAIN ? stats::inline_cold : stats::inline_unsupported,
			  c.fd, c.begun);
	if (!memory && (believed || cold))
		attempts::note(g.d.dev, g.d.ino, attempts::Way::read, believed);
	return a;
}

namespace {

// So many that nobody has asked about, and the program goes on while some are carried out.
constexpr int several = 4;
thread_local Pace copies __attribute__((tls_model("initial-exec"))){Pace::buffered};

bool is_copied(const Descriptor &d)
{
	return (d.kind == Kind::file && (d.flags & O_DIRECT) == 0 && !d.plain_calls_only) ||
	       d.kind == Kind::memory;
}

} // namespace

bool beside(const Call &c)
{
	const Descriptor &d = slot(c.fd).d;
	return c.op == Op::write && d.fd == c.fd && is_copied(d) &&
	       (d.flags & (O_APPEND | O_SYNC | O_DSYNC)) == 0 && c.len != 0 &&
	       c.len <= transfer::copied_in_call && completion::unreturned() >= several &&
	       Spin::allowed.load(mo::relaxed) && copies.next(monotonic_ns()) == Pace::Way::worker;
}

void handed_over(const Call &c)
{
	if (c.op == Op::write && !c.beside)
		copies.interrupted();
}

void remember(const Descriptor &d)
{
	Guess &g = slot(d.fd);
	if (is_copied(d))
		g = {uses, d};
	else if (g.d.fd == d.fd)
		g.uses = 0;
}

} // namespace sigevec::guess
