// SPDX-License-Identifier: MIT
//
// Scenarios: connections that are accepted and made.
#ifdef __x86_64__
#include "scenarios.hpp"

namespace faults {

static int listener(sockaddr_in *a)
{
	socklen_t n = sizeof *a;
	*a = {};
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	const int l = own(raw(SYS_socket, AF_INET, SOCK_STREAM, 0));
	if (raw(SYS_bind, l, a, n) != 0 || raw(SYS_listen, l, 5) != 0)
		wrong("the scenario's listener");
	raw(SYS_getsockname, l, a, &n);
	return l;
}

/// The connection that comes out of an accept works.
static void check_connection(const char *what, int accepted_socket, int other)
{
	char c[4];
	remember(accepted_socket);
	put(other, "conn", 4);
	if (!take(accepted_socket, c, 4) || memcmp(c, "conn", 4) != 0)
		wrong("%s: not a connection", what);
	close_all({accepted_socket});
}

/// The scenario's own accept, of what nobody took.
static void accept_rest(int l)
{
	raw(SYS_fcntl, l, F_SETFL, O_NONBLOCK);
	for (long fd; (fd = raw(SYS_accept4, l, nullptr, nullptr, 0)) >= 0;)
		raw(SYS_close, fd);
}

void accept_connect()
{
	sockaddr_in a;
	const int l = listener(&a);
	stage("ec_create");
	const ec_t ec = ec_create(EC_CLOEXEC);
	if (accepted("ec_create", ec, {EMFILE, ENFILE, ENOMEM, EAGAIN})) {
		stage("ev_accept");
		const bool r = accepted("ev_accept", ev_accept(l, EV_MULTISHOT, ec, &a));
		bool goes_on = r;
		for (unsigned i = 0; i < 2; i++) {
			const int c = own(raw(SYS_socket, AF_INET, SOCK_STREAM, 0));
			event_data_t e{};
			bool connected = false;
			stage("ev_connect");
			const bool w = accepted("ev_connect",
						ev_connect(c, (sockaddr *)&a, sizeof a, ec, &e));
			bool waits_c = w, waits_a = goes_on;
			int taken = -1;
			if (!w)
				connected = raw(SYS_connect, c, &a, sizeof a) == 0;
			while (waits_c || (waits_a && (connected || waits_c))) {
				stage("events of ev_connect and ev_accept");
				if (!next(ec, &e, "ev_connect"))
					break;
				if (e.ev_data == &e) {
					waits_c = false;
					connected = ended("ev_connect", e.ev_errno, e.ev_result, 0);
					if (!connected)
						connected = raw(SYS_connect, c, &a, sizeof a) == 0;
				} else if (e.ev_data == &a) {
					waits_a = false;
					taken = int(e.ev_result);
					if (e.ev_errno != 0) {
						ended("ev_accept", e.ev_errno, e.ev_result, -1);
						goes_on = false;
					}
				} else
					wrong("an event of nobody's");
			}
			if (taken >= 0 && connected)
				check_connection("ev_accept", taken, c);
			else if (taken >= 0)
				close_all({taken});
			close_all({c});
		}
		stage("ev_cancel of an accept");
		if (goes_on) {
			const int q = ev_cancel(ec, &a);
			event_data_t e{};
			if (accepted("ev_cancel", q, {ENOENT, EAGAIN}) || errno == ENOENT) {
				if (next(ec, &e, "ev_cancel") && e.ev_errno != ECANCELED &&
				    (strict() || e.ev_errno != shared->error))
					wrong("a cancelled accept: %s",
					      strerrorname_np(e.ev_errno));
			}
		}
		stage("ec_destroy");
		if (ec_destroy(ec) != 0)
			wrong("ec_destroy fails with %s", strerrorname_np(errno));
	}
	accept_rest(l);
	close_all({l});
}

void aio_connection()
{
	sockaddr_in a;
	const int l = listener(&a);
	const int c = own(raw(SYS_socket, AF_INET, SOCK_STREAM, 0));
	aiocb x = request(l, nullptr, 0), y = request(c, nullptr, 0);
	stage("aio_accept");
	const bool r = accepted("aio_accept", aio_accept(&x, 0));
	stage("aio_connect");
	bool connected = false;
	if (accepted("aio_connect", aio_connect(&y, (sockaddr *)&a, sizeof a))) {
		suspend(&y);
		const int e = aio_error(&y);
		connected = ended("aio_connect", e, aio_return(&y), 0);
	}
	if (!connected)
		connected = raw(SYS_connect, c, &a, sizeof a) == 0;
	if (r) {
		suspend(&x);
		const int e = aio_error(&x);
		if (e == 0)
			check_connection("aio_accept", int(aio_return(&x)), c);
		else
			ended("aio_accept", e, aio_return(&x), 0);
	}
	accept_rest(l);
	close_all({l, c});
}

} // namespace faults

#endif
