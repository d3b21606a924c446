// SPDX-License-Identifier: MIT
//
// Endpoints in two network namespaces of the test's own, and a link between them that goes down: a
// connection outlives that, and so does all that is under way.
#define BOOST_TEST_MODULE fabric_networks
#include "fabric.hpp"
#include "namespaces.hpp"

namespace {

// The library's threads are to be where the program is.
const bool told = (
	before_all = [] { networks(); }, true);

constexpr const char *here_name = "10.77.0.1", *there_name = "10.77.0.2";

/// One on each side of the link.
struct Link {
	Region region{region_size};
	Endpoint here{region, 0, nullptr, here_name};
	std::unique_ptr<PeerProcess> there;
	Channel ec;
	char *piece = region.reserve(exported_size);
	Link()
	{
		const Networks::In other(networks().there());
		there = std::make_unique<PeerProcess>("", there_name);
	}
	~Link() { run("ip link set v0 up"); }
	Link(const Link &) = delete;

	void echo(const std::string &text) const
	{
		there->order('e');
		BOOST_TEST_REQUIRE(here.send(there->card(), text) == int(text.size()));
		BOOST_TEST_REQUIRE((here.receive() == text));
	}
	void begin_get() const
	{
		const Card &from = there->card();
		BOOST_TEST_REQUIRE(ev_get(here, from.get(), from.length, &from.key, 0, piece,
					  exported_size, ec, nullptr) == 0);
	}
	void got() const
	{
		BOOST_TEST(next_outcome(ec) == (Outcome{0, exported_size}));
		BOOST_TEST(
			std::all_of(piece, piece + exported_size, [](char c) { return c == 'k'; }));
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(messages_and_transfers_go_from_one_network_to_another)
{
	const Link link;
	for (int i = 0; i < 50; ++i)
		link.echo(std::string(size_t(1 + i * 300), char('a' + i % 26)));
	link.begin_get();
	link.got();
	BOOST_TEST(link.here.stat().lost_peers == 0);
}

BOOST_AUTO_TEST_CASE(a_link_that_is_down_for_a_while_loses_nothing_and_ends_nothing)
{
	const Link link;
	link.echo("before");
	for (int turn = 0; turn < 2; ++turn) {
		BOOST_TEST_REQUIRE(run("ip link set v0 down"));
		constexpr int count = 6;
		for (int i = 0; i < count; ++i) {
			link.there->order('e');
			BOOST_TEST(link.here.send(link.there->card(), std::string(1, char('a' + i)),
						  MSG_DONTWAIT) == 1);
		}
		link.begin_get();
		// Long enough for those who would ask whether the peer is alive.
		usleep(800000);
		BOOST_TEST(!link.here.readable());
		BOOST_TEST_REQUIRE(run("ip link set v0 up"));
		for (int i = 0; i < count; ++i)
			BOOST_TEST((link.here.receive() == std::string(1, char('a' + i))));
		link.got();
	}
	link.echo("after");
	BOOST_TEST(link.here.stat().lost_peers == 0);
}

BOOST_AUTO_TEST_CASE(a_link_that_stays_down_ends_what_is_under_way)
{
	if (getenv("SIGEVEC_LONG") == nullptr) {
		BOOST_TEST_MESSAGE("only with SIGEVEC_LONG: it takes 30 seconds");
		return;
	}
	const Link link;
	link.echo("before");
	BOOST_TEST_REQUIRE(run("ip link set v0 down"));
	link.begin_get();
	const Outcome o = next_outcome(link.ec);
	BOOST_TEST(o.result == -1);
	BOOST_TEST((o.error == ETIMEDOUT || o.error == ECONNRESET || o.error == EHOSTUNREACH));
	BOOST_TEST_REQUIRE(run("ip link set v0 up"));
	link.there->order('e');
	BOOST_TEST(eventually([&] { return link.here.send(link.there->card(), "after") == 5; }));
	BOOST_TEST((link.here.receive() == "after"));
}
