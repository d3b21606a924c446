// SPDX-License-Identifier: MIT
//
// What an endpoint on an interconnect has in common with sockets: what it may be called, what an
// address is, the order of calls and requests, the size that a reader asks for, the end of the
// program.
#define BOOST_TEST_MODULE fabric_rules
#include "fabric.hpp"

#include <arpa/inet.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>

namespace {

struct Two {
	Region here_region{region_size}, there_region{region_size};
	Endpoint here{here_region}, there{there_region};
};

in_port_t port_of(const Card &c)
{
	return ntohs(reinterpret_cast<const sockaddr_in *>(&c.name)->sin_port);
}

/// One that is bound to all addresses of this machine.
struct Anywhere {
	Region region{region_size};
	Fd fd;
	Card card;
	explicit Anywhere(const char *node, const std::string &service)
	    : fd(fabric_open(provider(), node, service.c_str(), FABRIC_CLOEXEC))
	{
		BOOST_TEST_REQUIRE(fd >= 0);
		region.associate(fd, 0);
		BOOST_TEST_REQUIRE(fabric_name(fd, reinterpret_cast<sockaddr *>(&card.name),
					       &card.length) == 0);
	}
};

std::string free_port()
{
	const Region region(region_size);
	const Endpoint e(region);
	return std::to_string(port_of(e.card()));
}

} // namespace

BOOST_AUTO_TEST_CASE(the_name_of_an_endpoint_at_any_address_is_one_that_peers_can_use)
{
	for (const char *node : {static_cast<const char *>(nullptr), "0.0.0.0"}) {
		// At once after another endpoint had the port.
		const std::string service = free_port();
		const Anywhere a(node, service);
		const auto *name = reinterpret_cast<const sockaddr_in *>(&a.card.name);
		BOOST_TEST(name->sin_family == AF_INET);
		BOOST_TEST(name->sin_addr.s_addr != htonl(INADDR_ANY));
		BOOST_TEST(std::to_string(port_of(a.card)) == service);
		// It goes both ways, and the sender is called the same.
		const PeerProcess peer;
		peer.order('e');
		char *const p = a.region.piece("round");
		BOOST_TEST(sio_sendto(a.fd, p, 5, 0, peer.card().get(), peer.card().length) == 5);
		pollfd ready{a.fd, POLLIN, 0};
		BOOST_TEST_REQUIRE(poll(&ready, 1, 1000 * int(hang_limit.count())) == 1);
		const void *got;
		BOOST_TEST(sio_recvfrom(a.fd, &got, longest, MSG_DONTWAIT, nullptr, 0) == 5);
	}
}

BOOST_AUTO_TEST_CASE(opening_one_changes_nothing_else_of_the_program)
{
	const Region region(region_size);
	const Fd lowest(open("/dev/null", O_RDONLY | O_CLOEXEC));
	const Fd other(fabric_open(provider(), contract::node(), nullptr, 0));
	BOOST_TEST(int(other) == int(lowest) + 1);
	BOOST_TEST(fcntl(other, F_GETFD) == 0);
	const Fd next(open("/dev/null", O_RDONLY | O_CLOEXEC));
	BOOST_TEST(int(next) == int(other) + 1);
	for (const char *none : {"", "shm;none", "udp"})
		for (const char *node : {static_cast<const char *>(nullptr), "127.0.0.1"})
			CHECK_FAILS(fabric_open(none, node, nullptr, 0), ENODEV);
	CHECK_FAILS(fabric_open(provider(), "192.0.2.1", nullptr, 0), EADDRNOTAVAIL);
	for (const char *service : {"65536", "165535", "99999999999999999999999"})
		CHECK_FAILS(fabric_open(provider(), contract::node(), service, 0), EADDRNOTAVAIL);
	const Endpoint closed(region);
	BOOST_TEST(fcntl(closed, F_GETFD) == FD_CLOEXEC);
}

BOOST_AUTO_TEST_CASE(a_call_does_not_overtake_a_request_that_was_made_before_it)
{
	const Two t;
	const Channel ec;
	const Card &to = t.there.card();
	BOOST_TEST(t.here.send(to, "greeting") == 8);
	BOOST_TEST((t.there.receive() == "greeting"));
	for (int i = 0; i < 300; ++i) {
		char *const p = t.here_region.piece("first");
		BOOST_TEST_REQUIRE(ev_sendto(t.here, p, 5, AIO_DMA_BUF, to.get(), to.length, ec,
					     nullptr) == 0);
		BOOST_TEST_REQUIRE(t.here.send(to, "second") == 6);
		BOOST_TEST_REQUIRE((t.there.receive() == "first"));
		BOOST_TEST_REQUIRE((t.there.receive() == "second"));
		BOOST_TEST_REQUIRE(next_outcome(ec) == (Outcome{0, 5}));
		t.here_region.release(p, 5);
	}
}

