/* SPDX-License-Identifier: MIT */
/*
 * bench_scale [--list | CURVE MOST...]: how time and memory grow with the number of what is
 * outstanding, against what the kernel itself makes of as many. For 1, 10, 100 ... MOST it prints
 * "CURVE N SIDE START EVENT END BYTES": nanoseconds to begin one of N, for an event beside the
 * others, and to end one of them; bytes of the process for each. 0: there is no such figure. Each
 * point is measured in a process of its own.
 */
#include "scale.h"
#include "config.h"

#include <errno.h>
#include <sigevec.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

ec_t channel(unsigned flags)
{
	ec_t ec = ec_create(EC_CLOEXEC | flags);

	require(ec >= 0 && ec_set_limit(ec, 4000000) == 0, "ec_create");
	return ec;
}

void *memory(size_t n, size_t size)
{
	void *p = calloc(n, size);

	require(p != NULL, "calloc");
	memset(p, 0, n * size); /* it is not counted below */
	return p;
}

/* --- receives that wait ----------------------------------------------------------------------
 */

struct waiting {
	int fd, peer;
	char byte;
};

/* Each has a socket of its own, as far as RLIMIT_NOFILE goes; then there are several on each. To
 * the first ones somebody sends. */
static struct waiting *sockets(long n)
{
	struct waiting *w = memory((size_t)n, sizeof *w);
	struct rlimit r;
	long own;

	getrlimit(RLIMIT_NOFILE, &r);
	own = (long)r.rlim_cur - 2 * busy - 100;

	for (long i = 0; i < n; i++) {
		int ends[2] = {-1, -1};

		if (i >= own)
			ends[0] = w[busy + i % (own - busy)].fd;
		else if (i < busy)
			require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0,
				"socketpair");
		else
			ends[0] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		require(ends[0] >= 0, "socket");
		w[i].fd = ends[0];
		w[i].peer = ends[1];
	}
	return w;
}

static struct waiting *one_busy(struct waiting *w, long n, int turn)
{
	return &w[turn % (n < busy ? n : busy)];
}

static struct figures receives(long n, unsigned flags)
{
	struct waiting *w = sockets(n);
	ec_t ec = channel(flags);
	double before = resident(), t = now();
	struct figures f;
	event_data_t e;

	for (long i = 0; i < n; i++)
		require(ev_recv(w[i].fd, &w[i].byte, 1, 0, ec, &w[i]) == 0, "ev_recv");
	ec_submit(ec);
	f.start = (now() - t) / (double)n;
	t = now();
	for (int i = 0; i < turns; i++) {
		struct waiting *x = one_busy(w, n, i);

		require(write(x->peer, "x", 1) == 1, "write");
		require(ec_next_event(ec, &e) == 0 && e.ev_data == x, "ec_next_event");
		require(ev_recv(x->fd, &x->byte, 1, 0, ec, x) == 0, "ev_recv");
	}
	f.event = (now() - t) / turns;
	f.bytes = (resident() - before) / (double)n;
	t = now();
	ec_destroy(ec);
	f.end = (now() - t) / (double)n;
	return f;
}

static struct figures receives_single(long n)
{
	return receives(n, EC_SINGLE | EC_BATCH);
}

static struct figures receives_shared(long n)
{
	return receives(n, 0);
}

#ifdef HAVE_LIBURING
static struct io_uring_sqe *entry(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (sqe == NULL) {
		io_uring_submit(ring);
		sqe = io_uring_get_sqe(ring);
	}
	return sqe;
}

static struct figures receives_uring(long n)
{
	struct waiting *w = sockets(n);
	struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER |
					     IORING_SETUP_DEFER_TASKRUN};
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	double before = resident(), t;
	struct figures f;

	require(io_uring_queue_init_params(1024, &ring, &p) == 0, "io_uring_queue_init");
	t = now();
	for (long i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = entry(&ring);

		io_uring_prep_recv(sqe, w[i].fd, &w[i].byte, 1, 0);
		io_uring_sqe_set_data(sqe, &w[i]);
	}
	io_uring_submit(&ring);
	f.start = (now() - t) / (double)n;
	t = now();
	for (int i = 0; i < turns; i++) {
		struct waiting *x = one_busy(w, n, i);
		struct io_uring_sqe *sqe;

		require(write(x->peer, "x", 1) == 1, "write");
		io_uring_submit_and_wait(&ring, 1);
		require(io_uring_peek_cqe(&ring, &cqe) == 0 && io_uring_cqe_get_data(cqe) == x,
			"io_uring");
		io_uring_cqe_seen(&ring, cqe);
		sqe = entry(&ring);
		io_uring_prep_recv(sqe, x->fd, &x->byte, 1, 0);
		io_uring_sqe_set_data(sqe, x);
	}
	f.event = (now() - t) / turns;
	f.bytes = (resident() - before) / (double)n;
	t = now();
	io_uring_queue_exit(&ring);
	f.end = (now() - t) / (double)n;
	return f;
}
#endif

