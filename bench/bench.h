/* SPDX-License-Identifier: MIT */
/* What the benchmarks in C share: the end of a program that cannot go on, clocks, medians. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H 1

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static inline void require(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

/* Nanoseconds. */
static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static inline double seconds(void)
{
	return now() * 1e-9;
}

/* Of all threads of this process, nanoseconds. */
static inline double processor_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static inline int bench_ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of n sorted values, the one that a share of them does not exceed. */
static inline double bench_quantile(double *v, size_t n, double share)
{
	qsort(v, n, sizeof *v, bench_ascending);
	return n == 0 ? 0 : v[(size_t)((double)(n - 1) * share)];
}

/* Of the process, in bytes. */
static inline double resident(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	require(f != NULL && fscanf(f, "%*d %ld", &pages) == 1, "/proc/self/statm");
	fclose(f);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

#endif
