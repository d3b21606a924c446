// SPDX-License-Identifier: MIT
//
// What dma_random's threads and processes share: sockets, a region, and the ledger in which
// everything is accounted for.
#ifndef CONTRACT_DMA_RANDOM_WORLD_HPP
#define CONTRACT_DMA_RANDOM_WORLD_HPP

#include "dma.hpp"

#include <shared_mutex>

namespace contract::chance {

constexpr size_t region_size = 192 * 1024, other_size = 32 * 1024;
inline constexpr size_t piece = 1024; // what a call asks for, and the longest datagram
inline constexpr int of_each_kind = 4, kinds = 5, sockets = of_each_kind * kinds;
inline constexpr unsigned threads = 4, children = 3, most_datagrams = 1u << 15, most_under_way = 40;
inline constexpr SocketKind used[kinds] = {tcp4_kind, udp4_kind, unix_stream_kind,
					   unix_datagram_kind, unix_packet_kind};

/// What all processes know.
struct Ledger {
	struct Socket {
		std::atomic<uint64_t> sent, received; // bytes of a stream, datagrams of others
		std::atomic<uint32_t> next;           // number of a datagram
		std::atomic<uint8_t> came[most_datagrams];
	} socket[sockets];
	std::atomic<uint64_t>
		asking[children][sockets]; // calls and requests that have not been accounted for
	std::atomic<bool> stop, failed;
	char why[400];

	void fail(const char *text, int a = 0, int b = 0)
	{
		const int error = errno;
		if (!failed.exchange(true))
			snprintf(why, sizeof why, "%s (%d, %d), %s", text, a, b, strerror(error));
		stop = true;
	}
};
inline Ledger *ledger;

struct Head {
	uint32_t mark, socket, number, size;
};
inline constexpr uint32_t mark = 0x51e7ec01;

/// Who waits for data does so for a moment.
inline void limit_waiting(int fd)
{
	const struct timeval moment = {0, 2000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment);
}

struct Socket {
	SocketKind kind;
	unsigned flags; // of its association
	std::atomic<int> fd{-1};
	Fd peer;
	std::shared_mutex changing; // of fd and of the association
	std::mutex sending;         // datagrams leave in the order of their numbers
	bool stream() const { return kind.is_stream(); }
	bool ahead() const { return flags != 0; }
};

/// The world of a test, made before there are threads.
struct World {
	Region region{region_size}, other{other_size};
	Socket socket[sockets];
	Fd stuck, stuck_peer; // a stream that nobody reads
	Fd token_reader, token;
	std::vector<Fd> idle; // what has got the numbers that were used before
	std::shared_mutex forking;
	std::mutex idling;
};
inline World *world;

inline void account(int k, const char *p, size_t n)
{
	Ledger::Socket &s = ledger->socket[k];
	if (world->socket[k].stream()) {
		for (size_t i = 0; i < n; ++i)
			if (p[i] != char(k + 1))
				return ledger->fail("another byte than was sent", k, p[i]);
		s.received += n;
		return;
	}
	Head head;
	memcpy(&head, p, sizeof head);
	if (n < sizeof head || head.mark != mark || head.socket != uint32_t(k) || head.size != n ||
	    head.number >= most_datagrams)
		return ledger->fail("another datagram than was sent", k, int(n));
	for (size_t i = sizeof head; i < n; ++i)
		if (p[i] != char(head.number + i))
			return ledger->fail("a datagram with other bytes", k, int(i));
	if (s.came[head.number].exchange(1) != 0)
		return ledger->fail("a datagram that came twice", k, int(head.number));
	++s.received;
}

inline void close_all(msghdr *m)
{
	for (cmsghdr *c = CMSG_FIRSTHDR(m); c != nullptr; c = CMSG_NXTHDR(m, c))
		for (size_t at = CMSG_LEN(0);
		     c->cmsg_type == SCM_RIGHTS && at + sizeof(int) <= c->cmsg_len;
		     at += sizeof(int)) {
			int fd;
			memcpy(&fd, reinterpret_cast<char *>(c) + at, sizeof fd);
			if (close(fd) != 0)
				ledger->fail("a descriptor that is none", fd);
		}
}

inline void give_back(const void *p, size_t n)
{
	auto *const at = const_cast<void *>(p);
	if (sio_release(world->region, at, n) != 0 && sio_release(world->other, at, n) != 0)
		ledger->fail("a piece that is none", int(n));
}

} // namespace contract::chance

#endif