/* --- timers that run --------------------------------------------------------------------------
 */

static const struct itimerspec far = {.it_value = {100000, 0}}, soon = {.it_value = {0, 1}};

static struct figures timers(long n, struct sigevent *how, void (*take)(void *))
{
	timer_t *v = memory((size_t)n, sizeof *v);
	double before = resident(), t = now();
	struct figures f;

	for (long i = 0; i < n; i++)
		if (timer_create(CLOCK_MONOTONIC, how, &v[i]) != 0 ||
		    timer_settime(v[i], 0, &far, NULL) != 0)
			return (struct figures){0, 0, 0, 0}; /* RLIMIT_SIGPENDING */
	f.start = (now() - t) / (double)n;
	t = now();
	for (int i = 0; i < turns; i++) {
		require(timer_settime(v[i % n], 0, &soon, NULL) == 0, "timer_settime");
		take(how);
	}
	f.event = (now() - t) / turns;
	f.bytes = (resident() - before) / (double)n;
	t = now();
	for (long i = 0; i < n; i++)
		timer_delete(v[i]);
	f.end = (now() - t) / (double)n;
	return f;
}

static void take_event(void *how)
{
	event_data_t e;

	require(ec_next_event(((struct sigevent *)how)->sigev_ec, &e) == 0, "ec_next_event");
}

static void take_signal(void *how)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, ((struct sigevent *)how)->sigev_signo);
	require(sigwaitinfo(&one, NULL) > 0, "sigwaitinfo");
}

static struct figures timers_channel(long n)
{
	struct sigevent how;

	memset(&how, 0, sizeof how);
	how.sigev_notify = SIGEV_EC;
	how.sigev_ec = channel(0);
	return timers(n, &how, take_event);
}

static struct figures timers_signal(long n)
{
	struct sigevent how;
	sigset_t one;

	memset(&how, 0, sizeof how);
	how.sigev_notify = SIGEV_SIGNAL;
	how.sigev_signo = SIGRTMIN;
	sigemptyset(&one);
	sigaddset(&one, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &one, NULL);
	return timers(n, &how, take_signal);
}

/* --- events that wait -------------------------------------------------------------------------
 */

static struct figures posts(long n, unsigned flags)
{
	enum { at_once = 32 };
	ec_t ec = channel(flags);
	double before = resident(), t = now();
	struct figures f;
	event_data_t e[at_once];

	for (long i = 0; i < n; i++)
		require(ec_post(ec, i, 0, NULL) == 0, "ec_post");
	f.start = (now() - t) / (double)n;
	f.bytes = (resident() - before) / (double)n;
	t = now();
	for (long left = n, k; left > 0; left -= k)
		require((k = ec_next_events(ec, e, at_once, NULL)) > 0, "ec_next_events");
	f.event = (now() - t) / (double)n;
	t = now();
	ec_destroy(ec);
	f.end = 0;
	return f;
}

static struct figures posts_shared(long n)
{
	return posts(n, 0);
}

static struct figures posts_single(long n)
{
	return posts(n, EC_SINGLE);
}

/* --- channels ---------------------------------------------------------------------------------
 */

static struct figures channels(long n)
{
	ec_t *v = memory((size_t)n, sizeof *v);
	double before = resident(), t = now();
	struct figures f;
	event_data_t e;

