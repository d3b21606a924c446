// SPDX-License-Identifier: MIT
//
// An association is a socket's, not a number's; and what is received for a reader is what he
// would have got by recv(2): whole, with its error, with its descriptors.
#define BOOST_TEST_MODULE dma_identity
#include "dma.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

namespace {

size_t constexpr size = 1 << 20;

/// The number of `old' is `fresh' now.
void use_number_again(Fd &old, Fd &fresh)
{
	const int number = old.release();
	BOOST_TEST_REQUIRE(dup2(fresh, number) == number);
	fresh.reset(number);
}

} // namespace

BOOST_AUTO_TEST_CASE(
	another_socket_with_the_number_is_not_associated_and_gets_nothing_of_the_old_one)
{
	Region region(size);
	for_each_kind([&](const SocketKind &kind) {
		for (bool waits : {false, true})
			BOOST_TEST_CONTEXT("a request waits " << waits)
			{
				Pair old = make_pair(kind), fresh = make_pair(kind);
				region.associate(old.a,
						 kind.type == SOCK_STREAM ? 0 : DMA_BUFSIZE(128));
				// Some of it is brought along.
				for (int i = 0; i < (waits ? 0 : 40); ++i)
					BOOST_TEST_REQUIRE(send(old.b, std::string(64, 'o').data(),
								64, 0) == 64);
				for (int i = 0; i < (waits ? 0 : 20); ++i) {
					void *p;
					int const n = sio_recv(old.a, &p, 64, MSG_DONTWAIT);
					if (n > 0)
						region.release(p, size_t(n));
				}
				Request &pending = on_region(old.a, region, 64);
				if (waits)
					BOOST_TEST_REQUIRE(aio_recv(&pending.cb, AIO_DMA_BUF) == 0);
				use_number_again(old.a, fresh.a);
				void *p = nullptr;
				BOOST_TEST_REQUIRE(send(fresh.b, "new", 3, 0) == 3);
				CHECK_FAILS(sio_recv(fresh.a, &p, 64, MSG_DONTWAIT), EINVAL);
				CHECK_FAILS(async_io_notify(
						    fresh.a, [](int, void *) {}, nullptr),
					    ENOTSUP);
				CHECK_FAILS(dma_disassoc(fresh.a, region, size), EINVAL);
				Request &request = on_region(fresh.a, region, 64);
				BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
				BOOST_TEST(received(request, region) == "new");
				if (waits) {
					BOOST_TEST_REQUIRE(send(old.b, "old", 3, 0) == 3);
					BOOST_TEST(received(pending, region) == "old");
				}
				region.associate(fresh.a);
				BOOST_TEST_REQUIRE(send(fresh.b, "two", 3, 0) == 3);
				BOOST_TEST_REQUIRE(sio_recv(fresh.a, &p, 64, 0) == 3);
				region.release(p, 3);
				region.disassociate(fresh.a);
				BOOST_TEST(region.stat().used == 0u);
			}
	});
}

BOOST_AUTO_TEST_CASE(a_file_with_the_number_is_read_as_a_file)
{
	Region region(size);
	Pair s = make_pair(unix_stream_kind);
	region.associate(s.a);
	Fd file(memfd_create("file", 0));
	BOOST_TEST_REQUIRE(write(file, "text", 4) == 4);
	use_number_again(s.a, file);
	Request &request = on_region(file, region, 4);
	request.cb.aio_lio_opcode = LIO_DMA_READ;
	struct aiocb *list[] = {&request.cb};
	BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list, 1, nullptr) == 0);
	BOOST_TEST(received(request, region) == "text");
}

