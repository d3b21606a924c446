// SPDX-License-Identifier: MIT
#include "dma/pool.hpp"

#include "base/owned_fd.hpp"
#include "sigevec/uapi.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

namespace sigevec::dma::pool {

namespace {

// A descriptor or -errno; -ENOENT also for a device that no module has.
int open_device()
{
	int fd = static_cast<int>(
		syscall(SYS_openat, AT_FDCWD, SIGEVEC_DEVICE, O_RDWR | O_CLOEXEC, 0));
	return fd >= 0 ? fd : errno == ENXIO || errno == ENODEV ? -ENOENT : -errno;
}

// The same.
int create(size_t size, int node)
{
	int opened = open_device();
	if (opened < 0)
		return opened;
	OwnedFd device(opened);
	struct sigevec_pool_create c = {};
	c.size = size;
	if (node >= 0) {
		c.flags = SIGEVEC_POOL_NODE;
		c.node = node;
	}
	int fd = ioctl(device, SIGEVEC_IOC_POOL_CREATE, &c);
	return fd >= 0 ? fd : -errno;
}

} // namespace

void *map(size_t size, int node, int *error)
{
	int created = create(size, node);
	if (created < 0) {
		*error = -created;
		return nullptr;
	}
	OwnedFd fd(created);
	// MAP_POPULATE: a large pool is entered as it is touched, and whoever holds memory for
	// transfers wants no faults.
	void *m = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	*error = m == MAP_FAILED ? errno : 0;
	return m == MAP_FAILED ? nullptr : m;
}

uint64_t identity(int fd)
{
	struct sigevec_pool_info i = {};
	return ioctl(fd, SIGEVEC_IOC_POOL_INFO, &i) == 0 ? i.id : 0;
}

} // namespace sigevec::dma::pool
