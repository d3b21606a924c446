// SPDX-License-Identifier: MIT
#include "dma/association_impl.hpp"

#include "base/by_descriptor.hpp"
#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/pool.hpp"
#include "base/socket_option.hpp"
#include "base/syscalls.hpp"
#include "channel/channel.hpp"
#include "dma/by_readers.hpp"
#include "dma/device.hpp"
#include "dma/message.hpp"
#include "dma/receive.hpp"
#include "dma/receiver.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sys/socket.h>

namespace sigevec::dma::association {

namespace {

constexpr uint32_t most_associations = 1u << 20;
constinit Pool<Association, 6, most_associations / 64> pool;

constinit ByDescriptor<Association> table;

void close_held(Association *a)
{
	by_readers::leave(a);
	a->receivers = false;
	helper::close_inside(a->held);
	// The program may have closed everything.
	if (a->held_here >= 0 && socket_cookie(a->held_here) == a->cookie)
		sys::close(a->held_here);
	a->held = a->held_here = -1;
}

} // namespace

Mutex changing;

Association *make(int fd, uint64_t cookie)
{
	auto *s = table.make(fd);
	Association *a = s != nullptr ? pool.take(most_associations) : nullptr;
	if (a == nullptr)
		return nullptr;
	Guard<Mutex> g(a->lock);
	a->fd = fd;
	a->held = a->held_here = a->inside = -1;
	a->detached = a->edge = a->plain = a->emptied = false;
	a->cookie = cookie;
	int type = socket_option(fd, SO_TYPE);
	a->stream = type == SOCK_STREAM;
	a->local = socket_option(fd, SO_DOMAIN) == AF_UNIX;
	a->device = nullptr;
	a->unattachable = false;
	a->latest = a->watched = a->paused = a->shut = a->ended = false;
	a->receivers = false;
	a->read_by = nullptr;
	a->asked_on = false;
	a->full_alone = 0;
	a->ahead = 1;
	a->streak = 0;
	a->error = 0;
	a->blocked = nullptr;
	a->asked = a->buffer = 0;
	a->events = 0;
	a->region_count = 0;
	a->regions = nullptr;
	a->queue_first = a->queue_count = a->queue_room = 0;
	a->queue = nullptr;
	a->unreported = false;
	a->armed = nullptr;
	a->waiting = {};
	a->notify = nullptr;
	a->arrivals.store(0, mo::relaxed);
	a->sleepers.store(0, mo::relaxed);
	s->store(a, mo::release);
	return a;
}

Request *end(Association *a)
{
	Request *waiting = a->waiting.take_all();
	if (a->armed != nullptr)
		channel::ring_ops.end_armed(a->armed_in, a->armed);
	a->armed = nullptr;
	receiver::unwatch(a);
	close_held(a);
	while (a->queue_count != 0)
		receive::discard(pop(a));
	if (a->device != nullptr)
		device_ops.detach(a->device);
	a->device = nullptr;
	for (uint16_t i = 0; i < a->region_count; i++) {
		Region *r = region::at(a->regions[i]);
		r->pieces.disturb(); // it may be for this socket that somebody waits for room
		r->sockets.fetch_sub(1, mo::release);
	}
	free(a->regions);
	free(a->queue);
	a->notify = nullptr;
	if (!a->detached)
		table.find(a->fd)->store(nullptr, mo::release);
	a->blocked = nullptr; // whoever is there sees that it has ended
	a->fd = -1;
	a->life++;
	receive::wake(a);
	pool.give_back(a);
	return waiting;
}

void leave_number(Association *a)
{
	Guard<Mutex> g(a->lock);
	if (!a->is_waited_for()) {
		end(a);
		return;
	}
	table.find(a->fd)->store(nullptr, mo::release);
	a->detached = true;
	a->notify = nullptr;
}

namespace {

// fd is not, or no longer, the socket of its association.
void forget_number(int fd, uint64_t cookie)
{
	Guard<Mutex> g(changing);
	auto *s = table.find(fd);
	Association *a = s != nullptr ? s->load(mo::acquire) : nullptr;
	if (a != nullptr && a->cookie != cookie)
		leave_number(a);
}

} // namespace

Association *find(int fd)
{
	auto *s = table.find(fd);
	return s != nullptr ? s->load(mo::acquire) : nullptr;
}

Association *at(uint32_t index)
{
	return pool.at(index);
}

uint32_t count()
{
	return pool.size();
}

bool Locked::enter(int fd)
{
	uint64_t cookie = socket_cookie(fd);
	a_->lock.lock();
	bool its = a_->fd == fd && !a_->detached;
	if (its && a_->cookie == cookie)
		return true;
	a_->lock.unlock();
	if (its)
		forget_number(fd, cookie);
	return false;
}

Remembered::Remembered(uint64_t place)
{
	auto index = static_cast<uint32_t>(place - 1);
	if (index >= pool.size())
		return;
	Association *a = pool.at(index);
	a->lock.lock();
	if (a->fd >= 0 && place_of(a) == place)
		a_ = a;
	else
		a->lock.unlock();
}

bool any_call_back()
{
	for (uint32_t i = 0; i < count(); i++) {
		Association *a = at(i);
		Guard<Mutex> g(a->lock);
		if (a->fd >= 0 && a->notify != nullptr && still_there(a))
			return true;
	}
	return false;
}

int check_socket(int fd)
{
	int type;
	return get_option(fd, SOL_SOCKET, SO_TYPE, &type) ? 0 : errno;
}

bool still_there(const Association *a)
{
	return !a->detached && is_socket_of(a->fd, a);
}

bool is_socket_of(int fd, const Association *a)
{
	return socket_cookie(fd) == a->cookie;
}

void forget_closed()
{
	Guard<Mutex> g(changing);
	for (uint32_t i = 0; i < pool.size(); i++) {
		Association *a = pool.at(i);
		Guard<Mutex> h(a->lock);
		// What waits for one holds it.
		if (a->fd >= 0 && !a->is_waited_for() && !still_there(a))
			end(a);
	}
}

bool hold(Association *a)
{
	if (a->held >= 0 || a->held_here >= 0)
		return true;
	if (receiver::can_hold_inside())
		a->held = helper::hold(a->fd);
	else
		a->held_here = sys::duplicate(a->fd, 3);
	if (a->held < 0)
		a->held = -1;
	// The number may have become another file's meanwhile.
	if ((a->held >= 0 || a->held_here >= 0) && is_socket_of(a->fd, a))
		return true;
	close_held(a);
	return false;
}

void let_go(Association *a)
{
	if (a->is_waited_for())
		return;
	if (a->detached) {
		end(a);
		return;
	}
	close_held(a);
	if (receiver::serves(a) || a->notify != nullptr)
		receiver::watch(a);
}

void drop_cancelled(uint64_t place)
{
	Remembered a(place);
	if (!a)
		return;
	a->waiting.remove_if([](Request *r) {
		bool cancelled = r->get_state() == State::cancelled;
		if (cancelled)
			requests::release(r);
		return cancelled;
	});
	let_go(a.get());
}

void replace_queue(Association *a, Arrival *q, uint32_t room)
{
	for (uint32_t i = 0; i < a->queue_count; i++)
		q[i] = a->queue[(a->queue_first + i) % a->queue_room];
	free(a->queue);
	a->queue = q;
	a->queue_room = room;
	a->queue_first = 0;
}

bool push(Association *a, const Arrival &x)
{
	if (a->queue_count == a->queue_room) {
		uint32_t room = a->queue_room == 0 ? 8 : a->queue_room * 2;
		auto *q = static_cast<Arrival *>(malloc(room * sizeof(Arrival)));
		if (q == nullptr)
			return false;
		replace_queue(a, q, room);
	}
	a->unreported = true;
	Arrival &last = a->queue[(a->queue_first + a->queue_count++) % a->queue_room];
	last = x;
	// What it did not need is room for others.
	size_t needed = x.n + (x.head != nullptr ? sizeof(MessageHead) : 0);
	last.size = x.region->pieces.cut(x.piece, x.size, needed == 0 ? 1 : needed);
	return true;
}

bool put_back(Association *a, const Arrival &x)
{
	if (!push(a, x))
		return false;
	Arrival it = a->queue[(a->queue_first + a->queue_count - 1) % a->queue_room];
	a->queue_first = (a->queue_first + a->queue_room - 1) % a->queue_room;
	a->queue[a->queue_first] = it;
	return true;
}

void free_queue(Association *a)
{
	if (a->queue_count != 0)
		return;
	free(a->queue);
	a->queue = nullptr;
	a->queue_first = a->queue_room = 0;
}

Arrival pop(Association *a)
{
	Arrival x = a->queue[a->queue_first];
	a->queue_first = (a->queue_first + 1) % a->queue_room;
	a->queue_count--;
	return x;
}

// The child has its own reading of the sockets that it shares with the parent: what the parent has
// received is the parent's, and so are requests and call-backs.
void after_fork()
{
	changing.reset();
	receive::after_fork();
	ancillary::close_in_child(); // children of clone have not done it
	for (uint32_t i = 0; i < pool.size(); i++) {
		Association *a = pool.at(i);
		a->lock.reset();
		bool devices = a->device != nullptr; // the parent's
		a->device = nullptr;
		a->held = -1; // not here
		a->read_by = nullptr;
		close_held(a);
		a->inside = -1;
		a->watched = a->paused = a->edge = false;
		a->blocked = nullptr;
		a->queue_count = a->events = 0;
		a->streak = 0;
		a->armed = nullptr;
		a->waiting = {};
		a->notify = nullptr;
		a->sleepers.store(0, mo::relaxed);
		if (a->fd >= 0 && (a->detached || devices))
			end(a);
	}
}

} // namespace sigevec::dma::association

namespace sigevec::dma {

bool Association::wait_for_arrival()
{
	// Without a descriptor to hold it by it is waited for all the same.
	bool held_now = association::hold(this);
	if (!held_now && !association::still_there(this))
		return false;
	sleepers.fetch_add(1, mo::seq_cst);
	return true;
}

void Association::stop_waiting()
{
	sleepers.fetch_sub(1, mo::relaxed);
	association::let_go(this);
}

} // namespace sigevec::dma
