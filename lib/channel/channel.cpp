// SPDX-License-Identifier: MIT
//
// The life of a channel: from its pool into the table, to its end for everyone.
#include "channel/channel_impl.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/node.hpp"
#include "base/pool.hpp"
#include "base/syscalls.hpp"
#include "channel/figures.hpp"
#include "channel/moderation.hpp"
#include "channel/own_epoll.hpp"
#include "channel/queue.hpp"
#include "channel/reader_fds.hpp"
#include "channel/wakeup.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>

namespace sigevec::channel {

namespace {

constexpr uint32_t most_channels = 1u << 20;
constexpr uint32_t default_limit = 65536;

// One for each NUMA node, so that a channel is in the memory of its creator's.
constexpr unsigned pools = 8;
constinit Pool<Channel, 6, most_channels / 64> pool[pools];

} // namespace

constinit ByDescriptor<Channel> table;

namespace {

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
	reader_fds::wake(c);
	moderation::stop(c);
	ring_ops.end(c);
	drop_all(c);
	wakeup::remove(c);
	if (descriptor)
		own_epoll::close(c->fd, c->mark);
	own_epoll::weigh(&c->anchor);
	reader_fds::remove(c);
	drop(c, one_reference);
	return true;
}

int make_descriptors(Channel *c, unsigned flags)
{
	c->fd = own_epoll::make((flags & EC_CLOEXEC) != 0, &c->mark);
	if (c->fd < 0)
		return c->fd;
	c->wakeup_secret = static_cast<uint32_t>(own_epoll::draw());
	int error = wakeup::attach(c);
	if (error != 0)
		sys::close(c->fd);
	else
		wakeup::drain(c, true, true);
	return error;
}

void initialize(Channel *c, unsigned flags)
{
	c->flags = flags;
	c->limit.store(default_limit, mo::relaxed);
	c->credit_waiters.store(false, mo::relaxed);
	c->inner.store(-1, mo::relaxed);
	c->inner_copy.store(-1, mo::relaxed);
	c->inner_sleepers.store(0, mo::relaxed);
	c->inbox.store(nullptr, mo::relaxed);
	c->pushed.store(0, mo::relaxed);
	c->signalled.store(0, mo::relaxed);
	c->late.store(false, mo::relaxed);
	c->sleepers.reset();
	c->lookers.store(0, mo::relaxed);
	c->attended.store(false, mo::relaxed);
	c->oldest.store(nullptr, mo::relaxed);
	c->ring_state.store(nullptr, mo::relaxed);
	c->ring_owner.store(0, mo::relaxed);
	c->without_ring = false;
	c->inside.store(false, mo::relaxed);
	c->kept.store(0, mo::relaxed);
	c->wake.store(-1, mo::relaxed);
	c->delivered.store(0, mo::relaxed);
	c->refused.store(0, mo::relaxed);
	c->high_water.store(0, mo::relaxed);
	c->overflow.store(0, mo::relaxed);
	c->moderated.store(false, mo::relaxed);
	c->moderate_events.store(0, mo::relaxed);
	c->moderate_time.store(0, mo::relaxed);
	c->clock.store(false, mo::relaxed);
	c->ring_signalled.store(false, mo::relaxed);
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
	c->inner_wakeup.store(-1, mo::relaxed);
	c->inner_wake.store(-1, mo::relaxed);
	c->anchor.copy.store(-1, mo::relaxed);
	int error = make_descriptors(c, flags);
	auto *s = error == 0 ? table.make(c->fd) : nullptr;
	if (error == 0 && s == nullptr) {
		wakeup::remove(c);
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

bool check_descriptor(Channel *c)
{
	if (has_number(c))
		return true;
	end(c, false);
	return false;
}

bool still_open(Channel *c)
{
	return c->signalled.load(mo::relaxed) != 0 || check_descriptor(c);
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

} // namespace

Channel *at(uint32_t place)
{
	uint32_t index = place & ((1u << place_bits) - 1), home = place >> place_bits;
	return home < pools && index < pool[home].size() ? pool[home].at(index) : nullptr;
}

uint32_t place_of(const Channel *c)
{
	return c->home << place_bits | c->index;
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
		credit_returned(c);
}

bool destroy(Channel *c)
{
	return end(c, true);
}

void stat(Channel *c, struct ec_stat *s)
{
	// Registrations may have ended unheard, and what is in sockets counts as queued.
	reader_fds::collect_all(c);
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
		wakeup::close_in_child(c);
		reader_fds::close_in_child(c);
		ring_ops.close_in_child(c);
		if (int nothing = epoll_create1(EPOLL_CLOEXEC); nothing >= 0) {
			dup3(nothing, c->fd, sys::closes_on_exec(c->fd) == 1 ? O_CLOEXEC : 0);
			sys::close(nothing);
		}
	});
	ring_ops.close_spares_in_child();
	moderation::close_in_child();
}

void after_fork()
{
	wakeup::after_fork();
	reader_fds::after_fork();
	table.each([](std::atomic<Channel *> &place) {
		Channel *c = place.exchange(nullptr, mo::relaxed);
		if (c == nullptr)
			return;
		c->reading.reset();
		wakeup::close_in_child(c);
		reader_fds::close_in_child(c);
		ring_ops.close_in_child(c);
	});
	for (auto &p : pool)
		p.after_fork();
	moderation::after_fork();
}

} // namespace sigevec::channel
