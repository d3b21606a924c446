// SPDX-License-Identifier: MIT
//
// Socket requests: accept and connect, errors of the descriptor, cancelling, and what a
// request holds on to; by the aio_* and the ev_* calls alike.
#define BOOST_TEST_MODULE socket_connections
#include "socket_calls.hpp"

#include <algorithm>

namespace {

using Pending = Way::Pending;

const std::vector<SocketKind> listening_kinds{unix_stream_kind, unix_packet_kind, tcp4_kind,
					      tcp6_kind};

template <class Body>
void for_each_way_and_listener(const std::vector<SocketKind> &kinds, Body body)
{
	for (const SocketKind &kind : kinds)
		if (usable(kind))
			BOOST_TEST_CONTEXT("sockets: " << kind.name)
			{
				for_each_way([&](Way &way) {
					Fd listener = listening_socket(kind);
					body(way, kind, listener);
				});
			}
}

/// The result of an accept, as a descriptor.
Fd accepted(Way &way, Pending &p)
{
	const Outcome end = way.finish(p);
	BOOST_TEST(end.error == 0);
	BOOST_TEST_REQUIRE(end.result >= 0);
	return Fd(int(end.result));
}
void check_connected(int a, int b)
{
	put(a, "to b");
	BOOST_TEST(take(b, 4) == "to b");
	put(b, "to a");
	BOOST_TEST(take(a, 4) == "to a");
}

/// A listening socket whose backlog is full, so that a further connect waits.
struct FullListener {
	Fd listener;
	std::vector<Fd> waiting;
	FullListener() : listener(listening_socket(unix_stream_kind, 0))
	{
		Address to = address_of(listener);
		for (;;) {
			Fd client = new_socket(unix_stream_kind);
			set_nonblocking(client);
			if (connect(client, to.get(), to.length) != 0)
				break;
			waiting.push_back(std::move(client));
		}
		BOOST_TEST_REQUIRE(errno == EAGAIN);
	}
	Fd accept_one() { return Fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)); }
};

/// The same over TCP: a connect gets no answer, and waits for minutes.
struct SilentListener {
	Fd listener;
	std::vector<Fd> waiting;
	SilentListener() : listener(listening_socket(tcp4_kind, 0))
	{
		Address to = address_of(listener);
		for (int i = 0; i < 4; i++) {
			waiting.push_back(new_socket(tcp4_kind));
			set_nonblocking(waiting.back());
			connect(waiting.back(), to.get(), to.length);
		}
	}
	Address address() const { return address_of(listener); }
};

/// How a connect ends whose socket is shut down meanwhile, by the call itself.
int error_after_shutdown(Address to)
{
	const Fd s = new_socket(tcp4_kind);
	Waiter call([&] { return connect(s, to.get(), to.length); });
	BOOST_TEST_REQUIRE(call.asleep());
	// It may not have come to its wait yet.
	BOOST_TEST_REQUIRE(
		eventually([&] { return shutdown(s, SHUT_RDWR) == 0 || call.returned(); }));
	BOOST_TEST_REQUIRE(call.returns());
	return call.error();
}

} // namespace

// --------------------------------------------------------------------- accept

BOOST_AUTO_TEST_CASE(a_connection_that_is_there_is_accepted)
{
	for_each_way_and_listener(listening_kinds,
				  [](Way &way, const SocketKind &kind, int listener) {
					  Fd client = connected_to(kind, listener),
					     server = accepted(way, way.accept(listener));
					  check_connected(client, server);
				  });
}

BOOST_AUTO_TEST_CASE(an_accept_waits_for_a_connection_nonblocking_descriptor_or_not)
{
	for (bool nonblocking : {false, true})
		for_each_way_and_listener(
			listening_kinds, [&](Way &way, const SocketKind &kind, int listener) {
				set_nonblocking(listener, nonblocking);
				Pending &p = way.accept(listener);
				BOOST_TEST(way.pending(p));
				Fd client = connected_to(kind, listener), server = accepted(way, p);
				check_connected(client, server);
			});
}

