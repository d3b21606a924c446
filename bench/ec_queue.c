/* SPDX-License-Identifier: MIT */
/*
 * bench_ec_queue [--list | CASE...]: what an event costs in a channel's queue, against an eventfd,
 * and what requests cost that wait for theirs. Prints "figure value unit". Both sides of a
 * comparison are measured in turns within one run; bench/run-ec-queue repeats runs and takes
 * medians.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sigevec.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	most_posters = 4,
	at_once = 32,
	waiting = 32768,
	handed = 200000,
	turns = 20000,
	many = 10000,
	busy = 10
};

static ec_t channel(unsigned flags)
{
	ec_t ec = ec_create(EC_CLOEXEC | flags);

	require(ec >= 0, "ec_create");
	return ec;
}

/* --- reading events that wait -----------------------------------------------------------------
 */

static void read_waiting(const char *figure, unsigned flags)
{
	event_data_t events[at_once];
	ec_t ec = channel(flags);
	double start;

	for (long i = 0; i < waiting; i++)
		require(ec_post(ec, i, 0, NULL) == 0, "ec_post");
	start = now();
	for (long left = waiting; left > 0;) {
		int n = ec_next_events(ec, events, at_once, NULL);

		require(n > 0, "ec_next_events");
		left -= n;
	}
	printf("%s %.1f ns\n", figure, (now() - start) / waiting);
	ec_destroy(ec);
}

static void case_read(void)
{
	read_waiting("read/single", EC_SINGLE);
	read_waiting("read/shared", 0);
}

/* --- from threads to a thread, all of them busy
 * ------------------------------------------------------------------------ */

struct source {
	int fd;
	long events;
};

static void *post_events(void *argument)
{
	struct source *s = argument;

	for (long i = 0; i < s->events;) {
		if (ec_post(s->fd, i, 0, NULL) == 0)
			i++;
		else if (errno == EAGAIN) /* full */
			sched_yield();
		else
			require(0, "ec_post");
	}
	return NULL;
}

static void *write_events(void *argument)
{
	struct source *s = argument;
	const uint64_t one = 1;

	for (long i = 0; i < s->events; i++)
		require(write(s->fd, &one, sizeof one) == sizeof one, "write");
	return NULL;
}

static void take_event(int ec)
{
	event_data_t e;

	require(ec_next_event(ec, &e) == 0, "ec_next_event");
}

static void read_event(int fd)
{
	uint64_t one;

	require(read(fd, &one, sizeof one) == sizeof one, "read");
}

/* Time for an event, from `posters` threads to this one. */
static double hand_over(int fd, int posters, void *(*give)(void *), void (*take)(int))
{
	struct source s = {fd, handed / posters};
	pthread_t threads[most_posters];
	double start = now();

	for (int i = 0; i < posters; i++)
		require(pthread_create(&threads[i], NULL, give, &s) == 0, "pthread_create");
	for (long i = 0; i < s.events * posters; i++)
		take(fd);
	for (int i = 0; i < posters; i++)
		pthread_join(threads[i], NULL);
	return (now() - start) / handed;
}

static void hand_over_both(const char *figure, int posters)
{
	ec_t single = channel(EC_SINGLE), shared = channel(0);
	int event = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE); /* each event is read, none merged */

	require(event >= 0, "eventfd");
	printf("%s/single %.1f ns\n", figure, hand_over(single, posters, post_events, take_event));
	printf("%s/shared %.1f ns\n", figure, hand_over(shared, posters, post_events, take_event));
	printf("%s/eventfd %.1f ns\n", figure, hand_over(event, posters, write_events, read_event));
	ec_destroy(single);
	ec_destroy(shared);
	close(event);
}

static void case_load(void)
{
	hand_over_both("load-1", 1);
	hand_over_both("load-4", 4);
}

/* --- one event at a time, there and back: the reader sleeps each time
 * ---------------------------------------------------- */

struct pair {
	int there, back;
	void (*give)(int), (*take)(int);
};

