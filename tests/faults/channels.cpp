// SPDX-License-Identifier: MIT
//
// Scenarios: channels and one-call requests.
#ifdef __x86_64__
#include "scenarios.hpp"

namespace faults {

static void event(ec_t ec, const char *what, void *data, event_type type, long result)
{
	event_data_t e{};
	stage(what);
	if (!next(ec, &e, what))
		return;
	if (e.ev_data != data || e.ev_type != type)
		wrong("%s: an event that is not its own", what);
	ended(what, e.ev_errno, e.ev_result, result);
}

static void channel_with(unsigned flags)
{
	static char data[100], back[2][100];
	int s[2], p[2];
	pair(s, SOCK_STREAM);
	pipe(p);
	stage("ec_create");
	const ec_t ec = ec_create(flags | EC_CLOEXEC);
	if (accepted("ec_create", ec, {EMFILE, ENFILE, ENOMEM, EAGAIN})) {
		const auto net = event_data_t::event_type_net;
		memset(data, 'd', sizeof data);
		stage("ec_post");
		if (accepted("ec_post", ec_post(ec, 7, 0, data)))
			event(ec, "ec_post", data, event_data_t::event_type_user, 7);
		stage("ev_recv");
		const bool r =
			accepted("ev_recv", ev_recv(s[0], back[0], 100, MSG_WAITALL, ec, back));
		stage("ev_send");
		bool w = accepted("ev_send", ev_send(s[1], data, 100, 0, ec, data));
		if (flags & EC_BATCH)
			accepted("ec_submit", ec_submit(ec));
		event_data_t e{};
		unsigned seen = 0;
		if (!w && r)
			put(s[1], data, 100);
		for (unsigned left = unsigned(r) + w; left > 0; left--) {
			stage("events of ev_send and ev_recv");
			if (!next(ec, &e, "ev_send, ev_recv"))
				break;
			if (e.ev_type != net || (e.ev_data != back && e.ev_data != data))
				wrong("an event of nobody's");
			else if (ended(e.ev_data == back ? "ev_recv" : "ev_send", e.ev_errno,
				       e.ev_result, 100))
				seen |= e.ev_data == back ? 1 : 2;
			else if (e.ev_data == data && r && left == 2)
				put(s[1], data, 100);
		}
		if (seen & 1)
			check("ev_recv", back[0], data, 100);
		// A request of POSIX's, and one that waits when the channel goes.
		aiocb cb = request(p[0], back[1], 4);
		cb.aio_sigevent.sigev_notify = SIGEV_EC;
		cb.aio_sigevent.sigev_ec = ec;
		cb.aio_sigevent.sigev_value.sival_ptr = p;
		put(p[1], "abcd", 4);
		stage("aio_read with a channel");
		if (accepted("aio_read", aio_read(&cb)))
			event(ec, "aio_read", p, event_data_t::event_type_aio, 4);
		// What that one left, if it failed.
		for (pollfd left{p[0], POLLIN, 0}; raw(SYS_poll, &left, 1, 0) > 0;)
			take(p[0], back[1], 4);
		stage("a request that waits at the end");
		const bool waits = accepted("aio_read", aio_read(&cb));
		stage("ec_destroy");
		if (ec_destroy(ec) != 0)
			wrong("ec_destroy fails with %s", strerrorname_np(errno));
		if (waits) {
			stage("ECANCELED after ec_destroy");
			poll_end(&cb);
			if (aio_error(&cb) != ECANCELED &&
			    (strict() || aio_error(&cb) != shared->error))
				wrong("after ec_destroy a request ends with %s",
				      strerrorname_np(aio_error(&cb)));
		}
	}
	close_all({s[0], s[1], p[0], p[1]});
}
void channel_shared()
{
	channel_with(0);
}
void channel_single()
{
	channel_with(EC_SINGLE);
}
void channel_batch()
{
	channel_with(EC_SINGLE | EC_BATCH);
}

void poll_cancel()
{
	int p[2], q[2];
	pipe(p);
	pipe(q);
	stage("ec_create");
	const ec_t ec = ec_create(EC_CLOEXEC);
	if (accepted("ec_create", ec, {EMFILE, ENFILE, ENOMEM, EAGAIN})) {
		stage("ev_poll");
		const bool in = accepted("ev_poll", ev_poll(p[0], POLLIN, ec, p));
		const bool other = accepted("ev_poll", ev_poll(q[0], POLLIN, ec, q));
		put(p[1], "x", 1);
		event_data_t d{};
		bool goes_on = other;
		for (bool waits = in; waits;) {
			stage("ev_poll");
			if (!next(ec, &d, "ev_poll"))
				break;
			ended("ev_poll", d.ev_errno, d.ev_result, POLLIN);
			waits = waits && d.ev_data != p;
			goes_on = goes_on && d.ev_data != q;
		}
		if (goes_on) {
			stage("ev_cancel");
			const int r = ev_cancel(ec, q);
			const int e = errno;
			if (r != 0 && e != ENOENT)
				accepted("ev_cancel", r, {EAGAIN});
			if (r != 0 && e == EAGAIN)
				put(q[1], "x", 1);
			stage("the event of ev_cancel");
			if (next(ec, &d, "ev_cancel") && d.ev_errno != ECANCELED && r == 0)
				wrong("ev_cancel returns 0, and the event is %s",
				      strerrorname_np(d.ev_errno));
		}
		stage("ec_destroy");
		if (ec_destroy(ec) != 0)
			wrong("ec_destroy fails with %s", strerrorname_np(errno));
	}
	close_all({p[0], p[1], q[0], q[1]});
}

void moderated()
{
	stage("ec_create");
	const ec_t ec = ec_create(EC_CLOEXEC);
	if (!accepted("ec_create", ec, {EMFILE, ENFILE, ENOMEM, EAGAIN}))
		return;
	stage("ec_moderate");
	accepted("ec_moderate", ec_moderate(ec, 4, 2000));
	unsigned in = 0;
	for (unsigned i = 0; i < 6; i++) {
		stage("ec_post");
		in += accepted("ec_post", ec_post(ec, int(i), 0, &in));
	}
	// The descriptor tells, after two milliseconds at the latest, and so does a read that
	// waits.
	pollfd p{ec, POLLIN, 0};
	stage("poll of a moderated channel");
	if (in > 0 && raw(SYS_poll, &p, 1, -1) != 1)
		wrong("poll of a channel");
	event_data_t e{};
	stage("events of a moderated channel");
	for (; in > 0; in--)
		if (!next(ec, &e, "ec_post"))
			break;
	stage("ec_post");
	if (accepted("ec_post", ec_post(ec, 1, 0, nullptr)))
		next(ec, &e, "ec_post");
	ec_destroy(ec);
}

} // namespace faults

#endif
