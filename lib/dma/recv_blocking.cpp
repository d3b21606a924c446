// SPDX-License-Identifier: MIT
//
// sio_recv, from the call to its end: what is there, or waiting for it.
#include "dma/receive_impl.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "dma/attachment.hpp"
#include "dma/blocked.hpp"
#include "dma/came.hpp"
#include "dma/device.hpp"
#include "dma/message.hpp"
#include "dma/receiver.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <utility>

namespace sigevec::dma::receive {

namespace {

constexpr int beside = MSG_OOB | MSG_ERRQUEUE;

// A call has found data: if that goes on the receiver may fetch what comes next.
void found_data(Association *a)
{
	if (a->streak < long_streak)
		a->streak++;
	if (a->queue_count == 0 && !a->watched && wants_in_advance(a))
		receiver::watch(a);
}

// What a thread that is to wait needs, once the lock is released.
struct Blocking {
	uint64_t place; // by which the association is found again: the number may be another
			// socket's by then
	Association *of;
	Arrival x;        // room for what it waits for
	Blocked *sleeper; // where it waits for that
	Region *region;   // instead: wait until something comes back to it
	uint32_t seen;    // its given_back; or `arrivals' of a socket that the receiver serves; or
			  // an endpoint's
	bool served;
	bool frames; // a network device's queue, or an endpoint
	bool tells;  // which tells of its end
};

// The next frame of a network device.
ssize_t attempt_frame(Association *a, const Want &w, void **address, Blocking *b)
{
	if ((w.flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) != 0)
		return -EOPNOTSUPP;
	Arrival x;
	ssize_t n = one(a, w, &x);
	if (n > 0) {
		n = hand_out(a, x, w, address);
		if (n == no_room && !association::push(a, x))
			discard(x);
		return n;
	}
	if (n == no_room)
		receiver::pause(a);
	if (n == -EAGAIN && device_ops.failed(a->device))
		return -a->device->error;
	if (n != -EAGAIN || (w.flags & MSG_DONTWAIT) != 0)
		return n;
	*b = {association::place_of(a),
	      a,
	      {},
	      nullptr,
	      nullptr,
	      a->device->seen,
	      false,
	      true,
	      a->device->kind == Device::Kind::remote};
	return -EINPROGRESS;
}

// Bytes or -errno; -EINPROGRESS: *b says what to wait for.
ssize_t attempt_once(Association *a, const Want &w, void **address, Blocking *b)
{
	// What has been received ahead is not looked at, nor put together: then neither is what has
	// not.
	bool stays = (w.flags & (MSG_PEEK | MSG_WAITALL)) != 0;
	if (stays && (w.flags & beside) == 0 && (a->latest || wants_ahead(a)))
		return -EOPNOTSUPP;
	if (a->queue_count != 0 && (w.flags & beside) == 0) {
		ssize_t n = take(a, w, address);
		found_data(a);
		return n;
	}
	if (a->error != 0)
		return -std::exchange(a->error, 0);
	if (a->device != nullptr && !a->latest)
		return attempt_frame(a, w, address, b);
	*b = {association::place_of(a), a, {}, nullptr, nullptr, 0, false, false, false};
	if (receiver::serves(a) && (w.flags & beside) == 0) {
		b->served = true;
		b->seen = a->arrivals.load(mo::acquire);
		// Also for who only asks now and then: a child of fork has nobody yet who receives.
		return receiver::watch(a) && (w.flags & MSG_DONTWAIT) == 0 ? -EINPROGRESS : -EAGAIN;
	}
	Arrival x;
	unsigned count = pieces(a, w);
	ssize_t n;
	if ((w.flags & MSG_WAITALL) != 0 && (w.flags & MSG_DONTWAIT) == 0 &&
	    (x = some_room(a, w)).piece != nullptr)
		n = -EAGAIN; // an attempt would take a part
	else
		n = count > 1 ? several(a, w, count, &x) : one(a, w, &x);
	if (n >= 0 && x.piece != nullptr) {
		if (count == 1 && n != 0)
			adapt(a, static_cast<size_t>(n) >= w.size || !a->stream ? 1 : 0, 1);
		n = hand_out(a, x, w, address);
		found_data(a);
		return n;
	}
	Came c = came(n, false, (w.flags & MSG_DONTWAIT) == 0);
	if (reaction(c, Who::call) == Does::waits) {
		a->ahead = 1;
		a->streak = 0;
		association::free_queue(a);
		if (a->watched && a->waiting.empty() && a->notify == nullptr)
			receiver::unwatch(a);
		// By an attachment it is not received in the kernel's call, which waits only.
		if (attachment::of(a, w) != nullptr && x.piece != nullptr)
			discard(std::exchange(x, Arrival{}));
		b->sleeper = blocked::enter(a, x.region);
		if (b->sleeper != nullptr) {
			b->x = x;
			if (x.piece != nullptr)
				region::add_request(x.region);
			return -EINPROGRESS;
		}
		n = -ENOMEM;
	}
	if (x.piece != nullptr)
		discard(x);
	return n;
}

// The same, and if there is no room, but some will come back by itself, what has to be waited for.
ssize_t attempt(Association *a, const Want &w, void **address, Blocking *b)
{
	ssize_t n = attempt_once(a, w, address, b);
	if (n != no_room || a->device != nullptr)
		return n;
	Region *last = region::at(a->regions[a->region_count - 1]);
	if (!last->pieces.some_return())
		return n;
	if ((w.flags & MSG_DONTWAIT) != 0)
		return -EAGAIN;
	uint32_t seen = last->pieces.given_back();
	last->pieces.wait_for_room();
	// Once more, against who has given something back before.
	n = attempt_once(a, w, address, b);
	if (n != no_room)
		return n;
	b->region = last;
	b->seen = seen;
	return -EINPROGRESS;
}

// In the kernel, with room for what comes; the call itself knows about O_NONBLOCK, time limits and
// signals. -EINPROGRESS: it is to be looked at anew.
ssize_t block_in_kernel(int fd, const Want &w, Blocking &b, void **address)
{
	struct msghdr *m = &b.sleeper->m;
	ssize_t n = b.x.piece != nullptr ? into(fd, m, &b.x, w, w.flags)
					 : length_of_next(fd, m, w.flags);
	association::Remembered a(b.place);
	if (blocked::leave(a.get(), b.sleeper) && n < 0)
		n = -EINPROGRESS;
	// EFAULT: the data are a device's, and cannot be looked at.
	if (b.x.piece == nullptr)
		return n < 0 && n != -EFAULT ? n : -EINPROGRESS;
	region::remove_request(b.x.region);
	if (n >= 0 && a)
		return hand_out(a.get(), b.x, w, address);
	if (n > 0 || (n == 0 && w.message))
		return hand_out_alone(b.x, w,
				      address); // the association has ended, the data is here
	discard(b.x);
	return n;
}

// How long a call may wait, all its sleeps together: SO_RCVTIMEO, from the first of them on.
struct Patience {
	bool known = false;
	Deadline until;
};

// Before each sleep. 0 or -errno.
ssize_t begin_to_wait(int fd, Patience *p)
{
	int flags = sys::status_flags(fd);
	if (flags < 0 || (flags & O_NONBLOCK) != 0)
		return flags < 0 ? -errno : -EAGAIN;
	if (p->known)
		return 0;
	struct timeval limit = {};
	socklen_t n = sizeof limit;
	getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &n);
	struct timespec t = {limit.tv_sec, limit.tv_usec * 1000};
	p->until = Deadline::after(limit.tv_sec != 0 || limit.tv_usec != 0 ? &t : nullptr);
	p->known = true;
	return 0;
}

// Until something may have come back. 0 or -errno.
ssize_t sleep_for_room(const Region *r, int fd, uint32_t seen, Patience *p)
{
	if (ssize_t e = begin_to_wait(fd, p); e != 0)
		return e;
	// Nobody tells of the death of another process.
	constexpr timespec moment{0, 20000000}, long_time{1, 0};
	timespec most = r->pieces.is_shared() ? moment : long_time, rest;
	if (!p->until.never && !p->until.left(rest))
		return -EAGAIN;
	if (!p->until.never && (rest.tv_sec < most.tv_sec ||
				(rest.tv_sec == most.tv_sec && rest.tv_nsec < most.tv_nsec)))
		most = rest;
	return r->pieces.sleep(seen, most) ? 0 : -EINTR;
}

// Until the receiver has brought something. 0 or -errno. The socket is held from the first time on,
// if it can be, as by recv.
ssize_t sleep_for_arrival(int fd, const Blocking &b, Patience *p, bool *holds)
{
	if (ssize_t e = begin_to_wait(fd, p); e != 0)
		return e;
	timespec rest{};
	if (!p->until.never && !p->until.left(rest))
		return -EAGAIN;
	if (association::Remembered a(b.place); !a || (!*holds && !a->wait_for_arrival()))
		return -ECANCELED;
	*holds = true;
	int e = futex_wait(b.of->arrivals, b.seen, p->until.never ? nullptr : &rest);
	return e == EINTR ? -EINTR : e == ETIMEDOUT ? -EAGAIN : 0;
}

// Until there may be a frame. 0 or -errno. A network device that goes away tells nobody: it is
// looked at now and then.
ssize_t sleep_for_frame(int fd, const Blocking &b, Patience *p)
{
	constexpr timespec moment{0, 250000000};
	if (ssize_t e = begin_to_wait(fd, p); e != 0)
		return e;
	timespec rest = moment;
	if (!p->until.never && !p->until.left(rest))
		return -EAGAIN;
	if (!b.tells && (rest.tv_sec != 0 || rest.tv_nsec > moment.tv_nsec))
		rest = moment;
	Blocked *sleeper = nullptr;
	Device *endpoint = nullptr;
	if (association::Remembered a(b.place); a) {
		sleeper = blocked::enter(a.get(), nullptr);
		endpoint = b.tells ? a->device : nullptr;
	}
	struct pollfd ready = {fd, POLLIN, 0};
	ssize_t n = endpoint != nullptr
			    ? device_ops.sleep(endpoint, b.seen, p->until.never ? nullptr : &rest)
		    : sys::poll(&ready, 1, &rest) < 0 ? -errno
						      : 0;
	association::Remembered a(b.place);
	return sleeper != nullptr && blocked::leave(a.get(), sleeper) ? 0 : n;
}

} // namespace

