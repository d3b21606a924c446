// SPDX-License-Identifier: MIT
#include "request/submit.hpp"

#include "aiocb.hpp"
#include "completion/completion.hpp"
#include "engine/select.hpp"
#include "engine/transfer.hpp"
#include "notify/notifier.hpp"
#include "request/batch.hpp"
#include "request/order.hpp"
#include "request/stream.hpp"
#include "runtime/helper.hpp"
#include "runtime/process.hpp"
#include "runtime/stats.hpp"

#include <climits>
#include <fcntl.h>

namespace sigevec::submit {

namespace {

int refuse(const Call &c, int error)
{
	stats::count(stats::refused);
	aiocb_layout::result(c.cb).store(-1, std::memory_order_relaxed);
	aiocb_layout::status(c.cb).store(error, std::memory_order_release);
	return error;
}

// The end of a request within its call. r: made for its notification, or nullptr.
int ended(const Call &c, Request *r, ssize_t result)
{
	if (r != nullptr)
		completion::finish(r, result);
	else
		completion::finish_call(c, result);
	return 0;
}

// A write of which `out' bytes went out within the call, or out < 0: none.
bool hand_over(Request *r, ssize_t out)
{
	if (!r->on_stream())
		return select::submit(r);
	uint32_t word = stream::word_of({r->dev, r->ino, r->is_read()});
	if (out >= 0) {
		r->front = true;
		r->done = static_cast<size_t>(out);
	}
	stream::enter(word);
	if (select::submit(r))
		return true;
	stream::leave(word);
	if (out >= 0 && stream::give_up_claim(word))
		helper::look_at_streams();
	return false;
}

int queue_transfer(const Call &c, const Descriptor &d, Request *r, ssize_t out)
{
	if (r == nullptr && (r = requests::create(c, d)) == nullptr) {
		if (out < 0)
			return refuse(c, EAGAIN);
		if (stream::give_up_claim(stream::word_of({d.dev, d.ino, false})))
			helper::look_at_streams();
		return ended(c, nullptr, out);
	}
	aiocb_layout::request(c.cb).store(r->index, std::memory_order_relaxed);
	if (hand_over(r, out))
		return 0;
	int error = errno;
	// Bytes that are out cannot be taken back: the request ends short, as a write that was interrupted does.
	if (out > 0)
		return ended(c, r, out);
	return requests::abandon(r) ? refuse(c, error) : 0;
}

int queue_sync(const Call &c, const Descriptor &d)
{
	Guard<Mutex> g(order::syncs);
	Request *r = requests::create(c, d);
	if (r == nullptr)
		return refuse(c, EAGAIN);
	aiocb_layout::request(c.cb).store(r->index, std::memory_order_relaxed);
	aiocb_layout::context(c.cb).store(aiocb_layout::context_of_sync, std::memory_order_relaxed);
	// On a stream it fails; nothing queued there need end for that.
	if (!is_stream(d.kind))
		order::follow_all(r);
	if (select::submit(r))
		return 0;
	int error = errno;
	order::unfollow_all(r);
	return requests::abandon(r) ? refuse(c, error) : 0;
}

bool same(const Descriptor &a, const Descriptor &b)
{
	return a.dev == b.dev && a.ino == b.ino && a.flags == b.flags;
}

int start_transfer(const Call &c, const Descriptor &d, Request *r)
{
	ssize_t result = -1;
	if (select::inline_allowed() && engines::inline_.attempt(c, d, &result))
		return ended(c, r, result);
	return queue_transfer(c, d, r, result);
}

// With what is remembered of the descriptor. False: it has to be looked at.
bool start_by_guess(const Call &c, int *error)
{
	Descriptor d;
	if (c.op != Op::read || c.len > SSIZE_MAX || c.event.notify == SIGEV_THREAD || !select::guess(c.fd, &d))
		return false;
	ssize_t result;
	if (select::inline_allowed() && engines::inline_.attempt(c, d, &result)) {
		*error = ended(c, nullptr, result);
		return true;
	}
	// Only kernel AIO is told the number itself, at once; others would be told to use another file's.
	if ((d.flags & O_DIRECT) != 0 && select::kernel_aio_first()) {
		*error = queue_transfer(c, d, nullptr, -1);
		return true;
	}
	Descriptor now;
	if (!transfer::describe(c.fd, &now) || !same(now, d)) {
		select::forget(c.fd);
		return false;
	}
	*error = queue_transfer(c, now, nullptr, -1);
	return true;
}

} // namespace

int start_sync(const Call &c)
{
	Descriptor d{};
	if (!transfer::describe(c.fd, &d))
		return EBADF;
	if (!process::ensure() || requests::full())
		return refuse(c, EAGAIN);
	stats::count(stats::requests);
	completion::begin(c.cb);
	if (c.event.notify == SIGEV_THREAD)
		notifier::ensure();
	return queue_sync(c, d);
}

int start(const Call &c)
{
	if (!process::ensure())
		return refuse(c, EAGAIN);
	if (requests::full())
		return refuse(c, EAGAIN);
	stats::count(stats::requests);
	completion::begin(c.cb);
	int error;
	if (start_by_guess(c, &error))
		return error;

	Descriptor d{};
	bool open = transfer::describe(c.fd, &d);
	Request *r = nullptr;
	if (c.event.notify == SIGEV_THREAD) {
		// Whoever completes it may not be able to allocate.
		notifier::ensure();
		if ((r = requests::create(c, d)) == nullptr)
			return refuse(c, EAGAIN);
	}
	if (!open)
		return ended(c, r, -EBADF);
	if (c.len > SSIZE_MAX)
		return ended(c, r, -EINVAL);
	if (c.op == Op::read)
		select::remember(d);
	return start_transfer(c, d, r);
}

} // namespace sigevec::submit
