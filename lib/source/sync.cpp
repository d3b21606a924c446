// SPDX-License-Identifier: MIT
#include "source/sync.hpp"

#include "base/sync.hpp"
#include "source/futex_waiter.hpp"

#include <cerrno>

namespace sigevec::source::sync {

namespace {

bool describe(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_sync;
	d->ev_un.ev_obj = w->sync.object;
	describe_result(w, d);
	if (w->result == 0 && w->sync.protocol->adopt != nullptr)
		w->sync.protocol->adopt(w);
	if (w->result == 0 && w->sync.serial)
		d->ev_result = PTHREAD_BARRIER_SERIAL_THREAD;
	return true;
}

void drop(Wait *w)
{
	const Protocol *p = w->sync.protocol;
	if (w->result != 0 || p->give_back == nullptr)
		return;
	if (p->adopt != nullptr)
		p->adopt(w);
	p->give_back(w);
}

constexpr Kind kind = {describe, drop, futex_waiter::cancel, futex_waiter::await, nullptr, true};

bool valid(const struct timespec *t)
{
	return t == nullptr || (t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

// It never got to a waiter.
int end_here(Wait *w)
{
	finish(w, w->result);
	return 0;
}

// The call fails after it has begun; unless the object is its own in this moment.
int refuse(Wait *w, int error)
{
	if (w->sync.protocol->withdraw(w))
		return error;
	while (!w->sync.protocol->step(w))
		sched_yield(); // whoever gives it is between two instructions
	return end_here(w);
}

int sleep(Wait *w, int place, const struct timespec *deadline)
{
	if (!valid(deadline))
		return refuse(w, EINVAL);
	if (place == futex_waiter::nowhere)
		place = futex_waiter::reserve(w->sync.protocol->one_word ? w->sync.object
									 : nullptr);
	if (place == futex_waiter::nowhere)
		return refuse(w, EAGAIN);
	w->sync.timed = deadline != nullptr;
	if (deadline != nullptr)
		w->sync.deadline = {deadline->tv_sec, deadline->tv_nsec};
	futex_waiter::enter(place, w);
	return 0;
}

int begin(Wait *w, const struct timespec *deadline)
{
	// What begins by letting the mutex go must be able to go on.
	int place = w->sync.protocol == &condition_protocol ? futex_waiter::reserve(nullptr)
							    : futex_waiter::nowhere;
	if (w->sync.protocol == &condition_protocol && place == futex_waiter::nowhere)
		return EAGAIN;
	if (!w->sync.protocol->step(w))
		return sleep(w, place, deadline);
	if (place != futex_waiter::nowhere)
		futex_waiter::give_back(place);
	return w->result == 0 ? end_here(w) : static_cast<int>(-w->result);
}

} // namespace

void prepare(Wait *w, const Protocol *p, void *object, pthread_mutex_t *mutex)
{
	w->sync = {};
	w->sync.protocol = p;
	w->sync.object = object;
	w->sync.mutex = mutex;
	w->result = 0;
}

int start(const Protocol *p, void *object, pthread_mutex_t *mutex, const struct timespec *deadline,
	  ec_t ec, void *data)
{
	if (!works(p))
		return ENOTSUP;
	union sigval value;
	value.sival_ptr = data;
	return submit(&kind, ec, value, [=](Wait *w) {
		prepare(w, p, object, mutex);
		return begin(w, deadline);
	});
}

} // namespace sigevec::source::sync
