/* SPDX-License-Identifier: MIT */
/*
 * Sources other than I/O: each against what a program would do without the library, in turns, so
 * that both see the same machine. Prints `name figure unit' lines for bench/run-sources. Usage:
 * bench_sources [rounds]
 */
#define _GNU_SOURCE
#include "bench.h"

#include <sigevec.h>

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int rounds = 20000;

struct pair {
	sem_t there, back;
};

/* The other process: answers each post of `back' with one of `there'. */
static pid_t start_answering(struct pair *p)
{
	pid_t child = fork();

	require(child >= 0, "fork");
	if (child != 0)
		return child;
	for (;;) {
		sem_wait(&p->back);
		sem_post(&p->there);
	}
}

static double sem_blocking(struct pair *p)
{
	double start = seconds();
	int i;

	for (i = 0; i < rounds; i++) {
		sem_post(&p->back);
		sem_wait(&p->there);
	}
	return (seconds() - start) / rounds * 1e6;
}

static double sem_event(struct pair *p, unsigned flags)
{
	ec_t ec = ec_create(flags);
	event_data_t event;
	double start, t;
	int i;

	require(ec >= 0, "ec_create");
	start = seconds();
	for (i = 0; i < rounds; i++) {
		require(ev_sem_wait(&p->there, NULL, ec, NULL) == 0, "ev_sem_wait");
		sem_post(&p->back);
		require(ec_next_event(ec, &event) == 0, "ec_next_event");
	}
	t = (seconds() - start) / rounds * 1e6;
	ec_destroy(ec);
	return t;
}

static void semaphores(void)
{
	struct pair *p =
		mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;

	require(p != MAP_FAILED && sem_init(&p->there, 1, 0) == 0 && sem_init(&p->back, 1, 0) == 0,
		"semaphores");
	child = start_answering(p);
	sem_blocking(p);
	printf("sem_wait_round_trip %.2f us\n", sem_blocking(p));
	printf("ev_sem_wait_round_trip %.2f us\n", sem_event(p, 0));
	printf("ev_sem_wait_round_trip_single %.2f us\n", sem_event(p, EC_SINGLE));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void mutexes(void)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	ec_t ec = ec_create(0);
	event_data_t event;
	int i, kind;

	for (kind = 0; kind < 4; kind++) {
		double start = seconds();
		for (i = 0; i < rounds; i++) {
			if (kind % 2 == 0) {
				pthread_mutex_lock(&m);
				require(ec_post(ec, 0, 0, NULL) == 0, "ec_post");
			} else
				require(ev_pthread_mutex_lock(&m, ec, NULL) == 0,
					"ev_pthread_mutex_lock");
			require(ec_next_event(ec, &event) == 0, "ec_next_event");
			pthread_mutex_unlock(&m);
		}
		if (kind >= 2)
			printf("%s %.3f us\n", kind == 2 ? "lock_and_post" : "ev_lock",
			       (seconds() - start) / rounds * 1e6);
	}
	ec_destroy(ec);
}

static sem_t told;

static void by_thread(union sigval v)
{
	(void)v;
	sem_post(&told);
}

static void queues(void)
{
	struct mq_attr a = {.mq_maxmsg = 1, .mq_msgsize = 8};
	char name[64], text[8];
	mqd_t q;
	ec_t ec = ec_create(0);
	event_data_t event;
	int kind, i, n = rounds / 4;

	snprintf(name, sizeof name, "/sigevec-bench-%d", (int)getpid());
	q = mq_open(name, O_RDWR | O_CREAT, 0600, &a);
	require(q != (mqd_t)-1 && sem_init(&told, 0, 0) == 0, "mq_open");
	mq_unlink(name);
	for (kind = 0; kind < 2; kind++) {
		struct sigevent e;
		double start = seconds();
		memset(&e, 0, sizeof e);
		e.sigev_notify = kind == 0 ? SIGEV_THREAD : SIGEV_EC;
		if (kind == 0)
			e.sigev_notify_function = by_thread;
		else
			e.sigev_ec = ec;
		for (i = 0; i < n; i++) {
			require(mq_notify(q, &e) == 0, "mq_notify");
			require(mq_send(q, "x", 1, 0) == 0, "mq_send");
			if (kind == 0)
				sem_wait(&told);
			else
				require(ec_next_event(ec, &event) == 0, "ec_next_event");
			require(mq_receive(q, text, sizeof text, NULL) == 1, "mq_receive");
		}
		printf("mq_notify_by_%s %.0f per_second\n", kind == 0 ? "thread" : "channel",
		       n / (seconds() - start));
	}
	mq_close(q);
	ec_destroy(ec);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		rounds = atoi(argv[1]);
	if (rounds < 4)
		return 2;
	semaphores();
	mutexes();
	queues();
	return 0;
}
