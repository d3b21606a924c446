// SPDX-License-Identifier: MIT
//
// Two ways for the events of an armed request. Without DMA_LATEST an event and its piece are one:
// room in the channel is taken first, then data is received, so that neither is lost. With
// DMA_LATEST data must be taken even when nobody reads events, and old data goes: there the
// datagrams are in the association's queue, the events carry none, and each takes the oldest
// datagram when it is read. As many events are on their way as datagrams are in the queue; dropping
// one for another changes neither number.
#include "dma/deliver.hpp"

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "channel/channel.hpp"
#include "completion/completion.hpp"
#include "dma/by_readers.hpp"
#include "dma/deliver_first.hpp"
#include "dma/device.hpp"
#include "dma/receive_impl.hpp"
#include "dma/receiver.hpp"
#include "dma/request.hpp"
#include "notify/notify.hpp"

#include <cerrno>
#include <cstdlib>
#include <netinet/in.h>
#include <poll.h>

namespace sigevec::dma::deliver {

namespace {

constexpr unsigned at_once = 256; // then others may have the lock

receive::Want ahead(const Association *a)
{
	receive::Want w{};
	// A datagram is cut to what the program has said, never to a guess.
	w.size = a->buffer != 0 ? a->buffer : receive::no_limit;
	w.message = !a->stream;
	return w;
}

void drop_oldest(Association *a)
{
	Arrival x = association::pop(a);
	x.region->dropped.fetch_add(1, mo::relaxed);
	receive::discard(x);
	// One that has been cancelled may have lost its channel; while it is `trying' it cannot be.
	Request *r = a->waiting.first();
	if (r == nullptr || !r->multishot || !r->change(State::queued, State::trying))
		return;
	channel::note_dropped(r->notification.event.channel);
	r->set(State::queued);
}

// A network device that has no slots drops what comes, and that is the newest: for half of its
// slots the oldest make room before that.
void keep_slots(Association *a)
{
	Device *d = a->device;
	auto few = [d] { return d->with_kernel < (d->wanted + 1) / 2; };
	while (a->queue_count != 0 && few() && (device_ops.refill(d), few()))
		drop_oldest(a);
}

// Puts by what has come, but for data without room.
void keep(Association *a, Came came, ssize_t n)
{
	if (came == Came::end)
		a->ended = a->latest;
	else if (came == Came::error || came == Came::unconnected)
		a->error = static_cast<int>(-n);
	receive::wake(a);
}

// DMA_LATEST: empties the socket into the queue. -EAGAIN: it is empty; receive::no_room: all room
// is the program's; 0: there is more.
ssize_t drain(Association *a)
{
	receive::Want w = ahead(a);
	for (unsigned i = 0; i < at_once; i++) {
		Arrival x;
		ssize_t n = receive::one(a, w, &x);
		Came came = came_of(a, n);
		Does does = reaction(came, Who::latest);
		for (; does == Does::drops && a->queue_count != 0;
		     does = reaction(came, Who::latest)) {
			drop_oldest(a);
			n = receive::one(a, w, &x);
			came = came_of(a, n);
		}
		if (came != Came::data && x.piece != nullptr)
			receive::discard(x);
		if (does == Does::waits || does == Does::drops)
			return n;
		if (came == Came::data && !association::push(a, x)) {
			receive::discard(x);
			return receive::no_room;
		}
		keep(a, came, n);
		if (came != Came::data)
			return -EAGAIN;
		if (a->device != nullptr)
			keep_slots(a);
	}
	return 0;
}

int option(int fd, int level, int name)
{
	int v = 0;
	socklen_t n = sizeof v;
	return getsockopt(fd, level, name, &v, &n) == 0 ? v : 0;
}

// Whether an error that poll tells of may be a message in the error queue, which is for nobody
// here.
bool has_error_queue(int fd)
{
	return option(fd, SOL_SOCKET, SO_ZEROCOPY) != 0 ||
	       option(fd, SOL_SOCKET, SO_TIMESTAMPING) != 0 ||
	       option(fd, IPPROTO_IP, IP_RECVERR) != 0 ||
	       option(fd, IPPROTO_IPV6, IPV6_RECVERR) != 0;
}

// For async_io_notify: whether there is something, as far as that can be told without taking it. An
// unconnected socket says only that it is hung up.
bool has_something(Association *a, bool *error)
{
	struct pollfd p = {association::file_of(a), POLLIN | POLLRDHUP, 0};
	if (sys::poll_now(&p) != 1)
		return false;
	*error = (p.revents & POLLERR) != 0;
	if ((p.revents & (POLLIN | POLLRDHUP)) != 0 || !*error || !has_error_queue(p.fd))
		return (p.revents & ~POLLHUP) != 0;
	ssize_t n = receive::length_of_next(p.fd, MSG_DONTWAIT);
	bool nothing = n == -EAGAIN || n == -ENOTCONN || n == -EINVAL;
	if (n < 0 && !nothing)
		a->error = static_cast<int>(-n);
	return !nothing;
}

// For async_io_notify: takes what has come into the region, if that is asked for, so that it is
// there when the function runs; an error is left to whoever calls next. False: nothing has come.
bool fetch(Association *a)
{
	if (a->queue_count != 0 || a->error != 0)
		return true;
	bool error = false;
	if (a->device == nullptr && !has_something(a, &error))
		return false;
	if (a->device == nullptr && (error || !receive::wants_ahead(a)))
		return true;
	Arrival x{};
	ssize_t n = receive::one(a, ahead(a), &x);
	Came came = came_of(a, n);
	bool data = came == Came::data;
	if (x.piece != nullptr && (!data || !association::put_back(a, x)))
		receive::discard(x);
	if (reaction(came, Who::function) == Does::waits)
		return n == -EAGAIN && a->shut;
	keep(a, came, n);
	return true;
}

// A network device has dropped frames since: the channel of who waits for them says so.
void report_drops(Association *a)
{
	Request *r = a->waiting.first();
	if (r == nullptr || r->notification.event.notify != SIGEV_EC ||
	    !r->change(State::queued, State::trying))
		return;
	uint64_t all = device_ops.dropped(a->device);
	if (all > a->device->reported_drops)
		channel::note_dropped(r->notification.event.channel,
				      all - a->device->reported_drops);
	a->device->reported_drops = all;
	r->set(State::queued);
}

} // namespace

void step(Association *a, Outcome *o, bool arrived)
{
	o->fd = a->fd;
	if (arrived && a->notify != nullptr && fetch(a)) {
		o->notify = a->notify;
		o->argument = a->notify_argument;
		a->notify = nullptr;
		a->unreported = false;
	}
	if (a->paused) {
		a->paused = false;
		region::at(a->regions[0])->rearms.fetch_add(1, mo::relaxed);
	}
	bool in_advance = arrived && receive::wants_in_advance(a) && receive::in_advance(a);
	if (a->device != nullptr)
		report_drops(a);
	bool all = false;
	for (bool again = false;;) {
		bool no_slots = a->device != nullptr && !device_ops.refill(a->device);
		ssize_t n = receiver::serves(a) ? drain(a) : -EAGAIN;
		ssize_t m = 0;
		for (unsigned i = 0; i < at_once && m == 0 && !a->waiting.empty(); i++)
			m = serve_first(a, o);
		all = m != 0;
		if (!no_slots && n != receive::no_room && m != receive::no_room && m != -EBUSY)
			break;
		if (again) {
			a->paused = true;
			by_readers::leave(a);
			return;
		}
		// Whoever makes room after this says so; once more, against who has made it before.
		receiver::note_pause();
		receive::wait_for_room(a, !a->waiting.empty() && m == receive::no_room
						  ? wanted(a->waiting.first())
						  : receive::Want{});
		again = true;
	}
	// What has been left is no change: it is told of when the socket is watched anew.
	bool waits = !a->waiting.empty();
	bool goes_on = receiver::serves(a) || waits || a->notify != nullptr || in_advance;
	if (a->edge && (!goes_on || (waits && !all)))
		a->watched = false;
	if (goes_on)
		receiver::watch(a);
}

namespace {

struct Callback {
	void (*function)(int, void *);
	int fd;
	void *argument;
};

void call_back(union sigval v)
{
	Callback c = *static_cast<Callback *>(v.sival_ptr);
	free(v.sival_ptr);
	c.function(c.fd, c.argument);
}

// The program's function, by a notification thread.
void run(const Outcome &o)
{
	auto *c = static_cast<Callback *>(malloc(sizeof(Callback)));
	Call call{};
	call.op = Op::event;
	call.event.notify = SIGEV_THREAD;
	call.event.function = call_back;
	call.event.value.sival_ptr = c;
	Request *r = c != nullptr ? requests::create(call, Descriptor{}) : nullptr;
	if (r == nullptr) {
		free(c);
		o.notify(o.fd, o.argument);
		return;
	}
	*c = {o.notify, o.fd, o.argument};
	requests::release(r);
	notify::send(r->notification);
}

} // namespace

void finish(const Outcome &o)
{
	for (Queue<Request> ended = o.ended; Request *r = ended.pop();)
		completion::finish(r, r->result);
	if (o.notify != nullptr)
		run(o);
}

} // namespace sigevec::dma::deliver
