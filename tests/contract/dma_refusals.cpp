// SPDX-License-Identifier: MIT
//
// What a piece cannot satisfy is refused in every call alike, and holds nothing; what waits for
// room in a region costs nothing.
#define BOOST_TEST_MODULE dma_refusals
#include "dma.hpp"

#include <sys/resource.h>

namespace {

size_t constexpr size = 1 << 20;

} // namespace

BOOST_AUTO_TEST_CASE(flags_that_a_piece_cannot_satisfy_are_refused_in_every_call_alike)
{
	Region region(size);
	for (unsigned flags : {0u, unsigned(DMA_LATEST)}) {
		Associated s(udp4_kind, region, flags);
		Request &request = on_region(s, region, 100);
		void *p;
		CHECK_FAILS(aio_recv(&request.cb, AIO_DMA_BUF | MSG_TRUNC), EOPNOTSUPP);
		CHECK_FAILS(sio_recv(s, &p, 100, MSG_TRUNC), EOPNOTSUPP);
		CHECK_FAILS(aio_recv(&request.cb, AIO_DMA_BUF | MSG_PEEK), EOPNOTSUPP);
		Channel ec;
		struct msghdr m = {};
		for (int unfit : {int(MSG_TRUNC), int(MSG_PEEK), int(MSG_WAITALL)})
			for (int armed : {0, EV_MULTISHOT}) {
				int flags = AIO_DMA_BUF | unfit | armed;
				CHECK_FAILS(ev_recv(s, nullptr, 100, flags, ec, nullptr),
					    EOPNOTSUPP);
				CHECK_FAILS(ev_recvmsg(s, &m, flags, ec, nullptr), EOPNOTSUPP);
			}
	}
	// Whether something has been brought along makes no difference.
	for (bool some : {false, true}) {
		Associated s(tcp4_kind, region, DMA_BUFSIZE(8));
		s.peer_sends(pattern(8 * 20));
		for (int i = 0; some && i < 5; ++i)
			BOOST_TEST(s.recv(8).size() == 8u);
		void *p;
		CHECK_FAILS(sio_recv(s, &p, 8, MSG_PEEK), EOPNOTSUPP);
		CHECK_FAILS(sio_recv(s, &p, 8, MSG_WAITALL), EOPNOTSUPP);
	}
	for (unsigned flags : {0u, unsigned(DMA_BUFSIZE(8)), unsigned(DMA_LATEST)}) {
		Associated s(udp4_kind, region, flags);
		s.peer_sends("text");
		BOOST_TEST(s.recv(100, MSG_WAITALL) == "text");
	}
	Pair alone = make_pair(udp4_kind);
	Request &request = on_region(alone.a, region, 100);
	CHECK_FAILS(aio_recv(&request.cb, AIO_DMA_BUF | MSG_TRUNC), EOPNOTSUPP);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(a_refused_send_holds_nothing)
{
	Region region(4096);
	Pair s = make_pair(udp4_kind);
	for (unsigned flags : {0u, unsigned(EC_SINGLE)}) {
		const ec_t ec = ec_create(flags);
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 1) == 0);
		char *const p = region.piece("p");
		while (ev_send(s.a, p, 1, AIO_DMA_BUF, ec, &s) == 0) {
		}
		BOOST_TEST(errno == EAGAIN);
		event_data_t e;
		BOOST_TEST(ec_next_event(ec, &e) == 0);
		region.release(p, 1);
		BOOST_TEST(region.stat().used == 0u);
		BOOST_TEST(region.stat().requests == 0u);
		BOOST_TEST(ec_destroy(ec) == 0);
	}
}

