// SPDX-License-Identifier: MIT
#include "runtime/stats.hpp"

#include "base/memory_order.hpp"
#include "base/owned_fd.hpp"
#include "base/proc.hpp"
#include "runtime/config.hpp"
#include "runtime/stats_place.hpp"
#include "runtime/trace.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
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
	"notify_signal",
	"notify_signal_lost",
	"notify_thread",
	"notify_thread_shared",
	"notify_channel",
	"inline_left_out",
	"inline_slow",
	"kaio_left_out",
	"kaio_slower",
	"inline_slower",
};

namespace {

// Only the first part is used here; what is never touched takes no memory.
Row own[stats_file::rows];
static_assert(counters <= stats_file::most_counters);

// Field 22 of /proc/self/stat; the second one, in parentheses, may have anything in it.
uint64_t process_start()
{
	char text[1024];
	if (proc::read("self/stat", text, sizeof text) <= 0)
		return 0;
	char *at = strrchr(text, ')');
	for (int field = 2; at != nullptr && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at != nullptr ? strtoull(at, nullptr, 10) : 0;
}

void describe(Header *h, bool by_several)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	h->version = stats_file::version;
	h->size = sizeof(File);
	h->counters = counters;
	h->pid = static_cast<uint32_t>(getpid());
	h->pid_namespace = proc::name_space("self/ns/pid");
	h->process_start = process_start();
	h->opened = static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec);
	h->shared = by_several ? 1 : 0;
	h->trace_steps = trace::steps();
	strncpy(h->program, program_invocation_short_name, sizeof h->program - 1);
	for (unsigned i = 0; i < counters; i++)
		strncpy(h->names[i], names[i], stats_file::name_size - 1);
	std::atomic_ref(h->magic).store(stats_file::magic, mo::release);
}

// Of the process that has made the file. The file itself is not asked: a child may have written to
// it.
pid_t kept_by = 0;
bool shared = false;

// At a normal exit nobody asks any more. A child that has not used the library leaves its parent's
// file alone.
__attribute__((destructor)) void at_exit()
{
	if (on() != nullptr && kept_by == getpid())
		stats_place::remove_name();
}

// A child that never calls the library has nothing of its parent's to write to. One that is made
// without fork's handlers can still write figures that are not true, but nothing in the file is
// used for anything else.
void in_child()
{
	if (File *f = on(); f != nullptr && !shared)
		mmap(f, stats_place::size(), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

void watch_forks()
{
	static bool watched = false;
	if (!watched)
		watched = pthread_atfork(nullptr, nullptr, in_child) == 0;
}

} // namespace

std::atomic<File *> file{nullptr};
std::atomic<Row *> table{own};
unsigned own_rows = stats_file::own_rows;

void open()
{
	if (table.load(mo::relaxed) != own)
		return;
	OwnedFd fd(stats_place::open());
	if (fd < 0)
		return;
	void *memory =
		mmap(nullptr, stats_place::size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		stats_place::remove_name();
		return;
	}
	auto *f = static_cast<File *>(memory);
	kept_by = getpid();
	shared = stats_place::mode() == stats_place::Mode::shared;
	describe(&f->header, shared);
	if (shared)
		own_rows = 0;
	else
		watch_forks();
	if (trace::size() != 0)
		trace::use(reinterpret_cast<stats_file::Trace *>(f + 1));
	table.store(f->row, mo::release);
	file.store(f, mo::release);
}

// A child has a file of its own; one that all processes share it goes on to use.
void after_fork()
{
	File *f = on();
	if (f != nullptr && shared)
		return;
	file.store(nullptr, mo::relaxed);
	trace::ring.store(nullptr, mo::relaxed);
	table.store(own, mo::relaxed);
	if (f != nullptr)
		munmap(f, stats_place::size());
	for (Row &row : own)
		for (unsigned i = 0; i < counters; i++)
			row.counter[i].store(0, mo::relaxed);
}

uint64_t sum(unsigned counter)
{
	Row *t = table.load(mo::acquire);
	uint64_t n = 0;
	for (unsigned i = 0; i < stats_file::rows; i++)
		n += t[i].counter[counter].load(mo::relaxed);
	return n;
}

} // namespace sigevec::stats