BOOST_AUTO_TEST_CASE(the_flags_of_an_accept_are_those_of_the_new_descriptor)
{
	for (bool wait : {false, true})
		for (int flags :
		     {0, int{SOCK_CLOEXEC}, int{SOCK_NONBLOCK}, SOCK_CLOEXEC | SOCK_NONBLOCK})
			for_each_way_and_listener(
				listening_kinds,
				[&](Way &way, const SocketKind &kind, int listener) {
					Fd client;
					if (!wait)
						client = connected_to(kind, listener);
					Pending &p = way.accept(listener, flags);
					if (wait) {
						BOOST_TEST(way.pending(p));
						client = connected_to(kind, listener);
					}
					Fd server = accepted(way, p);
					BOOST_TEST(((fcntl(server, F_GETFD) & FD_CLOEXEC) != 0) ==
						   ((flags & SOCK_CLOEXEC) != 0));
					BOOST_TEST(((fcntl(server, F_GETFL) & O_NONBLOCK) != 0) ==
						   ((flags & SOCK_NONBLOCK) != 0));
				});
}

BOOST_AUTO_TEST_CASE(accepts_that_wait_take_one_connection_each)
{
	for_each_way_and_listener(
		listening_kinds, [](Way &way, const SocketKind &kind, int listener) {
			std::vector<Pending *> accepts;
			for (int i = 0; i < 20; ++i)
				accepts.push_back(&way.accept(listener));
			way.go();
			std::vector<Fd> clients, servers;
			for (int i = 0; i < 20; ++i) {
				clients.push_back(connected_to(kind, listener));
				put(clients.back(), std::string(1, char('a' + i)));
			}
			std::string seen;
			for (Pending *p : accepts) {
				servers.push_back(accepted(way, *p));
				seen += take(servers.back(), 1);
			}
			std::sort(seen.begin(), seen.end());
			BOOST_TEST(seen == "abcdefghijklmnopqrst");
		});
}

// -------------------------------------------------------------------- connect

