// SPDX-License-Identifier: MIT
//
// Who has a queue of a device, and who else is on the device: other descriptors, other programs,
// other people's XDP programs.
#define BOOST_TEST_MODULE ether_sharing
#include "ether.hpp"

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace {

/// A child that has a queue, and says so; it lives until it is killed.
class Holder {
public:
	Holder(const char *device, unsigned queue)
	{
		int ready[2];
		BOOST_TEST_REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
		child_ = fork();
		if (child_ == 0) {
			dma_mem_t mem;
			const int fd = ether_open(device, queue, 0);
			CHILD_REQUIRE(fd >= 0);
			CHILD_REQUIRE(dma_alloc(&mem, region_size, 0) == 0);
			CHILD_REQUIRE(dma_assoc(fd, mem, region_size, 0) == 0);
			CHILD_REQUIRE(write(ready[1], "y", 1) == 1);
			for (;;)
				pause();
		}
		close(ready[1]);
		char byte;
		BOOST_TEST_REQUIRE(read(ready[0], &byte, 1) == 1);
		close(ready[0]);
	}
	~Holder() { end(); }
	void end()
	{
		if (child_ < 0)
			return;
		kill(child_, SIGKILL);
		waitpid(child_, nullptr, 0);
		child_ = -1;
	}

private:
	pid_t child_;
};

/// An XDP program that drops everything.
Fd dropping_program()
{
	const bpf_insn code[] = {{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, XDP_DROP},
				 {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
	bpf_attr a{};
	a.prog_type = BPF_PROG_TYPE_XDP;
	a.insns = reinterpret_cast<uintptr_t>(code);
	a.insn_cnt = 2;
	a.license = reinterpret_cast<uintptr_t>("MIT");
	Fd fd(int(syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof a)));
	BOOST_TEST_REQUIRE(fd >= 0);
	return fd;
}

/// As today's loaders attach it: as long as the descriptor is open.
Fd attach_by_link(int program, const char *device)
{
	bpf_attr a{};
	a.link_create.prog_fd = uint32_t(program);
	a.link_create.target_ifindex = if_nametoindex(device);
	a.link_create.attach_type = BPF_XDP;
	Fd fd(int(syscall(SYS_bpf, BPF_LINK_CREATE, &a, sizeof a)));
	BOOST_TEST_REQUIRE(fd >= 0);
	return fd;
}

/// As ip(8) attaches it: to the device itself.
void attach_to_device(int program, const char *device, uint32_t mode)
{
	struct {
		nlmsghdr head;
		ifinfomsg link;
		nlattr xdp, fd;
		int32_t program;
		nlattr flags;
		uint32_t mode;
	} m{};
	m.head = {sizeof m, RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0};
	m.link.ifi_index = int(if_nametoindex(device));
	m.xdp = {sizeof m.xdp + 16, NLA_F_NESTED | IFLA_XDP};
	m.fd = {8, IFLA_XDP_FD};
	m.program = program;
	m.flags = {8, IFLA_XDP_FLAGS};
	m.mode = mode;
	const Fd s(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	BOOST_TEST_REQUIRE(send(s, &m, sizeof m, 0) == ssize_t(sizeof m));
	struct {
		nlmsghdr head;
		nlmsgerr error;
		char rest[1024];
	} answer{};
	BOOST_TEST_REQUIRE(recv(s, &answer, sizeof answer, 0) > 0);
	BOOST_TEST_REQUIRE(answer.error.error == 0);
}

/// The kernel's number of the program on a device; empty: there is none.
std::string program_number(const char *device)
{
	FILE *const f = popen(
		(std::string("ip -d link show dev ") + device + " | grep -o 'prog/xdp id [0-9]*'")
			.c_str(),
		"r");
	char line[64] = "";
	if (fgets(line, sizeof line, f) == nullptr)
		line[0] = 0;
	pclose(f);
	return line;
}

void refused_and_untouched()
{
	std::string const before = program_number("e0");
	BOOST_TEST_REQUIRE(!before.empty());
	const int descriptors = open_descriptors();
	for (unsigned flags : {0u, unsigned(ETHER_COPY), unsigned(ETHER_PROMISC)})
		CHECK_FAILS(ether_open("e0", 0, flags), EBUSY);
	BOOST_TEST(open_descriptors() <= descriptors); // what earlier devices have left may go
	BOOST_TEST(program_number("e0") == before);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_queue_has_one_region_and_one_owner)
{
	const Cable cable;
	const Region region(region_size), other(region_size);
	const Queue queue("e0", region, region_size);
	CHECK_FAILS(dma_assoc(queue, region, region_size, 0), EEXIST);
	CHECK_FAILS(dma_assoc(queue, other, region_size, 0), EBUSY);
	const Fd second(ether_open("e0", 0, 0));
	BOOST_TEST_REQUIRE(second >= 0);
	CHECK_FAILS(dma_assoc(second, other, region_size, 0), EBUSY);
	CHECK_FAILS(dma_assoc(second, region, region_size, 0), EBUSY);
	BOOST_TEST(other.stat().used == 0u);
	const PacketSocket peer("e1");
	BOOST_TEST_REQUIRE(peer.send(make_frame(100, 3)));
	BOOST_TEST((queue.receive() == make_frame(100, 3)));
}

BOOST_AUTO_TEST_CASE(an_af_xdp_socket_of_others_takes_no_region)
{
	const Fd foreign(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
	BOOST_TEST_REQUIRE(foreign >= 0);
	const Region region(region_size);
	CHECK_FAILS(dma_assoc(foreign, region, region_size, 0), EOPNOTSUPP);
}

BOOST_AUTO_TEST_CASE(a_program_that_is_killed_leaves_nothing_on_the_device)
{
	const Cable cable;
	Holder holder("e0", 0);
	BOOST_TEST(has_program("e0"));
	holder.end();
	BOOST_TEST(eventually([] { return !has_program("e0"); }));
	const Region region(region_size);
	const Queue queue("e0", region, region_size);
	const PacketSocket peer("e1");
	BOOST_TEST_REQUIRE(peer.send(make_frame(100, 3)));
	BOOST_TEST((queue.receive() == make_frame(100, 3)));
}

BOOST_AUTO_TEST_CASE(several_programs_share_a_device_and_outlive_each_other)
{
	const Cable cable(1500, 3);
	Holder first("e0", 0);
	const Region region(region_size), there(region_size);
	const Queue queue("e0", region, region_size, 1), peer("e1", there, region_size, 1);
	peer.send(make_frame(100, 1));
	BOOST_TEST((queue.receive() == make_frame(100, 1)));
	const Fd taken(ether_open("e0", 0, 0));
	const Region another(region_size);
	CHECK_FAILS(dma_assoc(taken, another, region_size, 0), EBUSY);
	first.end();
	BOOST_TEST(has_program("e0"));
	peer.send(make_frame(100, 2));
	BOOST_TEST((queue.receive() == make_frame(100, 2)));
	BOOST_TEST(dma_assoc(taken, another, region_size, 0) == 0);
	BOOST_TEST(dma_disassoc(taken, another, region_size) == 0);
}

BOOST_AUTO_TEST_CASE(frames_of_other_queues_go_to_the_kernel)
{
	const Cable cable(1500, 2);
	const Region region(region_size), there(region_size);
	const Queue queue("e0", region, region_size, 0), peer("e1", there, region_size, 1);
	const PacketSocket kernel("e0");
	peer.send(make_frame(100, 1));
	BOOST_TEST((kernel.receive() == make_frame(100, 1)));
	BOOST_TEST(queue.receive(MSG_DONTWAIT).empty());
}

BOOST_AUTO_TEST_CASE(a_device_with_somebody_elses_program_is_busy_and_the_program_stays)
{
	const Fd program = dropping_program();
	for (uint32_t mode : {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE}) {
		const Cable cable;
		attach_to_device(program, "e0", mode);
		refused_and_untouched();
		attach_to_device(-1, "e0", mode);
		const Region region(region_size);
		const Queue queue("e0", region, region_size);
	}
	const Cable cable;
	{
		const Fd link = attach_by_link(program, "e0");
		refused_and_untouched();
	}
	BOOST_TEST(eventually([] { return !has_program("e0"); }));
	const Fd fd(ether_open("e0", 0, 0));
	BOOST_TEST(fd >= 0);
}

BOOST_AUTO_TEST_CASE(nobody_elses_program_takes_the_place_of_the_librarys)
{
	const Cable cable;
	const Fd fd(ether_open("e0", 0, 0));
	std::string const before = program_number("e0");
	BOOST_TEST_REQUIRE(!before.empty());
	const Fd program = dropping_program();
	bpf_attr a{};
	a.link_create.prog_fd = uint32_t(int(program));
	a.link_create.target_ifindex = if_nametoindex("e0");
	a.link_create.attach_type = BPF_XDP;
	BOOST_TEST(syscall(SYS_bpf, BPF_LINK_CREATE, &a, sizeof a) == -1);
	BOOST_TEST(errno == EBUSY);
	BOOST_TEST(program_number("e0") == before);
	const Region region(region_size);
	BOOST_TEST(dma_assoc(fd, region, region_size, 0) == 0);
	BOOST_TEST(dma_disassoc(fd, region, region_size) == 0);
}

BOOST_AUTO_TEST_CASE(beside_its_socket_nothing_of_a_device_is_in_the_table_of_the_program)
{
	const Cable cable;
	const Region region(region_size);
	const Queue queue("e0", region, region_size, 0, ETHER_PROMISC);
	for (int fd = 3; fd < 2000; ++fd) {
		char target[64] = "";
		const std::string name = "/proc/self/fd/" + std::to_string(fd);
		if (readlink(name.c_str(), target, sizeof target - 1) < 0)
			continue;
		int domain = 0;
		socklen_t n = sizeof domain;
		getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n);
		BOOST_TEST(domain != AF_PACKET);
		BOOST_TEST(std::string_view(target).find("bpf") == std::string_view::npos);
	}
	// What is not there cannot be closed, and the device goes on.
	BOOST_TEST(close_range(unsigned(int(queue)) + 1, ~0u, 0) == 0);
	PacketSocket peer("e1");
	BOOST_TEST_REQUIRE(peer.send(make_frame(100, 7)));
	BOOST_TEST((queue.receive() == make_frame(100, 7)));
	BOOST_TEST(run("ip -d link show dev e0 | grep -q 'promiscuity [1-9]'"));
}
