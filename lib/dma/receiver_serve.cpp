// SPDX-License-Identifier: MIT
#include "dma/receiver_impl.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "channel/channel.hpp"
#include "channel/wakeup.hpp"
#include "dma/by_readers.hpp"
#include "dma/deliver.hpp"
#include "dma/device.hpp"
#include "dma/receiver.hpp"

#include <fcntl.h>
#include <poll.h>

namespace sigevec::dma::receiver {

Inside::Inside(Association *a) : a_(a)
{
	if (association::still_there(a)) {
		there_ = true;
		return;
	}
	Instance *own = own_instance();
	int fd = a->held >= 0 && own != nullptr && own->can_fetch ? own->way.fetch(a->held)
		 : a->held_here >= 0                              ? sys::duplicate(a->held_here, 3)
								  : -1;
	if (fd < 0)
		return;
	a->inside = fd;
	there_ = association::is_socket_of(fd, a);
	if (a->device != nullptr && there_)
		a->device->fd = fd;
}

Inside::~Inside()
{
	if (a_->inside < 0)
		return;
	sys::close(a_->inside);
	a_->inside = -1;
	if (a_->device != nullptr)
		a_->device->fd = a_->fd;
}

namespace {

// What an event has told. Errors and hang-ups are told of without end while nobody takes them: then
// only of changes. So it is where an armed request takes all there is, which saves a call for each
// arrival.
void note_event(Association *a, uint32_t events)
{
	a->shut = a->shut || (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
	a->plain = events == EPOLLIN;
	bool changes = (events & EPOLLIN) == 0 || takes_all(a);
	if (!changes || !a->edge)
		a->watched = false;
	a->edge = changes;
}

} // namespace

void serve(uint32_t index, uint32_t life, bool arrived, uint32_t events)
{
	uint64_t place = association::place_of(index, life);
	deliver::Outcome o;
	{
		association::Remembered found(place);
		Association *a = found.get();
		if (a == nullptr || (arrived ? !a->watched : !a->paused))
			return;
		if (arrived)
			note_event(a, events);
		if (a->armed != nullptr && a->paused) {
			// It is the owner of the ring who goes on, with a socket that the ring
			// holds.
			a->paused = false;
			channel::signal(a->armed_in);
			wakeup::signal_owner(a->armed_in);
			return;
		}
		Inside in(a);
		// A child of fork may have kept a socket open that the program has closed here.
		// What requests hold may just not be had: the program's table is full.
		if (!in) {
			bool later =
				own_instance() != nullptr && (a->held >= 0 || a->held_here >= 0);
			if (later)
				own_instance()->lacking = a->watched = true;
			return;
		}
		deliver::step(a, &o, arrived);
	}
	if (association::Remembered a(place); a)
		association::let_go(a.get());
	deliver::finish(o);
}

namespace {

template <class F> void each_association(F f)
{
	for (uint32_t i = 0; i < association::count(); i++) {
		Association *a = association::at(i);
		a->lock.lock();
		uint32_t life = a->life;
		bool wanted = f(a);
		a->lock.unlock();
		if (wanted)
			serve(i, life, true);
	}
}

} // namespace

void serve_paused()
{
	some_paused.store(false, mo::seq_cst);
	for (uint32_t i = 0; i < association::count(); i++) {
		uint32_t life;
		{
			Association *a = association::at(i);
			Guard<Mutex> g(a->lock);
			life = a->life;
		}
		serve(i, life, false);
	}
}

void serve_watched()
{
	each_association([](Association *a) { return a->fd >= 0 && a->watched; });
}

namespace {

bool has_been_missed(Association *a)
{
	Inside in(a);
	struct pollfd p = {association::file_of(a), POLLIN, 0};
	if (!in || sys::poll_now(&p) != 1)
		return false;
	// Where only changes are told of, errors and hang-ups have been.
	return !a->edge || (p.revents & POLLIN) != 0;
}

} // namespace

bool some_missed(bool *some)
{
	bool missed = false;
	for (uint32_t i = 0; i < association::count(); i++) {
		Association *a = association::at(i);
		Guard<Mutex> g(a->lock);
		if (a->fd < 0 || (!a->watched && a->read_by == nullptr))
			continue;
		*some = true;
		if (a->read_by == nullptr)
			missed = missed || has_been_missed(a);
		else if (has_been_missed(a))
			by_readers::look_again(a);
	}
	return missed;
}

void look_at_devices()
{
	association::forget_closed();
	device_ops.sweep();
	each_association([](Association *a) {
		bool over = a->fd >= 0 && a->device != nullptr &&
			    (!a->waiting.empty() || a->notify != nullptr) &&
			    device_ops.failed(a->device);
		// Not read: of one that has never been made it is nothing yet.
		if (over)
			a->watched = true;
		return over;
	});
}

} // namespace sigevec::dma::receiver
