// SPDX-License-Identifier: MIT
//
// Rule 18: a name is resolved as the calling thread at the time of the call: the addresses of UNIX
// sockets, and the descriptors that travel with a message. By the aio_* and the ev_* calls alike.
#define BOOST_TEST_MODULE r18_names
#include "callers.hpp"

namespace {

using Pending = Way::Pending;

const std::vector<SocketKind> connected_kinds{unix_stream_kind, unix_packet_kind};

/// Two folders with a socket of the same name in each. Nobody but a test goes into them.
struct Two {
	Folder right, wrong;
	Fd here, there;
	explicit Two(const SocketKind &kind, int backlog = 16)
	    : here(right.socket_at("s", kind, backlog)), there(wrong.socket_at("s", kind, backlog))
	{
	}
};

template <class Body> void for_each_socket_to_connect(Body body)
{
	for (const SocketKind &kind : connected_kinds)
		for (bool nonblocking : {false, true})
			BOOST_TEST_CONTEXT(kind.name << (nonblocking ? ", O_NONBLOCK" : ""))
			{
				for_each_way([&](Way &way) {
					Fd s = new_socket(kind);
					set_nonblocking(s, nonblocking);
					body(way, kind, int(s));
				});
			}
}

/// The wrong folder's socket is put in the right one's place.
void exchange(const Two &two)
{
	BOOST_TEST_REQUIRE(rename(two.right.in("s").c_str(), two.right.in("old").c_str()) == 0);
	BOOST_TEST_REQUIRE(rename(two.wrong.in("s").c_str(), two.right.in("s").c_str()) == 0);
}
void clean_up(const Two &two)
{
	unlink(two.right.in("old").c_str());
}

} // namespace

// -------------------------------------------------------------------- connect

BOOST_AUTO_TEST_CASE(a_relative_name_means_the_folder_of_the_call)
{
	for_each_socket_to_connect([](Way &way, const SocketKind &kind, int s) {
		Two two(kind);
		Inside place(two.right);
		Address to = unix_name("s");
		Pending &p = way.connect(s, to.get(), to.length);
		place.go(two.wrong);
		way.go();
		BOOST_TEST(way.finish(p) == ok(0));
		BOOST_TEST(was_connected_to(two.here));
		BOOST_TEST(!was_connected_to(two.there));
	});
}

BOOST_AUTO_TEST_CASE(a_thread_can_have_a_folder_of_its_own)
{
	make_a_request();
	for_each_socket_to_connect([](Way &, const SocketKind &kind, int s) {
		Two two(kind);
		Inside const place(two.wrong);
		in_thread([&] {
			BOOST_TEST_REQUIRE(
				(unshare(CLONE_FS) == 0 && chdir(two.right.path().c_str()) == 0));
			for_each_way([&](Way &way) {
				Address to = unix_name("s");
				Fd const other = new_socket(kind);
				set_nonblocking(other, (fcntl(s, F_GETFL) & O_NONBLOCK) != 0);
				BOOST_TEST(way.finish(way.connect(other, to.get(), to.length)) ==
					   ok(0));
				BOOST_TEST(was_connected_to(two.here));
				BOOST_TEST(!was_connected_to(two.there));
			});
		});
	});
}

BOOST_AUTO_TEST_CASE(a_connect_that_waits_keeps_the_folder_of_the_call)
{
	for_each_socket_to_connect([](Way &way, const SocketKind &kind, int s) {
		Two two(kind, 0);
		Inside place(two.right);
		Address to = unix_name("s");
		std::vector<Fd> const clients = fill_backlog(kind, to);
		Pending &p = way.connect(s, to.get(), to.length);
		place.go(two.wrong);
		way.go();
		BOOST_TEST(way.pending(p));
		for (size_t i = 0; i < clients.size(); i++)
			BOOST_TEST(was_connected_to(two.here));
		BOOST_TEST(way.finish(p) == ok(0));
		BOOST_TEST(was_connected_to(two.here));
		BOOST_TEST(!was_connected_to(two.there));
	});
}

BOOST_AUTO_TEST_CASE(a_connect_that_waits_keeps_the_socket_that_had_the_name)
{
	for_each_socket_to_connect([](Way &way, const SocketKind &kind, int s) {
		Two two(kind, 0);
		Address to = unix_name(two.right.in("s"));
		std::vector<Fd> const clients = fill_backlog(kind, to);
		set_nonblocking(
			s); // a call that waits may look the name up again, as the kernel does
		Pending &p = way.connect(s, to.get(), to.length);
		exchange(two);
		BOOST_TEST(way.pending(p));
		for (size_t i = 0; i < clients.size(); i++)
			BOOST_TEST(was_connected_to(two.here));
		BOOST_TEST(way.finish(p) == ok(0));
		BOOST_TEST(!was_connected_to(two.there));
		clean_up(two);
	});
}

