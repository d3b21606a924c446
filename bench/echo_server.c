/* SPDX-License-Identifier: MIT */
/*
 * bench_echo, bench_echo_sigevec: SERVER | --list
 *
 * Listens on a port of the loopback interface, prints "port N", and echoes. For each SIGUSR1 it
 * prints "report MESSAGES CPU-MICROSECONDS RESIDENT-KILOBYTES": messages so far, processor time of
 * all its threads so far.
 */
#include "echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

volatile unsigned long echoed;

void echo_die(const char *what, int error)
{
	fprintf(stderr, "echo server: %s: %s\n", what, strerror(error));
	exit(1);
}

struct connection *echo_connection(int fd)
{
	struct connection *c = malloc(sizeof *c);
	int on = 1;

	echo_require(c != NULL, "malloc", ENOMEM);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	c->fd = fd;
	c->sending = 0;
	return c;
}

void echo_close(struct connection *c)
{
	close(c->fd);
	free(c);
}

static long resident_kilobytes(void)
{
	char text[128] = "";
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	long pages = 0;

	if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strchr(text, ' '))
		pages = atol(strchr(text, ' '));
	close(fd);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void report(int number)
{
	int saved = errno;
	struct rusage used;
	char line[128];
	long long us;

	(void)number;
	getrusage(RUSAGE_SELF, &used);
	us = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec +
	     used.ru_stime.tv_usec;
	snprintf(line, sizeof line, "report %lu %lld %ld\n", echoed, us, resident_kilobytes());
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		_exit(1);
	errno = saved;
}

static int listen_on_loopback(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	echo_require(fd >= 0, "socket", errno);
	echo_require(bind(fd, (struct sockaddr *)&address, length) == 0, "bind", errno);
	echo_require(listen(fd, echo_backlog) == 0, "listen", errno);
	echo_require(getsockname(fd, (struct sockaddr *)&address, &length) == 0, "getsockname",
		     errno);
	printf("port %d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = report, .sa_flags = SA_RESTART};
	struct rlimit files;
	const struct echo_server *s;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (s = echo_servers; s->name; s++)
			puts(s->name);
		return 0;
	}
	for (s = echo_servers; argc == 2 && s->name; s++) {
		if (strcmp(s->name, argv[1]) != 0)
			continue;
		getrlimit(RLIMIT_NOFILE, &files);
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
		signal(SIGPIPE, SIG_IGN);
		sigaction(SIGUSR1, &action, NULL);
		s->serve(listen_on_loopback());
	}
	fprintf(stderr, "usage: %s SERVER | --list\n", argv[0]);
	return 2;
}
