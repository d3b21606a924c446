// SPDX-License-Identifier: MIT
//
// Put and get: memory of another process's by a key, and what a key that is none does.
#define BOOST_TEST_MODULE fabric_transfers
#include "fabric.hpp"

#include <sys/mman.h>

namespace {

struct Here {
	Region region{region_size};
	Endpoint endpoint{region};
	Channel ec;
	char *piece = region.reserve(exported_size);

	Outcome get(const Card &from, const dma_key_t &key, uint64_t offset, size_t size) const
	{
		BOOST_TEST_REQUIRE(ev_get(endpoint, from.get(), from.length, &key, offset, piece,
					  size, ec, nullptr) == 0);
		return next_outcome(ec);
	}
	Outcome put(const Card &to, const dma_key_t &key, uint64_t offset, size_t size) const
	{
		BOOST_TEST_REQUIRE(ev_put(endpoint, to.get(), to.length, &key, offset, piece, size,
					  ec, nullptr) == 0);
		return next_outcome(ec);
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(
	bytes_are_read_from_and_written_to_another_processs_memory_while_it_does_nothing)
{
	const Here t;
	const PeerProcess peer;
	memset(t.piece, 0, exported_size);
	BOOST_TEST(t.get(peer.card(), peer.card().key, 0, exported_size) ==
		   (Outcome{0, exported_size}));
	BOOST_TEST(std::all_of(t.piece, t.piece + exported_size, [](char c) { return c == 'k'; }));
	for (size_t size : {1, 100, 4096, 60000}) {
		const size_t offset = exported_size - size;
		memset(t.piece, 'A', size);
		BOOST_TEST(t.put(peer.card(), peer.card().key, offset, size) ==
			   (Outcome{0, ssize_t(size)}));
		memset(t.piece, 0, exported_size);
		BOOST_TEST(t.get(peer.card(), peer.card().key, offset - 1, size + 1) ==
			   (Outcome{0, ssize_t(size + 1)}));
		BOOST_TEST(t.piece[0] == 'k');
		BOOST_TEST(std::all_of(t.piece + 1, t.piece + 1 + size,
				       [](char c) { return c == 'A'; }));
		memset(t.piece, 'k', size);
		BOOST_TEST(t.put(peer.card(), peer.card().key, offset, size) ==
			   (Outcome{0, ssize_t(size)}));
	}
	t.piece[0] = 'Z';
	BOOST_TEST(t.put(peer.card(), peer.card().key, 0, 1) == (Outcome{0, 1}));
	peer.order('.');
	BOOST_TEST(peer.answer() == 'Z');
	BOOST_TEST(t.endpoint.stat().gets == 5);
	BOOST_TEST(t.endpoint.stat().puts == 9);
}

BOOST_AUTO_TEST_CASE(many_transfers_are_under_way_at_once)
{
	const Here t;
	const PeerProcess peer;
	constexpr int count = 64, size = exported_size / count;
	for (int i = 0; i < count; ++i)
		BOOST_TEST_REQUIRE(ev_get(t.endpoint, peer.card().get(), peer.card().length,
					  &peer.card().key, uint64_t(i) * size, t.piece + i * size,
					  size, t.ec, nullptr) == 0);
	for (int i = 0; i < count; ++i)
		BOOST_TEST(next_outcome(t.ec) == (Outcome{0, size}));
	BOOST_TEST(std::all_of(t.piece, t.piece + exported_size, [](char c) { return c == 'k'; }));
}

BOOST_AUTO_TEST_CASE(a_key_that_nobody_made_touches_nothing_and_disturbs_nobody)
{
	const Here t;
	const PeerProcess peer;
	BOOST_TEST(t.get(peer.card(), peer.card().key, 0, 100) == (Outcome{0, 100}));
	memset(t.piece, 'X', 100);
	for (size_t i = 0; i < sizeof(dma_key_t); i += 3) {
		dma_key_t forged = peer.card().key;
		forged.bytes[i] = static_cast<unsigned char>(forged.bytes[i] ^ 0x40);
		BOOST_TEST_CONTEXT("byte " << i)
		{
			BOOST_TEST(t.put(peer.card(), forged, 0, 100) == (Outcome{EACCES, -1}));
		}
	}
	peer.order('.');
	BOOST_TEST(peer.answer() == 'k');
	BOOST_TEST(t.get(peer.card(), peer.card().key, 0, 100) == (Outcome{0, 100}));
	BOOST_TEST(t.endpoint.stat().lost_peers == 0);
}

BOOST_AUTO_TEST_CASE(a_key_gives_its_rights_and_its_bytes_and_no_others)
{
	const Here t;
	const PeerProcess peer;
	const Card &c = peer.card();
	BOOST_TEST(t.get(c, c.read_only, 0, 100) == (Outcome{0, 100}));
	BOOST_TEST(t.put(c, c.read_only, 0, 100) == (Outcome{EACCES, -1}));
	BOOST_TEST(t.get(c, c.key, exported_size - 99, 100) == (Outcome{EINVAL, -1}));
	BOOST_TEST(t.get(c, c.key, exported_size, 1) == (Outcome{EINVAL, -1}));
	BOOST_TEST(t.get(c, c.key, ~uint64_t{0}, 2) == (Outcome{EINVAL, -1}));
	BOOST_TEST(t.get(c, c.key, exported_size - 100, 100) == (Outcome{0, 100}));
}

BOOST_AUTO_TEST_CASE(after_a_key_is_withdrawn_nobody_can_use_it)
{
	const Here t;
	const PeerProcess peer;
	BOOST_TEST(t.put(peer.card(), peer.card().key, 100, 10) == (Outcome{0, 10}));
	peer.order('r');
	BOOST_TEST(peer.answer() == 'y');
	BOOST_TEST(t.put(peer.card(), peer.card().key, 0, 10) == (Outcome{EACCES, -1}));
	BOOST_TEST(t.get(peer.card(), peer.card().read_only, 0, 10) == (Outcome{0, 10}));
	BOOST_TEST(t.piece[0] == 'k');
	peer.order('r');
	BOOST_TEST(peer.answer() == 'n');
}

BOOST_AUTO_TEST_CASE(what_is_exported_is_not_used_again_before_it_is_withdrawn)
{
	const Here t;
	dma_key_t key;
	BOOST_TEST_REQUIRE(
		dma_export(t.region, t.endpoint, t.piece, exported_size, DMA_READ, &key) == 0);
	t.region.release(t.piece, exported_size);
	for (auto [p, size] : t.region.fill())
		BOOST_TEST((static_cast<char *>(p) + size <= t.piece ||
			    static_cast<char *>(p) >= t.piece + exported_size));
	CHECK_FAILS(dma_free(t.region, region_size), EBUSY);
	BOOST_TEST(dma_revoke(t.endpoint, &key) == 0);
	CHECK_FAILS(dma_revoke(t.endpoint, &key), EINVAL);
	void *p;
	BOOST_TEST(sio_reserve(t.region, &p, exported_size) == 0);
}

BOOST_AUTO_TEST_CASE(arguments_of_exports_and_transfers_are_checked)
{
	const Here t;
	const Region other(region_size);
	const Card &c = t.endpoint.card();
	dma_key_t key{};
	CHECK_FAILS(dma_export(other, t.endpoint, t.piece, 10, DMA_READ, &key), EINVAL);
	CHECK_FAILS(dma_export(t.region, t.endpoint, other.piece("other"), 5, DMA_READ, &key),
		    EINVAL);
	CHECK_FAILS(dma_export(t.region, t.endpoint, t.piece, 10, 0, &key), EINVAL);
	CHECK_FAILS(dma_export(t.region, t.endpoint, t.piece, 10, 8, &key), EINVAL);
	CHECK_FAILS(dma_export(t.region, t.endpoint, t.piece, 0, DMA_READ, &key), EINVAL);
	CHECK_FAILS(dma_export(t.region, t.endpoint, t.piece, exported_size + 1, DMA_READ, &key),
		    EINVAL);
	CHECK_FAILS(dma_export(t.region, t.endpoint, t.piece, 10, DMA_READ, nullptr), EINVAL);
	CHECK_FAILS(dma_revoke(t.endpoint, nullptr), EINVAL);
	CHECK_FAILS(ev_get(t.endpoint, nullptr, 0, &key, 0, t.piece, 10, t.ec, nullptr), EINVAL);
	CHECK_FAILS(ev_get(t.endpoint, c.get(), c.length, nullptr, 0, t.piece, 10, t.ec, nullptr),
		    EINVAL);
	CHECK_FAILS(ev_get(t.endpoint, c.get(), c.length, &key, 0, t.piece, 0, t.ec, nullptr),
		    EINVAL);
	CHECK_FAILS(ev_get(t.endpoint, c.get(), c.length, &key, 0, &key, 10, t.ec, nullptr),
		    EFAULT);
	CHECK_FAILS(ev_get(t.endpoint, c.get(), c.length, &key, 0, t.piece, 10, -1, nullptr),
		    EBADF);
	CHECK_FAILS(ev_get(t.ec, c.get(), c.length, &key, 0, t.piece, 10, t.ec, nullptr), ENOTSUP);
}

BOOST_AUTO_TEST_CASE(a_transfer_with_a_peer_that_stands_still_can_be_cancelled)
{
	const Here t;
	const PeerProcess peer;
	BOOST_TEST(t.get(peer.card(), peer.card().key, 0, 100) == (Outcome{0, 100}));
	peer.signal(SIGSTOP);
	int data = 0;
	BOOST_TEST(ev_get(t.endpoint, peer.card().get(), peer.card().length, &peer.card().key, 0,
			  t.piece, 100, t.ec, &data) == 0);
	BOOST_TEST(ev_cancel(t.ec, &data) == 0);
	BOOST_TEST(next_outcome(t.ec) == (Outcome{ECANCELED, -1}));
	peer.signal(SIGCONT);
	BOOST_TEST(t.get(peer.card(), peer.card().key, 0, 100) == (Outcome{0, 100}));
}

namespace {

/// A region that is a mapping of a file, and a piece of it.
struct Mapped {
	Fd file{memfd_create("mapped", MFD_CLOEXEC)};
	void *memory = nullptr;
	dma_mem_t mem = nullptr;
	void *piece = nullptr;
	Mapped()
	{
		BOOST_TEST_REQUIRE(ftruncate(file, region_size) == 0);
		memory = mmap(nullptr, region_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		BOOST_TEST_REQUIRE(memory != MAP_FAILED);
		BOOST_TEST_REQUIRE(dma_import(&mem, memory, region_size, 0) == 0);
		BOOST_TEST_REQUIRE(sio_reserve(mem, &piece, exported_size) == 0);
	}
	~Mapped()
	{
		sio_release(mem, piece, exported_size);
		BOOST_TEST(dma_free(mem, region_size) == 0);
		munmap(memory, region_size);
	}
	Mapped(const Mapped &) = delete;
	void cut() const { BOOST_TEST_REQUIRE(ftruncate(file, 0) == 0); }
};

} // namespace

BOOST_AUTO_TEST_CASE(a_piece_in_a_file_that_is_cut_is_efault_and_disturbs_nobody)
{
	const Here t;
	const PeerProcess peer;
	const Mapped mapped;
	const Card &c = peer.card();
	for (const size_t size : {size_t{100}, exported_size}) {
		BOOST_TEST_REQUIRE(ev_get(t.endpoint, c.get(), c.length, &c.key, 0, mapped.piece,
					  size, t.ec, nullptr) == 0);
		BOOST_TEST(next_outcome(t.ec) == (Outcome{0, ssize_t(size)}));
		BOOST_TEST(static_cast<char *>(mapped.piece)[size - 1] == 'k');
		memset(mapped.piece, 'm', size);
		BOOST_TEST_REQUIRE(ev_put(t.endpoint, c.get(), c.length, &c.key, 0, mapped.piece,
					  size, t.ec, nullptr) == 0);
		BOOST_TEST(next_outcome(t.ec) == (Outcome{0, ssize_t(size)}));
		BOOST_TEST(t.get(c, c.key, 0, size) == (Outcome{0, ssize_t(size)}));
		BOOST_TEST(t.piece[size - 1] == 'm');
		memset(t.piece, 'k', size);
		BOOST_TEST(t.put(c, c.key, 0, size) == (Outcome{0, ssize_t(size)}));
	}
	mapped.cut();
	for (const size_t size : {size_t{100}, exported_size}) {
		CHECK_FAILS(ev_put(t.endpoint, c.get(), c.length, &c.key, 0, mapped.piece, size,
				   t.ec, nullptr),
			    EFAULT);
		BOOST_TEST_REQUIRE(ev_get(t.endpoint, c.get(), c.length, &c.key, 0, mapped.piece,
					  size, t.ec, nullptr) == 0);
		BOOST_TEST(next_outcome(t.ec) == (Outcome{EFAULT, -1}));
	}
	peer.order('.');
	BOOST_TEST(peer.answer() == 'k');
	BOOST_TEST(t.get(c, c.key, 0, 100) == (Outcome{0, 100}));
	BOOST_TEST(t.endpoint.stat().lost_peers == 0);
}
