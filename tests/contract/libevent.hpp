// SPDX-License-Identifier: MIT
//
// What the tests of libsigevec_event share: a base that owns itself and has a time limit,
// bufferevents of both kinds, peers.
//
// Every promise of bufferevent_sigevec_new is tried on bufferevent_socket_new as well: libevent is
// the reference. Include it once, after defining BOOST_TEST_MODULE, in place of support.hpp.
#ifndef CONTRACT_LIBEVENT_HPP
#define CONTRACT_LIBEVENT_HPP

#include "support.hpp"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_struct.h>
#include <event2/thread.h>
#include <netinet/tcp.h>
#include <sigevec.h>
#include <sigevec/event.h>
#include <sys/ioctl.h>

namespace contract {

/// Before any base is made: bases and bufferevents of these tests can be locked.
struct UseThreads {
	UseThreads() { BOOST_TEST_REQUIRE(evthread_use_pthreads() == 0); }
};
BOOST_TEST_GLOBAL_FIXTURE(UseThreads);

class Base {
public:
	Base() : base_(event_base_new()) { BOOST_TEST_REQUIRE(base_ != nullptr); }
	~Base() { event_base_free(base_); }
	Base(const Base &) = delete;
	operator event_base *() const { return base_; }

	/// Runs the loop until `condition` holds.
	template <class Condition> bool until(Condition condition)
	{
		const auto end = std::chrono::steady_clock::now() + hang_limit;
		// It may come to hold without an event of the loop's.
		const timeval moment{0, 5000};
		event *const guard = event_new(
			base_, -1, EV_PERSIST, [](evutil_socket_t, short, void *) {}, nullptr);
		event_add(guard, &moment);
		while (!condition() && std::chrono::steady_clock::now() < end)
			event_base_loop(base_, EVLOOP_ONCE);
		event_free(guard);
		return condition();
	}
	/// Runs what is due, several times over, so that nothing that could happen by itself is
	/// left.
	void settle()
	{
		for (int i = 0; i < 20; ++i)
			event_base_loop(base_, EVLOOP_NONBLOCK);
	}

private:
	event_base *base_;
};

struct Kind {
	const char *name;
	bufferevent *(*make)(event_base *, evutil_socket_t, int);
};
inline constexpr Kind kinds[] = {{"bufferevent_socket_new", bufferevent_socket_new},
				 {"bufferevent_sigevec_new", bufferevent_sigevec_new}};

/// Runs `body` with the maker of each kind of bufferevent.
template <class Body> void for_each_kind(Body body)
{
	for (const Kind &kind : kinds)
		BOOST_TEST_CONTEXT(kind.name) body(kind);
}

/// What a bufferevent's callbacks have been told.
struct Told {
	int reads = 0, writes = 0;
	short events = 0; // all of them
	int event_calls = 0;
	int error = 0;    // errno in the last one
	std::string data; // what was read
	bool take = true; // the read callback takes what there is
	std::function<void(bufferevent *)> on_read, on_write;
	std::function<void(bufferevent *, short)> on_event;
};

inline std::string drain(bufferevent *bev)
{
	evbuffer *const input = bufferevent_get_input(bev);
	std::string text(evbuffer_get_length(input), '\0');
	evbuffer_remove(input, text.data(), text.size());
	return text;
}

inline void listen_to(bufferevent *bev, Told &told)
{
	bufferevent_setcb(
		bev,
		[](bufferevent *b, void *arg) {
			auto &t = *static_cast<Told *>(arg);
			t.reads++;
			if (t.take)
				t.data += drain(b);
			if (t.on_read)
				t.on_read(b);
		},
		[](bufferevent *b, void *arg) {
			auto &t = *static_cast<Told *>(arg);
			t.writes++;
			if (t.on_write)
				t.on_write(b);
		},
		[](bufferevent *b, short what, void *arg) {
			auto &t = *static_cast<Told *>(arg);
			t.error = errno;
			t.event_calls++;
			t.events = static_cast<short>(t.events | what);
			if (t.on_event)
				t.on_event(b, what);
		},
		&told);
}

/// Two connected stream sockets, not blocking.
struct Sockets {
	Sockets()
	{
		int ends[2];
		BOOST_TEST_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
					      0, ends) == 0);
		ours.reset(ends[0]);
		peer.reset(ends[1]);
	}
	void send(std::string_view text) const
	{
		BOOST_TEST_REQUIRE(::send(peer, text.data(), text.size(), MSG_NOSIGNAL) ==
				   ssize_t(text.size()));
	}
	/// What has come to the peer by now.
	std::string received() const
	{
		std::string all;
		char piece[65536];
		for (ssize_t n; (n = recv(peer, piece, sizeof piece, MSG_DONTWAIT)) > 0;)
			all.append(piece, size_t(n));
		return all;
	}
	int unread() const
	{
		int n = -1;
		ioctl(ours, FIONREAD, &n);
		return n;
	}
	Fd ours, peer;
};

/// A bufferevent of one kind on a pair of sockets, with its callbacks.
struct Connection : Sockets {
	Connection(Base &base, const Kind &kind, int options = 0)
	    : bev(kind.make(base, ours, options))
	{
		BOOST_TEST_REQUIRE(bev != nullptr);
		listen_to(bev, told);
	}
	~Connection()
	{
		if (bev != nullptr)
			bufferevent_free(bev);
	}
	void free() { bufferevent_free(std::exchange(bev, nullptr)); }

	bufferevent *bev;
	Told told;
};

inline size_t input_length(bufferevent *bev)
{
	return evbuffer_get_length(bufferevent_get_input(bev));
}
inline size_t output_length(bufferevent *bev)
{
	return evbuffer_get_length(bufferevent_get_output(bev));
}

/// Text in which every place can be told from others.
inline std::string pattern_text(size_t n)
{
	std::string text(n, '\0');
	for (size_t i = 0; i < n; ++i)
		text[i] = char('a' + (i * 7 + i / 251) % 26);
	return text;
}

/// A listener on the loopback interface, and its address.
struct Listener {
	Listener() : fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
	{
		address = listen_on_loopback(fd, 10);
	}
	sockaddr *to() { return reinterpret_cast<sockaddr *>(&address); }
	Fd fd;
	sockaddr_in address{};
};

} // namespace contract

#endif
