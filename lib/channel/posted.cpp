// SPDX-License-Identifier: MIT
#include "channel/posted.hpp"

#include "base/pool.hpp"

namespace sigevec::posted {

namespace {

// In use from make() to release(), by whoever has the notification.
struct Posted : Notification, Pooled {
	int error;
	ssize_t result;
};

// As many as all channels together may hold: their limits are the limit.
constinit Pool<Posted, 9, 1u << 15> pool;

bool describe(Notification &n, event_data_t *d)
{
	const auto &p = static_cast<const Posted &>(n);
	d->ev_type = event_type_user;
	d->ev_result = p.result;
	d->ev_errno = p.error;
	return true;
}

constexpr EventOps ops = {describe, nullptr, release};

} // namespace

Notification *make(Channel *c, ssize_t result, int error, void *data)
{
	Posted *p = pool.take_from_others(pool.capacity);
	if (p == nullptr)
		return nullptr;
	p->ops = &ops;
	p->event.channel = c;
	p->event.value.sival_ptr = data;
	p->result = result;
	p->error = error;
	return p;
}

void release(Notification &n)
{
	pool.give_back(&static_cast<Posted &>(n));
}

void after_fork()
{
	pool.after_fork();
}

} // namespace sigevec::posted