/// A listener that takes no more connections until those that wait have been accepted.
struct FullListener {
	Folder folder;
	Fd listener;
	Address to;
	std::vector<Fd> clients;

	explicit FullListener(const SocketKind &kind)
	    : listener(folder.socket_at("s", kind, 0)), to(unix_name(folder.in("s"))),
	      clients(fill_backlog(kind, to))
	{
	}
	void accept_all() const
	{
		for (size_t i = 0; i < clients.size(); i++)
			BOOST_TEST(was_connected_to(listener));
	}
};

BOOST_AUTO_TEST_CASE(what_is_sent_behind_a_connect_that_waits_waits_for_it)
{
	for_each_socket_to_connect([](Way &way, const SocketKind &kind, int s) {
		FullListener full(kind);
		Pending &connecting = way.connect(s, full.to.get(), full.to.length);
		Pending &sending = way.send(s, "x");
		way.go();
		BOOST_TEST(way.pending(sending));
		full.accept_all();
		BOOST_TEST(way.finish(connecting) == ok(0));
		BOOST_TEST(way.finish(sending) == ok(1));
	});
}

BOOST_AUTO_TEST_CASE(a_connect_that_waits_for_room_can_be_cancelled)
{
	for_each_socket_to_connect([](Way &way, const SocketKind &kind, int s) {
		FullListener full(kind);
		Pending &p = way.connect(s, full.to.get(), full.to.length);
		BOOST_TEST(way.pending(p));
		BOOST_TEST(way.cancel(p));
		BOOST_TEST(way.finish(p) == failed(ECANCELED));
		full.accept_all();
		BOOST_TEST(!was_connected_to(full.listener));
	});
}

BOOST_AUTO_TEST_CASE(a_channel_with_connects_that_wait_can_be_destroyed)
{
	FullListener full(unix_stream_kind);
	for_each_channel_kind([&](unsigned flags) {
		Fd const a = new_socket(unix_stream_kind), b = new_socket(unix_stream_kind);
		set_nonblocking(b);
		Channel ec(flags);
		for (int s : {int(a), int(b)})
			BOOST_TEST(ev_connect(s, full.to.get(), full.to.length, ec, nullptr) == 0);
	});
	full.accept_all();
	BOOST_TEST(!was_connected_to(full.listener));
}

BOOST_AUTO_TEST_CASE(a_name_that_leads_nowhere_ends_as_connect_does)
{
	Folder folder;
	const Fd deaf = new_socket(unix_stream_kind);
	const Address unheard = unix_name(folder.in("deaf"));
	BOOST_TEST_REQUIRE(bind(deaf, const_cast<Address &>(unheard).get(), unheard.length) == 0);
	const Fd datagrams = folder.socket_at("datagrams", unix_datagram_kind);
	std::string const names[] = {
		folder.in("absent"), folder.in("absent/s"),  folder.path(),      folder.in("deaf"),
		folder.in("deaf/s"), folder.in("datagrams"), "/proc/self/status"};
	for_each_socket_to_connect([&](Way &way, const SocketKind &kind, int s) {
		for (std::string const &name : names)
			BOOST_TEST_CONTEXT(name)
			{
				Address to = unix_name(name);
				Fd const judge = new_socket(kind);
				BOOST_TEST_REQUIRE(connect(judge, to.get(), to.length) == -1);
				int const error = errno;
				BOOST_TEST(way.finish(way.connect(s, to.get(), to.length)) ==
					   failed(error));
			}
	});
	unlink(folder.in("deaf").c_str());
}

// ----------------------------------------------------------------- datagrams

BOOST_AUTO_TEST_CASE(a_datagram_goes_where_its_name_led_at_the_call)
{
	for (bool nonblocking : {false, true})
		for_each_way([&](Way &way) {
			Two two(unix_datagram_kind);
			Inside place(two.right);
			Address to = unix_name("s");
			Fd const s = new_socket(unix_datagram_kind);
			set_nonblocking(s, nonblocking);
			Pending &first = way.sendto(s, "1", to.get(), to.length);
			place.go(two.wrong);
			way.go();
			BOOST_TEST(way.finish(first) == ok(1));
			BOOST_TEST(received(two.here, '1') == 1);
			BOOST_TEST(received(two.there, '1') == 0);
		});
}

