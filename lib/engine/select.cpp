// SPDX-License-Identifier: MIT
#include "engine/select.hpp"

#include "base/memory_order.hpp"
#include "base/spin.hpp"
#include "base/sync.hpp"
#include "completion/completion.hpp"
#include "engine/alone.hpp"
#include "engine/attempts.hpp"
#include "engine/transfer.hpp"
#include "request/pace.hpp"
#include "request/stats_detail.hpp"
#include "runtime/config.hpp"
#include "runtime/helper.hpp"
#include "runtime/probes.hpp"

#include <cerrno>
#include <fcntl.h>

namespace sigevec::select {

namespace {

constexpr const Engine *engine_list[] = {&engines::inline_, &engines::kaio, &engines::uring,
					 &engines::threads};

bool direct(const Request *r)
{
	return ((r->flags & O_DIRECT) != 0 && r->kind == Kind::file) || r->kind == Kind::pool;
}

// Kernel AIO begins a write within the call of the program's thread, and copies there what is
// cached. What it has done in part goes on by the number, if that is still the file: where the
// inode cannot tell, and where more than one call moves, it must not be begun.
const Engine *by_kernel_aio(const Request *r)
{
	if (!r->told_by_inode)
		return nullptr;
	if (r->len > (direct(r) ? transfer::most_at_once : transfer::copied_in_call))
		return nullptr;
	return r->op == Op::write && transfer::beyond_size_limit(r->offset, r->len)
		       ? nullptr
		       : &engines::kaio;
}

// Which another way than kernel AIO may suit better: programs on libaio it would hold up in their
// call; a list's are begun together.
bool has_a_choice(const Request *r)
{
	return r->notification.event.notify != notify_owner && r->notification.batch == nullptr;
}

// Writes that a worker might carry out more quickly.
bool may_be_slow(const Request *r)
{
	return r->op == Op::write && r->kind == Kind::file && r->call_flags == 0 &&
	       (r->flags & (O_APPEND | O_SYNC | O_DSYNC)) == 0 && has_a_choice(r);
}

// Of a program that has so many unreturned, kernel AIO begins each in a call of its own. The driver
// submits to its ring what has come meanwhile, beside the program: up to three times as many where
// a processor is idle.
constexpr int several = 4;
thread_local Pace rings __attribute__((tls_model("initial-exec"))){Pace::several};

bool ring_is_quicker(const Request *r)
{
	if (r->kind != Kind::file || completion::unreturned() < several ||
	    !Spin::allowed.load(mo::relaxed) ||
	    !(r->is_read() ? has_a_choice(r) : may_be_slow(r))) {
		rings.interrupted();
		return false;
	}
	if (rings.next(monotonic_ns()) == Pace::Way::usual)
		return false;
	const helper::Helper *h = helper::get();
	return h != nullptr && h->has_ring;
}

// The kernel may have refused the last ones, or another way be quicker: then a worker waits, or the
// ring.
const Engine *direct_engine(Request *r)
{
	auto way = r->is_read() ? attempts::Way::direct_read : attempts::Way::direct_write;
	if (r->kind == Kind::pool ||
	    (r->told_by_inode &&
	     attempts::pays(r->dev.load(mo::relaxed), r->ino.load(mo::relaxed), way))) {
		bool by_ring = ring_is_quicker(r);
		if (!by_ring && (!may_be_slow(r) || pace::choose(r) == Pace::Way::usual))
			return by_kernel_aio(r);
		passed_on(stats::kaio_slower, r->fd.load(mo::relaxed), r->begun);
		return by_ring ? &engines::uring : nullptr;
	}
	passed_on(stats::kaio_left_out, r->fd.load(mo::relaxed), r->begun);
	return r->is_read() ? &engines::uring : nullptr;
}

// Only the plain call knows what comes of it: see file_system.hpp, and read and write of no bytes.
bool by_plain_call(const Request *r)
{
	return !r->on_stream() && !r->is_sync() && (r->plain_calls_only || r->of_nothing());
}

// An answer of EAGAIN is the program's: the ring would wait in its stead.
bool never_waits(const Request *r)
{
	return (r->op == Op::read || r->op == Op::write) && (r->call_flags & RWF_NOWAIT) != 0;
}

// What the measurements in docs/decisions/engines.md say for each kind; nullptr: straight to the
// threads.
const Engine *preferred(Request *r)
{
	if (r->on_stream())
		return &engines::uring;
	if (r->is_sync())
		return nullptr;
	if (direct(r))
		return direct_engine(r);
	// A read that is not in the cache waits in the ring without a thread. Buffered writes would
	// be passed on to a thread of the kernel's one by one; the file queue does that in batches.
	if (!r->is_read() || r->kind != Kind::file)
		return nullptr;
	pace::count(r);
	return &engines::uring;
}

const Engine *chosen_or_forced(Request *r)
{
	switch (config::force) {
	case config::Force::automatic:
		return preferred(r);
	case config::Force::kaio:
		return by_kernel_aio(r);
	case config::Force::uring:
		return &engines::uring;
	default:
		return nullptr;
	}
}

const Engine *first_choice(Request *r)
{
	if (by_plain_call(r))
		return nullptr;
	const Engine *e = chosen_or_forced(r);
	return e == &engines::uring && never_waits(r) ? nullptr : e;
}

} // namespace

std::span<const Engine *const> all()
{
	return engine_list;
}

bool inline_allowed()
{
	return config::force == config::Force::automatic || config::force == config::Force::inline_;
}

namespace {

using stats_detail::By;

// Once it has the request, it may have ended.
int give(const Engine &e, Request *r)
{
	By by = &e == &engines::kaio ? By::kaio : &e == &engines::uring ? By::uring : By::threads;
	stats_detail::step(trace::Step::given, r, by);
	return e.submit(r);
}

int by_engine(Request *r)
{
	// Carried out as the caller, in the threads' order.
	if (r->carrier != nullptr)
		return give(engines::threads, r);
	const Engine *e = first_choice(r);
	if (e != nullptr && e->submit != nullptr && give(*e, r) == 0)
		return 0;
	return give(engines::threads, r);
}

} // namespace

int submit(Request *r)
{
	int e = alone::stands_behind(r) ? -EAGAIN : by_engine(r);
	return e == -EAGAIN ? alone::submit(r) : e;
}

} // namespace sigevec::select
