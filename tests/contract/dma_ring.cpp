// SPDX-License-Identifier: MIT
//
// Associated sockets and pieces in the ring of an EC_SINGLE channel, with a region that is large
// enough for that.
#define BOOST_TEST_MODULE dma_ring
#include "dma.hpp"

namespace {

constexpr int armed = AIO_DMA_BUF | EV_MULTISHOT;
constexpr size_t region_size = 1 << 20;

/// What the event brought; its piece is released.
std::string content(const event_data_t &event, const Region &region)
{
	BOOST_TEST_REQUIRE(event.ev_type == event_type_dma);
	BOOST_TEST_REQUIRE(event.ev_errno == 0);
	if (event.ev_result == 0)
		return {};
	std::string text(static_cast<char *>(event.ev_un.ev_dma.buf), size_t(event.ev_result));
	BOOST_TEST((event.ev_un.ev_dma.mem == region));
	region.release(event.ev_un.ev_dma.buf, size_t(event.ev_result));
	return text;
}

/// All of it, however it is cut.
void check_arrives(ec_t ec, const Region &region, const std::string &expected)
{
	std::string got;
	while (got.size() < expected.size())
		got += content(next_event(ec), region);
	BOOST_TEST((got == expected));
}

template <class Body> void for_each_ring_and_stream(Body body)
{
	for (unsigned flags : {EC_SINGLE, EC_SINGLE | EC_BATCH})
		for (const SocketKind &kind : {tcp4_kind, unix_stream_kind})
			BOOST_TEST_CONTEXT(kind.name << ", flags " << flags)
			{
				Region region(region_size);
				Channel ec(flags);
				Associated s(kind, region);
				BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 4096, armed, ec, &s) == 0);
				hand_over(ec);
				body(ec, s, region);
			}
}

/// What arrives is kept, and added to *got, until the region has no room.
std::vector<std::pair<void *, size_t>> keep_until_full(const Channel &ec, const Region &region,
						       std::string *got)
{
	std::vector<std::pair<void *, size_t>> kept;
	auto const before = region.stat().full;
	while (region.stat().full == before) {
		event_data_t event;
		if (ec_next_events(ec, &event, 1, &at_once) != 1)
			continue;
		BOOST_TEST_REQUIRE(event.ev_result > 0);
		got->append(static_cast<char *>(event.ev_un.ev_dma.buf), size_t(event.ev_result));
		kept.emplace_back(event.ev_un.ev_dma.buf, size_t(event.ev_result));
	}
	return kept;
}

} // namespace

BOOST_AUTO_TEST_CASE(armed_once_a_stream_yields_an_event_for_each_arrival)
{
	for_each_ring_and_stream([](Channel &ec, Associated &s, Region &region) {
		BOOST_TEST(region.stat().used == 0u);
		BOOST_TEST(region.stat().requests == 1u);
		for (int i = 0; i < 200; ++i) {
			std::string const text = "arrival " + std::to_string(i);
			s.peer_sends(text);
			BOOST_TEST(becomes_readable(ec));
			event_data_t const event = next_event(ec);
			BOOST_TEST(event.ev_un.ev_dma.fd == int(s));
			BOOST_TEST(event.ev_data == &s);
			BOOST_TEST(content(event, region) == text);
		}
		CHECK_FAILS(dma_free(region, region_size), EBUSY);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(numbers(ec).outstanding == 1u);
		s.peer_sends("last");
		s.s.b.reset();
		BOOST_TEST(content(next_event(ec), region) == "last");
		BOOST_TEST(content(next_event(ec), region) == "");
		BOOST_TEST(region.stat().requests == 0u);
		BOOST_TEST(region.stat().used == 0u);
	});
}

