// SPDX-License-Identifier: MIT
//
// Scenarios: requests that wait in pipes and sockets, datagrams and messages.
#ifdef __x86_64__
#include "scenarios.hpp"

#include <algorithm>

namespace faults {

static void pipe_with(Tell how)
{
	static char data[3][8];
	memset(data, 0, sizeof data);
	int p[2];
	pipe(p);
	{
		Notified n(how);
		aiocb cb[3];
		bool in[3] = {};
		for (unsigned i = 0; i < 3 && n.usable(); i++) {
			cb[i] = request(p[0], data[i], 4);
			cb[i].aio_sigevent = n.event();
			stage("aio_read of a pipe");
			in[i] = accepted("aio_read", aio_read(&cb[i]));
		}
		for (unsigned i = 0, k = 0; i < 3; i++) {
			if (!in[i])
				continue;
			char text[5];
			snprintf(text, sizeof text, "abc%u", k++);
			// A read that has failed leaves the data to the next one.
			if (aio_error(&cb[i]) == EINPROGRESS)
				put(p[1], text, 4);
			if (how == Tell::none)
				suspend(&cb[i]);
			else
				n.wait(&cb[i], "aio_read of a pipe");
			const int e = aio_error(&cb[i]);
			if (ended("aio_read of a pipe", e, aio_return(&cb[i]), 4) && strict())
				check("aio_read of a pipe", data[i], text, 4);
		}
		n.none_more("aio_read of a pipe");
	}
	close_all({p[0], p[1]});
}
void pipe_wait()
{
	pipe_with(Tell::none);
}
void pipe_channel()
{
	pipe_with(Tell::channel);
}

/// A write that has no room, with another one and a read of the other direction behind it.
void socket_room()
{
	static char data[1 << 20], back[1 << 20], more[10], in_data[10];
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = char(i / 977);
	memset(more, 'm', sizeof more);
	int s[2];
	pair(s, SOCK_STREAM);
	aiocb w = request(s[0], data, sizeof data), m = request(s[0], more, 10),
	      r = request(s[0], in_data, 10);
	stage("aio_write of a socket without room");
	const bool w_in = accepted("aio_write", aio_write(&w));
	const bool m_in = accepted("aio_write", aio_write(&m));
	const bool r_in = accepted("aio_read", aio_read(&r));
	if (r_in) {
		put(s[1], "0123456789", 10);
		stage("aio_read behind a write");
		suspend(&r);
		const int e = aio_error(&r);
		if (ended("aio_read", e, aio_return(&r), 10))
			check("aio_read", in_data, "0123456789", 10);
	}
	stage("reading what was written");
	size_t got = 0;
	for (;;) {
		const bool over = (!w_in || aio_error(&w) != EINPROGRESS) &&
				  (!m_in || aio_error(&m) != EINPROGRESS);
		const long n = raw(SYS_recvfrom, s[1], back + got, sizeof back - got, MSG_DONTWAIT,
				   nullptr, nullptr);
		if (n > 0)
			got += size_t(n);
		else if (over || got == sizeof back)
			break;
		else
			nap(100);
	}
	size_t expected = 0;
	if (w_in) {
		suspend(&w);
		const int e = aio_error(&w);
		const ssize_t n = aio_return(&w);
		// What goes wrong after a part is told by the part.
		if (e == 0 && !strict() && n > 0 && size_t(n) < sizeof data)
			expected = size_t(n);
		else if (ended("aio_write", e, n, sizeof data))
			expected = sizeof data;
	}
	if (got < expected || memcmp(back, data, expected) != 0)
		wrong("aio_write: %zu bytes arrived of the %zu it tells of", got, expected);
	if (m_in) {
		suspend(&m);
		const int e = aio_error(&m);
		// Behind the first one's in what has been read, or still in the socket.
		if (ended("the second aio_write", e, aio_return(&m), 10)) {
			char tail[10] = {};
			const size_t here =
				got > expected ? std::min(got - expected, sizeof tail) : 0;
			memcpy(tail, back + expected, here);
			take(s[1], tail + here, sizeof tail - here);
			check("the second aio_write", tail, more, 10);
		}
	}
	close_all({s[0], s[1]});
}

void cancel()
{
	static char data[4][4];
	int p[2], s[2];
	pipe(p);
	pair(s, SOCK_STREAM);
	{
		Notified n(Tell::signal);
		aiocb cb[4];
		bool in[4];
		for (unsigned i = 0; i < 4; i++) {
			cb[i] = request(i < 2 ? p[0] : s[0], data[i], 4);
			cb[i].aio_sigevent = n.event();
			stage("aio_read");
			in[i] = accepted("aio_read", aio_read(&cb[i]));
		}
		stage("aio_cancel of one");
		int r = in[0] ? aio_cancel(p[0], &cb[0]) : AIO_ALLDONE;
		accepted("aio_cancel", r, {EAGAIN});
		const bool ended_itself = in[0] && r == AIO_ALLDONE;
		if (strict() && r != AIO_CANCELED)
			wrong("aio_cancel of a waiting read gives %d", r);
		if (r == AIO_CANCELED && aio_error(&cb[0]) != ECANCELED)
			wrong("AIO_CANCELED, and the status is %s",
			      strerrorname_np(aio_error(&cb[0])));
		if (ended_itself && aio_error(&cb[0]) == EINPROGRESS)
			wrong("AIO_ALLDONE, and the status is EINPROGRESS");
		stage("aio_cancel of all");
		for (int fd : {p[0], s[0]}) {
			r = aio_cancel(fd, nullptr);
			accepted("aio_cancel", r, {EAGAIN});
			if (strict() && r != AIO_CANCELED)
				wrong("aio_cancel of waiting reads gives %d", r);
			for (unsigned i = 0; i < 4; i++)
				if (in[i] && cb[i].aio_fildes == fd && r == AIO_CANCELED &&
				    aio_error(&cb[i]) == EINPROGRESS)
					wrong("AIO_CANCELED, and a status is EINPROGRESS");
		}
		// What could not be cancelled ends as it would have.
		for (unsigned i = 0; i < 4; i++)
			if (in[i] && aio_error(&cb[i]) == EINPROGRESS) {
				if (strict())
					wrong("a read is not cancelled");
				put(i < 2 ? p[1] : s[1], "late", 4);
			}
		for (unsigned i = 0; i < 4; i++) {
			if (!in[i])
				continue;
			n.wait(nullptr, "a cancelled read");
		}
		for (unsigned i = 0; i < 4; i++) {
			if (!in[i])
				continue;
			suspend(&cb[i]);
			const int e = aio_error(&cb[i]);
			if (e != ECANCELED)
				ended("a cancelled read", e, aio_return(&cb[i]), 4);
		}
		n.none_more("a cancelled read");
	}
	close_all({p[0], p[1], s[0], s[1]});
}

void datagrams()
{
	static char data[100], back[200];
	sockaddr_in a{}, from{};
	socklen_t n = sizeof a;
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	const int s = own(raw(SYS_socket, AF_INET, SOCK_DGRAM, 0)),
		  c = own(raw(SYS_socket, AF_INET, SOCK_DGRAM, 0));
	raw(SYS_bind, s, &a, n);
	raw(SYS_getsockname, s, &a, &n);
	stage("ec_create");
	const ec_t ec = ec_create(EC_CLOEXEC);
	if (accepted("ec_create", ec, {EMFILE, ENFILE, ENOMEM, EAGAIN})) {
		memset(data, 'u', sizeof data);
		stage("ev_recvfrom");
		const bool r =
			accepted("ev_recvfrom", ev_recvfrom(s, back, 200, 0, (sockaddr *)&from,
							    sizeof from, ec, back));
		stage("ev_sendto");
		bool w = accepted("ev_sendto",
				  ev_sendto(c, data, 100, 0, (sockaddr *)&a, sizeof a, ec, data));
		bool waits = r;
		if (!w)
			raw(SYS_sendto, c, data, 100, 0, &a, sizeof a);
		while (waits || w) {
			event_data_t e{};
			stage("events of datagrams");
			if (!next(ec, &e, "datagrams"))
				break;
			if (e.ev_data == back) {
				waits = false;
				if (ended("ev_recvfrom", e.ev_errno, e.ev_result, 100)) {
					check("ev_recvfrom", back, data, 100);
					if (from.sin_family != AF_INET)
						wrong("ev_recvfrom: no address");
				}
			} else {
				w = false;
				if (!ended("ev_sendto", e.ev_errno, e.ev_result, 100))
					raw(SYS_sendto, c, data, 100, 0, &a, sizeof a);
			}
		}
		stage("ec_destroy");
		ec_destroy(ec);
	}
	aiocb x = request(s, back, 200), y = request(c, data, 100);
	raw(SYS_recvfrom, s, back, 200, MSG_DONTWAIT, nullptr, nullptr);
	stage("aio_sendto");
	bool sent = false;
	if (accepted("aio_sendto", aio_sendto(&y, 0, (sockaddr *)&a, sizeof a))) {
		suspend(&y);
		const int e = aio_error(&y);
		sent = ended("aio_sendto", e, aio_return(&y), 100);
	}
	if (!sent)
		raw(SYS_sendto, c, data, 100, 0, &a, sizeof a);
	stage("aio_recv");
	if (accepted("aio_recv", aio_recv(&x, 0))) {
		suspend(&x);
		const int e = aio_error(&x);
		ended("aio_recv", e, aio_return(&x), 100);
	}
	close_all({s, c});
}

void messages()
{
	static char data[20], back[20];
	int s[2], p[2];
	pair(s, SOCK_STREAM);
	pipe(p);
	alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {},
			      got[CMSG_SPACE(sizeof(int))] = {};
	iovec v{data, sizeof data}, b{back, sizeof back};
	msghdr m{}, r{};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	m.msg_control = control;
	m.msg_controllen = sizeof control;
	cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &p[1], sizeof(int));
	r.msg_iov = &b;
	r.msg_iovlen = 1;
	r.msg_control = got;
	r.msg_controllen = sizeof got;
	aiocb x{}, y{};
	x.aio_fildes = s[0];
	x.aio_msg = &m;
	x.aio_sigevent.sigev_notify = SIGEV_NONE;
	y = x;
	y.aio_fildes = s[1];
	y.aio_msg = &r;
	stage("aio_recvmsg");
	const bool in = accepted("aio_recvmsg", aio_recvmsg(&y, 0));
	stage("aio_sendmsg");
	bool sent = false;
	if (accepted("aio_sendmsg", aio_sendmsg(&x, 0))) {
		suspend(&x);
		const int e = aio_error(&x);
		sent = ended("aio_sendmsg", e, aio_return(&x), sizeof data);
	}
	if (!sent)
		raw(SYS_sendmsg, s[0], &m, 0);
	if (in) {
		suspend(&y);
		const int e = aio_error(&y);
		if (ended("aio_recvmsg", e, aio_return(&y), sizeof data)) {
			h = CMSG_FIRSTHDR(&r);
			int fd = -1;
			if (h == nullptr || h->cmsg_type != SCM_RIGHTS)
				wrong("aio_recvmsg: the descriptor is lost");
			else
				memcpy(&fd, CMSG_DATA(h), sizeof fd);
			close_all({fd});
		}
	}
	close_all({s[0], s[1], p[0], p[1]});
}

} // namespace faults

#endif
