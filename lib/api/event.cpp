// SPDX-License-Identifier: MIT
//
// ev_send, ev_recv, ... : one-call requests.
#include "api/result.hpp"
#include "api/socket.hpp"
#include "channel/channel.hpp"
#include "dma/receive.hpp"
#include "ring_channel/ring_channel.hpp"
#include "runtime/process.hpp"
#include "sigevec/ev.h"
#include "submit/cancel.hpp"
#include "submit/check.hpp"

#include <cerrno>

using namespace sigevec;
using api::SocketCall;

namespace {

// AIO_DMA_BUF. Of a receive, EV_MULTISHOT (whose value is that of MSG_OOB, which has no place in a
// region) arms the association.
int on_region(SocketCall &s, size_t len, bool whole_message)
{
	s.call.call_flags &= ~AIO_DMA_BUF;
	if (!is_inward(s.call.op))
		return s.send_from_region();
	s.call.multishot = (s.call.call_flags & EV_MULTISHOT) != 0;
	s.call.call_flags &= ~EV_MULTISHOT;
	return s.wait_for_arrival(len, whole_message);
}

int on_buffer(SocketCall &s, const void *buf, size_t len, const struct sockaddr *a,
	      socklen_t length, ec_t ec, void *data)
{
	s.notify_channel(ec, data);
	s.buffer(buf, len);
	int error = s.address(a, length);
	if (error == 0 && (s.call.call_flags & AIO_DMA_BUF) != 0)
		error = on_region(s, len, false);
	return api::result_of(s.start(error));
}

int on_message(SocketCall &s, const struct msghdr *msg, ec_t ec, void *data)
{
	s.notify_channel(ec, data);
	bool region = (s.call.call_flags & AIO_DMA_BUF) != 0;
	// What is received is made in the region.
	int error = region && is_inward(s.call.op) ? 0 : s.message(msg);
	return api::result_of(
		s.start(error == 0 && region ? on_region(s, dma::receive::no_limit, true) : error));
}

} // namespace

SIGEVEC_EXPORT int ev_send(int fd, const void *buf, size_t len, int flags, ec_t ec, void *data)
{
	SocketCall s(Op::send, fd, flags);
	return on_buffer(s, buf, len, nullptr, 0, ec, data);
}

SIGEVEC_EXPORT int ev_sendto(int fd, const void *buf, size_t len, int flags,
			     const struct sockaddr *to, socklen_t tolen, ec_t ec, void *data)
{
	SocketCall s(Op::send, fd, flags);
	return on_buffer(s, buf, len, to, tolen, ec, data);
}

SIGEVEC_EXPORT int ev_sendmsg(int fd, const struct msghdr *msg, int flags, ec_t ec, void *data)
{
	SocketCall s(Op::send, fd, flags);
	return on_message(s, msg, ec, data);
}

SIGEVEC_EXPORT int ev_recv(int fd, void *buf, size_t len, int flags, ec_t ec, void *data)
{
	SocketCall s(Op::recv, fd, flags);
	return on_buffer(s, buf, len, nullptr, 0, ec, data);
}

SIGEVEC_EXPORT int ev_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *from,
			       socklen_t fromlen, ec_t ec, void *data)
{
	SocketCall s(Op::recv, fd, flags);
	return on_buffer(s, buf, len, from, fromlen, ec, data);
}

SIGEVEC_EXPORT int ev_recvmsg(int fd, struct msghdr *msg, int flags, ec_t ec, void *data)
{
	SocketCall s(Op::recv, fd, flags);
	return on_message(s, msg, ec, data);
}

SIGEVEC_EXPORT int ev_accept(int fd, int flags, ec_t ec, void *data)
{
	SocketCall s(Op::accept, fd, flags & ~EV_MULTISHOT);
	s.notify_channel(ec, data);
	s.call.multishot = (flags & EV_MULTISHOT) != 0;
	return api::result_of(s.start(
		(flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC | EV_MULTISHOT)) != 0 ? EINVAL : 0));
}

SIGEVEC_EXPORT int ev_connect(int fd, const struct sockaddr *to, socklen_t tolen, ec_t ec,
			      void *data)
{
	SocketCall s(Op::connect, fd, 0);
	s.notify_channel(ec, data);
	return api::result_of(s.start(to == nullptr ? EFAULT : s.address(to, tolen)));
}

SIGEVEC_EXPORT int ev_poll(int fd, short events, ec_t ec, void *data)
{
	SocketCall s(Op::poll, fd, events);
	s.notify_channel(ec, data);
	return api::result_of(s.start(0));
}

SIGEVEC_EXPORT int ev_cancel(ec_t ec, void *data)
{
	Channel *c = process::ensure() ? channel::find(ec) : nullptr;
	if (c == nullptr)
		return api::result_of(EBADF);
	unsigned found = ring_channel::cancel(c, data);
	found += cancel::of_channel(c, false, data);
	channel::release(c);
	return api::result_of(found != 0 ? 0 : ENOENT);
}