BOOST_AUTO_TEST_CASE(what_comes_while_the_association_ends_is_lost_to_nobody)
{
	Region region(size);
	for_each_kind([&](const SocketKind &kind) {
		Pair s = make_pair(kind);
		region.associate(s.a);
		void *p = nullptr;
		std::atomic<int> result{0};
		std::atomic<pid_t> id{0};
		std::thread reader([&] {
			id = pid_t(syscall(SYS_gettid));
			result = sio_recv(s.a, &p, 100, 0);
		});
		BOOST_TEST(eventually([&] { return id != 0 && thread_state(id) == 'S'; }));
		region.disassociate(s.a);
		BOOST_TEST_REQUIRE(send(s.b, "hello", 5, 0) == 5);
		char buffer[100];
		ssize_t const rest = eventually([&] {
			return recv(s.a, buffer, sizeof buffer, MSG_DONTWAIT | MSG_PEEK) == 5 ||
			       result != 0;
		})
					     ? recv(s.a, buffer, sizeof buffer, MSG_DONTWAIT)
					     : -1;
		if (rest == 5)
			BOOST_TEST(send(s.b, "again", 5, 0) == 5);
		reader.join();
		BOOST_TEST((rest == 5 || result == 5));
		if (result > 0)
			region.release(p, size_t(result));
		BOOST_TEST(region.stat().used == 0u);
	});
}

BOOST_AUTO_TEST_CASE(what_nobody_has_read_is_in_the_socket_after_dma_disassoc)
{
	Region region(size);
	for_each_kind([&](const SocketKind &kind) {
		for (bool notified : {false, true})
			BOOST_TEST_CONTEXT("a function is registered " << notified)
			{
				Pair s = make_pair(kind);
				region.associate(s.a);
				std::atomic<int> told{0};
				auto const count = [](int, void *n) {
					++*static_cast<std::atomic<int> *>(n);
				};
				if (notified)
					BOOST_TEST_REQUIRE(async_io_notify(s.a, count, &told) == 0);
				std::string got;
				for (int i = 0; i < 80; ++i)
					BOOST_TEST_REQUIRE(
						send(s.b, pattern(32, i).data(), 32, 0) == 32);
				if (notified)
					BOOST_TEST(eventually([&] { return told == 1; }));
				for (int i = 0; i < 40; ++i) {
					void *p;
					BOOST_TEST_REQUIRE(sio_recv(s.a, &p, 32, 0) == 32);
					BOOST_TEST((std::string_view(static_cast<char *>(p), 32) ==
						    pattern(32, i)));
					region.release(p, 32);
				}
				region.disassociate(s.a);
				for (int i = 40; i < 80; ++i) {
					char buffer[32];
					BOOST_TEST_REQUIRE(recv(s.a, buffer, sizeof buffer,
								MSG_DONTWAIT | MSG_WAITALL) == 32);
					BOOST_TEST(
						(std::string_view(buffer, 32) == pattern(32, i)));
				}
				BOOST_TEST(region.stat().used == 0u);
			}
	});
}

