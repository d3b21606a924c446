// SPDX-License-Identifier: MIT
//
// The synchronous calls: what arrives lands in pieces of the associated regions, and
// what is sent comes from them.
#define BOOST_TEST_MODULE dma_receive
#include "dma.hpp"

#include "refusal.hpp"

#include <ucontext.h>

// --------------------------------------------------------------------- sending

BOOST_AUTO_TEST_CASE(what_is_sent_comes_from_a_piece)
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Pair s = make_pair(kind);
		char *const p = region.piece("some text");
		BOOST_TEST(sio_send(s.a, p, 9, 0) == 9);
		BOOST_TEST(contract::take(s.b, 9) == "some text");
		BOOST_TEST(sio_send(s.a, p + 5, 4, 0) == 4);
		BOOST_TEST(contract::take(s.b, 4) == "text");
		region.release(p, 9);
	});
	BOOST_TEST(region.stat().sent == 13u * 6);
	BOOST_TEST(region.stat().sends_copied + region.stat().sends_zero_copy == 12u);
}

BOOST_AUTO_TEST_CASE(memory_of_no_region_is_efault)
{
	Region region(4096);
	Pair s = make_pair(unix_stream_kind);
	static char own[64];
	char *const p = region.reserve(4096);
	CHECK_FAILS(sio_send(s.a, own, 1, 0), EFAULT);
	CHECK_FAILS(sio_send(s.a, nullptr, 1, 0), EFAULT);
	CHECK_FAILS(sio_send(s.a, p, 4097, 0), EFAULT);
	CHECK_FAILS(sio_send(s.a, p - 1, 2, 0), EFAULT);
	iovec parts[] = {{p, 1}, {own, 1}};
	msghdr m{};
	m.msg_iov = parts;
	m.msg_iovlen = 2;
	CHECK_FAILS(sio_sendmsg(s.a, &m, sizeof m, 0), EFAULT);
	m.msg_iov = nullptr;
	CHECK_FAILS(sio_sendmsg(s.a, &m, sizeof m, 0), EFAULT);
	CHECK_FAILS(sio_sendmsg(s.a, &m, sizeof m - 1, 0), EINVAL);
	CHECK_FAILS(sio_sendmsg(s.a, nullptr, sizeof m, 0), EINVAL);
	BOOST_TEST(!has_data(s.b));
}

BOOST_AUTO_TEST_CASE(a_message_without_a_vector_is_sent_as_by_sendmsg)
{
	Pair s = make_pair(unix_packet_kind);
	msghdr m{};
	BOOST_TEST(sio_sendmsg(s.a, &m, sizeof m, 0) == 0);
	char byte;
	BOOST_TEST(recv(s.b, &byte, 1, MSG_DONTWAIT) == 0);
}

BOOST_AUTO_TEST_CASE(a_message_is_sent_in_pieces_with_its_address)
{
	Region region(4096);
	Fd from = bound_socket(udp4_kind), to = bound_socket(udp4_kind);
	Address where = address_of(to);
	char *const a = region.piece("one "), *const b = region.piece("two");
	BOOST_TEST(sio_sendto(from, a, 3, 0, where.get(), where.length) == 3);
	BOOST_TEST(contract::take(to, 3) == "one");
	auto *const m = reinterpret_cast<msghdr *>(region.reserve(sizeof(msghdr)));
	auto *const parts = reinterpret_cast<iovec *>(region.reserve(2 * sizeof(iovec)));
	parts[0] = {a, 4};
	parts[1] = {b, 3};
	*m = {};
	m->msg_iov = parts;
	m->msg_iovlen = 2;
	m->msg_name = where.get();
	m->msg_namelen = where.length;
	BOOST_TEST(sio_sendmsg(from, m, sizeof *m, 0) == 7);
	BOOST_TEST(contract::take(to, 7) == "one two");
}

BOOST_AUTO_TEST_CASE(a_closed_peer_means_epipe_without_a_signal)
{
	Region region(4096);
	Pair s = make_pair(unix_stream_kind);
	s.b.reset();
	static std::atomic<int> signals;
	SignalHandler handler(
		SIGPIPE, +[](int) { ++signals; });
	CHECK_FAILS(sio_send(s.a, region.piece("x"), 1, 0), EPIPE);
	BOOST_TEST(signals == 0);
}

// ------------------------------------------------------------------- receiving

