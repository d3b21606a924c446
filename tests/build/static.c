/* SPDX-License-Identifier: MIT */
/* A static program: the library's functions are the library's, and those that it takes over for
 * SIGEV_EC alone are libc's. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <sigevec.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int failures;

static void check(int right, const char *what)
{
	if (right)
		return;
	printf("%s: %s\n", what, strerror(errno));
	failures++;
}

static void check_libc(void)
{
	struct sigevent none = {.sigev_notify = SIGEV_NONE};
	struct gaicb request = {.ar_name = "127.0.0.1"};
	struct gaicb *list[] = {&request};
	timer_t timer;

	check(timer_create(CLOCK_MONOTONIC, &none, &timer) == 0, "timer_create");
	check(timer_getoverrun(timer) == 0, "timer_getoverrun");
	check(timer_delete(timer) == 0, "timer_delete");
	check(mq_notify(-1, NULL) == -1 && errno == EBADF, "mq_notify");
	check(getaddrinfo_a(GAI_WAIT, list, 1, NULL) == 0 && gai_error(&request) == 0,
	      "getaddrinfo_a");
}

static void check_library(void)
{
	struct aiocb cb = {.aio_nbytes = 4, .aio_sigevent = {.sigev_notify = SIGEV_NONE}};
	const struct aiocb *list[] = {&cb};
	char magic[4] = "";
	struct sigevec_limits limits;
	ec_t ec = ec_create(0);

	cb.aio_fildes = open("/proc/self/exe", O_RDONLY);
	cb.aio_buf = magic;
	check(aio_read(&cb) == 0 && aio_suspend(list, 1, NULL) == 0 && aio_return(&cb) == 4,
	      "aio_read");
	check(memcmp(magic, "\177ELF", 4) == 0, "what was read");
	check(ec >= 0 && ec_destroy(ec) == 0, "ec_create, ec_destroy");
	check(sigevec_get_limits(&limits) == 0, "sigevec_get_limits");
}

int main(void)
{
	check_libc();
	check_library();
	return failures != 0;
}
