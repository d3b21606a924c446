// SPDX-License-Identifier: MIT
//
// What tests of network devices share: frames, the queue of a device, and packet sockets for the
// other end of its cable.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of dma.hpp.
#ifndef CONTRACT_FRAMES_HPP
#define CONTRACT_FRAMES_HPP

#include "dma.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>

namespace contract {

inline bool run(const std::string &commands)
{
	return system(("exec 2>/dev/null; " + commands).c_str()) == 0;
}

/// A frame of our own type, with a number, and bytes that follow from it.
inline std::vector<unsigned char> make_frame(size_t size, uint64_t number)
{
	std::vector<unsigned char> f(size);
	for (size_t i = 0; i < size; ++i)
		f[i] = static_cast<unsigned char>(number * 31 + i);
	for (size_t i = 0; i < 6 && i < size; ++i)
		f[i] = 0xff;
	if (size > 13)
		f[6] = 2, f[12] = 0x88, f[13] = 0xb5;
	if (size >= 22)
		memcpy(&f[14], &number, sizeof number);
	return f;
}
inline uint64_t number_in(const void *frame)
{
	uint64_t n;
	memcpy(&n, static_cast<const char *>(frame) + 14, sizeof n);
	return n;
}
inline bool same(const void *got, size_t size, const std::vector<unsigned char> &sent)
{
	return size == sent.size() && memcmp(got, sent.data(), size) == 0;
}

/// The other end, by the kernel's packet sockets.
class PacketSocket {
public:
	explicit PacketSocket(const char *device)
	    : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)))
	{
		sockaddr_ll a{};
		a.sll_family = AF_PACKET;
		a.sll_protocol = htons(ETH_P_ALL);
		a.sll_ifindex = int(if_nametoindex(device));
		BOOST_TEST_REQUIRE(bind(fd_, reinterpret_cast<sockaddr *>(&a), sizeof a) == 0);
		const int large = 1 << 24;
		setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
		const int one = 1;
		setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
	}
	bool send(const std::vector<unsigned char> &frame) const
	{
		ssize_t n;
		do
			n = ::send(fd_, frame.data(), frame.size(), 0);
		while (n < 0 && errno == ENOBUFS);
		return n == ssize_t(frame.size());
	}
	std::vector<unsigned char> receive() const
	{
		std::vector<unsigned char> f(65536);
		pollfd ready{fd_, POLLIN, 0};
		BOOST_TEST_REQUIRE(poll(&ready, 1, 1000 * int(hang_limit.count())) == 1);
		const ssize_t n = recv(fd_, f.data(), f.size(), 0);
		f.resize(size_t(n > 0 ? n : 0));
		return f;
	}

private:
	Fd fd_;
};

/// A queue of a device, with a region.
class Queue {
public:
	Queue(const char *device, dma_mem_t mem, size_t size, unsigned queue = 0,
	      unsigned flags = 0, unsigned assoc_flags = 0)
	    : fd_(ether_open(device, queue, flags)), mem_(mem), size_(size)
	{
		BOOST_TEST_REQUIRE(fd_ >= 0);
		BOOST_TEST_REQUIRE(dma_assoc(fd_, mem, size, assoc_flags) == 0);
	}
	~Queue()
	{
		if (fd_ >= 0)
			dma_disassoc(fd_, mem_, size_);
	}
	operator int() const { return fd_; }
	void close_it() { fd_ = Fd(-1); }
	/// The next frame, released at once.
	std::vector<unsigned char> receive(int flags = 0) const
	{
		void *p = nullptr;
		const int n = sio_recv(fd_, &p, 65536, flags);
		if (n <= 0)
			return {};
		auto *const b = static_cast<unsigned char *>(p);
		std::vector<unsigned char> f(b, b + n);
		BOOST_TEST(sio_release(mem_, p, size_t(n)) == 0);
		return f;
	}
	bool readable(int timeout_ms) const
	{
		pollfd ready{fd_, POLLIN, 0};
		return poll(&ready, 1, timeout_ms) == 1;
	}
	void send(const std::vector<unsigned char> &frame, int flags = 0) const
	{
		void *p = nullptr;
		BOOST_TEST_REQUIRE(sio_reserve(mem_, &p, frame.size()) == 0);
		memcpy(p, frame.data(), frame.size());
		BOOST_TEST(sio_send(fd_, p, frame.size(), flags) == int(frame.size()));
		BOOST_TEST(sio_release(mem_, p, frame.size()) == 0);
	}

private:
	Fd fd_;
	dma_mem_t mem_;
	size_t size_;
};

constexpr size_t region_size = 1 << 20;

} // namespace contract

#endif
