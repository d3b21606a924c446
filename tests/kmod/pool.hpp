// SPDX-License-Identifier: MIT
//
// What the tests of the kernel module share: the device, pools, their mappings. They run in a guest
// (tests/kmod/common.sh); elsewhere there is no device, and they are skipped.
//
// Include it once, after defining BOOST_TEST_MODULE.
#ifndef KMOD_POOL_HPP
#define KMOD_POOL_HPP

#include "../contract/channel.hpp"

#include <sigevec/uapi.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

namespace kmod {

using namespace contract;

constexpr size_t page = 4096;

struct NeedDevice {
	NeedDevice()
	{
		if (access(SIGEVEC_DEVICE, R_OK) != 0)
			skip_program("there is no " SIGEVEC_DEVICE);
	}
};
BOOST_TEST_GLOBAL_FIXTURE(NeedDevice);

inline int device()
{
	static const int fd = open(SIGEVEC_DEVICE, O_RDWR | O_CLOEXEC);
	return fd;
}

inline int create(const sigevec_pool_create &c)
{
	return ioctl(device(), SIGEVEC_IOC_POOL_CREATE, &c);
}
inline int create(size_t size)
{
	return create({size, 0, 0, 0, 0});
}

inline sigevec_device_info device_info()
{
	sigevec_device_info i{};
	BOOST_TEST_REQUIRE(ioctl(device(), SIGEVEC_IOC_DEVICE_INFO, &i) == 0);
	return i;
}

inline sigevec_pool_info info(int pool)
{
	sigevec_pool_info i{};
	BOOST_TEST_REQUIRE(ioctl(pool, SIGEVEC_IOC_POOL_INFO, &i) == 0);
	return i;
}

/// The kernel lacks what this case needs, which returns after this: the guest tells it as a skipped
/// test.
inline void skip_case(const char *reason)
{
	printf("skip - %s # %s\n",
	       boost::unit_test::framework::current_test_case().p_name.get().c_str(), reason);
	fflush(stdout);
}

/// What is charged follows the last reference, which works and closed files drop a little later.
inline bool charged_eventually(uint64_t bytes)
{
	return eventually([&] { return device_info().user_bytes == bytes; });
}

/// Before a case that counts: nothing is charged for pools of earlier ones any more, nor for pages
/// that a ring or a socket had of them.
inline uint64_t settled()
{
	BOOST_TEST_REQUIRE(charged_eventually(0));
	return 0;
}

struct Mapping {
	char *p;
	size_t size;
	Mapping(int fd, size_t n, off_t offset = 0) : size(n)
	{
		p = static_cast<char *>(
			mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset));
		BOOST_TEST_REQUIRE(p != MAP_FAILED);
	}
	Mapping(const Mapping &) = delete;
	~Mapping() { munmap(p, size); }
	operator char *() const { return p; }
};

/// A pool and its mapping.
struct Pool {
	Fd fd;
	size_t size;
	Mapping memory;
	explicit Pool(size_t n) : fd(make(n)), size(n), memory(fd, n) {}
	operator int() const { return fd; }

private:
	static int make(size_t n)
	{
		const int fd = create(n);
		BOOST_TEST_REQUIRE(fd >= 0);
		return fd;
	}
};

/// Bytes that differ from place to place.
inline char byte_at(size_t i)
{
	return static_cast<char>(i * 7 + i / 4096 * 13 + 1);
}
inline void fill(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(i);
}
inline bool filled(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != byte_at(i))
			return false;
	return true;
}

inline bool write_to(const char *path, std::string_view text)
{
	Fd fd(open(path, O_WRONLY | O_CLOEXEC));
	return fd >= 0 && write(fd, text.data(), text.size()) == ssize_t(text.size());
}

} // namespace kmod

using namespace kmod;

#endif
