// SPDX-License-Identifier: MIT
//
// Rule 18: where a thread may connect to is also a matter of its security domain (Landlock, seccomp
// filters), which can differ between threads with the same credentials, and of which nothing tells.
#define BOOST_TEST_MODULE r18_domains
#include "callers.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

namespace {

/// Before there is a helper, so that threads that are confined later differ in nothing else.
struct NoNewPrivileges {
	NoNewPrivileges()
	{
		BOOST_TEST_REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
		make_a_request();
	}
};
BOOST_TEST_GLOBAL_FIXTURE(NoNewPrivileges);

/// The calling thread may connect to no TCP port any more. False: Landlock knows none here.
bool forbid_ports()
{
	struct {
		uint64_t files, network;
	} const rules{0, 2}; // LANDLOCK_ACCESS_NET_CONNECT_TCP
	constexpr long create_ruleset = 444, restrict_self = 446;
	const Fd domain(int(syscall(create_ruleset, &rules, sizeof rules, 0)));
	return domain >= 0 && syscall(restrict_self, int(domain), 0) == 0;
}

/// connect() fails with EACCES in the calling thread.
bool forbid_connect()
{
	sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const sock_fprog program{std::size(filter), filter};
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

Fd tcp_socket(bool nonblocking)
{
	Fd s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	set_nonblocking(s, nonblocking);
	return s;
}

/// A TCP listener on this machine, and its address.
struct Listener {
	Listener()
	{
		sockaddr_in name{};
		name.sin_family = AF_INET;
		name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		memcpy(&address.storage, &name, sizeof name);
		address.length = sizeof name;
		BOOST_TEST_REQUIRE((bind(socket, address.get(), address.length) == 0 &&
				    listen(socket, 64) == 0));
		BOOST_TEST_REQUIRE(getsockname(socket, address.get(), &address.length) == 0);
	}
	Fd socket = tcp_socket(true);
	Address address;
};

template <class Body> void for_each_connect(const Listener &listener, bool in_rings, Body body)
{
	for_each_way([&](Way &way) {
		if (!in_rings && way.has_ring())
			return;
		for (bool nonblocking : {false, true}) {
			const Fd s = tcp_socket(nonblocking);
			Address to = listener.address;
			body(way.finish(way.connect(s, to.get(), to.length)));
		}
	});
}

/// in_rings: whether the ring of an EC_SINGLE channel, too, asks what confines.
template <class Confine> void does_not_reach(Confine confine, bool in_rings)
{
	const Listener listener;
	in_thread([&] {
		if (!confine()) {
			BOOST_TEST_MESSAGE("threads cannot be confined so here");
			return;
		}
		for_each_connect(listener, in_rings,
				 [](auto end) { BOOST_TEST(end == failed(EACCES)); });
	});
	BOOST_TEST(!was_connected_to(listener.socket));
	for_each_connect(listener, true, [](auto end) { BOOST_TEST(end == ok(0)); });
}

} // namespace

BOOST_AUTO_TEST_CASE(a_thread_whose_domain_forbids_a_port_does_not_reach_it)
{
	does_not_reach(forbid_ports, true);
}

BOOST_AUTO_TEST_CASE(a_thread_whose_filter_forbids_connect_does_not_connect)
{
	does_not_reach(forbid_connect, false); // no io_uring asks a filter
}

BOOST_AUTO_TEST_CASE(a_helper_that_a_confined_thread_has_started_connects_for_the_others)
{
	for (auto confine : {forbid_ports, forbid_connect}) {
		const Listener listener;
		const int status = in_child([&] {
			std::thread([&] {
				if (confine())
					make_a_request();
			}).join();
			for (bool nonblocking : {false, true}) {
				const Fd s = tcp_socket(nonblocking);
				Address to = listener.address;
				static aiocb cb;
				cb = {};
				cb.aio_fildes = s;
				CHILD_REQUIRE(aio_connect(&cb, to.get(), to.length) == 0);
				CHILD_REQUIRE(
					eventually([&] { return aio_error(&cb) != EINPROGRESS; }));
				CHILD_REQUIRE(aio_error(&cb) == 0);
			}
		});
		BOOST_TEST(status == 0);
	}
}
