// SPDX-License-Identifier: MIT
#include "runtime/stats.hpp"

#include "runtime/config.hpp"
#include "runtime/meter.hpp"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sigevec::stats {

using stats_file::File;
using stats_file::Header;
using stats_file::Row;

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

// Only the first part is used here; what is never touched takes no memory.
Row own[stats_file::rows];
static_assert(counters <= stats_file::most_counters);

// What SIGEVEC_STATS says: off; this process's own file, removed at its exit; a folder for a file of each process, which are
// kept; or one file for all processes.
enum class Mode { off, process, folder, shared };

Mode mode()
{
	const char *s = config::stats_file;
	if (s == nullptr || *s == '\0' || strcmp(s, "0") == 0)
		return Mode::off;
	if (strcmp(s, "1") == 0)
		return Mode::process;
	return s[strlen(s) - 1] == '/' ? Mode::folder : Mode::shared;
}

// Of this process's own file while it has one; "" without.
char path[4096];

int open_raw(const char *name, int flags, mode_t permissions)
{
	return static_cast<int>(
		syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, permissions));
}

constexpr char shared_memory[] = "/dev/shm", prefix[] = "sigevec.";
constexpr unsigned most_left = 16;

// A process that ends by _exit, as children often do, leaves its file as one does that crashes. Keeps that within bounds: every
// process that adds one removes the oldest when there are many.
void remove_oldest()
{
	DIR *folder = opendir(shared_memory);
	if (folder == nullptr)
		return;
	unsigned left = 0;
	long oldest_time = LONG_MAX;
	char oldest[256] = "";
	while (const struct dirent *e = readdir(folder)) {
		struct stat st;
		long pid = strncmp(e->d_name, prefix, sizeof prefix - 1) == 0 ? strtol(e->d_name + sizeof prefix - 1, nullptr, 10) : 0;
		if (pid <= 0 || kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH ||
		    fstatat(dirfd(folder), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_uid != geteuid())
			continue;
		left++;
		if (st.st_ctime < oldest_time) {
			oldest_time = st.st_ctime;
			snprintf(oldest, sizeof oldest, "%s", e->d_name);
		}
	}
	if (left > most_left)
		unlinkat(dirfd(folder), oldest, 0);
	closedir(folder);
}

// A file that has this name is of an earlier process with this number, or of this one before exec.
int open_own(Mode m)
{
	int n = snprintf(path, sizeof path, "%s%d", m == Mode::folder ? config::stats_file : "/dev/shm/sigevec.",
			 static_cast<int>(getpid()));
	if (n < 0 || static_cast<size_t>(n) >= sizeof path)
		return -1;
	int fd = open_raw(path, O_EXCL, 0600);
	if (fd < 0 && errno == EEXIST && unlink(path) == 0)
		fd = open_raw(path, O_EXCL, 0600);
	return fd;
}

int open_shared()
{
	int fd = open_raw(config::stats_file, 0, 0644);
	if (fd < 0)
		return -1;
	struct stat st;
	uint64_t word = 0;
	// Any other file with something in it is not ours to write to. One of our size without a magic number is just being
	// set up by another process.
	bool ours = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
		    (st.st_size == 0 || (st.st_size == sizeof(File) && syscall(SYS_pread64, fd, &word, sizeof word, 0L) == sizeof word &&
					 (word == stats_file::magic || word == 0)));
	if (ours)
		return fd;
	sys::close(fd);
	return -1;
}

// All of its memory now: a full file system must not end the program later.
bool reserve(int fd)
{
	if (syscall(SYS_fallocate, fd, 0, 0L, static_cast<long>(sizeof(File))) == 0)
		return true;
	return errno == EOPNOTSUPP && ftruncate(fd, sizeof(File)) == 0;
}

// Field 22 of /proc/self/stat; the second one, in parentheses, may have anything in it.
uint64_t process_start()
{
	char text[1024];
	int fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC));
	long n = fd >= 0 ? syscall(SYS_read, fd, text, sizeof text - 1) : -1;
	if (fd >= 0)
		sys::close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	char *at = strrchr(text, ')');
	for (int field = 2; at != nullptr && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at != nullptr ? strtoull(at, nullptr, 10) : 0;
}

void describe(Header *h, bool shared)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	h->version = stats_file::version;
	h->size = sizeof(File);
	h->counters = counters;
	h->pid = static_cast<uint32_t>(getpid());
	h->process_start = process_start();
	h->opened = static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec);
	h->shared = shared ? 1 : 0;
	strncpy(h->program, program_invocation_short_name, sizeof h->program - 1);
	for (unsigned i = 0; i < counters; i++)
		strncpy(h->names[i], names[i], stats_file::name_size - 1);
	std::atomic_ref(h->magic).store(stats_file::magic, std::memory_order_release);
}

// At a normal exit nobody asks any more. A child that has not used the library has its parent's path.
__attribute__((destructor)) void at_exit()
{
	File *f = meter::on();
	if (f != nullptr && mode() == Mode::process && path[0] != '\0' && f->header.pid == static_cast<uint32_t>(getpid()))
		unlink(path);
}

} // namespace

std::atomic<Row *> table{own};
unsigned own_rows = stats_file::own_rows;

void open()
{
	Mode m = mode();
	if (m == Mode::off || table.load(std::memory_order_relaxed) != own)
		return;
	if (m == Mode::process)
		remove_oldest();
	int fd = m == Mode::shared ? open_shared() : open_own(m);
	if (fd < 0)
		return;
	void *memory = reserve(fd) ? mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	sys::close(fd);
	if (memory == MAP_FAILED) {
		if (m != Mode::shared)
			unlink(path);
		path[0] = '\0';
		return;
	}
	auto *f = static_cast<File *>(memory);
	describe(&f->header, m == Mode::shared);
	if (m == Mode::shared)
		own_rows = 0;
	table.store(f->row, std::memory_order_release);
	meter::file.store(f, std::memory_order_release);
}

// A child has a file of its own; one that all processes share it goes on to use.
void after_fork()
{
	File *f = meter::on();
	if (f != nullptr && f->header.shared != 0)
		return;
	meter::file.store(nullptr, std::memory_order_relaxed);
	table.store(own, std::memory_order_relaxed);
	if (f != nullptr)
		munmap(f, sizeof *f);
	for (Row &row : own)
		for (unsigned i = 0; i < counters; i++)
			row.counter[i].store(0, std::memory_order_relaxed);
}

uint64_t sum(unsigned counter)
{
	Row *t = table.load(std::memory_order_acquire);
	uint64_t n = 0;
	for (unsigned i = 0; i < stats_file::rows; i++)
		n += t[i].counter[counter].load(std::memory_order_relaxed);
	return n;
}

} // namespace sigevec::stats
