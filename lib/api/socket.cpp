// SPDX-License-Identifier: MIT
//
// aio_send, aio_recv, aio_sendto, aio_recvfrom, aio_sendmsg, aio_recvmsg, aio_accept, aio_connect.
#include "api/socket.hpp"
#include "api/result.hpp"

#include "dma/region.hpp"
#include "dma/request.hpp"
#include "iocontext/user_memory.hpp"
#include "ring_channel/ring_channel.hpp"
#include "runtime/process.hpp"
#include "sigevec/aio.h"
#include "sigevec/ev.h"
#include "submit/check.hpp"
#include "submit/submit.hpp"

#include <cerrno>
#include <climits>

using namespace sigevec;

namespace sigevec::api {

SocketCall::SocketCall(Op op, int fd, int flags)
{
	call.op = op;
	call.fd = fd;
	call.call_flags = flags;
}

void SocketCall::notify_aiocb(struct aiocb *cb)
{
	call.cb = cb;
	call.event = Event::copy(cb->aio_sigevent);
}

void SocketCall::notify_channel(ec_t ec, void *data)
{
	call.event.notify = SIGEV_EC;
	call.event.signo = ec;
	call.event.value.sival_ptr = data;
}

void SocketCall::buffer(const void *buf, size_t len)
{
	call.buf = const_cast<void *>(buf);
	call.len = len;
}

int SocketCall::address(const struct sockaddr *a, socklen_t length)
{
	if (a == nullptr)
		return 0;
	if (!is_inward(call.op) && length > sizeof(struct sockaddr_storage))
		return EINVAL;
	header_.msg_name = const_cast<struct sockaddr *>(a);
	header_.msg_namelen = length;
	call.message = &header_;
	return 0;
}

bool vector_is_there(const struct msghdr *said, const struct msghdr &m)
{
	return m.msg_iov != nullptr &&
	       (dma::region::around(said, sizeof *said) == nullptr ||
		io::readable(m.msg_iov, m.msg_iovlen * sizeof(struct iovec)));
}

int SocketCall::message(const struct msghdr *m)
{
	if (m == nullptr)
		return EINVAL;
	header_ = *m;
	if (!is_inward(call.op) && header_.msg_namelen > sizeof(struct sockaddr_storage))
		header_.msg_namelen = sizeof(struct sockaddr_storage); // as the system call does
	call.message = &header_;
	call.result = is_inward(call.op) ? const_cast<struct msghdr *>(m) : nullptr;
	if (header_.msg_iovlen > IOV_MAX)
		return EMSGSIZE;
	if (header_.msg_iovlen == 0)
		return 0;
	if (!vector_is_there(m, header_))
		return EFAULT;
	call.vector = header_.msg_iov;
	call.vector_count = static_cast<int>(header_.msg_iovlen);
	return measure_vector();
}

int SocketCall::measure_vector()
{
	ssize_t length = length_of(call.vector, static_cast<size_t>(call.vector_count));
	call.len = static_cast<size_t>(length);
	return length < 0 ? EINVAL : 0;
}

int SocketCall::wait_for_arrival(size_t size, bool whole_message)
{
	return dma::prepare_wait(call, size, whole_message);
}

// What is looked at and held is what is sent.
int SocketCall::read_vector()
{
	if (call.vector == nullptr)
		return 0;
	call.vector = vector_.take(call.vector, static_cast<size_t>(call.vector_count));
	if (call.vector == nullptr)
		return EAGAIN;
	return measure_vector();
}

int SocketCall::send_from_region()
{
	int e = process::ensure() ? read_vector() : EAGAIN;
	return e == 0 ? dma::prepare_send(call, nullptr, true) : e;
}

int SocketCall::use_region(dma_mem_t mem, bool whole_message)
{
	if (!process::ensure())
		return EAGAIN;
	if (!is_inward(call.op)) {
		int e = read_vector();
		return e == 0 ? dma::prepare_send(call, mem, false) : e;
	}
	if (whole_message)
		call.message = &header_;
	int e = dma::prepare_receive(call, mem, whole_message);
	if (whole_message && call.dma.kind == dma::Use::Kind::wait)
		call.message = nullptr;
	return e;
}

int SocketCall::start(int error)
{
	if (error == 0 && call.len > SSIZE_MAX)
		error = EINVAL;
	if (error == 0 && call.cb == nullptr && process::ready())
		if (int e = ring_channel::submit(call); e >= 0)
			return e;
	int result = api::start(error, call.cb, call);
	if (result == 0 && call.cb == nullptr)
		channel::count_kept(call.event.channel);
	return result;
}

} // namespace sigevec::api