BOOST_AUTO_TEST_CASE(a_connect_makes_a_connection_nonblocking_descriptor_or_not)
{
	for (bool nonblocking : {false, true})
		for_each_way_and_listener(
			listening_kinds, [&](Way &way, const SocketKind &kind, int listener) {
				Fd client = new_socket(kind);
				set_nonblocking(client, nonblocking);
				Address to = address_of(listener);
				Pending &p = way.connect(client, to.get(), to.length);
				memset(&to.storage, 0xff, sizeof to.storage); // it has been copied
				BOOST_TEST(way.finish(p) == ok(0));
				set_nonblocking(client, false);
				Fd server(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
				check_connected(client, server);
			});
}

BOOST_AUTO_TEST_CASE(a_connect_waits_while_the_backlog_is_full)
{
	for (bool nonblocking : {false, true})
		for_each_way([&](Way &way) {
			FullListener full;
			Fd client = new_socket(unix_stream_kind);
			set_nonblocking(client, nonblocking);
			Address to = address_of(full.listener);
			Pending &p = way.connect(client, to.get(), to.length);
			memset(&to.storage, 0xff, sizeof to.storage);
			BOOST_TEST(way.pending(p));
			for (size_t i = 0; i < full.waiting.size(); ++i)
				full.accept_one();
			BOOST_TEST(way.finish(p) == ok(0));
			set_nonblocking(client, false);
			Fd server = full.accept_one();
			check_connected(client, server);
		});
}

BOOST_AUTO_TEST_CASE(connect_and_accept_meet)
{
	for_each_way_and_listener(
		listening_kinds, [](Way &way, const SocketKind &kind, int listener) {
			Address to = address_of(listener);
			for (int round = 0; round < 10; ++round) {
				Fd client = new_socket(kind);
				Pending &accepting = way.accept(listener);
				Pending &connecting = way.connect(client, to.get(), to.length);
				BOOST_TEST(way.finish(connecting) == ok(0));
				Fd server = accepted(way, accepting);
				check_connected(client, server);
			}
		});
}

BOOST_AUTO_TEST_CASE(a_failed_connect_tells_why)
{
	for_each_way([](Way &way) {
		for (SocketKind const &kind : {tcp4_kind, tcp6_kind, unix_stream_kind}) {
			if (!usable(kind))
				continue;
			Fd listener = listening_socket(kind), client = new_socket(kind);
			Address to = address_of(listener);
			listener.reset();
			BOOST_TEST(way.finish(way.connect(client, to.get(), to.length)) ==
				   failed(ECONNREFUSED));
		}
		Pair pair = make_pair(tcp4_kind);
		Address to = address_of(pair.a);
		BOOST_TEST(way.finish(way.connect(pair.b, to.get(), to.length)) == failed(EISCONN));
		sockaddr_un nowhere{};
		nowhere.sun_family = AF_UNIX;
		strcpy(nowhere.sun_path, "/nonexistent/socket");
		Fd client = new_socket(unix_stream_kind);
		auto *const path = reinterpret_cast<sockaddr *>(&nowhere);
		BOOST_TEST(way.finish(way.connect(client, path, sizeof nowhere)) == failed(ENOENT));
		BOOST_TEST(way.finish(way.connect(client, to.get(), to.length)).error !=
			   0); // another family
	});
}

BOOST_AUTO_TEST_CASE(after_a_connect_the_socket_is_as_after_the_synchronous_call)
{
	for (bool nonblocking : {false, true})
		for_each_way([&](Way &way) {
			Fd listener = listening_socket(tcp4_kind), client = new_socket(tcp4_kind);
			Address to = address_of(listener);
			listener.reset();
			set_nonblocking(client, nonblocking);
			for (int i = 0; i < 2; ++i) // the second has an error of its own, not what
						    // is left of the first one's
				BOOST_TEST(way.finish(way.connect(client, to.get(), to.length)) ==
					   failed(ECONNREFUSED));
			listener = new_socket(tcp4_kind);
			int const yes = 1;
			setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
			BOOST_TEST_REQUIRE(bind(listener, to.get(), to.length) == 0);
			BOOST_TEST_REQUIRE(listen(listener, 5) == 0);
			BOOST_TEST(way.finish(way.connect(client, to.get(), to.length)) == ok(0));
			BOOST_TEST(way.finish(way.connect(client, to.get(), to.length)) ==
				   failed(EISCONN));
			errno = 0;
			BOOST_TEST(connect(client, to.get(), to.length) == -1);
			BOOST_TEST(errno == EISCONN);
		});
}

BOOST_AUTO_TEST_CASE(a_connect_whose_socket_is_shut_down_ends_as_the_call_does)
{
	SilentListener silent;
	Address to = silent.address();
	const int error = error_after_shutdown(to);
	for (bool nonblocking : {false, true})
		for_each_way([&](Way &way) {
			Fd const s = new_socket(tcp4_kind);
			set_nonblocking(s, nonblocking);
			Pending &p = way.connect(s, to.get(), to.length);
			way.go();
			BOOST_TEST(way.pending(p));
			BOOST_TEST_REQUIRE(eventually([&] { return shutdown(s, SHUT_RDWR) == 0; }));
			BOOST_TEST(way.finish(p) == failed(error));
		});
}

BOOST_AUTO_TEST_CASE(a_connect_that_the_program_has_begun_is_waited_for_as_by_the_call)
{
	SilentListener silent;
	Address to = silent.address();
	const int error = error_after_shutdown(to);
	for_each_way([&](Way &way) {
		Fd const s = new_socket(tcp4_kind);
		set_nonblocking(s, true);
		BOOST_TEST_REQUIRE(connect(s, to.get(), to.length) == -1);
		BOOST_TEST_REQUIRE(errno == EINPROGRESS);
		set_nonblocking(s, false);
		Pending &p = way.connect(s, to.get(), to.length);
		way.go();
		BOOST_TEST(way.pending(p));
		// A shutdown before the call has come to its wait ends what the program has begun,
		// and the call begins anew.
		BOOST_TEST_REQUIRE(
			eventually([&] { return shutdown(s, SHUT_RDWR) != 0 && !way.pending(p); }));
		BOOST_TEST(way.finish(p) == failed(error));
	});
}

BOOST_AUTO_TEST_CASE(a_connect_that_waits_for_an_answer_is_cancelled)
{
	SilentListener silent;
	Address to = silent.address();
	for (bool nonblocking : {false, true})
		for_each_way([&](Way &way) {
			Fd const s = new_socket(tcp4_kind);
			set_nonblocking(s, nonblocking);
			Pending &p = way.connect(s, to.get(), to.length);
			BOOST_TEST(way.pending(p));
			BOOST_TEST(way.cancel(p));
			BOOST_TEST(way.finish(p) == failed(ECANCELED));
		});
}

// From then on libc has a handler for its signal of cancellation, and that lets calls begin anew.
BOOST_AUTO_TEST_CASE(a_connect_that_waits_is_cancelled_also_after_a_pthread_cancel)
{
	std::thread canceled([] {
		for (;;)
			pause();
	});
	pthread_cancel(canceled.native_handle());
	canceled.join();
	SilentListener silent;
	FullListener full;
	auto check = [](const SocketKind &kind, Address to) {
		for_each_way([&](Way &way) {
			Fd const s = new_socket(kind);
			Pending &p = way.connect(s, to.get(), to.length);
			BOOST_TEST(way.pending(p));
			BOOST_TEST(way.cancel(p));
			BOOST_TEST(way.finish(p) == failed(ECANCELED));
		});
	};
	check(tcp4_kind, silent.address());
	check(unix_stream_kind, address_of(full.listener));
}

BOOST_AUTO_TEST_CASE(the_flags_of_a_socket_that_connects_are_the_programs)
{
	SilentListener silent;
	Address to = silent.address(), nowhere = address_of(bound_socket(tcp4_kind));
	for_each_way([&](Way &way) {
		// Connects that end at once, and one that waits, on two duplicates.
		Fd const s = new_socket(tcp4_kind), waits = new_socket(tcp4_kind);
		Pending &p = way.connect(waits, to.get(), to.length);
		std::atomic<bool> over{false};
		std::atomic<int> flickered{0}, undone{0};
		std::thread looks([&] {
			while (!over) {
				flickered += (fcntl(s, F_GETFL) & O_NONBLOCK) != 0;
				fcntl(waits, F_SETFL, O_RDWR | O_NONBLOCK);
				undone += (fcntl(waits, F_GETFL) & O_NONBLOCK) == 0;
				fcntl(waits, F_SETFL, O_RDWR);
				undone += (fcntl(waits, F_GETFL) & O_NONBLOCK) != 0;
			}
		});
		for (int i = 0; i < 100; i++)
			BOOST_TEST_REQUIRE(
				way.finish(way.connect(s, nowhere.get(), nowhere.length)) ==
				failed(ECONNREFUSED));
		over = true;
		looks.join();
		BOOST_TEST(flickered == 0);
		BOOST_TEST(undone == 0);
		BOOST_TEST(way.cancel(p));
		BOOST_TEST(way.finish(p) == failed(ECANCELED));
	});
}

BOOST_AUTO_TEST_CASE(a_datagram_socket_is_connected)
{
	for_each_way([](Way &way) {
		for (SocketKind const &kind : datagram_socket_kinds) {
			if (!usable(kind))
				continue;
			Fd a = bound_socket(kind), b = bound_socket(kind);
			Address to = address_of(b);
			BOOST_TEST(way.finish(way.connect(a, to.get(), to.length)) == ok(0));
			put(a, "x");
			BOOST_TEST(take(b, 1) == "x");
		}
	});
}

BOOST_AUTO_TEST_CASE(a_waiting_accept_is_cancelled_and_takes_no_connection)
{
	for_each_way_and_listener(
		listening_kinds, [](Way &way, const SocketKind &kind, int listener) {
			Pending &p = way.accept(listener);
			BOOST_TEST(way.pending(p));
			BOOST_TEST(way.cancel(p));
			BOOST_TEST(way.finish(p) == failed(ECANCELED));
			Fd client = connected_to(kind, listener),
			   server(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
			check_connected(client, server);
		});
}

BOOST_AUTO_TEST_CASE(a_waiting_connect_is_cancelled)
{
	for_each_way([](Way &way) {
		FullListener full;
		Fd client = new_socket(unix_stream_kind);
		Address to = address_of(full.listener);
		Pending &p = way.connect(client, to.get(), to.length);
		BOOST_TEST(way.pending(p));
		BOOST_TEST(way.cancel(p));
		BOOST_TEST(way.finish(p) == failed(ECANCELED));
		for (size_t i = 0; i < full.waiting.size(); ++i)
			full.accept_one();
		BOOST_TEST(!has_data(full.listener));
	});
}
