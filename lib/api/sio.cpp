// SPDX-License-Identifier: MIT
//
// sio_reserve, sio_release, sio_send, sio_sendto, sio_sendmsg, sio_recv, sio_recvfrom, sio_recvmsg.
#include "sigevec/sio.h"
#include "api/result.hpp"

#include "api/socket.hpp"
#include "base/descriptor.hpp"
#include "base/iovec.hpp"
#include "base/memory_order.hpp"
#include "base/socket_option.hpp"
#include "base/syscalls.hpp"
#include "dma/receive.hpp"
#include "dma/send.hpp"
#include "ether/device.hpp"
#include "remote/device.hpp"
#include "runtime/process.hpp"
#include "submit/check.hpp"

#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <poll.h>

using namespace sigevec;
using namespace sigevec::dma;

namespace {

int value(ssize_t n)
{
	return n < 0 ? api::result_of(static_cast<int>(-n)) : static_cast<int>(n);
}

// Every byte of it lies in a region: that of the first. nullptr: EFAULT.
Region *region_of(const struct iovec *v, size_t n)
{
	Region *first = nullptr;
	for (size_t i = 0; i < n; i++) {
		Region *r = region::around(v[i].iov_base, v[i].iov_len);
		if (r == nullptr)
			return nullptr;
		if (first == nullptr)
			first = r;
	}
	return first;
}

// A frame. *mine false: the descriptor is no network device's.
ssize_t try_frame(int sock, const struct msghdr *m, int flags, bool *mine)
{
	association::Locked a(sock);
	*mine = a && a->device != nullptr && a->device->kind == Device::Kind::ether;
	if (!*mine)
		return 0;
	if ((flags & ~(MSG_DONTWAIT | MSG_MORE | MSG_NOSIGNAL)) != 0 || m->msg_name != nullptr ||
	    m->msg_controllen != 0)
		return -EOPNOTSUPP;
	return ether::device::send(static_cast<ether::Device *>(a->device), m->msg_iov,
				   m->msg_iovlen, (flags & MSG_MORE) != 0);
}

int send_frame(int sock, const struct msghdr *m, int flags, bool *mine)
{
	for (;;) {
		ssize_t n = try_frame(sock, m, flags, mine);
		if (n != -EAGAIN || (flags & MSG_DONTWAIT) != 0 ||
		    (sys::status_flags(sock) & O_NONBLOCK) != 0)
			return value(n);
		struct pollfd p = {sock, POLLOUT, 0};
		constexpr timespec moment{0, 1000000};
		if (sys::poll(&p, 1, &moment) < 0)
			return api::result_of(errno);
	}
}

// By an endpoint on an interconnect, once. *e: it waits by that.
ssize_t try_remote(int sock, const struct msghdr *m, int flags, remote::Device **d, uint32_t *seen)
{
	association::Locked a(sock);
	bool mine = a && a->device != nullptr && a->device->kind == Device::Kind::remote;
	*d = mine ? static_cast<remote::Device *>(a->device) : nullptr;
	if (!mine)
		return 0;
	return remote::device::send(*d, *m, flags, seen);
}

// How long a call may wait: SO_SNDTIMEO.
Deadline patience_of(int sock)
{
	struct timeval limit = {};
	get_option(sock, SOL_SOCKET, SO_SNDTIMEO, &limit);
	struct timespec t = {limit.tv_sec, limit.tv_usec * 1000};
	return Deadline::after(t.tv_sec != 0 || t.tv_nsec != 0 ? &t : nullptr);
}

int send_remote(int sock, const struct msghdr *m, int flags, bool *mine)
{
	remote::Device *d, *first = nullptr;
	Deadline until;
	for (;;) {
		uint32_t seen;
		ssize_t n = try_remote(sock, m, flags, &d, &seen);
		*mine = d != nullptr || first != nullptr;
		if (!*mine)
			return 0;
		if (d == nullptr || (first != nullptr && d != first))
			return api::result_of(ECANCELED);
		bool wait = n == -EAGAIN && (flags & MSG_DONTWAIT) == 0 &&
			    (sys::status_flags(sock) & O_NONBLOCK) == 0;
		if (wait && first == nullptr)
			until = patience_of(sock);
		first = d;
		timespec rest{};
		if (!wait || (!until.never && !until.left(rest)))
			return value(n);
		if (d->backend->wait(d->endpoint, seen, until.never ? nullptr : &rest) == EINTR)
			return api::result_of(EINTR);
	}
}

int send_message(int sock, const struct msghdr *m, int flags)
{
	// Without a vector there is no memory to look for: an empty datagram, or control data
	// alone. The vector is not the caller's own, which may be written meanwhile.
	Region *r = nullptr;
	bool parts = m->msg_iovlen != 0;
	if (!process::ensure() ||
	    (parts &&
	     (m->msg_iov == nullptr || (r = region_of(m->msg_iov, m->msg_iovlen)) == nullptr)))
		return api::result_of(EFAULT);
	if (const Association *a = association::find(sock); a != nullptr && a->device != nullptr) {
		bool mine;
		int n = a->device->kind == Device::Kind::ether ? send_frame(sock, m, flags, &mine)
							       : send_remote(sock, m, flags, &mine);
		if (mine)
			return n;
	}
	return value(dma::send::call(sock, r, *m, flags));
}

// What the result of recv would not be the size of the piece with.
constexpr int unfit = MSG_TRUNC;

int receive_into(int sock, const receive::Want &w, void **address)
{
	if (address == nullptr || w.size == 0 ||
	    (w.size > INT_MAX && w.size != receive::no_limit) || !process::ensure())
		return api::result_of(EINVAL);
	*address = nullptr;
	return value((w.flags & unfit) != 0 ? -EOPNOTSUPP : receive::call(sock, w, address));
}

} // namespace

