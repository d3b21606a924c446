// SPDX-License-Identifier: MIT
#include "engine/select.hpp"

#include "runtime/config.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>

namespace sigevec::select {

namespace {

constexpr const Engine *engine_list[] = {&engines::inline_, &engines::kaio, &engines::uring, &engines::threads};

// Uses left of a guess. Racing threads may use one twice.
constexpr int remembered = 1024;
constexpr uint8_t uses = 32;
std::array<std::atomic<uint8_t>, remembered> guesses;

bool direct(const Request *r)
{
	return (r->flags & O_DIRECT) != 0 && r->kind == Kind::file;
}

// What the measurements in ARCHITECTURE.md say for each kind; nullptr: straight to the threads.
const Engine *preferred(const Request *r)
{
	if (r->on_stream())
		return &engines::uring;
	if (r->is_sync())
		return nullptr;
	if (direct(r))
		return &engines::kaio;
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
		return &engines::kaio;
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

bool submit(Request *r)
{
	const Engine *e = first_choice(r);
	if (e != nullptr && e->submit != nullptr && e->submit(r))
		return true;
	return engines::threads.submit(r);
}

bool probably_cached(int fd)
{
	if (static_cast<unsigned>(fd) >= remembered)
		return false;
	uint8_t n = guesses[static_cast<unsigned>(fd)].load(std::memory_order_relaxed);
	if (n == 0)
		return false;
	guesses[static_cast<unsigned>(fd)].store(static_cast<uint8_t>(n - 1), std::memory_order_relaxed);
	return true;
}

void remember(int fd, const Descriptor &d)
{
	if (static_cast<unsigned>(fd) < remembered && d.kind == Kind::file && (d.flags & O_DIRECT) == 0)
		guesses[static_cast<unsigned>(fd)].store(uses, std::memory_order_relaxed);
}

void forget(int fd)
{
	if (static_cast<unsigned>(fd) < remembered)
		guesses[static_cast<unsigned>(fd)].store(0, std::memory_order_relaxed);
}

void after_fork()
{
	for (auto &g : guesses)
		g.store(0, std::memory_order_relaxed);
}

} // namespace sigevec::select