namespace {

// What a call finds at first, and what after it has waited: then its number may be another file's.
ssize_t begin(int fd, Want *w, void **address, Blocking *b)
{
	association::Locked a(fd);
	if (!a) {
		int e = association::check_socket(fd);
		return e != 0 ? -e : -EINVAL;
	}
	if (!a->stream && a->device == nullptr)
		w->flags &= ~MSG_WAITALL; // which means nothing there
	return attempt(a.get(), *w, address, b);
}

ssize_t go_on(int fd, const Want &w, void **address, Blocking *b)
{
	association::Remembered a(b->place);
	if (!a)
		return -ECANCELED;
	if (association::still_there(a.get()))
		return attempt(a.get(), w, address, b);
	// The receiver goes on with what somebody waits for.
	if (a->queue_count != 0)
		return take(a.get(), w, address);
	if (a->error != 0 || a->ended)
		return -std::exchange(a->error, 0);
	if (int e = b->served ? 0 : association::check_socket(fd); e != 0 || !b->served)
		return e != 0 ? -e : -ECANCELED;
	b->seen = a->arrivals.load(mo::acquire);
	return -EINPROGRESS;
}

} // namespace

ssize_t call(int fd, Want w, void **address)
{
	Blocking b{};
	Patience patience;
	bool holds = false;
	ssize_t n = begin(fd, &w, address, &b);
	while (n == -EINPROGRESS) {
		if (b.region != nullptr)
			n = sleep_for_room(b.region, fd, b.seen, &patience);
		else if (b.frames)
			n = sleep_for_frame(fd, b, &patience);
		else if (b.served)
			n = sleep_for_arrival(fd, b, &patience, &holds);
		else if ((n = block_in_kernel(fd, w, b, address)) == -EINPROGRESS)
			n = 0;
		else
			break;
		if (n == 0)
			n = go_on(fd, w, address, &b);
	}
	if (holds)
		if (association::Remembered a(b.place); a)
			a->stop_waiting();
	return public_result(n);
}

} // namespace sigevec::dma::receive
