/* SPDX-License-Identifier: MIT */
/* The file of SIGEVEC_STATS: a header, then `copies' rows of `stride' counters; a counter is the sum of its column. */
#ifndef SIGEVEC_RUNTIME_STATS_FILE_H
#define SIGEVEC_RUNTIME_STATS_FILE_H 1

#include <stdint.h>

#define STATS_FILE_MAGIC 0x3163657665676973ull /* "sigevec1" */
#define STATS_FILE_COUNTERS 64
#define STATS_FILE_DATA 4096

struct stats_file_header {
	uint64_t magic;
	uint32_t counters, copies, stride, pid;
	char names[STATS_FILE_COUNTERS][48];
};

#endif
