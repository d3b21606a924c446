// SPDX-License-Identifier: MIT
//
// sigevec(1): run a program with the library, see what works here, read a statistics file.
#include "runtime/stats_file.h"
#include "sigevec/info.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr const char usage_text[] = "usage: sigevec run [--engine NAME] [--stats FILE] [--] PROGRAM [ARGUMENT...]\n"
				    "       sigevec info\n"
				    "       sigevec stat FILE\n";

constexpr int exit_usage = 2;
constexpr int exit_cannot_run = 126, exit_not_found = 127; // as env(1) and nice(1)

int usage()
{
	fputs(usage_text, stderr);
	return exit_usage;
}

int complain(const char *what)
{
	fprintf(stderr, "sigevec: %s: %s\n", what, strerror(errno));
	return 1;
}

// The library that this tool runs with is the one to preload.
std::string library_path()
{
	Dl_info info;
	if (dladdr(reinterpret_cast<void *>(sigevec_get_engine), &info) == 0)
		return {};
	char *real = realpath(info.dli_fname, nullptr);
	std::string path = real != nullptr ? real : "";
	free(real);
	return path;
}

int run(int argc, char **argv)
{
	int i = 0;
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		const char *name = strcmp(argv[i], "--engine") == 0  ? "SIGEVEC_ENGINE"
				   : strcmp(argv[i], "--stats") == 0 ? "SIGEVEC_STATS"
								     : nullptr;
		if (name == nullptr || i + 1 == argc)
			return usage();
		setenv(name, argv[++i], 1);
	}
	if (i == argc)
		return usage();
	std::string preload = library_path();
	if (preload.empty()) {
		fputs("sigevec: the library was not found\n", stderr);
		return exit_cannot_run;
	}
	if (const char *others = getenv("LD_PRELOAD"); others != nullptr && *others != '\0')
		preload += std::string(":") + others;
	setenv("LD_PRELOAD", preload.c_str(), 1);
	execvp(argv[i], argv + i);
	int error = errno;
	complain(argv[i]);
	return error == ENOENT ? exit_not_found : exit_cannot_run;
}

int info()
{
	struct sigevec_engine e;
	for (unsigned i = 0; sigevec_get_engine(i, &e) == 0; i++)
		printf("engine %-8s %-4s %s\n", e.name, e.works ? "yes" : "no", e.reason);
	struct sigevec_limits l;
	if (sigevec_get_limits(&l) != 0)
		return complain("limits");
	printf("limit  threads  %u\nlimit  requests %u\nlimit  ring     %u\nlimit  idle     %u s\nlimit  dma      %llu bytes\n",
	       l.threads, l.requests, l.ring, l.idle, static_cast<unsigned long long>(l.dma));
	return fflush(stdout) == 0 ? 0 : complain("standard output");
}

bool valid(const stats_file_header *h, size_t size)
{
	return h->magic == STATS_FILE_MAGIC && h->counters <= STATS_FILE_COUNTERS && h->stride >= h->counters &&
	       h->copies <= 4096 && h->stride <= 4096 &&
	       size >= STATS_FILE_DATA + sizeof(uint64_t) * h->copies * h->stride;
}

void print_counters(const stats_file_header *h)
{
	auto *rows = reinterpret_cast<const volatile uint64_t *>(reinterpret_cast<const char *>(h) + STATS_FILE_DATA);
	printf("pid %u\n", h->pid);
	for (uint32_t c = 0; c < h->counters; c++) {
		uint64_t sum = 0;
		for (uint32_t row = 0; row < h->copies; row++)
			sum += rows[row * h->stride + c];
		printf("%.48s %llu\n", h->names[c], static_cast<unsigned long long>(sum));
	}
}

int stat_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0)
		return complain(path);
	auto size = static_cast<size_t>(st.st_size);
	void *m = size > STATS_FILE_DATA ? mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
	close(fd);
	if (m == MAP_FAILED || !valid(static_cast<stats_file_header *>(m), size)) {
		fprintf(stderr, "sigevec: %s: not a statistics file\n", path);
		return 1;
	}
	print_counters(static_cast<stats_file_header *>(m));
	munmap(m, size);
	return fflush(stdout) == 0 ? 0 : complain("standard output");
}

} // namespace

int main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "run") == 0)
		return run(argc - 2, argv + 2);
	if (argc == 2 && strcmp(argv[1], "info") == 0)
		return info();
	if (argc == 3 && strcmp(argv[1], "stat") == 0)
		return stat_file(argv[2]);
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage_text, stdout);
		return 0;
	}
	return usage();
}
