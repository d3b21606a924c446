/* SPDX-License-Identifier: MIT */
/* Event channels: completions that arrive on a descriptor. See ec_create(3) and ec_next_event(3).
 */
#ifndef SIGEVEC_EC_H
#define SIGEVEC_EC_H 1

#include "sigevec/types.h"

#include <mqueue.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* sigev_notify: the end of a request is told as an event of the channel sigev_ec. No value of
 * libc's. */
#define SIGEV_EC 16

/* Flags of ec_create. */
#define EC_CLOEXEC 02000000 /* the descriptor is closed by execve */
#define EC_NONBLOCK 04000   /* ec_next_event fails with EAGAIN instead of blocking */
#define EC_SINGLE                                                                                  \
	1 /* one thread at a time submits to the channel and reads from it: the fastest path */
#define EC_BATCH                                                                                   \
	2 /* with EC_SINGLE: submissions reach the kernel with the next read or ec_submit */

/* A request, as it was submitted. */
typedef struct aiocb aio_ctx_t;

/* What an event tells of. In C++ the names are also members of event_data, as the structure's own
 * declaration would have it. */
enum event_type {
	event_type_aio,   /* an aio_* request, or the end of a lio_listio list: ev_un.ev_aio */
	event_type_msq,   /* a message queue has become non-empty: ev_un.ev_msq */
	event_type_sig,   /* a signal: ev_un.ev_sig */
	event_type_net,   /* an ev_* call: ev_un.ev_fd */
	event_type_dma,   /* data arrived in an associated DMA region: ev_un.ev_fd */
	event_type_sync,  /* a semaphore, mutex, lock, barrier or System V object: ev_un.ev_obj */
	event_type_timer, /* a timer: ev_un.ev_obj is the timer_t, ev_result how often it has
			     expired */
	event_type_addrinfo, /* getaddrinfo_a: ev_un.ev_obj is the list */
	event_type_user,     /* ec_post */
	event_type_overflow  /* ev_result events were dropped since the last one of these */
};

typedef struct event_data {
#ifdef __cplusplus
	static constexpr enum event_type event_type_aio = ::event_type_aio,
					 event_type_msq = ::event_type_msq,
					 event_type_sig = ::event_type_sig,
					 event_type_net = ::event_type_net,
					 event_type_dma = ::event_type_dma,
					 event_type_sync = ::event_type_sync,
					 event_type_timer = ::event_type_timer,
					 event_type_addrinfo = ::event_type_addrinfo,
					 event_type_user = ::event_type_user,
					 event_type_overflow = ::event_type_overflow;
#endif
	enum event_type ev_type;
	union {
		aio_ctx_t *ev_aio; /* the request; NULL: a lio_listio list */
		mqd_t ev_msq;
		sigevent_t ev_sig;
		const void *ev_obj;
		int ev_fd; /* the descriptor that was given to the call */
		struct {   /* event_type_dma: fd is ev_fd; the piece to be released, of ev_result
			      bytes, or NULL */
			int fd;
			dma_mem_t mem;
			void *buf;
		} ev_dma;
	} ev_un;
	ssize_t ev_result; /* what the call would have returned */
	int ev_errno;      /* 0, or the error */
	void *ev_data;     /* sigev_value.sival_ptr, or the data argument of the call */
} event_data_t;

/*
 * ec_create: make an event channel. flags: EC_*, or 0. Returns its descriptor, which works in poll,
 * select and epoll, and is readable as long as the channel may hold an event; or -1 with errno:
 *   EINVAL          unknown flags, or EC_BATCH without EC_SINGLE
 *   EMFILE, ENFILE  no descriptor left
 *   ENOMEM          no memory, or 1,048,576 channels exist
 * Thread-safe. Source: the paper, section 5.
 */
ec_t ec_create(unsigned flags);

/*
 * ec_destroy: end a channel. Outstanding requests are cancelled, each aiocb ends with ECANCELED (a
 * write that has begun to transfer ends on its own); their events and those that wait are dropped;
 * a blocked reader returns with EBADF. The descriptor is closed. Returns 0, or -1 with errno EBADF:
 * ec is no channel of this process. Thread-safe. Source: the paper.
 */
int ec_destroy(ec_t ec);

/*
 * ec_to_fd: the descriptor to wait for. Returns it (it is ec itself), or -1 with errno EBADF.
 * Thread-safe. Source: the paper.
 */
int ec_to_fd(ec_t ec);

/*
 * ec_next_event: take the next event, waiting for one unless the channel was made with EC_NONBLOCK.
 * Stores it in *d and returns 0; or -1 with errno:
 *   EBADF   ec is no channel of this process, or has been destroyed meanwhile
 *   EINVAL  d is NULL
 *   EAGAIN  EC_NONBLOCK, and there is none
 *   EINTR   a signal handler ran while waiting
 * Each event goes to one caller. Thread-safe (with EC_SINGLE: one thread at a time); not
 * async-signal-safe. Source: the paper.
 */