SIGEVEC_EXPORT int sio_reserve(dma_mem_t mem, void **memp, size_t size)
{
	Region *r = process::ensure() ? region::find(mem) : nullptr;
	if (r == nullptr || memp == nullptr || size == 0 || size > r->size)
		return api::result_of(EINVAL);
	char *p = r->pieces.reserve_for_program(size);
	if (p == nullptr) {
		r->full.fetch_add(1, mo::relaxed);
		return api::result_of(ENOBUFS);
	}
	*memp = p;
	return 0;
}

SIGEVEC_EXPORT int sio_release(dma_mem_t mem, void *addr, size_t size)
{
	Region *r = process::ensure() ? region::find(mem) : nullptr;
	return api::result_of(r != nullptr && r->pieces.release(addr, size) ? 0 : EINVAL);
}

SIGEVEC_EXPORT int sio_send(int sock, const void *buf, size_t size, int flags)
{
	return sio_sendto(sock, buf, size, flags, nullptr, 0);
}

SIGEVEC_EXPORT int sio_sendto(int sock, const void *buf, size_t size, int flags,
			      const struct sockaddr *to, socklen_t tolen)
{
	if (size > INT_MAX)
		return api::result_of(EINVAL);
	struct iovec v = {const_cast<void *>(buf), size};
	struct msghdr m = {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	m.msg_name = const_cast<struct sockaddr *>(to);
	m.msg_namelen = tolen;
	return send_message(sock, &m, flags);
}

SIGEVEC_EXPORT int sio_sendmsg(int sock, const void *msg, size_t size, int flags)
{
	auto *said = static_cast<const struct msghdr *>(msg);
	if (said == nullptr || size != sizeof *said)
		return api::result_of(EINVAL);
	// A message that was received lies in its region: what is looked at is what is sent.
	struct msghdr m;
	memcpy(&m, said, sizeof m);
	if (m.msg_iovlen > IOV_MAX)
		return api::result_of(EMSGSIZE);
	VectorCopy vector;
	if (m.msg_iovlen != 0) {
		if (!api::vector_is_there(said, m))
			return api::result_of(EFAULT);
		if ((m.msg_iov = vector.take(m.msg_iov, m.msg_iovlen)) == nullptr)
			return api::result_of(ENOBUFS);
	}
	return send_message(sock, &m, flags);
}

SIGEVEC_EXPORT int sio_recv(int sock, void **buf, size_t size, int flags)
{
	return receive_into(sock, {size, flags, false, nullptr, 0, nullptr}, buf);
}

SIGEVEC_EXPORT int sio_recvfrom(int sock, const void **buf, size_t size, int flags,
				struct sockaddr *from, socklen_t fromlen)
{
	return receive_into(sock,
			    {size, flags, false, from, from != nullptr ? fromlen : 0, nullptr},
			    const_cast<void **>(buf));
}

SIGEVEC_EXPORT int sio_recvmsg(int sock, const void **msg, size_t size, int flags)
{
	if (size == sizeof(struct msghdr))
		size = receive::no_limit;
	return receive_into(sock, {size, flags, true, nullptr, 0, nullptr},
			    const_cast<void **>(msg));
}
