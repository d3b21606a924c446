// SPDX-License-Identifier: MIT
//
// Pools of the kernel module: creation, limits, what their memory is good for, when it is freed.
#define BOOST_TEST_MODULE kmod_pools
#include "pool.hpp"

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/un.h>

BOOST_AUTO_TEST_CASE(the_device_tells_its_version_and_limit)
{
	const auto i = device_info();
	BOOST_TEST(i.version == unsigned{SIGEVEC_VERSION});
	BOOST_TEST(i.user_limit > 0u);
	BOOST_TEST(i.pad == 0u);
}

BOOST_AUTO_TEST_CASE(a_pool_is_zeroed_whole_pages_and_has_an_identity)
{
	Pool a(3 * page), b(page);
	Fd odd(create(page + 1));
	BOOST_TEST(info(odd).size == 2 * page);
	BOOST_TEST(info(a).size == 3 * page);
	BOOST_TEST(info(a).id != info(b).id);
	BOOST_TEST(std::string_view(a.memory, 3 * page) == std::string(3 * page, '\0'));
	BOOST_TEST((fcntl(a, F_GETFD) & FD_CLOEXEC) != 0);
}

BOOST_AUTO_TEST_CASE(memory_that_comes_back_is_zeroed_again)
{
	for (int i = 0; i < 8; i++) {
		Pool pool(1 << 20);
		BOOST_TEST(std::string_view(pool.memory, 1 << 20) == std::string(1 << 20, '\0'));
		memset(pool.memory, 0x5a, 1 << 20);
	}
}

BOOST_AUTO_TEST_CASE(pages_come_in_large_blocks_unless_smaller_ones_are_asked_for)
{
	Fd large(create(8 << 20));
	BOOST_TEST(info(large).largest_order >= 9u);
	BOOST_TEST(info(large).blocks < 2048u);
	Fd small(create({1 << 20, SIGEVEC_POOL_ORDER, 2, 0, 0}));
	BOOST_TEST_REQUIRE(small >= 0);
	BOOST_TEST(info(small).largest_order <= 2u);
	BOOST_TEST(info(small).blocks >= 64u);
	Fd larger(create({8 << 20, SIGEVEC_POOL_ORDER, 10, 0, 0}));
	BOOST_TEST_REQUIRE(larger >= 0);
	BOOST_TEST(info(larger).largest_order == 10u);
}

BOOST_AUTO_TEST_CASE(a_pool_is_on_the_node_that_was_asked_for)
{
	Fd pool(create({1 << 20, SIGEVEC_POOL_NODE, 0, 0, 0}));
	BOOST_TEST_REQUIRE(pool >= 0);
	BOOST_TEST(info(pool).node == 0);
	for (int node : {-1, 1000, 1 << 30})
		CHECK_FAILS(create({page, SIGEVEC_POOL_NODE, 0, node, 0}), EINVAL);
}

BOOST_AUTO_TEST_CASE(all_mappings_and_children_see_one_memory)
{
	Pool pool(4 * page);
	Mapping second(pool, 2 * page, page);
	strcpy(pool.memory + page, "from the first");
	BOOST_TEST(std::string_view(second) == "from the first");
	const pid_t child = fork();
	if (child == 0) {
		strcpy(pool.memory + page, "from the child");
		_exit(0);
	}
	int status;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(std::string_view(second) == "from the child");
}

BOOST_AUTO_TEST_CASE(what_madvise_takes_away_is_there_again_with_its_data)
{
	Pool pool(4 * page);
	fill(pool.memory, pool.size);
	BOOST_TEST(madvise(pool.memory, pool.size, MADV_DONTNEED) == 0);
	BOOST_TEST(filled(pool.memory, pool.size));
}

// ------------------------------------------------------------------- huge entries