int ec_next_event(ec_t ec, event_data_t *d);

/*
 * ec_next_events: take up to max events (1 to INT_MAX). timeout is relative; NULL waits for ever,
 * or with EC_NONBLOCK not at all; a given timeout is waited for either way. Returns how many were
 * stored in v, 0 when the time has passed (NULL with EC_NONBLOCK: 0 at once); or -1 with errno:
 *   EBADF   as for ec_next_event
 *   EINVAL  v is NULL, max is 0 or above INT_MAX, or the timeout is negative or has tv_nsec outside
 *           0..999,999,999
 *   EINTR   a signal handler ran while waiting, and there was no event
 */
int ec_next_events(ec_t ec, event_data_t *v, unsigned max, const struct timespec *timeout);

/*
 * ec_submit: hand what EC_BATCH has kept to the kernel now. Returns how many requests that were; on
 * other channels 0; or -1 with errno EBADF. To be called before waiting for the descriptor by other
 * means than the two functions above.
 */
int ec_submit(ec_t ec);

/*
 * ec_post: put an event of type event_type_user into the channel, with these members. Returns 0, or
 * -1 with errno:
 *   EBADF   ec is no channel of this process
 *   EAGAIN  the channel is at its limit
 * Any thread, EC_SINGLE or not; not async-signal-safe. Source: illumos port_send(3C).
 */
int ec_post(ec_t ec, ssize_t result, int error, void *data);

/*
 * ec_set_limit: how many events the channel admits, outstanding and waiting ones together (at first
 * 65,536). Beyond it a submission fails with EAGAIN and has done nothing. A limit below what there
 * is lets nothing in until there is less. Returns 0, or -1 with errno EBADF, or EINVAL: events is
 * 0. Thread-safe.
 */
int ec_set_limit(ec_t ec, unsigned events);

/*
 * ec_moderate: the descriptor becomes readable when `events' events wait, or so many microseconds
 * after the first of them came, whichever is earlier. Of the two numbers 0 is not looked at; both 0
 * (at first): with the first event. Whoever is blocked in ec_next_event or ec_next_events goes by
 * the same rule, and returns earlier only at the end of its own timeout or for a signal; a call
 * that finds an event takes it at once. Signals (ev_signal), message queues and event_type_overflow
 * are told at once. With EC_SINGLE and no more than 1,000 microseconds the number of events is
 * known only to blocked readers, whose time begins when they block; the descriptor goes by the
 * time. Returns 0, or -1 with errno:
 *   EBADF   ec is no channel of this process
 *   EAGAIN  memory is short, or no thread can be had; nothing has changed
 * Thread-safe (with EC_SINGLE: by who submits and reads); not async-signal-safe. Source: ours, as
 * network cards do it.
 */
int ec_moderate(ec_t ec, unsigned events, unsigned microseconds);

/*
 * ec_busy_poll: a blocking ec_next_event or ec_next_events looks for an event for so many
 * microseconds before it sleeps; 0 (at first): for about one. With EC_SINGLE the kernel also polls
 * the queue of the network device meanwhile, for sockets that receive from one it can poll
 * (IORING_REGISTER_NAPI, Linux 6.9). A processor is busy for that long. Returns 0, or -1 with errno
 * EBADF: ec is no channel of this process. Thread-safe (with EC_SINGLE: by who submits and reads);
 * not async-signal-safe. Source: ours.
 */
int ec_busy_poll(ec_t ec, unsigned microseconds);

/* The state of a channel, and what happened since it was made. */
struct ec_stat {
	uint64_t limit;       /* see ec_set_limit */
	uint64_t outstanding; /* requests whose event is still to come */
	uint64_t queued;      /* events that wait to be read */
	uint64_t delivered;   /* events that were read */
	uint64_t refused;     /* submissions that failed because of the limit */
	uint64_t dropped; /* events that were dropped because the user asked for the newest only */
	uint64_t high_water; /* the most that outstanding + queued have been */
	uint32_t moderate_events, moderate_microseconds; /* see ec_moderate */
	uint32_t busy_poll_microseconds;                 /* see ec_busy_poll */
	int32_t node; /* the NUMA node whose memory it is in; -1: not known */
};

/* ec_stat: store the state of ec in *s. Returns 0, or -1 with errno EBADF, or EINVAL: s is NULL.
 * Thread-safe. */
#if defined __cplusplus && defined __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored                                                                     \
	"-Wshadow" /* a function beside a structure of its name, as stat(2) */
#endif
int ec_stat(ec_t ec, struct ec_stat *s);
#if defined __cplusplus && defined __GNUC__
#pragma GCC diagnostic pop
#endif

#ifdef __cplusplus
}
#endif

#endif