	for (long i = 0; i < n; i++)
		v[i] = channel(0);
	f.start = (now() - t) / (double)n;
	t = now();
	for (long i = 0; i < turns; i++) {
		ec_t ec = v[i * 7919 % n];

		require(ec_post(ec, i, 0, NULL) == 0 && ec_next_event(ec, &e) == 0, "ec_post");
	}
	f.event = (now() - t) / turns;
	f.bytes = (resident() - before) / (double)n;
	t = now();
	for (long i = 0; i < n; i++)
		ec_destroy(v[i]);
	f.end = (now() - t) / (double)n;
	return f;
}

/* What a program would take instead: an epoll instance with an eventfd in it. */
static struct figures instances(long n)
{
	int(*v)[2] = memory((size_t)n, sizeof *v);
	double before = resident(), t = now();
	struct epoll_event e = {.events = EPOLLIN};
	struct figures f;
	uint64_t count = 1;

	for (long i = 0; i < n; i++) {
		v[i][0] = epoll_create1(EPOLL_CLOEXEC);
		v[i][1] = eventfd(0, EFD_CLOEXEC);
		require(epoll_ctl(v[i][0], EPOLL_CTL_ADD, v[i][1], &e) == 0, "epoll_ctl");
	}
	f.start = (now() - t) / (double)n;
	t = now();
	for (long i = 0; i < turns; i++) {
		int *x = v[i * 7919 % n];

		require(write(x[1], &count, sizeof count) == sizeof count, "write");
		require(epoll_wait(x[0], &e, 1, -1) == 1, "epoll_wait");
		require(read(x[1], &count, sizeof count) == sizeof count, "read");
		count = 1;
	}
	f.event = (now() - t) / turns;
	f.bytes = (resident() - before) / (double)n;
	t = now();
	for (long i = 0; i < n; i++) {
		close(v[i][0]);
		close(v[i][1]);
	}
	f.end = (now() - t) / (double)n;
	return f;
}

/* --- all of it --------------------------------------------------------------------------------
 */

static const struct {
	const char *curve;
	long most; /* unless more is asked for, or less */
	struct {
		const char *name;
		struct figures (*measure)(long n);
	} sides[3];
} curves[] = {
	{"receives",
	 10000,
	 {{"single", receives_single},
	  {"shared", receives_shared},
#ifdef HAVE_LIBURING
	  {"io_uring", receives_uring}
#endif
	 }},
	{"timers", 10000, {{"channel", timers_channel}, {"signal", timers_signal}}},
	{"posts", 1000000, {{"single", posts_single}, {"shared", posts_shared}}},
	{"channels", 5000, {{"channel", channels}, {"epoll", instances}}},
	{"posters", most_threads, {{"channel", posters}, {"eventfd", writers}}},
	{"readers", most_threads, {{"aio_read", readers_aio}, {"pread", readers_pread}}},
	{"regions", 2048, {{"region", regions}, {"mmap", mappings}}},
};

/* In a process of its own. */
static void measure(const char *curve, const char *side, struct figures (*f)(long), long n)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	require(child >= 0, "fork");
	if (child == 0) {
		struct figures r = f(n);

		printf("%s %ld %s %.1f %.1f %.1f %.1f\n", curve, n, side, r.start, r.event, r.end,
		       r.bytes);
		fflush(stdout);
		_exit(0);
	}
	require(waitpid(child, &status, 0) == child && status == 0, "a measurement");
}

/* Threads and MiB go up by two, all else by ten. */
static void run(size_t i, long most)
{
	long step = curves[i].most <= 2048 ? 2 : 10;

	for (long n = 1; n <= most; n *= step)
		for (int k = 0; k < 3 && curves[i].sides[k].measure; k++)
			measure(curves[i].curve, curves[i].sides[k].name,
				curves[i].sides[k].measure, n);
}

/* Descriptors for two of each, if that is allowed. */
static void raise_limits(void)
{
	struct rlimit r = {400000, 400000};

	if (setrlimit(RLIMIT_NOFILE, &r) == 0)
		return;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

int main(int argc, char **argv)
{
	raise_limits();
	for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
		if (argc == 2 && strcmp(argv[1], "--list") == 0)
			puts(curves[i].curve);
		else if (argc < 2)
			run(i, curves[i].most);
		for (int k = 1; k + 1 < argc; k += 2)
			if (strcmp(argv[k], curves[i].curve) == 0)
				run(i, atol(argv[k + 1]));
	}
	return 0;
}