namespace {

constexpr size_t huge = 2 << 20;

/// Each page with its own number.
void number_pages(const Pool &pool)
{
	for (size_t i = 0; i < pool.size; i += page)
		*reinterpret_cast<uint64_t *>(pool.memory + i) = i / page;
}
bool numbered(const char *p, size_t n, size_t first)
{
	for (size_t i = 0; i < n; i += page)
		if (*reinterpret_cast<const uint64_t *>(p + i) != first + i / page)
			return false;
	return true;
}

/// KiB of this mapping that huge entries map.
long huge_entries(const char *p)
{
	std::ifstream maps("/proc/self/smaps");
	std::string line;
	char start[32];
	snprintf(start, sizeof start, "%lx-", reinterpret_cast<unsigned long>(p));
	bool here = false;
	while (std::getline(maps, line)) {
		if (isxdigit(line[0]) && line.find('-') < 20 && line.find('-') != line.npos)
			here = line.starts_with(start);
		if (here && line.starts_with("FilePmdMapped:"))
			return atol(line.c_str() + 14);
	}
	return -1;
}

} // namespace

BOOST_AUTO_TEST_CASE(large_blocks_are_mapped_by_huge_entries)
{
	Pool pool(8 * huge);
	const sigevec_pool_info i = info(pool);
	BOOST_TEST(i.largest_order == 9u);
	BOOST_TEST(reinterpret_cast<uintptr_t>(pool.memory.p) % huge == 0u);
	number_pages(pool);
	BOOST_TEST(numbered(pool.memory, pool.size, 0));
	if (i.smallest_order == 9)
		BOOST_TEST(huge_entries(pool.memory) == long(pool.size / 1024));
	Mapping second(pool, 3 * huge, 2 * huge);
	BOOST_TEST(numbered(second, second.size, 2 * huge / page));
	if (i.smallest_order == 9)
		BOOST_TEST(huge_entries(second) == long(second.size / 1024));
}

