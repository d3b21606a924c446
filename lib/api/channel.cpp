// SPDX-License-Identifier: MIT
//
// ec_create, ec_destroy, ec_to_fd, ec_next_event, ec_next_events, ec_submit, ec_post, ec_set_limit,
// ec_moderate, ec_busy_poll, ec_stat.
#include "api/result.hpp"
#include "base/memory_order.hpp"
#include "base/shortage.hpp"
#include "channel/moderation.hpp"
#include "channel/posted.hpp"
#include "channel/queue.hpp"
#include "channel/wakeup.hpp"
#include "ring_channel/ring_channel.hpp"
#include "runtime/process.hpp"
#include "submit/check.hpp"

#include <cerrno>
#include <climits>

using namespace sigevec;

namespace {

// A reference to a channel for the length of a call.
class Reference {
public:
	explicit Reference(Channel *c) : c_(c) {}
	~Reference()
	{
		if (c_ != nullptr)
			channel::release(c_, read_);
	}
	Reference(const Reference &) = delete;
	Reference &operator=(const Reference &) = delete;
	Channel *operator->() const { return c_; }
	Channel *get() const { return c_; }
	// What next() said.
	int read(int n)
	{
		read_ = n > 0 ? static_cast<unsigned>(n) : 0;
		return n;
	}
	explicit operator bool() const { return c_ != nullptr; }

private:
	Channel *c_;
	unsigned read_ = 0;
};

Channel *find(ec_t ec)
{
	return process::ready() ? channel::find(ec) : nullptr;
}

// Where the channel is looked at anyway: a plain close is noticed when it is found empty.
Channel *peek(ec_t ec)
{
	return process::ready() ? channel::peek(ec) : nullptr;
}

} // namespace

SIGEVEC_EXPORT ec_t ec_create(unsigned flags)
{
	constexpr unsigned known = EC_CLOEXEC | EC_NONBLOCK | EC_SINGLE | EC_BATCH;
	if ((flags & ~known) != 0 || (flags & (EC_SINGLE | EC_BATCH)) == EC_BATCH)
		return api::result_of(EINVAL);
	if (!process::ensure())
		return api::result_of(ENOMEM);
	int fd = channel::create(flags);
	return fd >= 0 ? fd : api::result_of(shortage(-fd, ENOMEM));
}

SIGEVEC_EXPORT int ec_destroy(ec_t ec)
{
	Reference c(find(ec));
	return api::result_of(c && channel::destroy(c.get()) ? 0 : EBADF);
}

SIGEVEC_EXPORT int ec_to_fd(ec_t ec)
{
	Reference c(find(ec));
	return c ? ec : api::result_of(EBADF);
}

SIGEVEC_EXPORT int ec_next_event(ec_t ec, event_data_t *d)
{
	Reference c(peek(ec));
	if (!c || d == nullptr)
		return api::result_of(c ? EINVAL : EBADF);
	int n = c.read(channel::next(c.get(), d, 1, (c->flags & EC_NONBLOCK) == 0, Deadline{}));
	return api::result_of(n > 0 ? 0 : n == -ETIMEDOUT ? EAGAIN : -n);
}

SIGEVEC_EXPORT int ec_next_events(ec_t ec, event_data_t *v, unsigned max,
				  const struct timespec *timeout)
{
	Reference c(peek(ec));
	if (!c)
		return api::result_of(EBADF);
	bool valid = timeout == nullptr || (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 &&
					    timeout->tv_nsec < 1000000000);
	if (v == nullptr || max == 0 || max > INT_MAX || !valid)
		return api::result_of(EINVAL);
	bool wait = timeout != nullptr ? timeout->tv_sec != 0 || timeout->tv_nsec != 0
				       : (c->flags & EC_NONBLOCK) == 0;
	int n = c.read(channel::next(c.get(), v, max, wait, Deadline::after(timeout)));
	return n >= 0 ? n : n == -ETIMEDOUT ? 0 : api::result_of(-n);
}

SIGEVEC_EXPORT int ec_submit(ec_t ec)
{
	Reference c(find(ec));
	if (!c)
		return api::result_of(EBADF);
	ring_channel::flush(c.get());
	return static_cast<int>(c.get()->kept.exchange(0, mo::relaxed));
}

SIGEVEC_EXPORT int ec_post(ec_t ec, ssize_t result, int error, void *data)
{
	Channel *kept = nullptr;
	if (int refused = process::ready() ? channel::admit_and_keep(ec, &kept) : EBADF;
	    refused != 0)
		return api::result_of(refused);
	Reference c(kept);
	Notification *n = posted::make(kept, result, error, data);
	if (n == nullptr) {
		channel::return_credit(kept);
		return api::result_of(EAGAIN);
	}
	return api::result_of(channel::post(*n) ? 0 : EBADF);
}

SIGEVEC_EXPORT int ec_set_limit(ec_t ec, unsigned events)
{
	Reference c(find(ec));
	if (!c || events == 0)
		return api::result_of(c ? EINVAL : EBADF);
	c->limit.store(events, mo::seq_cst);
	if (c->figures != nullptr)
		c->figures->limit.store(events, mo::relaxed);
	// An accept in its ring may be what waits for a credit.
	if (c->credit_waiters.load(mo::seq_cst) && c->ring_owner.load(mo::relaxed) != 0) {
		channel::signal(c.get());
		wakeup::signal_owner(c.get());
	}
	channel::credit_returned(c.get());
	// What ec_moderate holds back may be as many as there can be by now.
	if (moderation::on(c.get()))
		channel::moderation_expired(c.get());
	return 0;
}

SIGEVEC_EXPORT int ec_moderate(ec_t ec, unsigned events, unsigned microseconds)
{
	Reference c(find(ec));
	return api::result_of(c ? moderation::set(c.get(), events, microseconds) : EBADF);
}

SIGEVEC_EXPORT int ec_busy_poll(ec_t ec, unsigned microseconds)
{
	Reference c(find(ec));
	if (!c)
		return api::result_of(EBADF);
	c->busy_poll.store(microseconds, mo::relaxed);
	ring_channel::busy_poll(c.get());
	return 0;
}

SIGEVEC_EXPORT int ec_stat(ec_t ec, struct ec_stat *s)
{
	Reference c(find(ec));
	if (!c || s == nullptr)
		return api::result_of(c ? EINVAL : EBADF);
	channel::stat(c.get(), s);
	return 0;
}
