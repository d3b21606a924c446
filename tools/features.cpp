// SPDX-License-Identifier: MIT
#include "features.hpp"

#include "tool.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

namespace tool {

namespace {

constexpr unsigned unshare_table = 2; // CLOSE_RANGE_UNSHARE

std::string why(const std::string &what, int error)
{
	std::string text = what + ": " + strerror(error);
	if (error == ENOSYS)
		text += " (an older kernel, or a filter of system calls)";
	else if (error == EPERM)
		text += " (a filter of system calls, as containers have, or a security module)";
	return text;
}

Feature tried(const char *name, bool ok, const char *use, const char *call)
{
	return {name, ok, ok ? use : why(call, errno)};
}

std::string why_no_ring(int error)
{
	std::string disabled = first_line("/proc/sys/kernel/io_uring_disabled");
	if (error == EPERM && disabled == "2")
		return "kernel.io_uring_disabled is 2: switched off for everybody";
	if (error == EPERM && disabled == "1")
		return "kernel.io_uring_disabled is 1: only for the group of "
		       "kernel.io_uring_group, and privileged "
		       "processes";
	if (error == ENOMEM)
		return "io_uring_setup: no memory; the kernel may count rings against "
		       "RLIMIT_MEMLOCK (ulimit -l)";
	return why("io_uring_setup", error);
}

int ring(unsigned flags)
{
	struct io_uring_params p;
	memset(&p, 0, sizeof p);
	p.flags = flags;
	return static_cast<int>(syscall(SYS_io_uring_setup, 4, &p));
}

// Whether the kernel's ring knows an operation. Numbers that older headers have not.
bool has_operation(int fd, unsigned operation)
{
	constexpr unsigned count = 256;
	std::vector<char> space(sizeof(struct io_uring_probe) +
				count * sizeof(struct io_uring_probe_op));
	auto *p = reinterpret_cast<struct io_uring_probe *>(space.data());
	if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_PROBE, p, count) != 0)
		return false;
	return operation <= p->last_op && (p->ops[operation].flags & IO_URING_OP_SUPPORTED) != 0;
}

void add_rings(std::vector<Feature> &v)
{
	constexpr unsigned single_issuer = 1u << 12, defer_taskrun = 1u << 13; // IORING_SETUP_*
	constexpr unsigned send_zc = 47;                                       // IORING_OP_SEND_ZC
	int fd = ring(0);
	v.push_back(
		{"io_uring", fd >= 0, fd >= 0 ? "streams, uncached reads" : why_no_ring(errno)});
	bool zero_copy = fd >= 0 && has_operation(fd, send_zc);
	if (fd >= 0)
		close(fd);
	std::string no = fd < 0 ? "there is no io_uring" : "";
	fd = fd < 0 ? -1 : ring(single_issuer | defer_taskrun);
	v.push_back({"defer-taskrun", fd >= 0,
		     fd >= 0       ? "rings that interrupt no system call"
		     : !no.empty() ? no
				   : "the kernel is older than 6.1"});
	if (fd >= 0)
		close(fd);
	v.push_back({"ring-zero-copy", zero_copy,
		     zero_copy     ? "sends without a copy from a ring"
		     : !no.empty() ? no
				   : "the kernel is older than 6.0"});
}

void add_files(std::vector<Feature> &v)
{
	aio_context_t context = 0;
	bool ok = syscall(SYS_io_setup, 1, &context) == 0;
	Feature kaio = tried("kernel-aio", ok, "O_DIRECT", "io_setup");
	if (!ok && errno == EAGAIN)
		kaio.reason = "fs.aio-max-nr is used up (sysctl fs.aio-nr fs.aio-max-nr)";
	v.push_back(kaio);
	if (ok)
		syscall(SYS_io_destroy, context);

	// On this program's own file, which is in the cache.
	char byte;
	struct iovec one = {&byte, 1};
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ok = fd >= 0 && (preadv2(fd, &one, 1, 0, RWF_NOWAIT) == 1 || errno == EAGAIN);
	v.push_back(tried("nowait-reads", ok, "reads of the cache within the call",
			  "preadv2(RWF_NOWAIT)"));
	if (fd >= 0)
		close(fd);
}

// In a child, for this process's table stays as it is.
bool private_table()
{
	fflush(stdout); // ThreadSanitizer's _exit() writes it, once more
	pid_t child = fork();
	if (child == 0)
		_exit(syscall(SYS_close_range, ~0u, ~0u, unshare_table) == 0 ? 0 : errno);
	int status = 0;
	if (child < 0 || waitpid(child, &status, 0) != child)
		return false;
	errno = WEXITSTATUS(status);
	return errno == 0;
}

void add_processes(std::vector<Feature> &v)
{
	v.push_back(tried("private-table", private_table(),
			  "files held without a number in the program's table",
			  "close_range(CLOSE_RANGE_UNSHARE)"));
	int own = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
	int copy = own >= 0 ? static_cast<int>(syscall(SYS_pidfd_getfd, own, own, 0)) : -1;
	v.push_back(tried("pidfd-getfd", copy >= 0, "writes one after the other without a socket",
			  "pidfd_getfd"));
	for (int fd : {copy, own})
		if (fd >= 0)
			close(fd);

	void *m = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	v.push_back(tried("wipe-on-fork", m != MAP_FAILED && madvise(m, 4096, MADV_WIPEONFORK) == 0,
			  "fork is noticed for free", "madvise(MADV_WIPEONFORK)"));
	if (m != MAP_FAILED)
		munmap(m, 4096);

	// Without anything to wait for it is refused in another way.
	bool ok = syscall(SYS_futex_waitv, nullptr, 0, 0, nullptr, 0) == 0 || errno == EINVAL;
	v.push_back(tried("futex-waitv", ok, "semaphores and locks that end in a channel",
			  "futex_waitv"));

	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;
	ok = s >= 0 && setsockopt(s, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0;
	v.push_back(
		tried("zero-copy", ok, "sends without a copy from a DMA region", "SO_ZEROCOPY"));
	if (s >= 0)
		close(s);
}

} // namespace

std::vector<Feature> features()
{
	std::vector<Feature> v;
	add_rings(v);
	add_files(v);
	add_processes(v);
	return v;
}

Feature module()
{
	constexpr const char *path = "/dev/sigevec";
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		return {path, true, "pools of pinned pages, copies by the DMA engine"};
	}
	if (errno == ENOENT)
		return {path, false,
			"the module is not loaded (modprobe sigevec); nothing needs it"};
	return {path, false, why("open", errno)};
}

} // namespace tool
