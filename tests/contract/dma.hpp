// SPDX-License-Identifier: MIT
//
// What the tests of DMA regions share: regions that free themselves, pieces, sockets
// that are associated.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of socket_calls.hpp.
#ifndef CONTRACT_DMA_HPP
#define CONTRACT_DMA_HPP

#include "socket_calls.hpp"

namespace contract {

class Region {
public:
	explicit Region(size_t size, unsigned flags = 0) : size_(size)
	{
		BOOST_TEST_REQUIRE(dma_alloc(&mem_, size, flags) == 0);
	}
	Region(const Region &) = delete;
	~Region() { dma_free(mem_, size_); }
	operator dma_mem_t() const { return mem_; }
	size_t size() const { return size_; }

	struct dma_stat stat() const
	{
		struct dma_stat s {};
		BOOST_TEST_REQUIRE(dma_stat(mem_, &s) == 0);
		return s;
	}
	char *reserve(size_t size) const
	{
		void *p = nullptr;
		BOOST_TEST_REQUIRE(sio_reserve(mem_, &p, size) == 0);
		return static_cast<char *>(p);
	}
	/// A piece with this in it.
	char *piece(std::string_view text) const
	{
		char *const p = reserve(text.size());
		memcpy(p, text.data(), text.size());
		return p;
	}
	void release(const void *p, size_t size) const
	{
		BOOST_TEST(sio_release(mem_, const_cast<void *>(p), size) == 0);
	}
	void associate(int s, unsigned flags = 0) const
	{
		BOOST_TEST_REQUIRE(dma_assoc(s, mem_, size_, flags) == 0);
	}
	void disassociate(int s) const { BOOST_TEST(dma_disassoc(s, mem_, size_) == 0); }
	/// Takes every byte that is left; returns the pieces.
	std::vector<std::pair<void *, size_t>> fill() const
	{
		std::vector<std::pair<void *, size_t>> pieces;
		for (size_t size = size_; size >= 128; size /= 2)
			for (void *p; sio_reserve(mem_, &p, size) == 0;)
				pieces.emplace_back(p, size);
		BOOST_TEST_REQUIRE(stat().used >= size_ / 128 * 128);
		return pieces;
	}
	void release(const std::vector<std::pair<void *, size_t>> &pieces) const
	{
		for (auto [p, size] : pieces)
			release(p, size);
	}

private:
	dma_mem_t mem_{};
	size_t size_;
};

/// Two connected sockets, the first of them associated.
struct Associated {
	Pair s;
	const Region &region;
	Associated(const SocketKind &kind, const Region &r, unsigned flags = 0)
	    : s(make_pair(kind)), region(r)
	{
		r.associate(s.a, flags);
	}
	~Associated() { dma_disassoc(s.a, region, region.size()); }
	operator int() const { return s.a; }

	/// What one sio_recv gets; its piece is released.
	std::string recv(size_t size, int flags = 0) const
	{
		void *p = nullptr;
		const int n = sio_recv(s.a, &p, size, flags);
		BOOST_TEST_REQUIRE(n >= 0);
		std::string text(static_cast<char *>(p), size_t(n));
		if (n > 0)
			region.release(p, size_t(n));
		return text;
	}
	/// For an empty socket: errno says so.
	int recv_nothing() const
	{
		void *p = nullptr;
		return sio_recv(s.a, &p, 100, MSG_DONTWAIT);
	}
	void peer_sends(std::string_view text) const
	{
		BOOST_TEST_REQUIRE(send(s.b, text.data(), text.size(), MSG_NOSIGNAL) ==
				   ssize_t(text.size()));
	}
};

/// A request on a region's memory: on a piece of it, or on one to come.
inline Request &on_region(int fd, const Region &region, size_t bytes, void *buf = nullptr,
			  off_t offset = 0)
{
	Request &request = keep(fd, 0, offset);
	request.cb.aio_buf = buf;
	request.cb.aio_nbytes = bytes;
	request.cb.aio_dma_buf = region;
	return request;
}
/// The end of a receive or of a read: what is in its piece, which is released.
inline std::string received(Request &request, const Region &region)
{
	const Outcome end = finish(request);
	BOOST_TEST(end.error == 0);
	auto *const p = static_cast<char *>(const_cast<void *>(request.cb.aio_buf));
	if (end.result <= 0) {
		BOOST_TEST(p == nullptr);
		return {};
	}
	BOOST_TEST_REQUIRE(p != nullptr);
	std::string text(p, size_t(end.result));
	region.release(p, size_t(end.result));
	return text;
}

inline constexpr SocketKind all_kinds[] = {unix_stream_kind, unix_packet_kind, unix_datagram_kind,
					   tcp4_kind,        tcp6_kind,        udp4_kind};
template <class Body> void for_each_kind(Body body)
{
	for (const SocketKind &kind : all_kinds)
		if (usable(kind))
			BOOST_TEST_CONTEXT(kind.name)
			{
				body(kind);
			}
}

} // namespace contract

#endif