BOOST_AUTO_TEST_CASE(parts_of_a_block_may_be_unmapped_moved_protected_and_forgotten)
{
	Pool pool(4 * huge);
	number_pages(pool);
	char *const p = pool.memory;
	BOOST_TEST(madvise(p + 5 * page, page, MADV_DONTNEED) == 0);
	BOOST_TEST(numbered(p, pool.size, 0));
	BOOST_TEST(madvise(p, huge, MADV_DONTNEED) == 0);
	BOOST_TEST(numbered(p, pool.size, 0));
	BOOST_TEST(mprotect(p + huge, huge, PROT_READ) == 0);
	CHECK_FAILS(read(Fd(open("/dev/zero", O_RDONLY)), p + huge, 1), EFAULT);
	BOOST_TEST(mprotect(p + huge, huge, PROT_READ | PROT_WRITE) == 0);
	p[huge + 100] = 'w';
	BOOST_TEST(numbered(p, pool.size, 0));
	BOOST_TEST(munmap(p + 2 * huge + 7 * page, 3 * page) == 0);
	BOOST_TEST(numbered(p, 2 * huge + 7 * page, 0));
	BOOST_TEST(numbered(p + 2 * huge + 10 * page, 2 * huge - 10 * page, 2 * huge / page + 10));
	char *const elsewhere = static_cast<char *>(
		mmap(nullptr, 2 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char *const odd = reinterpret_cast<char *>(
		(reinterpret_cast<uintptr_t>(elsewhere) + huge - 1) / huge * huge + page);
	BOOST_TEST(mremap(p + 3 * huge, huge, huge, MREMAP_MAYMOVE | MREMAP_FIXED, odd) == odd);
	BOOST_TEST(numbered(odd, huge, 3 * huge / page));
	munmap(elsewhere, 2 * huge);
	char back[page];
	BOOST_TEST(pread(pool, back, 8, huge + 100) == 8);
	BOOST_TEST(back[0] == 'w');
}

BOOST_AUTO_TEST_CASE(a_mapping_that_does_not_lie_as_its_blocks_shows_the_right_pages)
{
	Pool pool(4 * huge);
	number_pages(pool);
	for (size_t offset : {page, huge - page, huge + 3 * page}) {
		Mapping m(pool, 2 * huge, off_t(offset));
		BOOST_TEST(numbered(m, m.size, offset / page));
	}
	char *const space = static_cast<char *>(
		mmap(nullptr, 4 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char *const odd = reinterpret_cast<char *>(
		(reinterpret_cast<uintptr_t>(space) + huge - 1) / huge * huge + page);
	BOOST_TEST_REQUIRE(mmap(odd, 2 * huge, PROT_READ, MAP_SHARED | MAP_FIXED, pool, huge) ==
			   odd);
	BOOST_TEST(numbered(odd, 2 * huge, huge / page));
	munmap(space, 4 * huge);
	for (uint64_t offset :
	     {uint64_t{0}, uint64_t{page}, uint64_t{huge}, uint64_t{huge + page}}) {
		const sigevec_pool_export e{offset, 2 * huge, 0, 0};
		Fd buffer(ioctl(pool, SIGEVEC_IOC_POOL_EXPORT, &e));
		BOOST_TEST_REQUIRE(buffer >= 0);
		Mapping m(buffer, 2 * huge);
		BOOST_TEST(numbered(m, m.size, offset / page));
		BOOST_TEST(madvise(m, m.size, MADV_DONTNEED) == 0);
		BOOST_TEST(numbered(m, m.size, offset / page));
	}
}

BOOST_AUTO_TEST_CASE(a_child_sees_what_huge_entries_map_and_outlives_its_parents_mapping)
{
	const uint64_t before = settled();
	int ready[2];
	BOOST_TEST_REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
	Fd out(ready[0]), in(ready[1]);
	pid_t child;
	{
		Pool pool(4 * huge);
		number_pages(pool);
		child = fork();
		if (child == 0) {
			close(in);
			char x;
			if (!numbered(pool.memory, pool.size, 0))
				_exit(1);
			if (read(out, &x, 1) != 0)
				_exit(2); // the parent has none of it any more
			_exit(numbered(pool.memory, pool.size, 0) ? 0 : 3);
		}
	}
	BOOST_TEST(device_info().user_bytes == before + 4 * huge);
	in.reset();
	int status;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(WEXITSTATUS(status) == 0);
	BOOST_TEST(charged_eventually(before));
}

BOOST_AUTO_TEST_CASE(a_mapping_is_shared_within_the_pool_and_never_executable)
{
	Fd pool(create(2 * page));
	auto refused = [&](size_t n, int protection, int flags, off_t offset, int error) {
		errno = 0;
		BOOST_TEST(mmap(nullptr, n, protection, flags, pool, offset) == MAP_FAILED);
		BOOST_TEST(errno == error);
	};
	refused(3 * page, PROT_READ, MAP_SHARED, 0, EINVAL);
	refused(2 * page, PROT_READ, MAP_SHARED, page, EINVAL);
	refused(page, PROT_READ, MAP_SHARED, off_t{1} << 39, EINVAL);
	refused(page, PROT_READ, MAP_PRIVATE, 0, EINVAL);
	refused(page, PROT_READ | PROT_EXEC, MAP_SHARED, 0, EPERM);
	refused(page, PROT_READ, MAP_SHARED, SIGEVEC_RING_OFFSET, ENXIO);
	Mapping m(pool, page);
	CHECK_FAILS(mprotect(m, page, PROT_READ | PROT_EXEC), EACCES);
	BOOST_TEST(mremap(m, page, 2 * page, MREMAP_MAYMOVE) == MAP_FAILED);
}

BOOST_AUTO_TEST_CASE(a_descriptor_passes_over_a_socket)
{
	int s[2];
	BOOST_TEST_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	Fd a(s[0]), b(s[1]);
	const pid_t child = fork();
	if (child == 0) {
		const int pool = create(page);
		char text[] = "made by the child";
		if (pwrite(pool, text, sizeof text, 0) != sizeof text)
			_exit(1);
		char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {};
		iovec v{&byte, 1};
		msghdr m{};
		m.msg_iov = &v, m.msg_iovlen = 1, m.msg_control = control,
		m.msg_controllen = sizeof control;
		cmsghdr *const c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS,
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pool, sizeof pool);
		_exit(sendmsg(b, &m, 0) == 1 ? 0 : 2);
	}
	char byte, control[CMSG_SPACE(sizeof(int))];
	iovec v{&byte, 1};
	msghdr m{};
	m.msg_iov = &v, m.msg_iovlen = 1, m.msg_control = control,
	m.msg_controllen = sizeof control;
	BOOST_TEST_REQUIRE(recvmsg(a, &m, 0) == 1);
	int status;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(status == 0);
	int fd;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	Fd pool(fd);
	Mapping memory(pool, page);
	BOOST_TEST(std::string_view(memory) == "made by the child");
}

// ---------------------------------------------------------------------- limits

BOOST_AUTO_TEST_CASE(memory_is_charged_until_the_last_reference_is_gone)
{
	const uint64_t before = settled();
	const int fd = create(1 << 20);
	BOOST_TEST_REQUIRE(fd >= 0);
	BOOST_TEST(device_info().user_bytes == before + (1 << 20));
	{
		Mapping m(fd, page);
		close(fd);
		BOOST_TEST(device_info().user_bytes == before + (1 << 20));
		m[0] = 1;
	}
	BOOST_TEST(charged_eventually(before));
}

BOOST_AUTO_TEST_CASE(a_page_that_somebody_else_has_keeps_its_block_charged)
{
	const uint64_t before = settled();
	int ends[2];
	BOOST_TEST_REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
	Fd out(ends[0]), in(ends[1]);
	uint64_t kept = 0;
	{
		Pool pool(8 << 20);
		kept = page << info(pool).smallest_order;
		memset(pool.memory, 'x', page);
		iovec v{pool.memory, page};
		BOOST_TEST_REQUIRE(vmsplice(in, &v, 1, 0) == ssize_t(page));
	}
	BOOST_TEST(device_info().user_bytes >= before + kept);
	std::string got(page, '\0');
	BOOST_TEST(read(out, got.data(), page) == ssize_t(page));
	BOOST_TEST(got == std::string(page, 'x'));
	BOOST_TEST(charged_eventually(before));
}

BOOST_AUTO_TEST_CASE(past_the_users_limit_nothing_is_made)
{
	settled();
	const auto before = device_info();
	BOOST_TEST_REQUIRE(write_to("/sys/class/misc/sigevec/user_limit",
				    std::to_string(before.user_bytes + (1 << 20))));
	CHECK_FAILS(create((1 << 20) + 1), EDQUOT);
	CHECK_FAILS(create(size_t{1} << 40), EDQUOT);
	Fd all(create(1 << 20));
	BOOST_TEST(all >= 0);
	CHECK_FAILS(create(1), EDQUOT);
	sigevec_pool_ring ring{64, 0, {0, 0}};
	CHECK_FAILS(ioctl(all, SIGEVEC_IOC_POOL_RING, &ring), EDQUOT);
	all.reset();
	BOOST_TEST(charged_eventually(before.user_bytes));
	BOOST_TEST_REQUIRE(write_to("/sys/module/sigevec/parameters/user_limit",
				    std::to_string(before.user_limit)));
	BOOST_TEST(device_info().user_limit == before.user_limit);
}

BOOST_AUTO_TEST_CASE(an_unprivileged_user_has_a_limit_of_his_own_and_memlock_has_no_say)
{
	BOOST_TEST_REQUIRE(device() >= 0);
	BOOST_TEST_REQUIRE(chmod(SIGEVEC_DEVICE, 0666) == 0);
	Pool mine(1 << 20);
	const pid_t child = fork();
	if (child == 0) {
		rlimit none{0, 0};
		if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || setgid(65534) != 0 ||
		    setuid(65534) != 0)
			_exit(1);
		const int fd = open(SIGEVEC_DEVICE, O_RDWR);
		sigevec_device_info i{};
		if (ioctl(fd, SIGEVEC_IOC_DEVICE_INFO, &i) != 0 || i.user_bytes != 0)
			_exit(2);
		const sigevec_pool_create c{4 << 20, 0, 0, 0, 0};
		const int pool = ioctl(fd, SIGEVEC_IOC_POOL_CREATE, &c);
		void *const p = mmap(nullptr, 4 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, pool, 0);
		if (pool < 0 || p == MAP_FAILED)
			_exit(3);
		memset(p, 1, 4 << 20);
		if (ioctl(fd, SIGEVEC_IOC_DEVICE_INFO, &i) != 0 || i.user_bytes != 4 << 20)
			_exit(4);
		_exit(0);
	}
	int status;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(WEXITSTATUS(status) == 0);
	chmod(SIGEVEC_DEVICE, 0600);
}

BOOST_AUTO_TEST_CASE(users_of_a_users_namespaces_share_the_limit_of_its_owner)
{
	settled();
	const auto before = device_info();
	constexpr uint64_t limit = 4 << 20, half = 2 << 20;
	BOOST_TEST_REQUIRE(write_to("/sys/class/misc/sigevec/user_limit", std::to_string(limit)));
	BOOST_TEST_REQUIRE(chmod(SIGEVEC_DEVICE, 0666) == 0);
	int ready[2], go[2];
	BOOST_TEST_REQUIRE((pipe(ready) == 0 && pipe(go) == 0));
	const pid_t child = fork();
	if (child == 0) {
		char c;
		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(1);
		const int fd = open(SIGEVEC_DEVICE, O_RDWR);
		if (fd < 0)
			_exit(2);
		if (unshare(CLONE_NEWUSER) != 0)
			_exit(77);
		if (write(ready[1], "", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(3);
		auto make = [&](uint64_t size) {
			sigevec_pool_create const p{size, 0, 0, 0, 0};
			return ioctl(fd, SIGEVEC_IOC_POOL_CREATE, &p);
		};
		// One after the other: the effective user alone decides in a namespace of its own.
		for (uid_t user : {1u, 2u})
			if (setresuid(-1, user, 0) != 0 || make(half) < 0 ||
			    setresuid(-1, 0, 0) != 0)
				_exit(4);
		if (setresuid(-1, 3, 0) != 0 || make(page) >= 0 || errno != EDQUOT)
			_exit(5);
		sigevec_device_info i{};
		if (ioctl(fd, SIGEVEC_IOC_DEVICE_INFO, &i) != 0 || i.user_bytes != limit)
			_exit(6);
		// A namespace within, of another of its users.
		if (setresuid(3, 3, 3) != 0 || unshare(CLONE_NEWUSER) != 0)
			_exit(7);
		if (make(page) >= 0 || errno != EDQUOT)
			_exit(8);
		_exit(0);
	}
	char c;
	close(ready[1]);
	if (read(ready[0], &c, 1) == 1) {
		std::string const process = "/proc/" + std::to_string(child);
		BOOST_TEST(write_to((process + "/uid_map").c_str(), "0 65534 1\n1 100000 10"));
		BOOST_TEST(write_to((process + "/gid_map").c_str(), "0 65534 1"));
		BOOST_TEST(write(go[1], "", 1) == 1);
	}
	int status;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	if (WEXITSTATUS(status) == 77)
		skip_case("the kernel gives users no namespaces");
	else
		BOOST_TEST(status == 0);
	for (int fd : {ready[0], go[0], go[1]})
		close(fd);
	chmod(SIGEVEC_DEVICE, 0600);
	BOOST_TEST(charged_eventually(0));
	BOOST_TEST(
		write_to("/sys/class/misc/sigevec/user_limit", std::to_string(before.user_limit)));
}

BOOST_AUTO_TEST_CASE(pages_are_charged_to_the_creators_cgroup)
{
	mkdir("/tmp/cgroup", 0700);
	BOOST_TEST_REQUIRE(
		(mount("cgroup2", "/tmp/cgroup", "cgroup2", 0, nullptr) == 0 || errno == EBUSY));
	BOOST_TEST_REQUIRE(write_to("/tmp/cgroup/cgroup.subtree_control", "+memory"));
	mkdir("/tmp/cgroup/creator", 0700);
	auto current = [] {
		std::ifstream file("/tmp/cgroup/creator/memory.current");
		long n = 0;
		file >> n;
		return n;
	};
	BOOST_TEST_REQUIRE(device() >= 0);
	const pid_t child = fork();
	if (child == 0) {
		if (!write_to("/tmp/cgroup/creator/cgroup.procs", "0"))
			_exit(1);
		const long before = current();
		Fd pool(create(8 << 20));
		_exit(pool >= 0 && current() >= before + (7 << 20) ? 0 : 2);
	}
	int status;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(WEXITSTATUS(status) == 0);
}
