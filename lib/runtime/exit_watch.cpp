// SPDX-License-Identifier: MIT
#include "runtime/exit_watch.hpp"

#include "base/memory_order.hpp"
#include "base/proc.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "runtime/helper.hpp"
#include "runtime/process.hpp"
#include "runtime/thread.hpp"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::exit_watch {

namespace {

std::atomic<int> ours{0}; // threads that have begun and not ended
std::atomic<bool> first_has_left{false}, looking{false};
pthread_key_t key;
bool have_key = false;

// How often it is looked. libc's threads take a second to end.
constexpr timespec interval{0, 250000000};

// A line of /proc/self/task/ID/stat: its number, its name in brackets, its state.
enum class Task { program, kernel, dead, unknown };

Task look_at(const char *id)
{
	char path[64], line[128];
	snprintf(path, sizeof path, "self/task/%.16s/stat", id);
	ssize_t n = proc::read(path, line, sizeof line);
	if (n < 0)
		return errno == ENOENT || errno == ESRCH ? Task::dead : Task::unknown;
	const char *name = strchr(line, '('), *end = strrchr(line, ')');
	if (name == nullptr || end == nullptr || end[1] != ' ')
		return n == 0 ? Task::dead : Task::unknown;
	// The kernel's own threads for a ring are listed, too.
	if (strncmp(name, "(iou-", 5) == 0)
		return Task::kernel;
	return end[2] == 'Z' || end[2] == 'X' ? Task::dead : Task::program;
}

// Whether all threads of the process that are alive are the library's.
bool nobody_else()
{
	int fd = proc::open("self/task", O_RDONLY | O_DIRECTORY);
	DIR *d = fd >= 0 ? fdopendir(fd) : nullptr;
	if (d == nullptr && fd >= 0)
		sys::close(fd);
	if (d == nullptr)
		return false;
	int alive = 0;
	bool known = true;
	while (const struct dirent *e = readdir(d)) {
		if (e->d_name[0] == '.')
			continue;
		Task t = look_at(e->d_name);
		alive += t == Task::program;
		known = known && t != Task::unknown;
	}
	closedir(d);
	return known && alive == ours.load(mo::acquire);
}

void *look(void *)
{
	// Twice: between the end of a request and the function that tells of it there is a moment.
	for (int times = 0; times < 2;) {
		nanosleep(&interval, nullptr);
		times = nothing_outstanding() && nobody_else() ? times + 1 : 0;
	}
	exit(0);
}

bool is_first()
{
	return ask_thread_id() == getpid();
}

void begin_to_look()
{
	if (looking.exchange(true, mo::acq_rel))
		return;
	if (start_thread(look, nullptr, "sigevec-last") != 0)
		looking.store(false, mo::release);
}

void thread_ends(void *)
{
	if (!is_first())
		return;
	// Either a thread of the library's that is started now is seen there, or its creator sees
	// this.
	first_has_left.store(true, mo::seq_cst);
	if (process::ready())
		begin_to_look();
}

// The first thread loads the library, most often. Its end is heard of whether or not it ever
// submits anything.
__attribute__((constructor)) void at_load()
{
	have_key = pthread_key_create(&key, thread_ends) == 0;
	if (have_key)
		pthread_setspecific(key, &key);
}

} // namespace

void watch_caller()
{
	if (!have_key || !is_first())
		return;
	pthread_setspecific(key, &key);
	first_has_left.store(false, mo::relaxed); // that was a parent's
}

void began()
{
	ours.fetch_add(1, mo::seq_cst);
}

void ended()
{
	ours.fetch_sub(1, mo::seq_cst);
}

void started()
{
	if (first_has_left.load(mo::seq_cst) && !helper::on_helper_thread())
		begin_to_look();
}

void after_fork()
{
	ours.store(0, mo::relaxed);
	first_has_left.store(false, mo::relaxed);
	looking.store(false, mo::relaxed);
}

} // namespace sigevec::exit_watch
