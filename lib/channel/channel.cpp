// SPDX-License-Identifier: MIT
#include "channel/channel.hpp"

#include "base/by_descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/node.hpp"
#include "base/pool.hpp"
#include "base/syscalls.hpp"
#include "channel/bell.hpp"
#include "channel/figures.hpp"
#include "channel/inner.hpp"
#include "channel/moderation.hpp"
#include "channel/own_epoll.hpp"
#include "channel/queue.hpp"
#include "runtime/stats.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>

namespace sigevec::channel {

namespace {

constexpr uint32_t most_channels = 1u << 20;
constexpr uint32_t default_limit = 65536;
constexpr uint64_t one_event = 1;
constexpr uint64_t one_reference = uint64_t{1} << 32;

// One for each NUMA node, so that a channel is in the memory of its creator's.
constexpr unsigned pools = 8;
Pool<Channel, 6, most_channels / 64> pool[pools];

ByDescriptor<Channel> table;

uint32_t admitted(uint64_t life)
{
	return static_cast<uint32_t>(life);
}

// Adds to the life of the channel that has this descriptor, unless it is over, or `full' holds.
template <class Full> int join(int fd, uint64_t what, Full full, Channel **found)
{
	auto *s = table.find(fd);
	Channel *c = s != nullptr ? s->load(mo::acquire) : nullptr;
	if (c == nullptr)
		return EBADF;
	uint64_t life = c->life.load(mo::relaxed);
	do {
		if (life == 0)
			return EBADF;
		if (full(c, life))
			return EAGAIN;
	} while (!c->life.compare_exchange_weak(life, life + what, mo::acq_rel));
	// It may have ended before that, and be another one now.
	if (s->load(mo::acquire) != c) {
		drop(c, what);
		return EBADF;
	}
	*found = c;
	return 0;
}

bool is_full(const Channel *c, uint64_t life)
{
	return admitted(life) >= c->limit.load(mo::relaxed);
}

void note_high_water(Channel *c, uint32_t n)
{
	uint32_t most = c->high_water.load(mo::relaxed);
	if (n <= most)
		return;
	while (n > most && !c->high_water.compare_exchange_weak(most, n, mo::relaxed))
		;
	if (c->figures != nullptr)
		c->figures->high_water.store(c->high_water.load(mo::relaxed), mo::relaxed);
}

// For the statistics file, while the caller has a share in the life.
void note_admitted(Channel *c, uint64_t n)
{
	if (c->figures != nullptr)
		c->figures->admitted.fetch_add(n, mo::relaxed);
}

// The end of a channel for everyone. descriptor: whether the number is still its own.
bool end(Channel *c, bool descriptor)
{
	if (c->ending.exchange(true, mo::acq_rel))
		return false;
	table.find(c->fd)->store(nullptr, mo::release);
	wake_all(c);
	// Still open for their ends, so that all of them are dropped here: connections can only be
	// closed by the program's threads.
	outside.cancel_all(c);
	c->open.store(false, mo::seq_cst);
	wake_all(c);
	inner::wake(c);
	moderation::stop(c);
	ring_ops.end(c);
	drop_all(c);
	bell::remove(c);
	if (descriptor)
		own_epoll::close(c->fd, c->mark);
	own_epoll::weigh(&c->anchor);
	inner::remove(c);
	drop(c, one_reference);
	return true;
}

int make_descriptors(Channel *c, unsigned flags)
{
	c->fd = own_epoll::make((flags & EC_CLOEXEC) != 0, &c->mark);
	if (c->fd < 0)
		return c->fd;
	c->bell_secret = static_cast<uint32_t>(own_epoll::draw());
	int error = bell::attach(c);
	if (error != 0)
		sys::close(c->fd);
	else
		bell::silence(c, true, true);
	return error;
}

void initialize(Channel *c, unsigned flags)
{
	c->flags = flags;
	c->limit.store(default_limit, mo::relaxed);
	c->crowded.store(false, mo::relaxed);
	c->inner.store(-1, mo::relaxed);
	c->inner_copy.store(-1, mo::relaxed);
	c->inner_sleepers.store(0, mo::relaxed);
	c->inbox.store(nullptr, mo::relaxed);
	c->pushed.store(0, mo::relaxed);
	c->rung.store(0, mo::relaxed);
	c->late.store(false, mo::relaxed);
	c->sleepers.store(0, mo::relaxed);
	c->lookers.store(0, mo::relaxed);
	c->attended.store(false, mo::relaxed);
	c->oldest.store(nullptr, mo::relaxed);
	c->single.store(nullptr, mo::relaxed);
	c->without_ring = false;
	c->inside.store(false, mo::relaxed);
	c->kept = 0;
	c->wake.store(-1, mo::relaxed);
	c->delivered.store(0, mo::relaxed);
	c->refused.store(0, mo::relaxed);
	c->high_water.store(0, mo::relaxed);
	c->overflow.store(0, mo::relaxed);
	c->moderated.store(false, mo::relaxed);
	c->moderate_events.store(0, mo::relaxed);
	c->moderate_time.store(0, mo::relaxed);
	c->clock.store(false, mo::relaxed);
	c->heard.store(false, mo::relaxed);
	c->busy_poll.store(0, mo::relaxed);
	c->dropped.store(0, mo::relaxed);
	c->ending.store(false, mo::relaxed);
	c->open.store(true, mo::relaxed);
	c->figures = figures::open(c->fd, flags, default_limit);
	c->life.store(one_reference, mo::release);
}

} // namespace

void drop(Channel *c, uint64_t what)
{
	// seq_cst: see admit_another.
	stats_file::Channel *own = c->figures;
	unsigned home = c->home;
	if (uint32_t n = admitted(what); n != 0 && own != nullptr)
		own->admitted.fetch_sub(n, mo::relaxed);
	if (c->life.fetch_sub(what, mo::seq_cst) != what)
		return;
	figures::close(own);
	pool[home].give_back(c);
}

int create(unsigned flags)
{
	unsigned home = node::current() % pools;
	Channel *c = pool[home].take(most_channels);
	if (c == nullptr)
		return -ENOMEM;
	c->home = home;
	c->inner_bell.store(-1, mo::relaxed);
	c->inner_wake.store(-1, mo::relaxed);
	c->anchor.copy.store(-1, mo::relaxed);
	int error = make_descriptors(c, flags);
	auto *s = error == 0 ? table.make(c->fd) : nullptr;
	if (error == 0 && s == nullptr) {
		bell::remove(c);
		sys::close(c->fd);
		error = -ENOMEM;
	}
	if (error != 0) {
		pool[home].give_back(c);
		return error;
	}
	initialize(c, flags);
	own_epoll::anchor(c->fd, &c->anchor);
	// Another channel in its place has been closed without our knowing.
	if (Channel *old = peek(c->fd); old != nullptr) {
		end(old, false);
		release(old);
	}
	int fd = c->fd;
	s->store(c, mo::release);
	return fd;
}

Channel *peek(int fd)
{
	Channel *c = nullptr;
	auto never = [](const Channel *, uint64_t) { return false; };
	return join(fd, one_reference, never, &c) == 0 ? c : nullptr;
}

bool check_descriptor(Channel *c)
{
	if (has_number(c))
		return true;
	end(c, false);
	return false;
}

bool still_open(Channel *c)
{
	return c->rung.load(mo::relaxed) != 0 || check_descriptor(c);
}

Channel *find(int fd)
{
	Channel *c = peek(fd);
	if (c == nullptr || check_descriptor(c))
		return c;
	release(c);
	return nullptr;
}

bool is_single(int fd)
{
	auto *place = table.find(fd);
	Channel *c = place != nullptr ? place->load(mo::acquire) : nullptr;
	return c != nullptr && (c->flags.load(mo::relaxed) & EC_SINGLE) != 0;
}

namespace {
constexpr unsigned place_bits = 20;
}

Channel *at(uint32_t place)
{
	uint32_t index = place & ((1u << place_bits) - 1), home = place >> place_bits;
	return home < pools && index < pool[home].size() ? pool[home].at(index) : nullptr;
}

uint32_t place_of(const Channel *c)
{
	return c->home << place_bits | c->index;
}

bool full(const Channel *c)
{
	return is_full(c, c->life.load(mo::seq_cst));
}

bool keep(Channel *c)
{
	uint64_t life = c->life.load(mo::relaxed);
	while (life != 0)
		if (c->life.compare_exchange_weak(life, life + one_reference, mo::acq_rel))
			return true;
	return false;
}

void release(Channel *c, unsigned read)
{
	drop(c, one_reference + read);
	// It may be another channel by now, which is looked at once too often then.
	if (read != 0)
		room_made(c);
}

bool destroy(Channel *c)
{
	return end(c, true);
}

namespace {

void note_refused(Channel *c)
{
	c->refused.fetch_add(1, mo::relaxed);
	if (c->figures != nullptr)
		c->figures->refused.fetch_add(1, mo::relaxed);
}

// The channel is at its limit; but registrations may have ended unheard, whose room is free once
// that has been read.
int join_after_collecting(int fd, uint64_t what, Channel **found)
{
	Channel *c = peek(fd);
	if (c == nullptr)
		return EBADF;
	inner::collect(c);
	int error = join(fd, what, is_full, found);
	if (error == EAGAIN) {
		note_refused(c);
		ring_if_due(c);
	}
	release(c);
	return error;
}

int join_with_room(int fd, uint64_t what, Channel **found)
{
	int error = join(fd, what, is_full, found);
	if (error == EAGAIN)
		error = join_after_collecting(fd, what, found);
	if (error == 0) {
		note_admitted(*found, 1);
		note_high_water(*found, admitted((*found)->life.load(mo::relaxed)));
	}
	return error;
}

} // namespace

int admit_and_keep(int fd, Channel **found)
{
	return join_with_room(fd, one_event + one_reference, found);
}

int admit(int fd, Channel **found, bool check)
{
	Channel *c = nullptr;
	int error = join_with_room(fd, one_event, &c);
	if (error != 0)
		return error;
	if (check && !still_open(c)) {
		retract(c);
		return EBADF;
	}
	*found = c;
	return 0;
}

bool admit_another(Channel *c)
{
	uint64_t life = c->life.load(mo::relaxed);
	do {
		if (is_full(c, life)) {
			// seq_cst: either the reader that makes room sees this, or the second look
			// sees the room.
			c->crowded.store(true, mo::seq_cst);
			life = c->life.load(mo::seq_cst);
			if (is_full(c, life))
				return false;
		}
	} while (!c->life.compare_exchange_weak(life, life + one_event, mo::acq_rel));
	note_admitted(c, 1);
	note_high_water(c, admitted(life) + 1);
	return true;
}

void more_room(Channel *c)
{
	c->life.fetch_add(one_event, mo::relaxed);
	note_admitted(c, 1);
}

void retract(Channel *c)
{
	drop(c, one_event);
}

void stat(Channel *c, struct ec_stat *s)
{
	inner::collect(c); // registrations may have ended unheard
	unsigned arrived = ring_ops.arrived(c);
	uint64_t delivered = c->delivered.load(mo::acquire);
	uint64_t queued = c->pushed.load(mo::acquire) - static_cast<uint32_t>(delivered);
	uint64_t in = admitted(c->life.load(mo::acquire));
	*s = {};
	s->limit = c->limit.load(mo::relaxed);
	s->queued = static_cast<uint32_t>(queued) + arrived;
	s->outstanding = in > s->queued ? in - s->queued : 0;
	s->delivered = delivered;
	s->refused = c->refused.load(mo::relaxed);
	s->dropped = c->dropped.load(mo::relaxed);
	s->high_water = c->high_water.load(mo::relaxed);
	s->moderate_events = c->moderate_events.load(mo::relaxed);
	s->moderate_microseconds = c->moderate_time.load(mo::relaxed);
	s->busy_poll_microseconds = c->busy_poll.load(mo::relaxed);
	s->node = node::of_memory(c);
}

void close_in_child()
{
	table.each([](std::atomic<Channel *> &place) {
		Channel *c = place.load(mo::relaxed);
		if (c == nullptr || !has_number(c))
			return;
		bell::close_in_child(c);
		inner::close_in_child(c);
		ring_ops.close_in_child(c);
		if (int nothing = epoll_create1(EPOLL_CLOEXEC); nothing >= 0) {
			dup3(nothing, c->fd, fcntl(c->fd, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0);
			sys::close(nothing);
		}
	});
	ring_ops.close_spares_in_child();
	moderation::close_in_child();
}

void after_fork()
{
	bell::after_fork();
	inner::after_fork();
	table.each([](std::atomic<Channel *> &place) {
		Channel *c = place.exchange(nullptr, mo::relaxed);
		if (c == nullptr)
			return;
		c->reading.reset();
		bell::close_in_child(c);
		inner::close_in_child(c);
		ring_ops.close_in_child(c);
	});
	for (auto &p : pool)
		p.after_fork();
	moderation::after_fork();
}

} // namespace sigevec::channel