BOOST_AUTO_TEST_CASE(a_request_for_less_than_has_been_brought_along_loses_nothing)
{
	Region region(size);
	Associated s(tcp4_kind, region, DMA_BUFSIZE(64));
	std::string const text = pattern(64 * 40);
	s.peer_sends(text);
	std::string got;
	for (int i = 0; i < 20; ++i)
		got += s.recv(64);
	while (got.size() < text.size()) {
		Request &request = on_region(s, region, 10);
		BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
		got += received(request, region);
	}
	BOOST_TEST((got == text));
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(what_lies_unread_in_a_region_that_goes_moves_to_another)
{
	Region first(size), second(1024);
	for (const SocketKind &kind : {tcp4_kind, udp4_kind})
		BOOST_TEST_CONTEXT(kind.name)
		{
			Associated s(kind, first, DMA_BUFSIZE(64));
			std::string const text = pattern(64 * 20);
			for (size_t i = 0; i < text.size(); i += 64)
				s.peer_sends(text.substr(i, 64));
			std::string got;
			const auto take = [&] {
				void *p;
				int const n = sio_recv(s, &p, 64, 0);
				BOOST_TEST_REQUIRE(n > 0);
				got.append(static_cast<char *>(p), size_t(n));
				BOOST_TEST((sio_release(first, p, size_t(n)) == 0 ||
					    sio_release(second, p, size_t(n)) == 0));
			};
			for (int i = 0; i < 9; ++i)
				take();
			second.associate(s);
			// Too much may have been brought along for the other one.
			while (dma_disassoc(s, first, size) != 0) {
				BOOST_TEST_REQUIRE(errno == ENOBUFS);
				take();
			}
			BOOST_TEST(first.stat().used == 0u);
			while (got.size() < text.size())
				take();
			BOOST_TEST((got == text));
			second.disassociate(s);
		}
}

BOOST_AUTO_TEST_CASE(a_datagram_is_cut_to_what_its_reader_asks_and_to_nothing_else)
{
	Region region(size);
	std::string const text = pattern(5000);
	for (const SocketKind &kind : {unix_datagram_kind, udp4_kind})
		for (unsigned flags : {0u, unsigned(DMA_LATEST)})
			BOOST_TEST_CONTEXT(kind.name << ' ' << flags)
			{
				Associated s(kind, region, flags);
				std::atomic<bool> ran{false};
				BOOST_TEST_REQUIRE(
					async_io_notify(
						s,
						[](int, void *c) {
							*static_cast<std::atomic<bool> *>(c) = true;
						},
						&ran) == 0);
				s.peer_sends(text);
				BOOST_TEST(eventually([&] { return ran.load(); }));
				BOOST_TEST((s.recv(8192) == text));
			}
}

BOOST_AUTO_TEST_CASE(a_function_that_is_registered_again_is_told_of_what_is_still_there)
{
	Region region(size);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, region);
		std::atomic<int> told{0};
		auto const count = [](int, void *n) { ++*static_cast<std::atomic<int> *>(n); };
		s.peer_sends("text");
		for (int i = 1; i < 4; ++i) {
			BOOST_TEST_REQUIRE(async_io_notify(s, count, &told) == 0);
			BOOST_TEST(eventually([&] { return told == i; }));
		}
		BOOST_TEST(s.recv(100) == "text");
		BOOST_TEST_REQUIRE(async_io_notify(s, count, &told) == 0);
		s.s.b.reset();
		if (kind.type != SOCK_DGRAM)
			BOOST_TEST(eventually([&] { return told == 4; }));
	});
}

BOOST_AUTO_TEST_CASE(an_error_of_the_socket_reaches_whoever_comes_next_once)
{
	Region region(size);
	for (unsigned flags : {0u, unsigned(DMA_LATEST)})
		for (bool waits : {false, true})
			BOOST_TEST_CONTEXT(flags << ' ' << waits)
			{
				Pair s = make_pair(udp4_kind);
				region.associate(s.a, flags);
				Request &request = on_region(s.a, region, 100);
				if (waits)
					BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
				s.b.reset();
				BOOST_TEST(send(s.a, "x", 1, 0) == 1);
				if (!waits) {
					struct pollfd p {
						s.a, POLLIN, 0
					};
					if (flags == 0)
						BOOST_TEST(poll(&p, 1, -1) == 1);
					BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
				}
				BOOST_TEST(finish(request).error == ECONNREFUSED);
				void *p;
				CHECK_FAILS(sio_recv(s.a, &p, 100, MSG_DONTWAIT), EAGAIN);
				region.disassociate(s.a);
			}
}

