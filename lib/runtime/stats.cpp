// SPDX-License-Identifier: MIT
#include "runtime/stats.hpp"

#include "runtime/config.hpp"
#include "sigevec/info.h"
#include "runtime/stats_file.h"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sigevec::stats {

const char *const names[counters] = {
	"requests",
	"completions",
	"cancelled",
	"refused",
	"inline_done",
	"kaio_done",
	"uring_done",
	"threads_done",
	"inline_cold",
	"inline_unsupported",
	"inline_large",
	"inline_queued",
	"kaio_would_block",
	"kaio_full",
	"uring_unavailable",
	"helper_restarts",
	"notify_signal",
	"notify_signal_lost",
	"notify_thread",
	"notify_thread_shared",
	"notify_channel",
};

namespace {
Copy own[copies];

constexpr size_t name_size = sizeof(stats_file_header{}.names[0]);
static_assert(counters <= STATS_FILE_COUNTERS);
static_assert(sizeof(Copy) % sizeof(uint64_t) == 0);

void describe(stats_file_header *h)
{
	h->counters = counters;
	h->copies = copies;
	h->stride = sizeof(Copy) / sizeof(uint64_t);
	h->pid = static_cast<uint32_t>(getpid());
	for (unsigned i = 0; i < counters; i++)
		strncpy(h->names[i], names[i], name_size - 1);
	h->magic = STATS_FILE_MAGIC;
}
} // namespace

std::atomic<Copy *> table{own};

// A child of fork shares the parent's file: both add to the same counters, as a user who watches a program expects.
void open()
{
	if (config::stats_file == nullptr || table.load(std::memory_order_relaxed) != own)
		return;
	constexpr size_t size = STATS_FILE_DATA + sizeof own;
	int fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, config::stats_file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644));
	if (fd < 0)
		return;
	struct stat st;
	void *m = MAP_FAILED;
	uint64_t magic = 0;
	// Any other file with something in it is not ours to write to. One of our size without a magic number is just being
	// set up by another process.
	bool ours = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
		    (st.st_size == 0 || (syscall(SYS_pread64, fd, &magic, sizeof magic, 0L) == sizeof magic &&
					 (magic == STATS_FILE_MAGIC || (magic == 0 && st.st_size == size))));
	if (ours && ftruncate(fd, size) == 0)
		m = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	sys::close(fd);
	if (m == MAP_FAILED)
		return;
	describe(static_cast<stats_file_header *>(m));
	table.store(reinterpret_cast<Copy *>(static_cast<char *>(m) + STATS_FILE_DATA), std::memory_order_release);
}

void after_fork()
{
	if (table.load(std::memory_order_relaxed) != own)
		return;
	for (Copy &c : own)
		for (auto &v : c.value)
			v.store(0, std::memory_order_relaxed);
}

uint64_t sum(unsigned counter)
{
	Copy *t = table.load(std::memory_order_acquire);
	uint64_t n = 0;
	for (unsigned i = 0; i < copies; i++)
		n += t[i].value[counter].load(std::memory_order_relaxed);
	return n;
}

} // namespace sigevec::stats