BOOST_AUTO_TEST_CASE(it_is_cancelled_and_what_comes_later_stays_in_the_socket)
{
	for_each_ring_and_stream([](Channel &ec, Associated &s, Region &region) {
		s.peer_sends("before");
		BOOST_TEST(content(next_event(ec), region) == "before");
		BOOST_TEST(ev_recv(s, nullptr, 10, armed, ec, &region) == 0);
		BOOST_TEST(next_event(ec).ev_errno == EBUSY);
		BOOST_TEST(ev_cancel(ec, &s) == 0);
		event_data_t const event = next_event(ec);
		BOOST_TEST(event.ev_type == event_type_dma);
		BOOST_TEST(event.ev_errno == ECANCELED);
		s.peer_sends("after");
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(s.recv(100) == "after");
		BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 10, armed, ec, &s) == 0);
		s.peer_sends("again");
		BOOST_TEST(content(next_event(ec), region) == "again");
	});
}

BOOST_AUTO_TEST_CASE(without_room_arrivals_wait_and_none_is_lost)
{
	for_each_ring_and_stream([](Channel &ec, Associated &s, Region &region) {
		auto pieces = std::vector<std::pair<void *, size_t>>{};
		for (void *p; sio_reserve(region, &p, 4096) == 0;)
			pieces.emplace_back(p, 4096);
		std::string const text = pattern(800000);
		std::thread writer([&] { put(s.s.b, text); });
		std::string got;
		auto const held = keep_until_full(ec, region, &got);
		// A blocked reader is woken by another thread's release.
		std::atomic<int> refused{0};
		std::thread releaser([&] {
			for (auto const &list : {pieces, held})
				for (auto [p, n] : list)
					refused += sio_release(region, p, n) != 0;
		});
		while (got.size() < text.size())
			got += content(next_event(ec), region);
		writer.join();
		releaser.join();
		BOOST_TEST(refused == 0);
		BOOST_TEST((got == text));
		BOOST_TEST(region.stat().used == 0u);
	});
}

BOOST_AUTO_TEST_CASE(while_the_channel_is_full_arrivals_wait_and_none_is_lost)
{
	for_each_ring_and_stream([](Channel &ec, Associated &s, Region &region) {
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 4) == 0);
		std::string const text = pattern(300000);
		std::thread writer([&] {
			for (size_t n = 0; n < text.size(); n += 1000)
				put(s.s.b, std::string_view(text).substr(n, 1000));
		});
		std::string got;
		while (got.size() < text.size()) {
			BOOST_TEST(numbers(ec).queued <= 3u);
			got += content(next_event(ec), region);
		}
		writer.join();
		BOOST_TEST((got == text));
		BOOST_TEST(numbers(ec).high_water <= 4u);
	});
}

BOOST_AUTO_TEST_CASE(another_thread_takes_the_channel_over_and_nothing_is_lost)
{
	for_each_ring_and_stream([](Channel &ec, Associated &s, Region &region) {
		s.peer_sends("first");
		BOOST_TEST(becomes_readable(ec));
		std::thread([&] {
			check_arrives(ec, region, "first");
			s.peer_sends("second");
			check_arrives(ec, region, "second");
		}).join();
		s.peer_sends("third");
		check_arrives(ec, region, "third");
		BOOST_TEST(ev_cancel(ec, &s) == 0);
		BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
		BOOST_TEST(region.stat().used == 0u);
	});
}

BOOST_AUTO_TEST_CASE(disassociation_by_any_thread_ends_it)
{
	for (bool other : {false, true})
		for_each_ring_and_stream([&](Channel &ec, Associated &s, Region &region) {
			if (other)
				std::thread([&] { region.disassociate(s); }).join();
			else
				region.disassociate(s);
			BOOST_TEST(next_event(ec).ev_errno == ECANCELED);
			BOOST_TEST(region.stat().requests == 0u);
			BOOST_TEST(region.stat().used == 0u);
			region.associate(s);
			BOOST_TEST_REQUIRE(ev_recv(s, nullptr, 4096, armed, ec, &s) == 0);
			s.peer_sends("again");
			BOOST_TEST(content(next_event(ec), region) == "again");
		});
}

