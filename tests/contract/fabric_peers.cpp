// SPDX-License-Identifier: MIT
//
// Peers that die, come back, or have never been; and what an endpoint is of this process's: its
// number, its descriptors, its children, its thread.
#define BOOST_TEST_MODULE fabric_peers
#include "fabric.hpp"

#include <netinet/in.h>

namespace {

bool is_a_loss(const Outcome &o)
{
	return o.result == -1 && (o.error == ECONNRESET || o.error == ETIMEDOUT ||
				  o.error == ECONNREFUSED || o.error == EHOSTUNREACH);
}

void echo(const Endpoint &here, const PeerProcess &peer, std::string_view text)
{
	peer.order('e');
	BOOST_TEST(here.send(peer.card(), text) == int(text.size()));
	BOOST_TEST((here.receive() == text));
}

/// Of a process: the thread that works for all endpoints.
std::filesystem::path the_thread(const std::string &process)
{
	for (const auto &task : std::filesystem::directory_iterator("/proc/" + process + "/task")) {
		std::ifstream name(task.path() / "comm");
		std::string text;
		if (std::getline(name, text) && text == "sigevec-fabric")
			return task.path();
	}
	return {};
}

/// How often it has slept.
long sleeps_of_the_thread()
{
	std::ifstream status(the_thread("self") / "status");
	for (std::string word; status >> word;)
		if (long n; word == "voluntary_ctxt_switches:" && status >> n)
			return n;
	return -1;
}

long sockets_of(const PeerProcess &peer)
{
	long n = 0;
	for (const auto &fd :
	     std::filesystem::directory_iterator(the_thread(std::to_string(peer.pid())) / "fd")) {
		std::error_code gone;
		n += std::filesystem::read_symlink(fd.path(), gone).string().rfind("socket:", 0) ==
		     0;
	}
	return n;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_killed_peer_ends_what_is_outstanding_to_it_and_nothing_else)
{
	const Region region(region_size);
	const Endpoint here(region);
	const Channel ec;
	PeerProcess dies;
	const PeerProcess lives;
	echo(here, dies, "one");
	echo(here, lives, "other");
	// It takes so many messages, and receives none of them.
	constexpr int count = 40;
	char *const p = region.reserve(100);
	dies.signal(SIGSTOP);
	for (int i = 0; i < count; ++i)
		BOOST_TEST_REQUIRE(ev_sendto(here, p, 100, AIO_DMA_BUF, dies.card().get(),
					     dies.card().length, ec, nullptr) == 0);
	BOOST_TEST_REQUIRE(ev_get(here, dies.card().get(), dies.card().length, &dies.card().key, 0,
				  p, 100, ec, nullptr) == 0);
	echo(here, lives, "meanwhile");
	dies.kill();
	int lost = 0;
	for (int i = 0; i <= count; ++i) {
		const Outcome o = next_outcome(ec);
		BOOST_TEST((is_a_loss(o) || o == (Outcome{0, 100})));
		lost += o.result == -1;
	}
	BOOST_TEST(lost > count - 2 * int(here.stat().window));
	echo(here, lives, "afterwards");
	BOOST_TEST(here.stat().lost_peers >= 1);
}

BOOST_AUTO_TEST_CASE(who_waits_for_room_at_a_peer_that_is_killed_is_told)
{
	const Region region(region_size);
	const Endpoint here(region);
	PeerProcess dies;
	echo(here, dies, "one");
	while (here.send(dies.card(), "fills", MSG_DONTWAIT) == 5)
		;
	Waiter waiter([&] { return here.send(dies.card(), "waits"); });
	BOOST_TEST(waiter.asleep());
	dies.kill();
	BOOST_TEST(waiter.returns());
	BOOST_TEST(is_a_loss({waiter.error(), waiter.result()}));
}

BOOST_AUTO_TEST_CASE(a_peer_that_comes_back_under_its_name_is_a_new_one)
{
	const Region region(region_size);
	const Endpoint here(region);
	const Channel ec;
	auto old = std::make_unique<PeerProcess>();
	echo(here, *old, "old");
	const Card card = old->card();
	const in_port_t port = ntohs(reinterpret_cast<const sockaddr_in *>(&card.name)->sin_port);
	old->kill();
	const PeerProcess young(std::to_string(port));
	BOOST_TEST_REQUIRE(memcmp(&young.card().name, &card.name, card.length) == 0);
	char *const p = region.reserve(100);
	// The old one's key is not the new one's, whatever the first attempt finds out.
	for (int i = 0; i < 3; ++i) {
		BOOST_TEST_REQUIRE(ev_get(here, card.get(), card.length, &card.key, 0, p, 100, ec,
					  nullptr) == 0);
		const Outcome o = next_outcome(ec);
		BOOST_TEST((is_a_loss(o) || o == (Outcome{EACCES, -1})));
	}
	young.order('e');
	BOOST_TEST(eventually([&] { return here.send(young.card(), "young") == 5; }));
	BOOST_TEST((here.receive() == "young"));
}

BOOST_AUTO_TEST_CASE(where_nobody_is_nothing_is_sent)
{
	const Region region(region_size);
	const Endpoint here(region);
	Card nobody;
	{
		const Region other(region_size);
		const Endpoint there(other);
		nobody = there.card();
	}
	const Outcome o{0, here.send(nobody, "anybody")};
	BOOST_TEST(is_a_loss({errno, o.result}));
	const Channel ec;
	char *const p = region.reserve(10);
	BOOST_TEST(ev_sendto(here, p, 10, AIO_DMA_BUF, nobody.get(), nobody.length, ec, nullptr) ==
		   0);
	BOOST_TEST(is_a_loss(next_outcome(ec)));
}

BOOST_AUTO_TEST_CASE(a_message_that_was_sent_before_close_arrives)
{
	const Region region(region_size), other(region_size);
	const Endpoint there(other);
	for (int i = 0; i < 20; ++i) {
		Endpoint here(region);
		BOOST_TEST(here.send(there.card(), "last words") == 10);
		here.end();
		BOOST_TEST((there.receive() == "last words"));
	}
}

BOOST_AUTO_TEST_CASE(a_number_that_is_another_files_is_no_endpoint)
{
	const Region region(region_size);
	Endpoint here(region);
	const int number = here;
	const Fd other(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	BOOST_TEST_REQUIRE(dup2(other, number) == number);
	sockaddr_storage name;
	socklen_t length = sizeof name;
	const void *p;
	CHECK_FAILS(fabric_name(number, reinterpret_cast<sockaddr *>(&name), &length), ENOTSUP);
	CHECK_FAILS(sio_recvfrom(number, &p, longest, MSG_DONTWAIT, nullptr, 0), EINVAL);
	here.end();
	BOOST_TEST(dma_free(region, region_size) == 0);
}

BOOST_AUTO_TEST_CASE(a_program_that_closes_all_descriptors_closes_none_of_the_librarys)
{
	const Region region(region_size), other(region_size);
	const Endpoint here(region), there(other);
	const int low = std::min<int>(here, there), high = std::max<int>(here, there);
	syscall(SYS_close_range, 3, low - 1, 0);
	if (high > low + 1)
		syscall(SYS_close_range, low + 1, high - 1, 0);
	syscall(SYS_close_range, high + 1, ~0U, 0);
	for (int i = 0; i < 50; ++i) {
		BOOST_TEST(here.send(there.card(), "still") == 5);
		BOOST_TEST((there.receive() == "still"));
	}
}

BOOST_AUTO_TEST_CASE(in_a_child_of_fork_the_descriptor_is_none)
{
	const Region region(region_size), other(region_size);
	const Endpoint here(region), there(other);
	BOOST_TEST(here.send(there.card(), "before") == 6);
	const pid_t child = fork();
	if (child == 0) {
		const void *p;
		const bool none =
			sio_recvfrom(there, &p, longest, MSG_DONTWAIT, nullptr, 0) == -1 &&
			errno == EBADF && fcntl(there, F_GETFD) == -1;
		_exit(none ? 0 : 1);
	}
	int status = 0;
	BOOST_TEST_REQUIRE(waitpid(child, &status, 0) == child);
	BOOST_TEST(status == 0);
	BOOST_TEST((there.receive() == "before"));
	BOOST_TEST(here.send(there.card(), "after") == 5);
	BOOST_TEST((there.receive() == "after"));
}

BOOST_AUTO_TEST_CASE(an_idle_endpoint_uses_no_processor)
{
	const Region region(region_size);
	const Endpoint here(region);
	const PeerProcess peer;
	echo(here, peer, "hello");
	// What the last message leaves to be done is done by then, on however slow a machine.
	long before = sleeps_of_the_thread();
	BOOST_TEST_REQUIRE(before >= 0);
	BOOST_TEST(eventually([&] {
		usleep(700000);
		return std::exchange(before, sleeps_of_the_thread()) == before;
	}));
}

BOOST_AUTO_TEST_CASE(many_endpoints_come_and_go)
{
	const Region region(region_size), other(region_size);
	const Endpoint there(other);
	for (int i = 0; i < 30; ++i) {
		const Endpoint here(region);
		BOOST_TEST(here.send(there.card(), "x") == 1);
		BOOST_TEST((there.receive() == "x"));
	}
}

BOOST_AUTO_TEST_CASE(a_service_can_be_used_again_at_once_after_close)
{
	const Region region(region_size);
	std::string service;
	{
		const Endpoint e(region);
		const auto *name = reinterpret_cast<const sockaddr_in *>(e.card().get());
		service = std::to_string(ntohs(name->sin_port));
	}
	for (int i = 0; i < 8; ++i) {
		const Fd fd(fabric_open(provider(), node(), service.c_str(), FABRIC_CLOEXEC));
		BOOST_TEST_REQUIRE(fd >= 0);
		CHECK_FAILS(fabric_open(provider(), node(), service.c_str(), 0), EADDRINUSE);
	}
}

namespace {

/// How a transfer from an endpoint's memory fails after its close, which waits for a peer that
/// stands still.
Outcome get_after_close()
{
	const Region region(region_size), other(region_size);
	const Endpoint here(region);
	Endpoint owner(other);
	PeerProcess still;
	const Channel ec;
	dma_key_t key;
	char *const theirs = other.piece("memory");
	void *ours = region.reserve(6);
	BOOST_TEST_REQUIRE(dma_export(other, owner, theirs, 6, DMA_READ, &key) == 0);
	const Card card = owner.card();
	auto get = [&] {
		BOOST_TEST_REQUIRE(
			ev_get(here, card.get(), card.length, &key, 0, ours, 6, ec, nullptr) == 0);
		return next_outcome(ec);
	};
	BOOST_TEST(get() == (Outcome{0, 6}));
	echo(owner, still, "hello");
	still.signal(SIGSTOP);
	BOOST_TEST(owner.send(still.card(), "kept") == 4);
	owner.end();
	Outcome last;
	BOOST_TEST(eventually([&] { return (last = get()).result < 0; }));
	still.signal(SIGCONT);
	return last;
}

} // namespace

BOOST_AUTO_TEST_CASE(close_withdraws_the_keys_though_something_is_still_under_way)
{
	// Where the machine stands still meanwhile the endpoint is gone by then.
	Outcome last = get_after_close();
	for (int i = 0; i < 2 && last.error != EACCES; ++i)
		last = get_after_close();
	BOOST_TEST(last == (Outcome{EACCES, -1}));
}

BOOST_AUTO_TEST_CASE(an_endpoint_that_cannot_be_opened_leaves_no_descriptor)
{
	const Region region(region_size);
	const Endpoint one(region);
	auto descriptors = [thread = the_thread("self")] {
		const std::filesystem::directory_iterator all(thread / "fd");
		return std::distance(begin(all), end(all));
	};
	// Those of endpoints that were closed before may go meanwhile.
	const auto before = descriptors();
	for (int i = 0; i < 100; ++i)
		CHECK_FAILS(fabric_open("nosuch", nullptr, nullptr, 0), ENODEV);
	BOOST_TEST(descriptors() <= before);
}

BOOST_AUTO_TEST_CASE(who_waits_long_for_room_costs_the_receiver_no_descriptors)
{
	const Region region(region_size);
	const Endpoint here(region);
	const PeerProcess there;
	echo(here, there, "hello");
	const long before = sockets_of(there);
	int fills = 0;
	while (here.send(there.card(), "fills", MSG_DONTWAIT) == 5)
		++fills;
	Waiter waiter([&] { return here.send(there.card(), "waits"); });
	// Meanwhile it is looked at whether the receiver is there, more than once.
	sleep(2);
	for (int i = 0; i <= fills; ++i) {
		there.order('e');
		BOOST_TEST((here.receive() == (i < fills ? "fills" : "waits")));
	}
	BOOST_TEST(waiter.returns());
	BOOST_TEST(eventually([&] { return sockets_of(there) <= before; }));
}
