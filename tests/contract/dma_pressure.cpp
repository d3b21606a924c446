// SPDX-License-Identifier: MIT
//
// Regions and sockets, many to many: without room nothing is lost, what comes first is
// read first, what is no longer associated leaves nothing behind.
#define BOOST_TEST_MODULE dma_pressure
#include "dma.hpp"

#include <cstddef>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

BOOST_AUTO_TEST_CASE(without_room_it_is_enobufs_and_nothing_is_lost)
{
	Region region(8192);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, region);
		s.peer_sends("one");
		auto pieces = region.fill();
		void *p = &p;
		CHECK_FAILS(sio_recv(s, &p, 100, 0), ENOBUFS);
		CHECK_FAILS(sio_recv(s, &p, 100, MSG_DONTWAIT), ENOBUFS);
		BOOST_TEST(p == nullptr);
		s.peer_sends("two");
		region.release(pieces.back().first, pieces.back().second);
		pieces.pop_back();
		std::string got = s.recv(100);
		if (got == "one")
			got += s.recv(100);
		BOOST_TEST(got == "onetwo");
		region.release(pieces);
		BOOST_TEST(region.stat().used == 0u);
	});
	BOOST_TEST(region.stat().full >= 2u);
}

BOOST_AUTO_TEST_CASE(a_long_stream_goes_through_a_small_region_that_is_often_full)
{
	Region region(4096);
	Associated s(tcp4_kind, region);
	std::string const text = pattern(300000);
	std::thread writer([&] { put(s.s.b, text); });
	std::string got;
	std::list<std::pair<void *, size_t>> held;
	while (got.size() < text.size()) {
		void *p;
		const int n = sio_recv(s, &p, 1000, 0);
		if (n < 0) {
			BOOST_TEST_REQUIRE(errno == ENOBUFS);
			BOOST_TEST_REQUIRE(!held.empty());
			region.release(held.front().first, held.front().second);
			held.pop_front();
			continue;
		}
		BOOST_TEST_REQUIRE(n > 0);
		got.append(static_cast<char *>(p), size_t(n));
		held.emplace_back(p, size_t(n));
	}
	writer.join();
	for (auto [p, n] : held)
		region.release(p, n);
	BOOST_TEST((got == text));
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(for_room_that_is_to_come_a_receive_waits_as_its_socket_says)
{
	Region region(65536);
	Pair full = make_pair(unix_stream_kind);
	Associated s(unix_datagram_kind, region);
	s.peer_sends("waits for room");
	fill(full.a);
	char *const p = region.reserve(region.size());
	Request &sending = on_region(full.a, region, region.size(), p);
	BOOST_TEST_REQUIRE(aio_send(&sending.cb, AIO_DMA_BUF) == 0);
	region.release(p, region.size()); // comes back when it has been sent
	void *got;
	CHECK_FAILS(sio_recv(s, &got, 100, MSG_DONTWAIT), EAGAIN);
	timeval limit{0, 1000};
	BOOST_TEST(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
	CHECK_FAILS(sio_recv(s, &got, 100, 0), EAGAIN);
	limit = {};
	BOOST_TEST(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
	BOOST_TEST(fcntl(s, F_SETFL, O_NONBLOCK) == 0);
	CHECK_FAILS(sio_recv(s, &got, 100, 0), EAGAIN);
	BOOST_TEST(fcntl(s, F_SETFL, 0) == 0);
	Waiter reader([&] {
		void *came;
		return sio_recv(s, &came, 100, 0) == 14 &&
				       memcmp(came, "waits for room", 14) == 0 &&
				       sio_release(region, came, 14) == 0
			       ? 0
			       : -1;
	});
	std::vector<char> sink(1 << 20);
	BOOST_TEST(eventually([&] {
		return recv(full.b, sink.data(), sink.size(), MSG_DONTWAIT),
		       aio_error(&sending.cb) != EINPROGRESS;
	}));
	BOOST_TEST(reader.returns());
	BOOST_TEST(reader.result() == 0);
}

BOOST_AUTO_TEST_CASE(a_datagram_that_fits_is_received_though_the_size_asked_for_does_not)
{
	Region region(4096);
	for (const SocketKind &kind : {unix_datagram_kind, udp4_kind}) {
		Associated s(kind, region);
		char *const held = region.reserve(1);
		s.peer_sends("fits");
		BOOST_TEST(s.recv(4096) == "fits");
		Waiter waiter([&] {
			void *p;
			return sio_recv(s, &p, 4096, 0) == 4 && sio_release(region, p, 4) == 0 ? 0
											       : -1;
		});
		BOOST_TEST(waiter.asleep());
		s.peer_sends("fits");
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.result() == 0);
		region.release(held, 1);
	}
}

BOOST_AUTO_TEST_CASE(small_arrivals_that_are_kept_leave_room_for_others)
{
	Region region(1 << 18);
	for (const SocketKind &kind : {unix_datagram_kind, tcp4_kind}) {
		Associated s(kind, region);
		std::vector<void *> kept;
		for (int i = 0; i < 1500; ++i) {
			s.peer_sends("small");
			void *p;
			BOOST_TEST_REQUIRE(sio_recv(s, &p, 8192, 0) == 5);
			kept.push_back(p);
		}
		for (void *p : kept)
			region.release(p, 5);
	}
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(many_sockets_share_a_region)
{
	Region region(1 << 16);
	std::list<Associated> sockets;
	for (int i = 0; i < 50; ++i)
		sockets.emplace_back(i % 2 == 0 ? tcp4_kind : udp4_kind, region);
	BOOST_TEST(region.stat().sockets == 50u);
	int i = 0;
	for (Associated &s : sockets)
		s.peer_sends(std::to_string(i++));
	i = 0;
	for (Associated &s : sockets)
		BOOST_TEST(s.recv(10) == std::to_string(i++));
	sockets.clear();
	BOOST_TEST(region.stat().sockets == 0u);
}

BOOST_AUTO_TEST_CASE(a_socket_has_many_regions_and_gets_more_while_data_flows)
{
	Region first(256), second(4096), third(1 << 16);
	Associated s(tcp4_kind, first);
	s.peer_sends(pattern(200, 1) + pattern(100, 2));
	void *a, *b;
	BOOST_TEST_REQUIRE(sio_recv(s, &a, 200, 0) == 200);
	CHECK_FAILS(sio_recv(s, &b, 100, 0), ENOBUFS);
	second.associate(s);
	CHECK_FAILS(dma_assoc(s, second, second.size(), 0), EEXIST);
	BOOST_TEST_REQUIRE(sio_recv(s, &b, 100, 0) == 100);
	BOOST_TEST((std::string(static_cast<char *>(b), 100) == pattern(100, 2)));
	CHECK_FAILS(sio_release(first, b, 100), EINVAL);
	second.release(b, 100);
	first.release(a, 200);
	third.associate(s);
	second.disassociate(s);
	CHECK_FAILS(dma_disassoc(s, second, second.size()), EINVAL);
	s.peer_sends("more");
	BOOST_TEST_REQUIRE(sio_recv(s, &a, 4, 0) == 4);
	first.release(a, 4);
	third.disassociate(s);
}

BOOST_AUTO_TEST_CASE(associations_that_cannot_be_are_refused)
{
	Region region(4096), other(4096);
	Pair s = make_pair(unix_stream_kind);
	Stream pipe = pipe_stream();
	CHECK_FAILS(dma_assoc(-1, region, 4096, 0), EBADF);
	CHECK_FAILS(dma_assoc(pipe.reader, region, 4096, 0), ENOTSOCK);
	CHECK_FAILS(dma_assoc(s.a, region, 4095, 0), EINVAL);
	CHECK_FAILS(dma_assoc(s.a, region, 4096, 1u << 4), EINVAL);
	CHECK_FAILS(dma_assoc(s.a, region, 4096, DMA_LATEST), EINVAL);
	CHECK_FAILS(dma_disassoc(s.a, region, 4096), EINVAL);
	region.associate(s.a);
	CHECK_FAILS(dma_disassoc(s.a, other, 4096), EINVAL);
	CHECK_FAILS(dma_disassoc(s.a, region, 4095), EINVAL);
	CHECK_FAILS(dma_disassoc(-1, region, 4096), EBADF);
	region.disassociate(s.a);
	BOOST_TEST(region.stat().sockets == 0u);
}

BOOST_AUTO_TEST_CASE(disassociation_with_data_unread_leaves_no_piece_behind)
{
	Region region(1 << 16);
	for (const SocketKind &kind :
	     {unix_stream_kind, tcp4_kind, udp4_kind, unix_datagram_kind}) {
		Pair s = make_pair(kind);
		region.associate(s.a, DMA_BUFSIZE(64));
		for (int i = 0; i < 10; ++i)
			BOOST_TEST_REQUIRE(send(s.b, pattern(64).data(), 64, 0) == 64);
		void *p;
		for (int i = 0; i < 3; ++i) {
			BOOST_TEST_REQUIRE(sio_recv(s.a, &p, 64, 0) == 64);
			region.release(p, 64);
		}
		region.disassociate(s.a);
		BOOST_TEST(region.stat().used == 0u);
		// The socket works as any other one.
		BOOST_TEST_REQUIRE(send(s.b, "end", 3, 0) == 3);
		char rest[1000];
		std::string got;
		while (got.find("end") == std::string::npos) {
			const ssize_t n = recv(s.a, rest, sizeof rest, 0);
			BOOST_TEST_REQUIRE(n > 0);
			got.append(rest, size_t(n));
		}
	}
}

BOOST_AUTO_TEST_CASE(a_number_that_is_used_again_is_not_associated_once_something_is_done_with_it)
{
	Region region(1 << 16);
	Pair s = make_pair(tcp4_kind);
	region.associate(s.a, 0);
	const int number = s.a;
	Pair again = make_pair(udp4_kind);
	BOOST_TEST_REQUIRE(dup2(again.a, number) == number);
	CHECK_FAILS(dma_disassoc(number, region, region.size()), EINVAL);
	BOOST_TEST(dma_assoc(number, region, region.size(), 0) == 0);
	BOOST_TEST_REQUIRE(send(again.b, "new", 3, 0) == 3);
	void *p;
	BOOST_TEST(sio_recv(number, &p, 10, 0) == 3);
	BOOST_TEST(dma_disassoc(number, region, region.size()) == 0);
	BOOST_TEST(region.stat().sockets == 0u);
}

BOOST_AUTO_TEST_CASE(threads_share_a_socket_and_nothing_is_lost_or_doubled)
{
	Region region(1 << 16);
	Associated s(udp4_kind, region, DMA_BUFSIZE(32));
	constexpr int messages = 4000, readers = 3;
	std::vector<std::atomic<int>> seen(messages);
	std::atomic<int> read{0}, wrong{0};
	std::vector<std::thread> threads;
	const timeval limit{0, 20000};
	BOOST_TEST_REQUIRE(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
	for (int t = 0; t < readers; ++t)
		threads.emplace_back([&] {
			while (read < messages) {
				void *p;
				int const n = sio_recv(s, &p, 32, 0);
				if (n < 0)
					continue;
				int number;
				memcpy(&number, p, sizeof number);
				if (n != sizeof number || seen[size_t(number)]++ != 0)
					++wrong;
				if (sio_release(region, p, size_t(n)) != 0)
					++wrong;
				++read;
			}
		});
	for (int i = 0; i < messages; ++i) {
		if (!eventually([&] { return i - read < 50; }))
			break;
		send(s.s.b, &i, sizeof i, 0);
	}
	for (std::thread &thread : threads)
		thread.join();
	BOOST_TEST(wrong == 0);
	BOOST_TEST(read == messages);
	BOOST_TEST(region.stat().used == 0u);
}

namespace {

/// From now on this thread is killed by any system call, but for the question which socket a number
/// is.
void forbid_system_calls()
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsockopt, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program {
		sizeof code / sizeof code[0], code
	};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/// How many of these messages are read by a thread that receives nothing from the kernel.
int read_without_system_calls(const Associated &s, int count)
{
	static std::atomic<int> read;
	read = 0;
	std::thread([&s, count] {
		for (int i = 0; i < count; ++i) {
			void *p;
			if (sio_recv(s, &p, 64, MSG_DONTWAIT) != 64 ||
			    sio_release(s.region, p, 64) != 0)
				break;
			if (i == 0)
				forbid_system_calls(); // the thread's own beginning is over
			++read;
		}
		syscall(SYS_exit, 0);
	}).join();
	return read;
}
void send_separately(const Associated &s, int count)
{
	const int on = 1;
	setsockopt(s.s.b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	for (int i = 0; i < count; ++i)
		s.peer_sends(pattern(64, unsigned(i)));
}

} // namespace

BOOST_AUTO_TEST_CASE(most_of_what_is_there_takes_no_system_call)
{
	if (thread_sanitizer || address_sanitizer)
		return; // they make calls of their own
	Region region(1 << 18);
	for (const SocketKind &kind : {tcp4_kind, udp4_kind}) {
		Associated s(kind, region, DMA_BUFSIZE(64));
		send_separately(s, 63);
		// One, then two, four, ... with one call.
		for (int i = 0; i < 31; ++i)
			BOOST_TEST(s.recv(64).size() == 64u);
		BOOST_TEST(read_without_system_calls(s, 31) == 31);
		BOOST_TEST(s.recv(64).size() == 64u);
	}
}

BOOST_AUTO_TEST_CASE(for_who_always_finds_data_it_is_received_in_advance)
{
	if (thread_sanitizer || address_sanitizer)
		return;
	Region region(1 << 18);
	for (const SocketKind &kind : {tcp4_kind, udp4_kind}) {
		Associated s(kind, region, DMA_BUFSIZE(64));
		send_separately(s, 100);
		for (int i = 0; i < 100; ++i)
			BOOST_TEST(s.recv(64).size() == 64u);
		send_separately(s, 40);
		BOOST_TEST(eventually([&] { return !has_data(s); }));
		BOOST_TEST(read_without_system_calls(s, 39) == 39);
		BOOST_TEST(s.recv(64) == pattern(64, 39));
		// Whoever waits gets what comes by itself again.
		Waiter waiter([&] { return s.recv(64) == pattern(64, 7) ? 0 : -1; });
		BOOST_TEST(waiter.asleep());
		s.peer_sends(pattern(64, 7));
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.result() == 0);
	}
	BOOST_TEST(region.stat().used == 0u);
}