BOOST_AUTO_TEST_CASE(the_end_of_the_channel_gives_all_pieces_back)
{
	dma_mem_t mem;
	BOOST_TEST_REQUIRE(dma_alloc(&mem, region_size, 0) == 0);
	Pair s = make_pair(tcp4_kind);
	BOOST_TEST_REQUIRE(dma_assoc(s.a, mem, region_size, 0) == 0);
	{
		Channel ec(EC_SINGLE);
		BOOST_TEST_REQUIRE(ev_recv(s.a, nullptr, 100, armed, ec, nullptr) == 0);
		BOOST_TEST_REQUIRE(send(s.b, "unread", 6, 0) == 6);
		BOOST_TEST(becomes_readable(ec));
	}
	void *p;
	BOOST_TEST_REQUIRE(send(s.b, "after", 5, 0) == 5);
	std::string got;
	while (got.find("after") == std::string::npos) {
		const int n = sio_recv(s.a, &p, 100, 0);
		BOOST_TEST_REQUIRE(n > 0);
		got.append(static_cast<char *>(p), size_t(n));
		BOOST_TEST(sio_release(mem, p, size_t(n)) == 0);
	}
	BOOST_TEST(dma_disassoc(s.a, mem, region_size) == 0);
	struct dma_stat stat;
	BOOST_TEST(dma_stat(mem, &stat) == 0);
	BOOST_TEST(stat.used == 0u);
	BOOST_TEST(dma_free(mem, region_size) == 0);
}

BOOST_AUTO_TEST_CASE(it_holds_its_socket_whatever_becomes_of_the_number)
{
	for_each_ring_and_stream([](Channel &ec, Associated &s, Region &region) {
		Pair other = make_pair(tcp4_kind);
		int const number = s;
		BOOST_TEST_REQUIRE(dup2(other.a, number) == number);
		BOOST_TEST_REQUIRE(dma_assoc(number, region, region_size, 0) == 0);
		BOOST_TEST_REQUIRE(send(other.b, "other", 5, 0) == 5);
		BOOST_TEST(s.recv(100) == "other");
		s.peer_sends("mine");
		BOOST_TEST(content(next_event(ec), region) == "mine");
		s.s.b.reset();
		BOOST_TEST(content(next_event(ec), region) == "");
	});
}

BOOST_AUTO_TEST_CASE(a_piece_under_a_send_is_used_again_only_after_its_end)
{
	Region region(region_size);
	Channel ec(EC_SINGLE | EC_BATCH);
	Pair s = make_pair(tcp4_kind);
	std::string const text = pattern(20000);
	char *const p = region.piece(text);
	BOOST_TEST_REQUIRE(ev_send(s.a, p, text.size(), AIO_DMA_BUF, ec, p) == 0);
	region.release(p, text.size());
	// Without a ring the end may have come, and this is the same piece.
	char *const q = region.reserve(text.size());
	memset(q, '!', text.size());
	BOOST_TEST(outcome(next_event(ec)) == ok(text.size()));
	BOOST_TEST((contract::take(s.b, text.size()) == text));
	region.release(q, text.size());
	BOOST_TEST(region.stat().used == 0u);
	BOOST_TEST(region.stat().requests == 0u);
	BOOST_TEST(region.stat().sent == text.size());
}

BOOST_AUTO_TEST_CASE(while_the_channel_is_full_the_end_waits_behind_what_has_arrived)
{
	for_each_ring_and_stream([](Channel &ec, Associated &s, Region &region) {
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 2) == 0);
		std::string got;
		for (int i = 0; i < 20; ++i) {
			s.peer_sends(std::string(100, char('a' + i)));
			BOOST_TEST(numbers(ec).queued <=
				   2u); // which also takes what there is out of the ring
		}
		s.s.b.reset();
		BOOST_TEST(numbers(ec).queued <= 2u);
		for (std::string piece; !(piece = content(next_event(ec), region)).empty();)
			got += piece;
		BOOST_TEST(got.size() == 2000u);
		for (size_t i = 0; i < got.size(); ++i)
			BOOST_TEST_REQUIRE(got[i] == char('a' + i / 100));
		CHECK_FAILS(ev_cancel(ec, &s), ENOENT);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(region.stat().used == 0u);
	});
}

