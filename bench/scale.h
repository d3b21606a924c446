/* SPDX-License-Identifier: MIT */
/* bench_scale's parts: what a curve's points are made by. */
#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include "bench.h"

#include <sigevec.h>

enum { turns = 4000, busy = 16, most_threads = 64 };

struct figures {
	double start, event, end, bytes;
};

ec_t channel(unsigned flags);
/* Zeroed, and counted before a measurement begins. */
void *memory(size_t n, size_t size);

/* scale_shared.c */
struct figures posters(long n);
struct figures writers(long n);
struct figures readers_aio(long n);
struct figures readers_pread(long n);
struct figures regions(long n);
struct figures mappings(long n);

#endif