BOOST_AUTO_TEST_CASE(an_address_is_the_same_whatever_stands_beside_it)
{
	const Two t;
	Card odd = t.there.card();
	reinterpret_cast<sockaddr_in *>(&odd.name)->sin_zero[3] = 77;
	BOOST_TEST(t.here.send(t.there.card(), "one") == 3);
	BOOST_TEST(t.here.send(odd, "two") == 3);
	odd.length = sizeof odd.name;
	BOOST_TEST(t.here.send(odd, "three") == 5);
	for (const char *text : {"one", "two", "three"})
		BOOST_TEST((t.there.receive() == text));
	BOOST_TEST(t.here.stat().peers == 1);
}

BOOST_AUTO_TEST_CASE(what_is_no_address_of_the_providers_is_refused)
{
	const Two t;
	const Channel ec;
	dma_key_t key{};
	char *const p = t.here_region.piece("nowhere");
	auto refused = [&](const sockaddr_storage &s, socklen_t length, int error) {
		const auto *to = reinterpret_cast<const sockaddr *>(&s);
		CHECK_FAILS(sio_sendto(t.here, p, 7, 0, to, length), error);
		CHECK_FAILS(ev_put(t.here, to, length, &key, 0, p, 7, ec, nullptr), error);
	};
	sockaddr_storage s = t.there.card().name;
	refused(s, 1, EINVAL);
	refused(s, sizeof(sockaddr_in) - 1, EINVAL);
	refused(s, sizeof s + 1, EINVAL);
	for (const int family : {AF_UNSPEC, AF_UNIX, AF_INET6, AF_PACKET, 200}) {
		s.ss_family = sa_family_t(family);
		refused(s, sizeof(sockaddr_in6), EAFNOSUPPORT);
	}
	t.here_region.release(p, 7);
	BOOST_TEST(t.here.stat().peers == 0);
	BOOST_TEST(t.here.send(t.there.card(), "goes on") == 7);
	BOOST_TEST((t.there.receive() == "goes on"));
}

BOOST_AUTO_TEST_CASE(a_region_for_smaller_messages_stops_nobody_who_knew_the_endpoint_before)
{
	const Region here_region(region_size), there_region(region_size);
	const Endpoint here(here_region);
	const Fd there(fabric_open(provider(), contract::node(), nullptr, FABRIC_CLOEXEC));
	Card card;
	BOOST_TEST_REQUIRE(
		fabric_name(there, reinterpret_cast<sockaddr *>(&card.name), &card.length) == 0);
	BOOST_TEST(here.send(card, "before") == 6);
	there_region.associate(there, DMA_BUFSIZE(1000));
	// It has been told, or it has not: what was sent arrives, what was not says so.
	const std::string large(5000, 'l');
	std::vector<std::string> expected{"before"};
	const int n = here.send(card, large);
	BOOST_TEST((n == 5000 || (n == -1 && errno == EMSGSIZE)));
	if (n == 5000)
		expected.push_back(large);
	BOOST_TEST(here.send(card, "after") == 5);
	expected.emplace_back("after");
	for (const std::string &text : expected) {
		pollfd ready{there, POLLIN, 0};
		BOOST_TEST_REQUIRE(poll(&ready, 1, 1000 * int(hang_limit.count())) == 1);
		const void *p;
		const int size = sio_recvfrom(there, &p, longest, MSG_DONTWAIT, nullptr, 0);
		BOOST_TEST_REQUIRE(size == int(text.size()));
		BOOST_TEST(memcmp(p, text.data(), text.size()) == 0);
		there_region.release(p, text.size());
	}
	BOOST_TEST(eventually([&] { return here.send(card, large) == -1 && errno == EMSGSIZE; }));
}

BOOST_AUTO_TEST_CASE(a_message_is_cut_to_what_its_reader_asks_for)
{
	const Two t;
	BOOST_TEST(t.here.send(t.there.card(), "0123456789") == 10);
	BOOST_TEST(t.here.send(t.there.card(), "next") == 4);
	BOOST_TEST((t.there.receive(nullptr, 4) == "0123"));
	BOOST_TEST((t.there.receive() == "next"));
}

BOOST_AUTO_TEST_CASE(a_send_that_was_cancelled_while_it_waited_is_not_sent)
{
	const Two t;
	const Channel ec;
	const Card &to = t.there.card();
	BOOST_TEST(t.here.send(to, "fills") == 5);
	int fills = 1, data = 0;
	while (t.here.send(to, "fills", MSG_DONTWAIT) == 5)
		++fills;
	char *const p = t.here_region.piece("cancelled");
	BOOST_TEST(ev_sendto(t.here, p, 9, AIO_DMA_BUF, to.get(), to.length, ec, &data) == 0);
	BOOST_TEST(ev_cancel(ec, &data) == 0);
	BOOST_TEST(next_outcome(ec) == (Outcome{ECANCELED, -1}));
	t.here_region.release(p, 9);
	for (int i = 0; i < fills; ++i)
		BOOST_TEST((t.there.receive() == "fills"));
	BOOST_TEST(t.here.send(to, "last") == 4);
	BOOST_TEST((t.there.receive() == "last"));
}