BOOST_AUTO_TEST_CASE(what_arrives_lands_in_a_piece_of_exactly_its_size)
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, region);
		s.peer_sends("some text");
		void *p = nullptr;
		BOOST_TEST_REQUIRE(sio_recv(s, &p, 4000, 0) == 9);
		BOOST_TEST(memcmp(p, "some text", 9) == 0);
		BOOST_TEST(region.stat().used == 128u);
		CHECK_FAILS(sio_release(region, p, 4000), EINVAL);
		region.release(p, 9);
		BOOST_TEST(region.stat().used == 0u);
	});
	BOOST_TEST(region.stat().received == 9u * 6);
}

BOOST_AUTO_TEST_CASE(a_socket_without_a_region_is_refused)
{
	Region region(4096);
	Pair s = make_pair(unix_stream_kind);
	void *p;
	const void *q;
	CHECK_FAILS(sio_recv(s.a, &p, 10, 0), EINVAL);
	region.associate(s.a);
	CHECK_FAILS(sio_recv(s.a, nullptr, 10, 0), EINVAL);
	CHECK_FAILS(sio_recv(s.a, &p, 0, 0), EINVAL);
	CHECK_FAILS(sio_recv(-1, &p, 10, 0), EBADF);
	Stream pipe = pipe_stream();
	CHECK_FAILS(sio_recvfrom(pipe.reader, &q, 10, 0, nullptr, 0), ENOTSOCK);
	region.disassociate(s.a);
	CHECK_FAILS(sio_recvmsg(s.a, &q, 10, 0), EINVAL);
}

BOOST_AUTO_TEST_CASE(what_is_larger_than_the_size_comes_in_pieces_of_a_stream)
{
	Region region(1 << 18);
	for (const SocketKind &kind : {unix_stream_kind, tcp4_kind}) {
		Associated s(kind, region);
		std::string const text = pattern(5000);
		s.peer_sends(text);
		std::string got;
		for (size_t piece : {1000u, 1000u, 1000u, 7u, 300u, 64u})
			got += s.recv(piece);
		while (got.size() < text.size())
			got += s.recv(1000);
		BOOST_TEST((got == text));
		BOOST_TEST(region.stat().used == 0u);
	}
}

BOOST_AUTO_TEST_CASE(datagrams_are_cut_as_by_recv)
{
	Region region(1 << 16);
	for (const SocketKind &kind : {unix_packet_kind, unix_datagram_kind, udp4_kind}) {
		for (unsigned flags : {0u, DMA_BUFSIZE(100)}) {
			Associated s(kind, region, flags);
			for (const char *text : {"first", "second", "third", "fourth"})
				s.peer_sends(text);
			BOOST_TEST(s.recv(3) == "fir");
			BOOST_TEST(s.recv(100) == "second");
			BOOST_TEST(s.recv(100) == "third");
			BOOST_TEST(s.recv(2) == "fo");
			CHECK_FAILS(s.recv_nothing(), EAGAIN);
		}
	}
}

BOOST_AUTO_TEST_CASE(an_empty_datagram_is_nothing_to_be_released)
{
	Region region(1 << 16);
	for (const SocketKind &kind : {unix_datagram_kind, udp4_kind}) {
		Associated s(kind, region);
		BOOST_TEST_REQUIRE(send(s.s.b, "", 0, 0) == 0);
		s.peer_sends("next");
		void *p = &p;
		BOOST_TEST(sio_recv(s, &p, 10, 0) == 0);
		BOOST_TEST(p == nullptr);
		BOOST_TEST(s.recv(10) == "next");
		BOOST_TEST(region.stat().used == 0u);
	}
}

BOOST_AUTO_TEST_CASE(the_senders_address_is_told)
{
	Region region(1 << 16);
	Fd from = bound_socket(udp4_kind), to = bound_socket(udp4_kind);
	const Address sender = address_of(from);
	Address where = address_of(to);
	region.associate(to, DMA_BUFSIZE(64));
	for (int i = 0; i < 10; ++i)
		BOOST_TEST_REQUIRE(sendto(from, "x", 1, 0, where.get(), where.length) == 1);
	for (int i = 0; i < 10; ++i) {
		Address told;
		const void *p;
		if (i % 2 == 0) {
			BOOST_TEST_REQUIRE(sio_recvfrom(to, &p, 10, 0, told.get(), told.length) ==
					   1);
			BOOST_TEST(memcmp(&told.storage, &sender.storage, sizeof(sockaddr_in)) ==
				   0);
		} else
			BOOST_TEST_REQUIRE(sio_recvfrom(to, &p, 10, 0, nullptr, 0) == 1);
		region.release(p, 1);
	}
	region.disassociate(to);
}

