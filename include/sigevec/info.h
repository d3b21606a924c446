/* SPDX-License-Identifier: MIT */
/* What the library is doing: engines, limits, statistics. */
#ifndef SIGEVEC_INFO_H
#define SIGEVEC_INFO_H 1

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One engine: the way in which requests are carried out. */
struct sigevec_engine {
	const char *name;   /* "inline", "kaio", "uring", "threads": the values of SIGEVEC_ENGINE */
	int works;          /* 1: usable in this process, 0: not */
	const char *reason; /* why not, or what it is used for; never NULL */
};

/*
 * sigevec_get_engine: describe engine number index (0, 1, ...). The answer comes from trying it,
 * not from a kernel version. Returns 0, or -1 with errno EINVAL: index is past the last engine, or
 * engine is NULL. Thread-safe.
 */
int sigevec_get_engine(unsigned index, struct sigevec_engine *engine);

/* The limits of this process. */
struct sigevec_limits {
	unsigned threads;  /* threads that carry out blocking calls; also SIGEVEC_THREADS and
			      aio_init's aio_threads */
	unsigned requests; /* requests outstanding, further ones fail with EAGAIN; also
			      SIGEVEC_REQUESTS */
	unsigned ring; /* entries of a submission ring; also SIGEVEC_RING and aio_init's aio_num */
	unsigned idle; /* seconds until an idle thread ends; also SIGEVEC_IDLE and aio_init's
			  aio_idle_time */
	uint64_t dma;  /* bytes of all DMA regions together, at first half of the memory; also
			  SIGEVEC_DMA */
};

/*
 * sigevec_get_limits, sigevec_set_limits: read and change the limits. A ring that exists keeps its
 * size, threads above a lowered limit end when they are idle. Return 0, or -1 with errno:
 *   EINVAL  limits is NULL, threads, requests or ring is 0, requests is above 4,194,304, or ring is
 *           above 32,768
 *   EBUSY   requests is lower than the number that has been in use at once, or dma than what
 *           regions take now
 * Thread-safe; not async-signal-safe.
 */
int sigevec_get_limits(struct sigevec_limits *limits);
int sigevec_set_limits(const struct sigevec_limits *limits);

/* One counter: since the start of the process (after fork: of the child). */
struct sigevec_stat {
	const char *name; /* as `sigevec stat' prints it */
	uint64_t value;
};

/*
 * sigevec_get_stats: store up to max counters in v. The counters are: requests and completions,
 * those of each engine, each reason for which an engine passed a request on to another one,
 * notifications by kind. Returns how many counters there are, which may be more than max; -1 with
 * errno EINVAL when v is NULL and max is not 0. Thread-safe. With SIGEVEC_STATS in the environment
 * the counters are kept in a file, which outlives a crash of the process, together with more that
 * `sigevec stat' shows.
 */
int sigevec_get_stats(struct sigevec_stat *v, unsigned max);

#ifdef __cplusplus
}
#endif

#endif