BOOST_AUTO_TEST_CASE(a_call_back_leaves_the_error_that_it_tells_of_to_whoever_calls_next)
{
	Region region(size);
	for (const SocketKind &kind : {udp4_kind, tcp4_kind})
		for (unsigned flags : {0u, unsigned(DMA_BUFSIZE(64))})
			BOOST_TEST_CONTEXT(kind.name << ' ' << flags)
			{
				Pair s = make_pair(kind);
				region.associate(s.a, flags);
				std::atomic<bool> told{false};
				BOOST_TEST_REQUIRE(
					async_io_notify(
						s.a,
						[](int, void *c) {
							*static_cast<std::atomic<bool> *>(c) = true;
						},
						&told) == 0);
				const struct linger reset = {1, 0};
				setsockopt(s.b, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
				s.b.reset();
				if (!kind.is_stream())
					BOOST_TEST(send(s.a, "x", 1, 0) == 1);
				BOOST_TEST(eventually([&] { return told.load(); }));
				region.disassociate(s.a);
				char c;
				CHECK_FAILS(recv(s.a, &c, 1, MSG_DONTWAIT),
					    kind.is_stream() ? ECONNRESET : ECONNREFUSED);
			}
}

BOOST_AUTO_TEST_CASE(a_thread_that_waits_has_its_socket_whatever_becomes_of_the_number)
{
	Region region(size);
	for_each_kind([&](const SocketKind &kind) {
		for (unsigned flags : {0u, unsigned(DMA_LATEST)})
			BOOST_TEST_CONTEXT(flags)
			{
				if (flags != 0 && kind.is_stream())
					continue;
				// One that was not quite asleep yet may be told ECANCELED, and its
				// socket be gone: then once more.
				BOOST_TEST(eventually([&] {
					Pair old = make_pair(kind), fresh = make_pair(kind);
					region.associate(old.a, flags);
					int const number = old.a;
					std::string got;
					Waiter waiter([&] {
						void *p = nullptr;
						int const n = sio_recv(number, &p, 100, 0);
						if (n <= 0)
							return -1;
						got.assign(static_cast<char *>(p), size_t(n));
						return sio_release(region, p, size_t(n));
					});
					BOOST_TEST(waiter.asleep());
					use_number_again(old.a, fresh.a);
					region.associate(fresh.a, flags);
					BOOST_TEST_REQUIRE(send(fresh.b, "new", 3, 0) == 3);
					bool const held = send(old.b, "old", 3, MSG_NOSIGNAL) == 3;
					BOOST_TEST(waiter.returns());
					BOOST_TEST((waiter.result() == 0
							    ? got == "old"
							    : waiter.error() == ECANCELED &&
								      flags != 0));
					void *p;
					BOOST_TEST_REQUIRE(sio_recv(fresh.a, &p, 100, 0) == 3);
					BOOST_TEST((std::string_view(static_cast<char *>(p), 3) ==
						    "new"));
					region.release(p, 3);
					region.disassociate(fresh.a);
					BOOST_TEST(region.stat().used == 0u);
					return held && waiter.result() == 0;
				}));
			}
	});
}

BOOST_AUTO_TEST_CASE(an_overrun_netlink_socket_says_enobufs_and_not_that_the_region_is_full)
{
	const auto overrun = [] {
		Fd s(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
		struct sockaddr_nl a {};
		a.nl_family = AF_NETLINK;
		int const least = 256;
		setsockopt(s, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
		bind(s, reinterpret_cast<struct sockaddr *>(&a), sizeof a);
		struct {
			struct nlmsghdr header;
			struct rtgenmsg body;
		} ask{};
		ask.header.nlmsg_len = NLMSG_LENGTH(sizeof ask.body);
		ask.header.nlmsg_type = 0xfff; // unknown: each is answered by an error
		ask.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
		for (int i = 0; i < 200; ++i)
			send(s, &ask, ask.header.nlmsg_len, 0);
		return s;
	};
	char buffer[4096];
	if (const Fd s = overrun();
	    recv(s, buffer, sizeof buffer, MSG_DONTWAIT) >= 0 || errno != ENOBUFS) {
		BOOST_TEST_MESSAGE("no overrun here");
		return;
	}
	Region region(size);
	const Fd first = overrun(), second = overrun();
	region.associate(first);
	region.associate(second);
	void *p;
	CHECK_FAILS(sio_recv(first, &p, 4096, MSG_DONTWAIT), ENOBUFS);
	BOOST_TEST(region.stat().full == 0u);
	Request &request = on_region(second, region, 4096);
	BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
	BOOST_TEST(finish(request).error == ENOBUFS);
	region.disassociate(first);
	region.disassociate(second);
}
