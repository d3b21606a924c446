// SPDX-License-Identifier: MIT
#include "engine/select.hpp"

#include "engine/transfer.hpp"
#include "runtime/config.hpp"

#include <cerrno>
#include <fcntl.h>

namespace sigevec::select {

namespace {

constexpr const Engine *engine_list[] = {&engines::inline_, &engines::kaio, &engines::uring, &engines::threads};

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

bool direct(const Request *r)
{
	return ((r->flags & O_DIRECT) != 0 && r->kind == Kind::file) || r->kind == Kind::pool;
}

// Kernel AIO begins a write within the call of the program's thread.
const Engine *by_kernel_aio(const Request *r)
{
	return r->op == Op::write && transfer::beyond_size_limit(r->offset, r->len) ? nullptr : &engines::kaio;
}

// What the measurements in ARCHITECTURE.md say for each kind; nullptr: straight to the threads.
const Engine *preferred(const Request *r)
{
	if (r->on_stream())
		return &engines::uring;
	if (r->is_sync())
		return nullptr;
	if (direct(r))
		return by_kernel_aio(r);
	// A read that is not in the cache waits in the ring without a thread. Buffered writes would be passed on to a thread of
	// the kernel's one by one; the file queue does that in batches.
	return r->is_read() && r->kind == Kind::file ? &engines::uring : nullptr;
}

const Engine *first_choice(const Request *r)
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

} // namespace

std::span<const Engine *const> all()
{
	return engine_list;
}

bool inline_allowed()
{
	return config::force == config::Force::automatic || config::force == config::Force::inline_;
}

bool kernel_aio_first()
{
	return config::force == config::Force::automatic || config::force == config::Force::kaio;
}

bool submit(Request *r)
{
	const Engine *e = first_choice(r);
	if (e != nullptr && e->submit != nullptr && e->submit(r))
		return true;
	return engines::threads.submit(r);
}

bool guess(int fd, Descriptor *d)
{
	Guess &g = slot(fd);
	if (g.uses == 0 || g.d.fd != fd)
		return false;
	g.uses--;
	*d = g.d;
	d->size = INT64_MAX; // it may have grown: a short read is looked into
	return true;
}

void remember(const Descriptor &d)
{
	if (d.kind == Kind::file || d.kind == Kind::memory)
		slot(d.fd) = {uses, d};
}

void forget(int fd)
{
	slot(fd).uses = 0;
}

} // namespace sigevec::select
