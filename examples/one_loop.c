/* SPDX-License-Identifier: MIT */
/*
 * one_loop: one epoll loop, one channel, and everything a program may wait for: a socket, a file, a
 * message queue, a timer, a semaphore that another process posts, a signal, a name. Each is started
 * once; the program ends when all have been heard.
 *
 *	cc one_loop.c $(pkg-config --cflags --libs sigevec)
 */
#define _GNU_SOURCE /* getaddrinfo_a */
#include <sigevec.h>

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What an event's ev_data points to. */
struct source {
	const char *name;
	int heard;
};

enum {
	from_socket,
	from_file,
	from_queue,
	from_timer,
	from_semaphore,
	from_signal,
	from_name,
	sources
};

static struct source source[sources] = {
	[from_socket] = {.name = "socket"},       [from_file] = {.name = "file"},
	[from_queue] = {.name = "message queue"}, [from_timer] = {.name = "timer"},
	[from_semaphore] = {.name = "semaphore"}, [from_signal] = {.name = "signal"},
	[from_name] = {.name = "name look-up"},
};

static ec_t ec;

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "one_loop: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sigevent tell(int which)
{
	struct sigevent e;

	memset(&e, 0, sizeof e);
	e.sigev_notify = SIGEV_EC;
	e.sigev_ec = ec;
	e.sigev_value.sival_ptr = &source[which];
	return e;
}

static void start_socket(void)
{
	static char data[16];
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	must(ev_recv(pair[0], data, sizeof data, 0, ec, &source[from_socket]) == 0, "ev_recv");
	must(write(pair[1], "hello", 5) == 5, "write");
}

static void start_file(void)
{
	static char data[64];
	static struct aiocb cb;

	cb.aio_fildes = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	cb.aio_buf = data;
	cb.aio_nbytes = sizeof data;
	cb.aio_sigevent = tell(from_file);
	must(aio_read(&cb) == 0, "aio_read");
}

static void start_queue(void)
{
	struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 16};
	struct sigevent e = tell(from_queue);
	char name[32];
	mqd_t queue;

	snprintf(name, sizeof name, "/one_loop-%d", (int)getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
	must(queue != (mqd_t)-1 && mq_unlink(name) == 0, "mq_open");
	must(mq_notify(queue, &e) == 0, "mq_notify");
	must(mq_send(queue, "hello", 5, 0) == 0, "mq_send");
}

static void start_timer(void)
{
	struct itimerspec soon = {.it_value = {.tv_nsec = 20000000}};
	struct sigevent e = tell(from_timer);
	timer_t timer;

	must(timer_create(CLOCK_MONOTONIC, &e, &timer) == 0, "timer_create");
	must(timer_settime(timer, 0, &soon, NULL) == 0, "timer_settime");
}

/* The child posts, and its end is the signal. */
static void start_semaphore_and_signal(void)
{
	sem_t *done =
		mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sigset_t set;

	must(done != MAP_FAILED && sem_init(done, 1, 0) == 0, "sem_init");
	must(ev_sem_wait(done, NULL, ec, &source[from_semaphore]) == 0, "ev_sem_wait");
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	must(ev_signal(&set, ec, &source[from_signal]) == 0, "ev_signal");
	if (fork() == 0)
		_exit(sem_post(done));
}

static void start_name(void)
{
	static struct addrinfo hints = {.ai_flags = AI_NUMERICHOST};
	static struct gaicb request = {.ar_name = "127.0.0.1", .ar_request = &hints};
	static struct gaicb *list[] = {&request};
	struct sigevent e = tell(from_name);

	must(getaddrinfo_a(GAI_NOWAIT, list, 1, &e) == 0, "getaddrinfo_a");
}

/* Returns how many of the sources have been heard of now for the first time. */
static int take_events(void)
{
	event_data_t events[16];
	int i, n, heard = 0;

	while ((n = ec_next_events(ec, events, 16, NULL)) > 0)
		for (i = 0; i < n; i++) {
			struct source *s = events[i].ev_data;
			errno = events[i].ev_errno;
			must(errno == 0, s->name);
			printf("%s: %zd\n", s->name, events[i].ev_result);
			heard += s->heard++ == 0;
		}
	must(n == 0, "ec_next_events");
	return heard;
}

int main(void)
{
	struct epoll_event e = {.events = EPOLLIN};
	int loop = epoll_create1(EPOLL_CLOEXEC), heard = 0;

	ec = ec_create(EC_CLOEXEC | EC_NONBLOCK | EC_SINGLE);
	must(ec >= 0 && loop >= 0 && epoll_ctl(loop, EPOLL_CTL_ADD, ec_to_fd(ec), &e) == 0,
	     "ec_create");
	start_socket();
	start_file();
	start_queue();
	start_timer();
	start_semaphore_and_signal();
	start_name();
	while (heard < sources) {
		must(epoll_wait(loop, &e, 1, -1) == 1 || errno == EINTR, "epoll_wait");
		heard += take_events();
	}
	wait(NULL);
	return ec_destroy(ec);
}