BOOST_AUTO_TEST_CASE(while_the_channel_is_full_ecanceled_is_the_last_event)
{
	for (unsigned limit : {1u, 2u, 3u})
		for_each_ring_and_stream([&](Channel &ec, Associated &s, Region &region) {
			BOOST_TEST_REQUIRE(ec_set_limit(ec, limit) == 0);
			for (int i = 0; i < 20; ++i) {
				s.peer_sends(std::string(100, char('a' + i)));
				BOOST_TEST(numbers(ec).queued <=
					   limit); // which also takes what there is out of the ring
			}
			BOOST_TEST(ev_cancel(ec, &s) == 0);
			std::string got;
			event_data_t event;
			while ((event = next_event(ec)).ev_errno == 0)
				got += content(event, region);
			BOOST_TEST(event.ev_errno == ECANCELED);
			BOOST_TEST(found_empty(ec));
			got += take(s,
				    2000 - got.size()); // what had not been received is still there
			for (size_t i = 0; i < got.size(); ++i)
				BOOST_TEST_REQUIRE(got[i] == char('a' + i / 100));
		});
}

BOOST_AUTO_TEST_CASE(a_closed_one_that_has_had_no_room_goes_on_after_the_next_release)
{
	for_each_ring_and_stream([](Channel &ec, Associated &s, Region &region) {
		auto pieces = std::vector<std::pair<void *, size_t>>{};
		for (void *p; sio_reserve(region, &p, 4096) == 0;)
			pieces.emplace_back(p, 4096);
		std::string const text = pattern(800000);
		std::thread writer([&] {
			put(s.s.b, text);
			s.s.b.reset();
		});
		// The number goes, and is another socket's.
		Pair other = make_pair(tcp4_kind);
		int const number = s.s.a.release();
		BOOST_TEST_REQUIRE(dup2(other.a, number) == number);
		s.s.a.reset(number);
		std::string got;
		auto const kept = keep_until_full(ec, region, &got);
		region.release(pieces);
		region.release(kept);
		while (got.size() < text.size())
			got += content(next_event(ec), region);
		writer.join();
		BOOST_TEST((got == text));
		BOOST_TEST(content(next_event(ec), region) == "");
		BOOST_TEST(region.stat().used == 0u);
	});
}

BOOST_AUTO_TEST_CASE(many_sizes_and_channels_leave_half_of_the_region_to_the_program)
{
	Region region(region_size);
	std::vector<Pair> all;
	std::vector<Channel> channels;
	for (int c = 0; c < 3; ++c) {
		channels.emplace_back(unsigned(EC_SINGLE));
		for (unsigned i = 0; i < 12; ++i) {
			all.push_back(make_pair(tcp4_kind));
			region.associate(all.back().a);
			BOOST_TEST_REQUIRE(ev_recv(all.back().a, nullptr, 500 + 128 * i, armed,
						   channels.back(), nullptr) == 0);
		}
	}
	size_t had = 0;
	std::vector<void *> pieces;
	for (void *p; sio_reserve(region, &p, 4096) == 0; had += 4096)
		pieces.push_back(p);
	BOOST_TEST(had >= region_size / 2 - 64 * 1024);
	for (void *p : pieces)
		region.release(p, 4096);
	for (Pair &s : all) {
		BOOST_TEST_REQUIRE(send(s.b, "text", 4, 0) == 4);
	}
	for (int c = 0; c < 3; ++c)
		for (int i = 0; i < 12; ++i)
			BOOST_TEST(content(next_event(channels[size_t(c)]), region) == "text");
	for (Pair &s : all)
		region.disassociate(s.a);
}
