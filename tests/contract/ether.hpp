// SPDX-License-Identifier: MIT
//
// What the tests of ether_open share: pairs of virtual Ethernet devices in a network namespace of
// the test's own.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of frames.hpp.
#ifndef CONTRACT_ETHER_HPP
#define CONTRACT_ETHER_HPP

#include "frames.hpp"

#include <sched.h>

namespace contract {

/// The test's own network, before anything else: the library's threads are to be in it.
struct OwnNetwork {
	OwnNetwork()
	{
		if (unshare(CLONE_NEWNET) != 0)
			skip_program("no right to make network namespaces");
		// The kernel's own chatter would be counted.
		run("for i in all default; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; "
		    "done");
		if (!run("ip link add e0 type veth peer name e1"))
			skip_program("no virtual Ethernet devices, or no program ip (iproute2)");
		const int fd = ether_open("e0", 0, 0);
		if (fd < 0 && errno == EPERM)
			skip_program(
				"no right to use AF_XDP (CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF)");
		if (fd < 0 && (errno == EAFNOSUPPORT || errno == EOPNOTSUPP || errno == ENOSYS))
			skip_program("the kernel has no AF_XDP");
		if (fd >= 0)
			close(fd);
		run("ip link del e0");
	}
};
BOOST_TEST_GLOBAL_FIXTURE(OwnNetwork);

/// Two devices, `e0` and `e1`, joined by a cable.
class Cable {
public:
	explicit Cable(int mtu = 1500, int queues = 1)
	{
		std::string const q = std::to_string(queues), m = std::to_string(mtu);
		run("ip link del e0");
		BOOST_TEST_REQUIRE(run(
			"ip link add e0 mtu " + m + " numrxqueues " + q + " numtxqueues " + q +
			" type veth peer name e1 mtu " + m + " numrxqueues " + q + " numtxqueues " +
			q + " && ip link set e0 arp off up && ip link set e1 arp off up"));
	}
	~Cable() { run("ip link del e0"); }
	Cable(const Cable &) = delete;
};

/// Whether an XDP program is on the device.
inline bool has_program(const std::string &device)
{
	return run("ip link show dev " + device + " | grep -q xdp");
}

/// Queue 0 of one device, and the other end of its cable. Also a fixture.
struct Setup {
	Cable cable;
	Region region;
	Queue queue;
	PacketSocket peer{"e1"};
	explicit Setup(size_t size = region_size, unsigned assoc_flags = 0)
	    : region(size), queue("e0", region, size, 0, 0, assoc_flags)
	{
	}
	void comes(uint64_t number, size_t size = 100) const
	{
		BOOST_TEST_REQUIRE(peer.send(make_frame(size, number)));
	}
};

} // namespace contract

#endif
