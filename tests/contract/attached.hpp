// SPDX-License-Identifier: MIT
//
// Regions that are attached to a queue without a device, and connections whose every byte is known
// by its place.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of dma.hpp.
#ifndef CONTRACT_ATTACHED_HPP
#define CONTRACT_ATTACHED_HPP

#include "dma.hpp"

#include <fstream>
#include <random>
#include <thread>

namespace contract {

inline constexpr size_t region_size = 1 << 20;

inline bool may_administer()
{
	std::ifstream status("/proc/self/status");
	for (std::string line; std::getline(status, line);)
		if (line.starts_with("CapEff:"))
			return (std::stoull(line.substr(7), nullptr, 16) >> 12 & 1) != 0;
	return false;
}

/// Where there is no device that can do it.
inline int refusal()
{
	return may_administer() ? ENOTSUP : EPERM;
}

class Attached {
public:
	explicit Attached(const Region &region) : region_(region)
	{
		there_ = dma_attach(region, nullptr, 0, DMA_NODEV) == 0;
		if (!there_)
			BOOST_TEST((errno == refusal()));
		// A guest that can says so.
		BOOST_TEST((there_ || getenv("SIGEVEC_TEST_NODEV") == nullptr));
	}
	Attached(const Attached &) = delete;
	~Attached() { end(); }
	void end()
	{
		if (std::exchange(there_, false))
			BOOST_TEST(dma_detach(region_, nullptr, 0) == 0);
	}
	explicit operator bool() const { return there_; }

private:
	const Region &region_;
	bool there_;
};

/// What most cases begin with; where it is not attached they have nothing to look at.
struct AttachedRegion {
	Region region{region_size};
	Attached attached{region};
};

/// What a connection carries, so that each place of it is known.
inline char byte_at(size_t place)
{
	return char((place * 2654435761u) >> 13);
}

inline bool is_right(const void *piece, size_t n, size_t place)
{
	auto *const p = static_cast<const char *>(piece);
	for (size_t i = 0; i < n; i++)
		if (p[i] != byte_at(place + i))
			return false;
	return true;
}

/// Sends so many bytes in parts of random sizes.
inline std::thread sender(int s, size_t bytes, unsigned seed)
{
	return std::thread([=] {
		std::mt19937 random(seed);
		std::vector<char> part(70000);
		for (size_t at = 0; at < bytes;) {
			const size_t longest = random() % 4 == 0 ? 70000 : 3000;
			const size_t n = std::min<size_t>(random() % longest + 1, bytes - at);
			for (size_t i = 0; i < n; i++)
				part[i] = byte_at(at + i);
			for (size_t done = 0; done < n;) {
				const ssize_t m = send(s, &part[done], n - done, MSG_NOSIGNAL);
				if (m <= 0)
					return;
				done += size_t(m);
			}
			at += n;
		}
	});
}

struct Piece {
	void *p;
	size_t n, place;
};

/// Looks at a piece for the last time, and gives it back.
inline void check_and_release(const Region &region, const Piece &piece)
{
	BOOST_TEST(is_right(piece.p, piece.n, piece.place));
	region.release(piece.p, piece.n);
}

/// Gives back pieces in no order until at most so many are kept.
inline void release_down_to(const Region &region, std::vector<Piece> &kept, size_t most,
			    std::mt19937 &random)
{
	while (kept.size() > most) {
		std::swap(kept[random() % kept.size()], kept.back());
		check_and_release(region, kept.back());
		kept.pop_back();
	}
}

} // namespace contract

#endif