/// 0, or the step that went wrong. By a child of fork, which has nobody yet who receives: with its
/// table full it finds no place for what that one waits with.
int receive_with_the_table_full()
{
	dma_mem_t mem;
	int s[2];
	const ec_t ec = ec_create(EC_CLOEXEC);
	if (ec < 0 || dma_alloc(&mem, size, 0) != 0 ||
	    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, s) != 0)
		return 1;
	const rlimit few{100, 100};
	setrlimit(RLIMIT_NOFILE, &few);
	while (dup(s[1]) >= 0) {
	}
	if (dma_assoc(s[0], mem, size, 0) != 0)
		return 1;
	aiocb cb{};
	cb.aio_fildes = s[0];
	cb.aio_nbytes = 100;
	cb.aio_dma_buf = mem;
	cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	if (aio_recv(&cb, AIO_DMA_BUF) != -1 || errno != EAGAIN)
		return 2;
	for (const int armed : {0, EV_MULTISHOT})
		if (ev_recv(s[0], nullptr, 100, AIO_DMA_BUF | armed, ec, nullptr) != -1 ||
		    errno != EAGAIN)
			return 3;
	struct dma_stat state {};
	struct ec_stat events {};
	if (dma_stat(mem, &state) != 0 || state.requests != 0 || ec_stat(ec, &events) != 0 ||
	    events.outstanding != 0)
		return 4;
	for (int last = 90; last < 100; ++last)
		close(last);
	if (aio_recv(&cb, AIO_DMA_BUF) != 0 || write(s[1], "data", 4) != 4)
		return 5;
	const aiocb *const list[] = {&cb};
	if (aio_suspend(list, 1, nullptr) != 0 || aio_return(&cb) != 4)
		return 6;
	return 0;
}

BOOST_AUTO_TEST_CASE(a_receive_that_has_nothing_to_wait_with_is_refused_and_holds_nothing)
{
	BOOST_TEST(in_child_process(receive_with_the_table_full) == 0);
}

/// A region all of which a send that waits holds, and a socket at which something is.
struct FullRegion {
	Region region{size};
	Pair full = make_pair(unix_stream_kind), s = make_pair(udp4_kind);
	Request *send_all;

	FullRegion()
	{
		char *const all = region.reserve(size);
		send_all = &on_region(full.a, region, size, all);
		BOOST_TEST_REQUIRE(aio_send(&send_all->cb, AIO_DMA_BUF) == 0);
		region.release(all, size);
	}
	void finish_send()
	{
		std::string buffer(size, 0);
		for (size_t n = 0; n < size;)
			n += size_t(recv(full.b, buffer.data(), size, 0));
		finish(*send_all);
	}
};

BOOST_FIXTURE_TEST_CASE(who_waits_for_room_is_told_at_once_when_the_association_ends, FullRegion)
{
	BOOST_TEST_REQUIRE(send(s.b, "x", 1, 0) == 1);
	// A sleep is for a second; a machine that is slower than that gets another chance.
	BOOST_TEST(eventually([&] {
		region.associate(s.a);
		auto const begin = std::chrono::steady_clock::now();
		void *p;
		Waiter waiter([&] { return sio_recv(s.a, &p, 100, 0); });
		BOOST_TEST(waiter.asleep());
		region.disassociate(s.a);
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.error() == ECANCELED);
		return std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(900);
	}));
	finish_send();
}

BOOST_FIXTURE_TEST_CASE(waiting_for_room_takes_no_processor_time, FullRegion)
{
	region.associate(s.a);
	BOOST_TEST_REQUIRE(send(s.b, "x", 1, 0) == 1);
	void *p = nullptr;
	std::atomic<long> wakes{-1};
	std::thread reader([&] {
		struct rusage before {
		}, after{};
		getrusage(RUSAGE_THREAD, &before);
		int const n = sio_recv(s.a, &p, 100, 0);
		getrusage(RUSAGE_THREAD, &after);
		wakes = n == 1 ? after.ru_nvcsw - before.ru_nvcsw : 1000000;
	});
	usleep(300000);
	finish_send();
	reader.join();
	// It was some 300 when a sleeper looked each millisecond.
	BOOST_TEST(wakes < 60);
	region.release(p, 1);
	region.disassociate(s.a);
	BOOST_TEST(region.stat().used == 0u);
}
