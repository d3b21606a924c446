/* SPDX-License-Identifier: MIT */
/*
 * A program with POSIX AIO, for the tests of sigevec(1).
 *   aio_user [--reads N] [--crash | --exit STATUS | --quick-exit | --fork | --hang] FILE
 * Reads N blocks of FILE one after the other, then ends as it is told. With --hang it waits for a
 * byte on standard input, a read of a pipe outstanding. -DNO_AIO: without AIO; -DOWN_AIO: with an
 * aio_read of its own; -DLIBRARY: a library; -DBY_NAME: by dlsym.
 */
#define _GNU_SOURCE
#include <aio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef OWN_AIO
int aio_read(struct aiocb *cb)
{
	(void)cb;
	return 0;
}
#endif

#ifndef NO_AIO
static struct aiocb pending;

static void read_blocks(const char *name, int n)
{
	static char block[4096];
	int fd = open(name, O_RDONLY);
	if (fd < 0)
		exit(99);
	for (int i = 0; i < n; i++) {
		struct aiocb cb;
		memset(&cb, 0, sizeof cb);
		cb.aio_fildes = fd;
		cb.aio_buf = block;
		cb.aio_nbytes = sizeof block;
		const struct aiocb *list[] = {&cb};
		if (aio_read(&cb) != 0)
			exit(98);
		while (aio_error(&cb) == EINPROGRESS)
			aio_suspend(list, 1, NULL);
		if (aio_return(&cb) < 0)
			exit(97);
	}
	close(fd);
}

static void leave_one_pending(void)
{
	static char byte;
	static int ends[2];
	if (pipe(ends) != 0)
		exit(96);
	pending.aio_fildes = ends[0];
	pending.aio_buf = &byte;
	pending.aio_nbytes = 1;
	if (aio_read(&pending) != 0)
		exit(95);
}
#endif

#ifdef LIBRARY
void use_aio(const char *name)
{
	read_blocks(name, 1);
}
#else
int main(int argc, char **argv)
{
#ifdef NO_AIO
#ifdef BY_NAME
	return dlsym(RTLD_DEFAULT, "aio_read") == NULL;
#endif
	(void)argv;
	return argc > 100;
#else
	int reads = 10, status = 0;
	char how = ' ';
	for (int i = 1; i < argc - 1; i++) {
		if (strcmp(argv[i], "--reads") == 0)
			reads = atoi(argv[++i]);
		else if (strcmp(argv[i], "--exit") == 0)
			status = atoi(argv[++i]);
		else
			how = argv[i][2];
	}
	read_blocks(argv[argc - 1], reads);
	if (how == 'c') {
		leave_one_pending();
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	if (how == 'q')
		_exit(status);
	if (how == 'f') {
		pid_t child = fork();
		if (child == 0) {
			read_blocks(argv[argc - 1], 2 * reads);
			exit(0);
		}
		waitpid(child, NULL, 0);
	}
	if (how == 'h') {
		char c;
		leave_one_pending();
		printf("%d\n", (int)getpid());
		fflush(stdout);
		if (read(STDIN_FILENO, &c, 1) < 0)
			return 94;
	}
	return status;
#endif
}
#endif
