// SPDX-License-Identifier: MIT
//
// What a descriptor is, and what its file lets be done within a call: its kind, its identity, its
// size, what of it is in the page cache.
#include "base/descriptor.hpp"
#include "engine/transfer.hpp"

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "dma/pool.hpp"
#include "engine/file_system.hpp"
#include "engine/filequeue.hpp"

#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <limits>
#include <linux/fs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// Linux 6.5; older headers lack it.
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

// Linux 6.8; older headers lack it.
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000U
#endif

namespace sigevec::transfer {

namespace {

Kind kind_of_file(int fd, Descriptor *d)
{
	file_system::Type t = file_system::of(fd, *d);
	d->plain_calls_only = t == file_system::Type::fuse || t == file_system::Type::queue;
	d->exact_inode = t == file_system::Type::exact || t == file_system::Type::memory;
	return t == file_system::Type::memory ? Kind::memory : Kind::file;
}

// /dev/zero and /dev/full: files without an end. As streams they would be asked not to wait, and
// then give a part only, as soon as somebody else is to have the processor.
bool gives_zeros(dev_t device)
{
	constexpr unsigned memory = 1, zero = 5, full = 7; // the numbers of Linux
	return device == makedev(memory, zero) || device == makedev(memory, full);
}

Kind kind_of_device(dev_t device, Descriptor *d)
{
	if (!gives_zeros(device))
		return Kind::device;
	d->plain_calls_only = true;
	d->size = std::numeric_limits<off_t>::max();
	return Kind::file;
}

// What the kernel says of a file beside what a Descriptor has.
struct Type {
	mode_t mode;
	dev_t device;   // of a special file
	uint64_t bytes; // that it has on the device
};

// A file that has a hole may have as much beyond its end; then the sum is no proof, but for what is
// less than this.
constexpr uint64_t little = 65536;

// Who writes counts for two things (file_remove_privs; reserved blocks and quota).
bool has_all_its_blocks(const Type &t, off_t size)
{
	auto length = static_cast<uint64_t>(size);
	return (t.mode & (S_ISUID | S_ISGID)) == 0 && t.bytes >= length &&
	       t.bytes - length < little;
}

Kind kind_of(int fd, Type type, Descriptor *d)
{
	mode_t mode = type.mode;
	d->plain_calls_only = d->exact_inode = d->written_in_place = false;
	d->type = mode & S_IFMT;
	switch (mode & S_IFMT) {
	case S_IFREG:
		d->written_in_place = has_all_its_blocks(type, d->size);
		return kind_of_file(fd, d);
	case S_IFBLK:
	case S_IFDIR: // read and write fail at once
		return Kind::file;
	case S_IFSOCK:
		return Kind::socket;
	case S_IFIFO:
		return Kind::fifo;
	case 0:
		return dma::pool::identity(fd) != 0 ? Kind::pool : Kind::anonymous;
	default:
		return kind_of_device(type.device, d);
	}
}

uint64_t mount_of(const struct statx &x)
{
	return (x.stx_mask & STATX_MNT_ID_UNIQUE) != 0 ? x.stx_mnt_id : 0;
}

uint64_t birth_of(const struct statx &x)
{
	return (x.stx_mask & STATX_BTIME) != 0
		       ? static_cast<uint64_t>(x.stx_btime.tv_sec) * 1000000000 +
				 x.stx_btime.tv_nsec
		       : 0;
}

// The members of fstat that are of use here, and of the times only that of birth, which never
// changes: a file whose other times have been asked for gets a new one, and with it a journal
// entry, at its next write, however soon that is (multigrain timestamps, Linux 6.13). On NFS those
// of a file that is being written would even have to be waited for.
bool look_at(int fd, Descriptor *d, Type *type)
{
	struct statx x;
	off_t size;
	if (sys::statx(fd, "", AT_EMPTY_PATH,
		       STATX_TYPE | STATX_MODE | STATX_INO | STATX_SIZE | STATX_BLOCKS |
			       STATX_BTIME | STATX_MNT_ID_UNIQUE,
		       &x) == 0) {
		*type = {x.stx_mode, makedev(x.stx_rdev_major, x.stx_rdev_minor),
			 x.stx_blocks * 512};
		d->dev = makedev(x.stx_dev_major, x.stx_dev_minor);
		d->ino = x.stx_ino;
		d->mount = mount_of(x);
		d->birth = birth_of(x);
		size = static_cast<off_t>(x.stx_size);
	} else {
		struct stat st;
		if (errno == EBADF || fstat(fd, &st) != 0)
			return false;
		*type = {st.st_mode, st.st_rdev, static_cast<uint64_t>(st.st_blocks) * 512};
		d->dev = st.st_dev;
		d->ino = st.st_ino;
		d->mount = d->birth = 0;
		size = st.st_size;
	}
	d->size = S_ISREG(type->mode) ? size : 0;
	return true;
}

} // namespace

bool describe(int fd, Descriptor *d)
{
	d->fd = fd;
	d->flags = sys::status_flags(fd);
	Type type;
	if (d->flags < 0 || !look_at(fd, d, &type))
		return false;
	d->kind = kind_of(fd, type, d);
	return true;
}

namespace {

uint32_t generation_of(int fd)
{
	int saved = errno;
	int generation = 0; // the kernel writes an int, whatever the number of the call says
	long e = syscall(SYS_ioctl, fd, FS_IOC_GETVERSION, &generation);
	errno = saved;
	return e == 0 ? static_cast<uint32_t>(generation) : 0;
}

} // namespace

bool is_file_of(const Request *r, const Descriptor &d)
{
	return d.dev == r->dev.load(mo::relaxed) && d.ino == r->ino.load(mo::relaxed) &&
	       d.flags == r->flags && d.kind == r->kind && d.mount == r->mount &&
	       d.birth == r->birth && (r->generation == 0 || generation_of(d.fd) == r->generation);
}

uint32_t generation_of_newborn(const Request *r, int fd)
{
	// Longer than a tick, which is how exact that time is.
	constexpr int64_t young = 20000000;
	timespec now;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	int64_t age = now.tv_sec * 1000000000 + now.tv_nsec - static_cast<int64_t>(r->birth);
	return r->birth != 0 && age < young ? generation_of(fd) : 0;
}

bool still_in_memory(const Descriptor &d)
{
	struct statx x;
	return d.mount != 0 &&
	       sys::statx(d.fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID_UNIQUE, &x) == 0 &&
	       mount_of(x) == d.mount && x.stx_ino == d.ino &&
	       makedev(x.stx_dev_major, x.stx_dev_minor) == d.dev;
}

bool in_cache(int fd, off_t offset, size_t len)
{
	struct {
		uint64_t offset, length;
	} range = {static_cast<uint64_t>(offset), len};
	struct {
		uint64_t cached, dirty, written_back, evicted, evicted_lately;
	} pages = {};
	return syscall(SYS_cachestat, fd, &range, &pages, 0) == 0 &&
	       pages.cached * static_cast<uint64_t>(getpagesize()) >= len;
}

bool may_be_written_in_call(off_t offset, size_t len, const Descriptor &d)
{
	// Where an append lands, nobody knows before.
	off_t from = (d.flags & O_APPEND) != 0 ? std::numeric_limits<off_t>::max() : offset;
	return !beyond_size_limit(from, len) && filequeue::empty(d.dev, d.ino);
}

bool beyond_size_limit(off_t offset, size_t len)
{
	struct rlimit limit;
#if defined SYS_getrlimit && defined __LP64__
	// Half of what prlimit takes, which libc calls.
	bool known = syscall(SYS_getrlimit, RLIMIT_FSIZE, &limit) == 0;
#else
	bool known = getrlimit(RLIMIT_FSIZE, &limit) == 0;
#endif
	if (!known || limit.rlim_cur == RLIM_INFINITY)
		return false;
	auto from = static_cast<rlim_t>(offset);
	return from > limit.rlim_cur || len > limit.rlim_cur - from;
}

} // namespace sigevec::transfer
