// SPDX-License-Identifier: MIT
// What the notification of a request tells in a channel.
#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "request/message.hpp"
#include "request/request.hpp"
#include "request/stats_detail.hpp"
#include "runtime/helper.hpp"

#include <cerrno>

namespace sigevec::requests {

namespace {

Request *of(const Notification &n)
{
	return static_cast<Request *>(n.owner);
}

void describe_request(const Request *r, event_data_t *d)
{
	d->ev_result = r->result < 0 ? -1 : r->result;
	d->ev_errno = r->result < 0 ? static_cast<int>(-r->result) : 0;
	if (struct aiocb *cb = r->cb.load(mo::relaxed); cb != nullptr) {
		d->ev_type = event_type_aio;
		d->ev_un.ev_aio = cb;
	} else {
		d->ev_type = event_type_net;
		d->ev_un.ev_fd = r->shown_fd != 0 ? r->shown_fd - 1 : r->fd.load(mo::relaxed);
	}
}

bool describe(Notification &n, event_data_t *d)
{
	Request *r = of(n);
	stats_detail::read(*r);
	describe_request(r, d);
	if (r->dma)
		dma::use_ops.describe(r, d);
	return true;
}

bool brought_connection(const Request *r)
{
	return r->result >= 0 && (r->op == Op::accept || (r->op == Op::event && r->multishot));
}

// A connection, or descriptors in a message, that nobody will ever know of are closed. Who finds a
// channel ended drops what others have put there, too: that may be a thread of the helper's, in
// whose table the numbers are none, or others.
void drop(Notification &n)
{
	Request *r = of(n);
	if (r->dma)
		return dma::use_ops.drop(r);
	if (r->cb.load(mo::relaxed) != nullptr || (!brought_connection(r) && r->message == nullptr))
		return;
	if (r->in_program == nullptr || helper::in_programs_table())
		return close_received(r);
	r->references.fetch_add(1, mo::relaxed);
	r->in_program->close(r->in_program, r);
}

void release_owner(Notification &n)
{
	release(of(n));
}

} // namespace

void close_received(Request *r)
{
	if (brought_connection(r))
		sys::close(static_cast<int>(r->result));
	else if (r->message != nullptr)
		message::close_received(r->message);
}

constinit const EventOps event_ops = {describe, drop, release_owner};

} // namespace sigevec::requests