BOOST_AUTO_TEST_CASE(a_message_lies_in_the_region_with_address_control_data_and_payload)
{
	Region region(1 << 16);
	Fd from = bound_socket(udp4_kind), to = bound_socket(udp4_kind);
	const int on = 1;
	BOOST_TEST_REQUIRE(setsockopt(to, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0);
	const Address sender = address_of(from);
	Address where = address_of(to);
	region.associate(to);
	char *const all = region.reserve(1 << 16);
	region.release(all, 1 << 16);
	for (size_t size : {size_t{100}, sizeof(msghdr)}) {
		BOOST_TEST_REQUIRE(sendto(from, "payload", 7, 0, where.get(), where.length) == 7);
		const void *p;
		BOOST_TEST_REQUIRE(sio_recvmsg(to, &p, size, 0) == 7);
		auto in_region = [&](const void *q) { return q >= all && q < all + (1 << 16); };
		const auto *const m = static_cast<const msghdr *>(p);
		BOOST_TEST(in_region(m));
		BOOST_TEST((in_region(m->msg_name) && in_region(m->msg_control) &&
			    in_region(m->msg_iov)));
		BOOST_TEST((m->msg_namelen == sizeof(sockaddr_in) &&
			    memcmp(m->msg_name, &sender.storage, sizeof(sockaddr_in)) == 0));
		BOOST_TEST_REQUIRE(m->msg_iovlen == 1u);
		BOOST_TEST(std::string(static_cast<char *>(m->msg_iov->iov_base),
				       m->msg_iov->iov_len) == "payload");
		const cmsghdr *const c = CMSG_FIRSTHDR(m);
		BOOST_TEST_REQUIRE(c != nullptr);
		BOOST_TEST(c->cmsg_type == IP_PKTINFO);
		region.release(p, size == 100 ? 7 : sizeof(msghdr));
	}
	BOOST_TEST(region.stat().used == 0u);
	region.disassociate(to);
}

BOOST_AUTO_TEST_CASE(a_message_of_a_cut_datagram_says_so)
{
	Region region(1 << 16);
	Associated s(unix_datagram_kind, region);
	s.peer_sends("payload");
	const void *p;
	BOOST_TEST_REQUIRE(sio_recvmsg(s, &p, 3, 0) == 3);
	BOOST_TEST((static_cast<const msghdr *>(p)->msg_flags & MSG_TRUNC) != 0);
	region.release(p, 3);
}

BOOST_AUTO_TEST_CASE(descriptors_come_with_a_message)
{
	Region region(1 << 16);
	Associated s(unix_stream_kind, region);
	Message &m = message({"x"});
	Stream pipe = pipe_stream();
	m.attach_descriptor(pipe.reader);
	BOOST_TEST_REQUIRE(sendmsg(s.s.b, &m.header, 0) == 1);
	const void *p;
	BOOST_TEST_REQUIRE(sio_recvmsg(s, &p, 10, MSG_CMSG_CLOEXEC) == 1);
	const cmsghdr *const c = CMSG_FIRSTHDR(static_cast<const msghdr *>(p));
	BOOST_TEST_REQUIRE(c != nullptr);
	int fd;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	const Fd got(fd);
	put(pipe.writer, "y");
	BOOST_TEST(contract::take(got, 1) == "y");
	region.release(p, 1);
}

// --------------------------------------------------------------------- waiting

BOOST_AUTO_TEST_CASE(a_call_waits_for_data)
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, region);
		Waiter waiter([&] {
			void *p;
			return sio_recv(s, &p, 100, 0) == 4 && sio_release(region, p, 4) == 0 ? 0
											      : -1;
		});
		BOOST_TEST(waiter.asleep());
		s.peer_sends("data");
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.result() == 0);
	});
}

BOOST_AUTO_TEST_CASE(several_threads_wait_and_each_gets_a_datagram)
{
	Region region(1 << 16);
	Associated s(udp4_kind, region, DMA_BUFSIZE(64));
	std::list<Waiter> waiters;
	for (int i = 0; i < 4; ++i)
		waiters.emplace_back([&] {
			void *p;
			return sio_recv(s, &p, 64, 0) == 1 && sio_release(region, p, 1) == 0 ? 0
											     : -1;
		});
	for (Waiter &w : waiters)
		BOOST_TEST(w.asleep());
	for (int i = 0; i < 4; ++i)
		s.peer_sends("x");
	for (Waiter &w : waiters)
		BOOST_TEST(w.returns());
}

BOOST_AUTO_TEST_CASE(without_data_and_without_waiting_it_is_eagain)
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, region);
		CHECK_FAILS(s.recv_nothing(), EAGAIN);
		set_nonblocking(s);
		void *p;
		CHECK_FAILS(sio_recv(s, &p, 100, 0), EAGAIN);
		set_nonblocking(s, false);
		timeval const limit{0, 20000};
		BOOST_TEST_REQUIRE(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) ==
				   0);
		CHECK_FAILS(sio_recv(s, &p, 100, 0), EAGAIN);
		BOOST_TEST(region.stat().used == 0u);
	});
}

