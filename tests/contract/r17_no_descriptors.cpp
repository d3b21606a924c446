// SPDX-License-Identifier: MIT
//
// Rule 17 where RLIMIT_NOFILE leaves the library no descriptor, or fewer than it has requests: what
// glibc carries out is carried out, in order, on the file that was meant; and nothing that has been
// accepted ends with EAGAIN.
#define BOOST_TEST_MODULE r17_no_descriptors
#include "socket_calls.hpp"

#include <sys/eventfd.h>
#include <sys/resource.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/common_interface_defs.h>

/// What is suppressed is known by names, and reading these needs descriptors: while there are some.
struct NamesAreRead {
	NamesAreRead()
	{
		char name[256];
		__sanitizer_symbolize_pc(reinterpret_cast<void *>(&setrlimit), "%f", name,
					 sizeof name);
	}
};
BOOST_TEST_GLOBAL_FIXTURE(NamesAreRead);
#endif

namespace {

constexpr rlim_t fewest = 0, most = 8;

void allow(rlim_t descriptors)
{
	const rlimit limit{descriptors, descriptors};
	CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/// In a process of its own for each limit, reached before the library's first request or after it.
template <class Body> void with_every_limit(Body body)
{
	for (rlim_t n = fewest; n <= most; ++n)
		for (const bool begun : {false, true})
			BOOST_TEST(in_child([&] {
					   File file = disk_file();
					   put(file.fd, "begun");
					   if (begun)
						   CHILD_REQUIRE(finish(start_read(file.fd, 5)) ==
								 ok(5));
					   body(n);
				   }) == 0,
				   "with " << n << " descriptors" << (begun ? " later" : ""));
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_of_a_stream_wait_and_end_in_their_order)
{
	with_every_limit([](rlim_t n) {
		Stream socket = unix_stream(), pipe = pipe_stream();
		allow(n);
		Request &first = start_read(socket.reader, 3),
			&second = start_read(socket.reader, 3), &other = start_read(pipe.reader, 2);
		put(pipe.writer, "xy");
		CHILD_REQUIRE(finish(other) == ok(2));
		CHILD_REQUIRE(aio_error(&first.cb) == EINPROGRESS);
		CHILD_REQUIRE(aio_error(&second.cb) == EINPROGRESS);
		put(socket.writer, "abcdef");
		CHILD_REQUIRE(finish(first) == ok(3));
		CHILD_REQUIRE(finish(second) == ok(3));
		CHILD_REQUIRE(first.text() == "abc");
		CHILD_REQUIRE(second.text() == "def");
	});
}

BOOST_AUTO_TEST_CASE(writes_of_a_stream_are_whole_and_in_their_order)
{
	with_every_limit([](rlim_t n) {
		constexpr size_t much = 1 << 20;
		Stream pipe = pipe_stream();
		allow(n);
		Request &first = start_write(pipe.writer, std::string(much, 'a')),
			&second = start_write(pipe.writer, std::string(much, 'b'));
		std::string got;
		char part[65536];
		while (got.size() < 2 * much) {
			const ssize_t r = read(pipe.reader, part, sizeof part);
			CHILD_REQUIRE(r > 0);
			got.append(part, static_cast<size_t>(r));
		}
		CHILD_REQUIRE(finish(first) == ok(much));
		CHILD_REQUIRE(finish(second) == ok(much));
		CHILD_REQUIRE(got == std::string(much, 'a') + std::string(much, 'b'));
	});
}

BOOST_AUTO_TEST_CASE(files_are_read_written_and_synchronized)
{
	with_every_limit([](rlim_t n) {
		File file = disk_file();
		const int append = open(file.path.c_str(), O_RDWR | O_APPEND);
		const int direct = open(file.path.c_str(), O_RDWR | O_DIRECT);
		alignas(4096) static char page[4096];
		allow(n);
		CHILD_REQUIRE(finish(start_write(file.fd, "file")) == ok(4));
		std::vector<Request *> appended;
		for (const char *const text : {"one", "two", "six"})
			appended.push_back(&start_write(append, text));
		Request &sync = keep(file.fd, 0);
		CHILD_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
		for (Request *const r : appended)
			CHILD_REQUIRE(finish(*r) == ok(3));
		CHILD_REQUIRE(finish(sync) == ok(0));
		Request &back = start_read(file.fd, 13);
		CHILD_REQUIRE(finish(back) == ok(13));
		CHILD_REQUIRE(back.text() == "fileonetwosix");
		if (direct < 0)
			return;
		Request &hole = keep(direct, 0);
		hole.cb.aio_buf = page;
		hole.cb.aio_nbytes = sizeof page;
		hole.cb.aio_offset = 1 << 20;
		CHILD_REQUIRE(aio_write(&hole.cb) == 0);
		CHILD_REQUIRE(finish(hole) == ok(sizeof page));
	});
}

BOOST_AUTO_TEST_CASE(a_list_is_carried_out_whole)
{
	with_every_limit([](rlim_t n) {
		Stream pipe = pipe_stream(), other = pipe_stream();
		File file = disk_file();
		put(file.fd, "file");
		allow(n);
		Request &a = reading(pipe.reader, 1), &b = reading(other.reader, 1),
			&c = reading(file.fd, 4);
		aiocb *list[] = {&a.cb, &b.cb, &c.cb};
		for (aiocb *const cb : list)
			cb->aio_lio_opcode = LIO_READ;
		CHILD_REQUIRE(lio_listio(LIO_NOWAIT, list, 3, nullptr) == 0);
		put(other.writer, "b");
		CHILD_REQUIRE(finish(b) == ok(1));
		put(pipe.writer, "a");
		CHILD_REQUIRE(finish(a) == ok(1));
		CHILD_REQUIRE(finish(c) == ok(4));
	});
}

BOOST_AUTO_TEST_CASE(a_request_keeps_its_file_when_its_number_becomes_another, BETTER_THAN_GLIBC)
{
	with_every_limit([](rlim_t n) {
		Stream meant = pipe_stream(), later = pipe_stream();
		allow(n);
		Request &read = start_read(meant.reader, 5);
		// The limit is for the new number, not for one that is there.
		if (n > static_cast<rlim_t>(meant.reader))
			CHILD_REQUIRE(dup2(later.reader, meant.reader) == meant.reader);
		else
			meant.reader.reset();
		put(later.writer, "wrong");
		put(meant.writer, "right");
		CHILD_REQUIRE(finish(read) == ok(5));
		CHILD_REQUIRE(read.text() == "right");
	});
}

BOOST_AUTO_TEST_CASE(what_waits_can_be_cancelled_and_lets_go_of_its_file, BETTER_THAN_GLIBC)
{
	with_every_limit([](rlim_t n) {
		Stream pipe = pipe_stream();
		allow(n);
		Request &first = start_read(pipe.reader, 1), &second = start_read(pipe.reader, 1);
		CHILD_REQUIRE(aio_cancel(pipe.reader, &second.cb) == AIO_CANCELED);
		CHILD_REQUIRE(finish(second) == failed(ECANCELED));
		CHILD_REQUIRE(aio_error(&first.cb) == EINPROGRESS);
		CHILD_REQUIRE(aio_cancel(pipe.reader, nullptr) == AIO_CANCELED);
		CHILD_REQUIRE(finish(first) == failed(ECANCELED));
		pipe.reader.reset();
		signal(SIGPIPE, SIG_IGN);
		// Nobody has the reading end any more.
		CHILD_REQUIRE(eventually([&] { return write(pipe.writer, "x", 1) < 0; }));
		CHILD_REQUIRE(errno == EPIPE);
	});
}

BOOST_AUTO_TEST_CASE(what_waits_is_not_cancelled_by_the_next_file_of_its_number, BETTER_THAN_GLIBC)
{
	BOOST_TEST(in_child([] {
			   Stream one = pty_stream(), two = pty_stream();
			   rlimit before;
			   CHILD_REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
			   const rlimit few{fewest, before.rlim_max};
			   CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
			   Request &read = start_read(one.writer, 1);
			   CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
			   CHILD_REQUIRE(dup2(two.writer, one.writer) == one.writer);
			   CHILD_REQUIRE(aio_cancel(one.writer, nullptr) == AIO_ALLDONE);
			   put(one.reader, "x");
			   CHILD_REQUIRE(finish(read) == ok(1));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(many_that_wait_keep_up_nobody)
{
	BOOST_TEST(in_child([] {
			   constexpr int many = 60;
			   std::vector<Stream> streams;
			   std::vector<Request *> reads;
			   for (int i = 0; i < many; ++i)
				   streams.push_back(pipe_stream());
			   allow(fewest);
			   for (Stream &s : streams)
				   reads.push_back(&start_read(s.reader, 1));
			   for (int i = many - 1; i >= 0; --i) {
				   put(streams[i].writer, "x");
				   CHILD_REQUIRE(finish(*reads[i]) == ok(1));
			   }
		   }) == 0);
}

// ---- what only this library has ----

namespace {

/// What has been gone before the limit is reached: also what no ring of the channel's own does.
void go_once(Way &way)
{
	Pair pair = make_pair(unix_stream_kind);
	Fd listener = listening_socket(unix_stream_kind), client = new_socket(unix_stream_kind);
	Address address = address_of(listener);
	Way::Pending &received = way.recv(pair.a, 1);
	way.put(pair.b, "x");
	CHILD_REQUIRE(way.finish(received) == ok(1));
	CHILD_REQUIRE(way.finish(way.connect(client, address.get(), address.length)) == ok(0));
}

template <class Body> void with_every_way(Body body)
{
	for (const Way::Kind &kind : Way::kinds)
		for (const rlim_t n : {fewest, rlim_t{4}, most})
			BOOST_TEST(in_child([&] {
					   Way way(kind);
					   go_once(way);
					   body(way, n);
				   }) == 0,
				   kind.name << " with " << n << " descriptors");
}

bool no_number_is_free(int fd)
{
	const int other = dup(fd);
	close(other);
	return other < 0;
}

/// Accepts what there is once it is told to, in a process that has descriptors.
class Acceptor {
public:
	explicit Acceptor(int listener)
	{
		child_ = fork();
		char byte;
		if (child_ != 0)
			return;
		command_.writer.reset();
		while (read(command_.reader, &byte, 1) == 1)
			accept(listener, nullptr, nullptr);
		_exit(0);
	}
	void accept_one() { put(command_.writer, "a"); }

private:
	Stream command_ = pipe_stream();
	pid_t child_;
};

} // namespace

BOOST_AUTO_TEST_CASE(receives_wait_for_data_in_their_order)
{
	with_every_way([](Way &way, rlim_t n) {
		Pair pair = make_pair(unix_stream_kind), other = make_pair(udp4_kind);
		allow(n);
		Way::Pending &all = way.recv(pair.a, 4, MSG_WAITALL), &second = way.recv(pair.a, 9),
			     &datagram = way.recv(other.a, 9);
		way.put(other.b, "whole");
		CHILD_REQUIRE(way.finish(datagram) == ok(5));
		way.put(pair.b, "ab");
		CHILD_REQUIRE(way.pending(all));
		CHILD_REQUIRE(way.pending(second));
		way.put(pair.b, "cdef");
		CHILD_REQUIRE(way.finish(all) == ok(4));
		CHILD_REQUIRE(way.finish(second) == ok(2));
		CHILD_REQUIRE(all.text() == "abcd");
	});
}

BOOST_AUTO_TEST_CASE(sends_wait_for_room_and_are_whole)
{
	with_every_way([](Way &way, rlim_t n) {
		constexpr size_t much = 1 << 20;
		Pair pair = make_pair(unix_stream_kind);
		// What takes it asks poll(2), which looks at the limit.
		allow(std::max(n, rlim_t{1}));
		Way::Pending &first = way.send(pair.a, std::string(much, 'a')),
			     &second = way.send(pair.a, std::string(much, 'b'));
		way.go();
		CHILD_REQUIRE(way.take(pair.b, 2 * much) ==
			      std::string(much, 'a') + std::string(much, 'b'));
		CHILD_REQUIRE(way.finish(first) == ok(much));
		CHILD_REQUIRE(way.finish(second) == ok(much));
	});
}

BOOST_AUTO_TEST_CASE(a_connect_waits_for_room_with_the_listener)
{
	with_every_way([](Way &way, rlim_t n) {
		Fd listener = listening_socket(unix_stream_kind, 0);
		Fd before = connected_to(unix_stream_kind, listener);
		Fd client = new_socket(unix_stream_kind);
		Address address = address_of(listener);
		Acceptor acceptor(listener);
		allow(n);
		Way::Pending &connect = way.connect(client, address.get(), address.length);
		CHILD_REQUIRE(way.pending(connect));
		way.go();
		acceptor.accept_one();
		CHILD_REQUIRE(way.finish(connect) == ok(0));
		CHILD_REQUIRE(getpeername(client, address.get(), &address.length) == 0);
	});
}

BOOST_AUTO_TEST_CASE(what_waits_on_a_socket_can_be_cancelled)
{
	with_every_way([](Way &way, rlim_t n) {
		Pair pair = make_pair(tcp4_kind);
		Fd listener = listening_socket(unix_stream_kind, 0);
		Fd before = connected_to(unix_stream_kind, listener);
		Fd client = new_socket(unix_stream_kind);
		Address address = address_of(listener);
		allow(n);
		Way::Pending &receive = way.recv(pair.a, 1),
			     &connect = way.connect(client, address.get(), address.length);
		for (Way::Pending *const p : {&receive, &connect}) {
			CHILD_REQUIRE(way.pending(*p));
			CHILD_REQUIRE(way.cancel(*p));
			CHILD_REQUIRE(way.finish(*p) == failed(ECANCELED));
		}
	});
}

BOOST_AUTO_TEST_CASE(a_poll_ends_with_what_there_is)
{
	with_every_limit([](rlim_t n) {
		Channel ec;
		Stream pipe = pipe_stream(), other = pipe_stream();
		CHILD_REQUIRE(ev_poll(pipe.reader, POLLIN, ec, &pipe) == 0);
		put(pipe.writer, "x");
		CHILD_REQUIRE(next_event(ec).ev_result == POLLIN);
		take(pipe.reader, 1);
		// poll(2) looks at the limit.
		allow(std::max(n, rlim_t{1}));
		CHILD_REQUIRE(ev_poll(pipe.reader, POLLIN, ec, &pipe) == 0);
		CHILD_REQUIRE(ev_poll(pipe.reader, POLLIN, ec, &other) == 0);
		put(pipe.writer, "x");
		for (int i = 0; i < 2; ++i)
			CHILD_REQUIRE(next_event(ec).ev_result == POLLIN);
	});
}

// accept(2) looks for a number before it takes a connection.
BOOST_AUTO_TEST_CASE(an_accept_ends_as_accept_does_and_leaves_the_connection)
{
	with_every_way([](Way &way, rlim_t n) {
		Fd listener = listening_socket(unix_stream_kind);
		Fd client;
		for (const bool waits : {false, true}) {
			if (waits)
				client = connected_to(unix_stream_kind, listener);
			rlimit before;
			CHILD_REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
			const rlimit few{n, before.rlim_max};
			CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
			if (no_number_is_free(listener))
				CHILD_REQUIRE(way.finish(way.accept(listener)) == failed(EMFILE));
			CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
		}
		CHILD_REQUIRE(Fd(accept(listener, nullptr, nullptr)) >= 0);
	});
}

namespace {

/// All numbers are used, and the library's helper has room.
void fill_table(int fd)
{
	constexpr rlim_t few = 100;
	rlimit limit;
	CHILD_REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = few;
	CHILD_REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	while (dup(fd) >= 0)
		;
}

void send_descriptor(int s)
{
	Message &m = message({"data"});
	m.attach_descriptor(s);
	CHILD_REQUIRE(sendmsg(s, &m.header, 0) == 4);
}

Message &room_for_descriptor()
{
	Message &m = room_for({8});
	m.make_room(CMSG_SPACE(sizeof(int)));
	return m;
}

bool alike(Message &m, Message &by_hand)
{
	return m.header.msg_flags == by_hand.header.msg_flags && m.received_descriptor() < 0 &&
	       m.parts == by_hand.parts;
}

/// What recvmsg(2) makes of it.
Message &received_by_hand(const Pair &pair)
{
	Message &m = room_for_descriptor();
	send_descriptor(pair.b);
	CHILD_REQUIRE(recvmsg(pair.a, &m.header, 0) == 4);
	CHILD_REQUIRE((m.header.msg_flags & MSG_CTRUNC) != 0);
	return m;
}

} // namespace

// What comes of an accept belongs into the program's table, so no thread with a copy can make it.
BOOST_AUTO_TEST_CASE(an_accept_works_or_is_refused_while_only_the_helpers_table_is_full)
{
	for (const Way::Kind &kind : Way::kinds) {
		if ((kind.flags & EC_SINGLE) != 0)
			continue; // by the ring of the channel
		BOOST_TEST_CONTEXT("way: " << kind.name)
		BOOST_TEST(in_child([&] {
				   constexpr rlim_t few = 32;
				   Fd listener = listening_socket(unix_stream_kind);
				   Channel ec(kind.flags);
				   allow(few);
				   // Each holds a file of which the program has no number any more.
				   for (rlim_t i = 0; i < 2 * few; ++i) {
					   Fd const waits(eventfd(0, EFD_CLOEXEC));
					   CHILD_REQUIRE(waits >= 0);
					   start_read(waits, 8);
				   }
				   Request &r = keep(listener, 0);
				   const int result = kind.one_call
							      ? ev_accept(listener, 0, ec, &r)
							      : aio_accept(&tell(r, ec, &r).cb, 0);
				   CHILD_REQUIRE((result == 0 || errno == EAGAIN));
				   Fd const client = connected_to(unix_stream_kind, listener);
				   if (result == 0) {
					   event_data_t const end = next_event(ec);
					   CHILD_REQUIRE(end.ev_errno == 0);
					   CHILD_REQUIRE(close(int(end.ev_result)) == 0);
				   } else
					   CHILD_REQUIRE(Fd(accept(listener, nullptr, nullptr)) >=
							 0);
				   CHILD_REQUIRE(!has_data(listener));
			   }) == 0);
	}
}

BOOST_AUTO_TEST_CASE(a_message_that_is_there_is_received_without_its_descriptors)
{
	for (const bool helper_is_full : {false, true})
		with_every_way([=](Way &way, rlim_t n) {
			Pair pair = make_pair(unix_stream_kind), twin = make_pair(unix_stream_kind);
			if (helper_is_full)
				allow(n);
			else
				fill_table(pair.a);
			if (!no_number_is_free(pair.a))
				return;
			Message &by_hand = received_by_hand(twin), &m = room_for_descriptor();
			send_descriptor(pair.b);
			CHILD_REQUIRE(way.finish(way.recvmsg(pair.a, m)) == ok(4));
			CHILD_REQUIRE(alike(m, by_hand));
		});
}

BOOST_AUTO_TEST_CASE(a_message_that_comes_later_is_received_without_its_descriptors)
{
	with_every_way([](Way &way, rlim_t) {
		Pair pair = make_pair(unix_stream_kind), twin = make_pair(unix_stream_kind);
		fill_table(pair.a);
		Message &by_hand = received_by_hand(twin), &m = room_for_descriptor();
		Way::Pending &waits = way.recvmsg(pair.a, m);
		CHILD_REQUIRE(way.pending(waits));
		way.go();
		send_descriptor(pair.b);
		CHILD_REQUIRE(way.finish(waits) == ok(4));
		CHILD_REQUIRE(alike(m, by_hand));
	});
}