BOOST_AUTO_TEST_CASE(a_message_of_several_pieces_and_a_message_structure)
{
	const Two t;
	const Channel ec;
	Card to = t.there.card();
	iovec v[2] = {{t.here_region.piece("two "), 4}, {t.here_region.piece("pieces"), 6}};
	msghdr m{};
	m.msg_name = &to.name;
	m.msg_namelen = to.length;
	m.msg_iov = v;
	m.msg_iovlen = 2;
	BOOST_TEST(sio_sendmsg(t.here, &m, sizeof m, 0) == 10);
	BOOST_TEST(ev_sendmsg(t.here, &m, AIO_DMA_BUF, ec, nullptr) == 0);
	BOOST_TEST(next_outcome(ec) == (Outcome{0, 10}));
	BOOST_TEST((t.there.receive() == "two pieces"));
	const void *got = nullptr;
	pollfd ready{t.there, POLLIN, 0};
	BOOST_TEST_REQUIRE(poll(&ready, 1, 1000 * int(hang_limit.count())) == 1);
	BOOST_TEST_REQUIRE(sio_recvmsg(t.there, &got, longest, 0) == 10);
	const auto *h = static_cast<const msghdr *>(got);
	BOOST_TEST(memcmp(h->msg_iov[0].iov_base, "two pieces", 10) == 0);
	BOOST_TEST(memcmp(h->msg_name, &t.here.card().name, t.here.card().length) == 0);
}