BOOST_AUTO_TEST_CASE(a_datagram_that_waits_for_room_goes_where_its_name_led_at_the_call)
{
	for (bool nonblocking : {false, true})
		for_each_way([&](Way &way) {
			Two two(unix_datagram_kind);
			Inside place(two.right);
			Address to = unix_name("s");
			Fd const s = new_socket(unix_datagram_kind);
			set_nonblocking(s, nonblocking);
			int const before = fill_receiver(s, to);
			// The second one waits for the first.
			Pending &first = way.sendto(s, "1", to.get(), to.length);
			Pending &second = way.sendto(s, "2", to.get(), to.length);
			exchange(two);
			place.go("/");
			way.go();
			BOOST_TEST(way.pending(first));
			make_room(two.here, before);
			BOOST_TEST(way.finish(first) == ok(1));
			BOOST_TEST(way.finish(second) == ok(1));
			std::string got(2, '?');
			BOOST_TEST(recv(two.here, got.data(), 1, 0) == 1);
			BOOST_TEST(recv(two.here, got.data() + 1, 1, 0) == 1);
			BOOST_TEST(got == "12");
			BOOST_TEST((received(two.there, '1') + received(two.there, '2')) == 0);
			clean_up(two);
		});
}

BOOST_AUTO_TEST_CASE(a_datagram_that_waits_for_room_can_be_cancelled)
{
	for (bool nonblocking : {false, true})
		for_each_way([&](Way &way) {
			Folder folder;
			Fd const receiver = folder.socket_at("s", unix_datagram_kind);
			Address to = unix_name(folder.in("s"));
			Fd const s = new_socket(unix_datagram_kind);
			set_nonblocking(s, nonblocking);
			fill_receiver(s, to);
			Pending &p = way.sendto(s, "x", to.get(), to.length);
			BOOST_TEST(way.pending(p));
			BOOST_TEST(way.cancel(p));
			BOOST_TEST(way.finish(p) == failed(ECANCELED));
			BOOST_TEST(received(receiver, 'x') == 0);
		});
}

BOOST_AUTO_TEST_CASE(a_datagram_that_waits_for_room_arrives_whole)
{
	for_each_way([&](Way &way) {
		if (way.single())
			return;
		Pair pair = make_pair(unix_datagram_kind);
		Address const name = unix_name(temp_name("/tmp"));
		Fd const receiver = new_socket(unix_datagram_kind),
			 s = new_socket(unix_datagram_kind);
		BOOST_TEST_REQUIRE(bind(receiver, const_cast<Address &>(name).get(), name.length) ==
				   0);
		BOOST_TEST_REQUIRE(connect(s, const_cast<Address &>(name).get(), name.length) == 0);
		while (send(s, "f", 1, MSG_DONTWAIT) == 1) {
		}
		Pending &p = way.send(s, "hello");
		BOOST_TEST(way.pending(p));
		char byte;
		while (recv(receiver, &byte, 1, MSG_DONTWAIT) == 1 && byte == 'f') {
		}
		BOOST_TEST(way.finish(p) == ok(5));
		unlink(reinterpret_cast<sockaddr_un const *>(&name.storage)->sun_path);
	});
}

// ---------------------------------------------------------------- descriptors

BOOST_AUTO_TEST_CASE(a_descriptor_that_waits_with_its_message_is_the_file_of_the_call)
{
	for_each_way([](Way &way) {
		Pair pair = make_pair(unix_packet_kind);
		while (send(pair.a, "f", 1, MSG_DONTWAIT) == 1) {
		}
		File right = tmpfs_file(), wrong = tmpfs_file();
		struct stat status {
		}, got{};
		BOOST_TEST_REQUIRE(fstat(right.fd, &status) == 0);
		Message &m = message({"x"});
		m.attach_descriptor(right.fd);
		Pending &p = way.sendmsg(pair.a, m);
		BOOST_TEST_REQUIRE(dup2(wrong.fd, right.fd) == int(right.fd));
		way.go();
		BOOST_TEST(way.pending(p));
		for (char c; recv(pair.b, &c, 1, MSG_DONTWAIT | MSG_PEEK) == 1 && c == 'f';)
			recv(pair.b, &c, 1, 0);
		BOOST_TEST(way.finish(p) == ok(1));
		Message &in = room_for({1});
		in.make_room(CMSG_SPACE(sizeof(int)));
		BOOST_TEST_REQUIRE(recvmsg(pair.b, &in.header, MSG_CMSG_CLOEXEC) == 1);
		Fd const file(in.received_descriptor());
		BOOST_TEST_REQUIRE(fstat(file, &got) == 0);
		BOOST_TEST(got.st_ino == status.st_ino);
	});
}