static void post_event(int ec)
{
	require(ec_post(ec, 0, 0, NULL) == 0, "ec_post");
}

static void write_event(int fd)
{
	const uint64_t one = 1;

	require(write(fd, &one, sizeof one) == sizeof one, "write");
}

static void *answer(void *argument)
{
	struct pair *p = argument;

	for (int i = 0; i < turns; i++) {
		p->take(p->there);
		p->give(p->back);
	}
	return NULL;
}

static void wake(const char *figure, struct pair p)
{
	pthread_t thread;
	double start = now();

	require(pthread_create(&thread, NULL, answer, &p) == 0, "pthread_create");
	for (int i = 0; i < turns; i++) {
		p.give(p.there);
		p.take(p.back);
	}
	pthread_join(thread, NULL);
	printf("%s %.1f ns\n", figure, (now() - start) / (2 * turns));
}

static void case_wake(void)
{
	struct pair single = {channel(EC_SINGLE), channel(EC_SINGLE), post_event, take_event};
	struct pair shared = {channel(0), channel(0), post_event, take_event};
	struct pair event = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC), write_event,
			     read_event};

	wake("wake/single", single);
	wake("wake/shared", shared);
	wake("wake/eventfd", event);
}

/* --- a receive, its data and its event, while others wait -------------------------------------
 */

struct receiver {
	int here, there;
	char byte;
};

static void receive(ec_t ec, struct receiver *r)
{
	require(ev_recv(r->here, &r->byte, 1, 0, ec, r) == 0, "ev_recv");
}

/* As many of them are busy, whatever their number: the kernel's own work stays the same. */
static double receive_beside(ec_t ec, struct receiver *all)
{
	double start = now();

	for (int i = 0; i < turns; i++) {
		struct receiver *r = &all[i % busy];
		event_data_t e;

		require(write(r->there, "x", 1) == 1, "write");
		require(ec_next_event(ec, &e) == 0 && e.ev_data == r, "ec_next_event");
		receive(ec, r);
	}
	return (now() - start) / turns;
}

static void pending(const char *kind, unsigned flags)
{
	struct receiver *all = calloc(many, sizeof *all);
	ec_t ec = channel(flags);
	double few, before;

	for (int i = 0; i < many; i++) {
		int ends[2] = {socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0),
			       -1}; /* nobody sends there */

		if (i < busy) {
			close(ends[0]);
			require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0,
				"socketpair");
		}
		require(ends[0] >= 0, "socket");
		all[i].here = ends[0];
		all[i].there = ends[1];
	}
	for (int i = 0; i < busy; i++)
		receive(ec, &all[i]);
	few = receive_beside(ec, all);
	before = resident();
	for (int i = busy; i < many; i++)
		receive(ec, &all[i]);
	/* Those that are under way are handed over by then. */
	printf("pending-10000/%s %.1f ns\n", kind, receive_beside(ec, all));
	printf("pending-10/%s %.1f ns\n", kind, few);
	printf("memory/%s %.1f bytes\n", kind, (resident() - before) / (many - busy));
	ec_destroy(ec);
	for (int i = 0; i < many; i++) {
		close(all[i].here);
		if (i < busy)
			close(all[i].there);
	}
	free(all);
}

static void case_pending(void)
{
	struct rlimit most;

	getrlimit(RLIMIT_NOFILE, &most);
	most.rlim_cur = most.rlim_max;
	setrlimit(RLIMIT_NOFILE, &most);
	if (most.rlim_cur < many + 100)
		return; /* nothing to say about that many */
	pending("single", EC_SINGLE | EC_BATCH);
	pending("shared", 0);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{"read", case_read}, {"load", case_load}, {"wake", case_wake}, {"pending", case_pending}};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int wanted = argc == 1;

		for (int k = 1; k < argc; k++)
			wanted |= strcmp(argv[k], cases[i].name) == 0;
		if (argc == 2 && strcmp(argv[1], "--list") == 0)
			puts(cases[i].name);
		else if (wanted)
			cases[i].run();
	}
	return 0;
}
