// SPDX-License-Identifier: MIT
//
// sigevec stat: the counters in a statistics file.
#include "tool.hpp"

#include "runtime/stats_file.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tool
{

namespace
{

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
		return complain("stat", path);
	auto size = static_cast<size_t>(st.st_size);
	void *m = size > STATS_FILE_DATA ? mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
	close(fd);
	if (m == MAP_FAILED || !valid(static_cast<stats_file_header *>(m), size)) {
		return complain("stat", path, "not a statistics file");
	}
	print_counters(static_cast<stats_file_header *>(m));
	munmap(m, size);
	return finish_output("stat", 0);
}

int stat_main(int argc, char **argv)
{
	Options options(stat_command, argc, argv, "", {});
	int status = 0;
	if (options.next(&status) != 0)
		return status;
	return options.rest() + 1 == argc ? stat_file(argv[options.rest()]) : usage(stat_command);
}

} // namespace

const Command stat_command = {"stat", stat_main, "FILE", "print the counters in a file of SIGEVEC_STATS", ""};

} // namespace tool