using api::SocketCall;

namespace {

int on_buffer(Op op, struct aiocb *cb, int flags, const struct sockaddr *a, socklen_t length)
{
	if (cb == nullptr)
		return api::result_of(EINVAL);
	SocketCall s(op, cb->aio_fildes, flags & ~AIO_DMA_BUF);
	s.notify_aiocb(cb);
	s.buffer(const_cast<void *>(cb->aio_buf), cb->aio_nbytes);
	int error = s.address(a, length);
	if (error == 0 && (flags & AIO_DMA_BUF) != 0)
		error = s.use_region(cb->aio_dma_buf, false);
	return api::result_of(s.start(error));
}

int on_message(Op op, struct aiocb *cb, int flags)
{
	if (cb == nullptr)
		return api::result_of(EINVAL);
	SocketCall s(op, cb->aio_fildes, flags & ~AIO_DMA_BUF);
	s.notify_aiocb(cb);
	bool region = (flags & AIO_DMA_BUF) != 0;
	if (!region || !is_inward(op)) {
		int error = s.message(cb->aio_msg);
		return api::result_of(s.start(
			error == 0 && region ? s.use_region(cb->aio_dma_buf, true) : error));
	}
	// The message is made in the region.
	s.buffer(nullptr, cb->aio_nbytes);
	return api::result_of(s.start(s.use_region(cb->aio_dma_buf, true)));
}

} // namespace

SIGEVEC_EXPORT int aio_send(struct aiocb *cb, int flags)
{
	return on_buffer(Op::send, cb, flags, nullptr, 0);
}

SIGEVEC_EXPORT int aio_recv(struct aiocb *cb, int flags)
{
	return on_buffer(Op::recv, cb, flags, nullptr, 0);
}

SIGEVEC_EXPORT int aio_sendto(struct aiocb *cb, int flags, const struct sockaddr *to,
			      socklen_t tolen)
{
	return on_buffer(Op::send, cb, flags, to, tolen);
}

SIGEVEC_EXPORT int aio_recvfrom(struct aiocb *cb, int flags, struct sockaddr *from,
				socklen_t fromlen)
{
	return on_buffer(Op::recv, cb, flags, from, fromlen);
}

SIGEVEC_EXPORT int aio_sendmsg(struct aiocb *cb, int flags)
{
	return on_message(Op::send, cb, flags);
}

SIGEVEC_EXPORT int aio_recvmsg(struct aiocb *cb, int flags)
{
	return on_message(Op::recv, cb, flags);
}

SIGEVEC_EXPORT int aio_accept(struct aiocb *cb, int flags)
{
	if (cb == nullptr)
		return api::result_of(EINVAL);
	SocketCall s(Op::accept, cb->aio_fildes, flags);
	s.notify_aiocb(cb);
	return api::result_of(s.start((flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0 ? EINVAL : 0));
}

SIGEVEC_EXPORT int aio_connect(struct aiocb *cb, const struct sockaddr *to, socklen_t tolen)
{
	if (cb == nullptr)
		return api::result_of(EINVAL);
	SocketCall s(Op::connect, cb->aio_fildes, 0);
	s.notify_aiocb(cb);
	return api::result_of(s.start(to == nullptr ? EFAULT : s.address(to, tolen)));
}