BOOST_AUTO_TEST_CASE(a_signal_interrupts_a_call_that_waits)
{
	Region region(1 << 16);
	Associated s(tcp4_kind, region);
	SignalHandler handler(
		SIGUSR1, +[](int) {});
	Waiter waiter([&] {
		void *p;
		return sio_recv(s, &p, 100, 0) < 0 ? -1 : 0;
	});
	BOOST_TEST(waiter.asleep());
	BOOST_TEST(waiter.interrupt(SIGUSR1));
	BOOST_TEST(waiter.error() == EINTR);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(all_of_a_stream_is_waited_for_when_asked)
{
	Region region(1 << 16);
	Associated s(tcp4_kind, region);
	s.peer_sends("half");
	Waiter waiter([&] {
		void *p;
		return sio_recv(s, &p, 8, MSG_WAITALL) == 8 && memcmp(p, "halfhalf", 8) == 0 ? 0
											     : -1;
	});
	BOOST_TEST(waiter.asleep());
	s.peer_sends("half");
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 0);
}

BOOST_AUTO_TEST_CASE(a_look_takes_nothing)
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Associated s(kind, region);
		s.peer_sends("data");
		BOOST_TEST(s.recv(10, MSG_PEEK) == "data");
		BOOST_TEST(s.recv(10) == "data");
	});
}

#ifdef __x86_64__
namespace {

std::atomic<int> interruptions;

/// recvmsg in the kernel's place: at first it has been interrupted.
void receive_instead(int, siginfo_t *, void *context)
{
	auto *registers = static_cast<ucontext_t *>(context)->uc_mcontext.gregs;
	if (interruptions++ == 0) {
		registers[REG_RAX] = -EINTR;
		return;
	}
	int saved = errno;
	auto *message = reinterpret_cast<msghdr *>(registers[REG_RSI]);
	mmsghdr m{*message, 0};
	long n = syscall(SYS_recvmmsg, registers[REG_RDI], &m, 1, registers[REG_RDX], nullptr);
	*message = m.msg_hdr;
	registers[REG_RAX] = n == 1 ? static_cast<greg_t>(m.msg_len) : -errno;
	errno = saved;
}

} // namespace

// By the calling thread; those of the library's that exist go on as they are.
BOOST_AUTO_TEST_CASE(a_receive_that_need_not_wait_is_never_interrupted)
{
	Region region(1 << 16);
	Associated s(unix_stream_kind, region);
	s.peer_sends("one");
	BOOST_TEST(s.recv(10) == "one");
	s.peer_sends("two");
	struct sigaction action {
	}, before;
	action.sa_sigaction = receive_instead;
	action.sa_flags = SA_SIGINFO;
	sigaction(SIGSYS, &action, &before);
	ssize_t received = 0;
	int error = 0;
	bool refused = false;
	std::thread([&] {
		refused = trap({SYS_recvmsg});
		void *p;
		received = sio_recv(s, &p, 10, 0);
		error = errno;
		if (received > 0)
			sio_release(region, p, static_cast<size_t>(received));
	}).join();
	sigaction(SIGSYS, &before, nullptr);
	BOOST_TEST_REQUIRE(refused);
	BOOST_TEST(received == 3, "errno " << error);
	BOOST_TEST(interruptions == 2);
}
#endif

// ------------------------------------------------------------------------ ends

BOOST_AUTO_TEST_CASE(the_end_of_a_stream_is_told_after_its_data_and_again)
{
	Region region(1 << 16);
	for (const SocketKind &kind : {unix_stream_kind, tcp4_kind}) {
		Associated s(kind, region);
		s.peer_sends("last");
		s.s.b.reset();
		BOOST_TEST(s.recv(10) == "last");
		void *p = &p;
		BOOST_TEST(sio_recv(s, &p, 10, 0) == 0);
		BOOST_TEST(p == nullptr);
		const auto pieces = region.fill();
		BOOST_TEST(sio_recv(s, &p, 10, 0) == 0); // it needs no room
		region.release(pieces);
	}
}

BOOST_AUTO_TEST_CASE(a_reset_connection_means_econnreset)
{
	Region region(1 << 16);
	Associated s(tcp4_kind, region);
	const linger no_time{1, 0};
	setsockopt(s.s.b, SOL_SOCKET, SO_LINGER, &no_time, sizeof no_time);
	s.s.b.reset();
	void *p;
	CHECK_FAILS(sio_recv(s, &p, 10, 0), ECONNRESET);
	BOOST_TEST(region.stat().used == 0u);
}