BOOST_AUTO_TEST_CASE(an_endpoint_without_a_region_has_no_room_for_a_receive)
{
	const Region region(region_size);
	const Fd fd(fabric_open(provider(), node(), nullptr, FABRIC_CLOEXEC));
	BOOST_TEST_REQUIRE(fd >= 0);
	const Channel ec;
	BOOST_TEST(ev_recv(fd, nullptr, longest, AIO_DMA_BUF, ec, nullptr) == 0);
	BOOST_TEST(next_outcome(ec) == (Outcome{EINVAL, -1}));
	aiocb receive{};
	receive.aio_fildes = fd;
	receive.aio_nbytes = longest;
	receive.aio_dma_buf = region;
	receive.aio_sigevent.sigev_notify = SIGEV_NONE;
	CHECK_FAILS(aio_recv(&receive, AIO_DMA_BUF), EINVAL);
	receive.aio_lio_opcode = LIO_DMA_READ;
	aiocb *const list[] = {&receive};
	CHECK_FAILS(lio_listio(LIO_WAIT, list, 1, nullptr), EIO);
	BOOST_TEST(aio_error(&receive) == EINVAL);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(what_a_request_sends_that_does_not_wait_is_counted_once)
{
	const Two t;
	const Channel ec;
	const Card &to = t.there.card();
	BOOST_TEST(t.here.send(to, "first") == 5); // from then on there is room
	BOOST_TEST((t.there.receive() == "first"));
	char *const p = t.here_region.piece("request");
	uint64_t bytes = 5;
	for (const int flags : {0, int(MSG_DONTWAIT), 0, int(MSG_DONTWAIT)}) {
		BOOST_TEST_REQUIRE(ev_sendto(t.here, p, 7, AIO_DMA_BUF | flags, to.get(), to.length,
					     ec, nullptr) == 0);
		BOOST_TEST(next_outcome(ec) == (Outcome{0, 7}));
		BOOST_TEST((t.there.receive() == "request"));
		bytes += 7;
		BOOST_TEST(t.here_region.stat().sent == bytes);
	}
	t.here_region.release(p, 7);
}

BOOST_AUTO_TEST_CASE(a_mark_that_somebody_has_taken_is_there_again_with_the_next_message)
{
	const Two t;
	BOOST_TEST(t.here.send(t.there.card(), "first") == 5);
	BOOST_TEST_REQUIRE(t.there.readable(1000 * int(hang_limit.count())));
	char mark;
	BOOST_TEST(read(t.there, &mark, 1) == 1);
	BOOST_TEST(!t.there.readable());
	BOOST_TEST(t.here.send(t.there.card(), "second") == 6);
	BOOST_TEST((t.there.receive() == "first"));
	BOOST_TEST((t.there.receive() == "second"));
	BOOST_TEST(!t.there.readable());
}

BOOST_AUTO_TEST_CASE(flags_mean_the_same_to_requests_as_to_calls)
{
	const Two t;
	const Channel ec;
	const Card &to = t.there.card();
	char *const p = t.here_region.piece("request");
	auto outcome_with = [&](int flags) {
		BOOST_TEST_REQUIRE(ev_sendto(t.here, p, 7, AIO_DMA_BUF | flags, to.get(), to.length,
					     ec, nullptr) == 0);
		return next_outcome(ec);
	};
	BOOST_TEST(t.here.send(to, "first") == 5);
	int sent = 1;
	while (t.here.send(to, "fills", MSG_DONTWAIT) == 5)
		++sent;
	BOOST_TEST(errno == EAGAIN);
	BOOST_TEST(outcome_with(MSG_DONTWAIT) == (Outcome{EAGAIN, -1}));
	for (const int flag : {MSG_MORE, MSG_OOB, MSG_CONFIRM}) {
		CHECK_FAILS(t.here.send(to, "call", flag), EOPNOTSUPP);
		BOOST_TEST(outcome_with(flag) == (Outcome{EOPNOTSUPP, -1}));
	}
	for (; sent > 0; --sent)
		t.there.receive();
	BOOST_TEST(eventually([&] { return outcome_with(MSG_DONTWAIT) == Outcome{0, 7}; }));
	BOOST_TEST((t.there.receive() == "request"));
}

BOOST_AUTO_TEST_CASE(a_message_from_a_file_that_was_cut_is_efault_and_loses_no_peer)
{
	constexpr size_t size = 65536;
	const Fd file(memfd_create("memory", MFD_CLOEXEC));
	BOOST_TEST_REQUIRE(ftruncate(file, size) == 0);
	void *const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	BOOST_TEST_REQUIRE(memory != MAP_FAILED);
	dma_mem_t imported;
	BOOST_TEST_REQUIRE(dma_import(&imported, memory, size, 0) == 0);
	{
		const Two t;
		const Channel ec;
		const Card &to = t.there.card();
		BOOST_TEST(t.here.send(to, "first") == 5);
		BOOST_TEST((t.there.receive() == "first"));
		void *p;
		BOOST_TEST_REQUIRE(sio_reserve(imported, &p, longest) == 0);
		BOOST_TEST_REQUIRE(ftruncate(file, 0) == 0);
		for (const size_t n : {size_t{10}, size_t(longest)}) {
			CHECK_FAILS(sio_sendto(t.here, p, n, 0, to.get(), to.length), EFAULT);
			BOOST_TEST_REQUIRE(ev_sendto(t.here, p, n, AIO_DMA_BUF, to.get(), to.length,
						     ec, nullptr) == 0);
			BOOST_TEST(next_outcome(ec) == (Outcome{EFAULT, -1}));
		}
		BOOST_TEST(t.here.send(to, "last") == 4);
		BOOST_TEST((t.there.receive() == "last"));
		BOOST_TEST(t.here.stat().lost_peers == 0);
	}
	BOOST_TEST(eventually([&] { return dma_free(imported, size) == 0; }));
	munmap(memory, size);
}

BOOST_AUTO_TEST_CASE(what_was_sent_arrives_though_the_program_exits)
{
	const Region region(region_size);
	const Endpoint here(region);
	for (int i = 0; i < 3; ++i) {
		const PeerProcess peer;
		peer.order('x', here.card());
		std::string texts;
		for (int n = 0; n < 8; ++n)
			texts += here.receive().substr(0, 1);
		BOOST_TEST(texts == "abcdefgh");
		BOOST_TEST(!here.readable());
	}
}

BOOST_AUTO_TEST_CASE(a_program_with_anothers_rights_takes_no_settings_from_its_caller)
{
	struct statvfs place {};
	if (geteuid() != 0 || statvfs("/tmp", &place) != 0 || (place.f_flag & ST_NOSUID) != 0 ||
	    prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
		BOOST_TEST_MESSAGE("not root, or no set-user-ID programs in /tmp");
		return;
	}
	const std::string program = temp_name("/tmp");
	BOOST_TEST_REQUIRE(system(("cp /proc/" + std::to_string(getpid()) + "/exe " + program +
				   " && chown 65534 " + program + " && chmod 4755 " + program)
					  .c_str()) == 0);
	// A peer, which ends with 1 where fabric_open fails, and otherwise when it is told nothing.
	auto ends_with = [&](const std::string &environment) {
		return system(("env -i SIGEVEC_FABRIC_PEER= " + environment + " " + program +
			       " </dev/null >/dev/null")
				      .c_str());
	};
	if (ends_with("PATH=/bin") == 0)
		BOOST_TEST(WEXITSTATUS(ends_with("FI_PROVIDER_PATH=/tmp")) == 1);
	else
		BOOST_TEST_MESSAGE("the other user cannot run it");
	unlink(program.c_str());
}
