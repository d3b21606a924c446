// SPDX-License-Identifier: MIT
//
// A region that is attached to a queue, under load: long streams in pieces of random sizes that are
// released in random order, readers that stall, an area that is used up, connections that are
// reset, a thousand connections, a pair of virtual Ethernet devices. As dma_attach, it runs where
// tests/kmod/linux-7.3.tap boots; elsewhere there is nothing to look at.
#define BOOST_TEST_MODULE dma_attach_load
#include "attached.hpp"

#include <arpa/inet.h>
#include <sched.h>
#include <sys/resource.h>

namespace {

/// How long the long stream is: a GiB in `make check-deep'.
size_t bytes_of_stream()
{
	const char *const s = getenv("SIGEVEC_TEST_BYTES");
	return s != nullptr ? strtoull(s, nullptr, 0) : size_t{8} << 20;
}

void reset(Associated &s)
{
	const linger none{1, 0};
	setsockopt(s.s.b, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	s.s.b.reset();
}

/// Receives what comes until there are so many bytes, or the end or an error; keeps at most so many
/// pieces, of which random ones are released. Returns the bytes.
size_t read_stream(int s, const Region &region, size_t bytes, size_t most, std::mt19937 &random,
		   std::vector<Piece> &kept)
{
	size_t at = 0;
	while (at < bytes) {
		void *p;
		const ssize_t n = sio_recv(s, &p, random() % 20000 + 1, 0);
		if (n == -1 && errno == ENOBUFS && !kept.empty()) {
			release_down_to(region, kept, kept.size() / 2, random);
			continue;
		}
		if (n <= 0)
			break;
		kept.push_back({p, size_t(n), at});
		at += size_t(n);
		if (kept.size() > most)
			release_down_to(region, kept, random() % (most + 1), random);
	}
	return at;
}

/// Pieces until the program has all there is.
std::vector<Piece> keep_everything(const Associated &s, const Region &region)
{
	std::vector<Piece> kept;
	for (size_t at = 0;;) {
		void *p;
		const ssize_t n = sio_recv(s, &p, 4096, 0);
		if (n == -1) {
			BOOST_TEST(errno == ENOBUFS);
			return kept;
		}
		BOOST_TEST_REQUIRE(n > 0);
		kept.push_back({p, size_t(n), at});
		at += size_t(n);
		BOOST_TEST_REQUIRE(at <= region.size());
	}
}

} // namespace

BOOST_FIXTURE_TEST_CASE(a_long_stream_comes_right_in_pieces_of_any_size_released_in_any_order,
			AttachedRegion)
{
	if (!attached)
		return;
	const size_t bytes = bytes_of_stream();
	Associated s(tcp4_kind, region);
	std::thread peer = sender(s.s.b, bytes, 11);
	std::mt19937 random(12);
	std::vector<Piece> kept;
	BOOST_TEST(read_stream(s, region, bytes, 60, random, kept) == bytes);
	release_down_to(region, kept, 0, random);
	peer.join();
	BOOST_TEST(s.recv_nothing() == -1);
	BOOST_TEST(region.stat().used == 0u);
	BOOST_TEST(region.stat().placed_by_kernel > bytes / 2);
}

BOOST_FIXTURE_TEST_CASE(a_reader_that_stalls_stops_the_sender_and_nobody_else, AttachedRegion)
{
	if (!attached)
		return;
	constexpr size_t bytes = 3 << 20;
	Associated stalled(tcp4_kind, region), other(tcp4_kind, region);
	std::thread peer = sender(stalled.s.b, bytes, 13);
	std::mt19937 random(14);
	std::vector<Piece> kept;
	const size_t first = read_stream(stalled, region, 100000, 10, random, kept);
	std::thread second = sender(other.s.b, bytes, 15);
	std::vector<Piece> others;
	BOOST_TEST(read_stream(other, region, bytes, 10, random, others) == bytes);
	second.join();
	for (size_t at = first; at < bytes;) {
		void *p;
		const ssize_t n = sio_recv(stalled, &p, 9000, 0);
		BOOST_TEST_REQUIRE(n > 0);
		check_and_release(region, {p, size_t(n), at});
		at += size_t(n);
	}
	peer.join();
	release_down_to(region, kept, 0, random);
	release_down_to(region, others, 0, random);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_FIXTURE_TEST_CASE(a_program_that_keeps_everything_is_told_and_the_rest_comes_once_it_releases,
			AttachedRegion)
{
	if (!attached)
		return;
	std::mt19937 random(16);
	for (int i = 0; i < 3; i++) {
		constexpr size_t bytes = 3 << 20;
		Associated s(tcp4_kind, region);
		std::thread peer = sender(s.s.b, bytes, 17);
		std::vector<Piece> kept = keep_everything(s, region);
		size_t at = kept.empty() ? 0 : kept.back().place + kept.back().n;
		while (at < bytes) {
			release_down_to(region, kept, kept.size() / 2, random);
			void *p;
			const ssize_t n = sio_recv(s, &p, 5000, 0);
			BOOST_TEST_REQUIRE(n > 0);
			kept.push_back({p, size_t(n), at});
			at += size_t(n);
		}
		peer.join();
		release_down_to(region, kept, 0, random);
		BOOST_TEST(region.stat().used == 0u);
	}
	BOOST_TEST(region.stat().placed_by_copy > 0u);
	BOOST_TEST(region.stat().full > 0u);
}

BOOST_FIXTURE_TEST_CASE(what_came_before_a_reset_is_right_and_nothing_of_it_stays, AttachedRegion)
{
	if (!attached)
		return;
	std::mt19937 random(18);
	for (int i = 0; i < 30; i++) {
		Associated s(tcp4_kind, region, i % 2 == 0 ? 0 : DMA_BUFSIZE(4096));
		std::vector<Piece> kept;
		size_t at;
		{
			std::thread peer = sender(s.s.b, 60000, unsigned(i));
			at = read_stream(s, region, random() % 50000, 5, random, kept);
			peer.join();
		}
		reset(s);
		// The kernel drops what nobody has read; then ECONNRESET once, and the end.
		size_t more = at;
		ssize_t n;
		for (void *p; (n = sio_recv(s, &p, 5000, 0)) > 0; more += size_t(n))
			check_and_release(region, {p, size_t(n), more});
		BOOST_TEST((n == 0 || errno == ECONNRESET));
		BOOST_TEST(more <= 60000u);
		release_down_to(region, kept, 0, random);
		BOOST_TEST(s.recv(100).empty());
	}
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(a_thousand_connections_share_an_area)
{
	constexpr size_t connections = 1000, bytes = 5000;
	const rlimit many{4096, 4096};
	if (setrlimit(RLIMIT_NOFILE, &many) != 0)
		return;
	Region region(8 << 20);
	Attached attached(region);
	if (!attached)
		return;
	for_each_channel([&](Channel &ec) {
		std::vector<std::unique_ptr<Associated>> all;
		for (size_t i = 0; i < connections; i++) {
			all.push_back(std::make_unique<Associated>(tcp4_kind, region));
			BOOST_TEST_REQUIRE(ev_recv(*all[i], nullptr, 4096,
						   AIO_DMA_BUF | EV_MULTISHOT, ec,
						   as_data(i)) == 0);
		}
		std::string text(bytes, 0);
		for (size_t i = 0; i < bytes; i++)
			text[i] = byte_at(i);
		std::thread peers([&] {
			for (const auto &s : all)
				send(s->s.b, text.data(), bytes, MSG_NOSIGNAL);
		});
		std::vector<size_t> at(connections);
		for (size_t left = connections * bytes; left > 0;) {
			const event_data_t e = next_event(ec);
			BOOST_TEST_REQUIRE(e.ev_result > 0);
			size_t &place = at[as_number(e.ev_data)];
			check_and_release(region, {e.ev_un.ev_dma.buf, size_t(e.ev_result), place});
			place += size_t(e.ev_result);
			left -= size_t(e.ev_result);
		}
		peers.join();
		for (size_t n : at)
			BOOST_TEST(n == bytes);
	});
	BOOST_TEST(region.stat().used == 0u);
	BOOST_TEST(region.stat().placed_by_kernel > 0u);
}

// ------------------------------------------------------------------ virtual Ethernet

namespace {

constexpr size_t veth_bytes = 2 << 20;

bool run(const std::string &commands)
{
	return system(("exec >/dev/null 2>&1; " + commands).c_str()) == 0;
}
sockaddr_in end_of_cable(int number, in_port_t port)
{
	sockaddr_in a{};
	a.sin_family = AF_INET;
	a.sin_port = htons(port);
	a.sin_addr.s_addr = htonl(0x0a4d0000u + unsigned(number));
	return a;
}

/// In a process and a network namespace of its own, once told that its end of the cable is there.
[[noreturn]] void be_the_peer(int told, int tells)
{
	char byte = unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
	if (write(tells, &byte, 1) != 1 || read(told, &byte, 1) != 1 ||
	    !run("ip link set veth0 up && ip addr add 10.77.0.2/24 dev veth0"))
		_exit(1);
	const Fd s(socket(AF_INET, SOCK_STREAM, 0));
	const sockaddr_in there = end_of_cable(1, 7000);
	while (connect(s, reinterpret_cast<const sockaddr *>(&there), sizeof there) != 0)
		usleep(10000); // until the address is there
	sender(s, veth_bytes, 20).join();
	_exit(0);
}

/// 0: right; 77: not here.
int receive_over_veth()
{
	alarm(200);
	int down[2], up[2];
	char byte = 0;
	if (pipe(down) != 0 || pipe(up) != 0)
		return 1;
	const pid_t peer = fork();
	if (peer == 0)
		be_the_peer(down[0], up[1]);
	if (unshare(CLONE_NEWNET) != 0 || read(up[0], &byte, 1) != 1 || byte != 'y' ||
	    !run("ip link set lo up && ip link add e0 type veth && ip link set veth0 netns " +
		 std::to_string(peer) + " && ip link set e0 up && ip addr add 10.77.0.1/24 dev e0"))
		return 77;
	const Fd listener(socket(AF_INET, SOCK_STREAM, 0));
	const sockaddr_in here = end_of_cable(1, 7000);
	if (bind(listener, reinterpret_cast<const sockaddr *>(&here), sizeof here) != 0 ||
	    listen(listener, 1) != 0 || write(down[1], "g", 1) != 1)
		return 2;
	const Fd s(accept(listener, nullptr, nullptr));
	Region region(region_size);
	Attached attached(region);
	region.associate(s);
	std::mt19937 random(21);
	void *p;
	bool right = true;
	for (size_t at = 0; at < veth_bytes;) {
		const ssize_t n = sio_recv(s, &p, random() % 20000 + 1, 0);
		if (n <= 0)
			return 3;
		right = right && is_right(p, size_t(n), at) &&
			sio_release(region, p, size_t(n)) == 0;
		at += size_t(n);
	}
	if (!right || sio_recv(s, &p, 100, 0) != 0)
		return 4;
	const bool placed = region.stat().placed_by_kernel > veth_bytes / 4;
	region.disassociate(s);
	int status;
	return waitpid(peer, &status, 0) == peer && status == 0 && placed ? 0 : 5;
}

} // namespace

BOOST_AUTO_TEST_CASE(what_comes_over_a_pair_of_virtual_devices_is_placed_too)
{
	{
		Region region(region_size);
		if (!Attached(region))
			return;
	}
	const int status = in_child_process(receive_over_veth);
	BOOST_TEST((status == 0 || (status == 77 && getenv("SIGEVEC_TEST_NODEV") == nullptr)));
}
