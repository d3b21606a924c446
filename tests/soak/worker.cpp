// SPDX-License-Identifier: MIT
//
// A worker: capabilities by chance until SIGTERM; then everything is as it was at the beginning.
#include "soak.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace soak {

void require(bool holds, const char *what, const char *file, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: not so: %s (%s)\n", file, line, what, strerrorname_np(errno));
	_exit(1);
}

void make_record(unsigned char *to, uint64_t number, uint64_t seed)
{
	Random r(seed ^ number * 0x9e3779b97f4a7c15);
	for (size_t i = 0; i < record_size; i += sizeof(uint64_t)) {
		uint64_t v = i == 0 ? number : r();
		memcpy(to + i, &v, sizeof v);
	}
}

namespace {

struct Kept {
	unsigned descriptors, threads;
	unsigned long pages;
};

unsigned entries(const char *folder)
{
	unsigned n = 0;
	DIR *d = opendir(folder);
	REQUIRE(d != nullptr);
	while (const struct dirent *e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

Kept kept()
{
	Kept k{entries("/proc/self/fd"), entries("/proc/self/task"), 0};
	FILE *f = fopen("/proc/self/statm", "re");
	REQUIRE(f != nullptr && fscanf(f, "%*u %lu", &k.pages) == 1);
	fclose(f);
	return k;
}

void tell_descriptors()
{
	for (int fd = 0; fd < 1024; fd++) {
		char name[64], to[256] = {};
		snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
		if (readlink(name, to, sizeof to - 1) > 0)
			fprintf(stderr, "  %d: %s\n", fd, to);
	}
}

// What an idle process gives back takes a while: threads stay for a time after their last request.
int compare(const Kept &before)
{
	constexpr unsigned long more_pages = 64UL << 20 >> 12;
	constexpr int most_seconds = 120;
	Kept now{};
	for (int i = 0; i < most_seconds * 10; i++) {
		now = kept();
		if (now.descriptors <= before.descriptors && now.threads <= before.threads &&
		    now.pages <= before.pages + more_pages)
			return 0;
		poll(nullptr, 0, 100);
	}
	fprintf(stderr, "left: %u descriptors of %u, %u threads of %u, %lu pages of %lu\n",
		now.descriptors, before.descriptors, now.threads, before.threads, now.pages,
		before.pages);
	tell_descriptors();
	return 1;
}

volatile sig_atomic_t enough = 0;

} // namespace

int work(Log log)
{
	struct sigaction end = {};
	end.sa_handler = [](int) { enough = 1; };
	sigaction(SIGTERM, &end, nullptr);
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_UNBLOCK, &term, nullptr);
	signal(SIGPIPE, SIG_IGN);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, nullptr);
	Random random(log.seed ^ log.next);
	// Everything often enough that what is made once and kept is there.
	for (int i = 0; i < 10; i++)
		for (unsigned c = 0; c < capability_count; c++)
			capabilities[c].use(random, log);
	Kept before = kept();
	while (enough == 0)
		capabilities[random() % capability_count].use(random, log);
	return compare(before);
}

} // namespace soak
