// SPDX-License-Identifier: MIT
#include "report.hpp"
#include "runner.hpp"

namespace calls {

namespace {

constexpr const char *beginning = R"(#define _GNU_SOURCE
/* cc -pthread -o sequence sequence.c -lutil; LD_PRELOAD=libsigevec.so.1 ./sequence */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static __thread int fd[512] = {777};
static __thread struct { struct aiocb cb; char *buffer; } r[512];
static pthread_barrier_t start;

#define CHECK(is, expected) check(__LINE__, #is, (long)(is), (long)(expected))
static void check(int line, const char *what, long is, long expected)
{
	if (is == expected)
		return;
	fprintf(stderr, "line %d: %s is %ld, not %ld\n", line, what, is, expected);
	_exit(1);
}
static unsigned hash(const char *data, long n)
{
	unsigned h = 2166136261u;
	while (n-- > 0)
		h = (h ^ (unsigned char)*data++) * 16777619u;
	return h;
}
static void told(union sigval value) { (void)value; }
static void signaled(int number) { (void)number; }
static struct sigevent event(int notify)
{
	struct sigevent e = {.sigev_notify = notify, .sigev_signo = SIGRTMIN + 3};
	if (notify == SIGEV_THREAD)
		e.sigev_notify_function = told;
	return e;
}
static void request(int i, int file, size_t size, long offset, int priority, int notify, int shift,
		    int operation)
{
	memset(&r[i].cb, 0xa5, sizeof r[i].cb);
	r[i].buffer = (char *)aligned_alloc(4096, (size / 4096 + 3) * 4096) + shift;
	r[i].cb.aio_fildes = file;
	r[i].cb.aio_buf = r[i].buffer;
	r[i].cb.aio_nbytes = size;
	r[i].cb.aio_offset = offset;
	r[i].cb.aio_reqprio = priority;
	r[i].cb.aio_lio_opcode = operation;
	r[i].cb.aio_sigevent = event(notify);
}
static void fill(int i, unsigned x)
{
	for (size_t j = 0; j < r[i].cb.aio_nbytes; ++j)
		r[i].buffer[j] = (char)((x = x * 1103515245 + 12345) >> 16);
}
static void answer(int is, int expected, int error)
{
	CHECK(is, expected);
	if (is != 0)
		CHECK(errno, error);
}
static void wait_for(int i)
{
	const struct aiocb *const list[] = {&r[i].cb};
	while (aio_error(&r[i].cb) == EINPROGRESS)
		aio_suspend(list, 1, NULL);
}
static void ended(int i, long result, int error, unsigned data)
{
	CHECK(aio_error(&r[i].cb), error);
	CHECK(aio_return(&r[i].cb), result);
	if (data != 0)
		CHECK(hash(r[i].buffer, result), data);
}
static void pending(int i) { CHECK(aio_error(&r[i].cb), EINPROGRESS); }
static void cancel(int file, struct aiocb *cb, int expected) { CHECK(aio_cancel(file, cb), expected); }
static void suspend(int must, int n, const struct aiocb *const *list)
{
	const struct timespec moment = {0, 1000};
	const int is = aio_suspend(list, n, must ? NULL : &moment);
	if (must)
		CHECK(is, 0);
}
static void list(int mode, int notify, int n, struct aiocb **all)
{
	static const int how[] = {SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD};
	struct sigevent e = event(how[notify]);
	if (lio_listio(mode, all, n, &e) != 0)
		CHECK(errno, EIO);
}
static void take(int file, long n, unsigned data)
{
	static __thread char buffer[1 << 18];
	struct pollfd ready = {file, POLLIN, 0};
	poll(&ready, 1, -1);
	CHECK(read(file, buffer, sizeof buffer), n);
	CHECK(hash(buffer, n), data);
}
static void contents(const char *path, long n, unsigned data)
{
	char *const buffer = malloc((size_t)n + 1);
	CHECK(pread(open(path, O_RDONLY), buffer, (size_t)n + 1, 0), n);
	CHECK(hash(buffer, n), data);
	unlink(path);
}
static void set_flag(int file, int flag, int on)
{
	const int flags = fcntl(file, F_GETFL);
	fcntl(file, F_SETFL, on ? flags | flag : flags & ~flag);
}
static void make_pipe(int *ends) { CHECK(pipe(ends), 0); }
static void make_fifo(int *ends)
{
	char path[64];
	snprintf(path, sizeof path, "/tmp/sequence-%d-%p", getpid(), (void *)ends);
	mkfifo(path, 0600);
	ends[0] = open(path, O_RDONLY | O_NONBLOCK);
	ends[1] = open(path, O_WRONLY);
	fcntl(ends[0], F_SETFL, 0);
	unlink(path);
}
static void make_unix_stream(int *ends) { CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0); }
static void make_seqpacket(int *ends) { CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0); }
static void make_datagrams(int *ends) { CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0); }
static void make_tcp(int *ends)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof address;
	const int listener = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ends[1] = socket(AF_INET, SOCK_STREAM, 0);
	bind(listener, (struct sockaddr *)&address, length);
	listen(listener, 1);
	getsockname(listener, (struct sockaddr *)&address, &length);
	CHECK(connect(ends[1], (struct sockaddr *)&address, length), 0);
	ends[0] = accept(listener, NULL, NULL);
	close(listener);
}
static void make_pty(int *ends)
{
	struct termios raw;
	memset(&raw, 0, sizeof raw);
	cfmakeraw(&raw);
	raw.c_cflag |= CREAD;
	CHECK(openpty(&ends[1], &ends[0], NULL, &raw, NULL), 0);
}
static void child(void)
{
	int status = 0;
	if (fork() == 0) {
		make_pipe(fd);
		request(0, fd[0], 6, 0, 0, SIGEV_NONE, 0, LIO_READ);
		request(1, fd[1], 6, 0, 0, SIGEV_NONE, 0, LIO_WRITE);
		CHECK(aio_read(&r[0].cb), 0);
		CHECK(aio_write(&r[1].cb), 0);
		wait_for(0);
		ended(0, 6, 0, 0);
		_exit(0);
	}
	wait(&status);
	CHECK(status, 0);
}
)";

constexpr const char *ending = R"(
int main(void)
{
	pthread_t thread[sizeof functions / sizeof *functions];
	const void *const used[] = {(void *)fill, (void *)answer, (void *)pending, (void *)cancel,
		(void *)suspend, (void *)list, (void *)take, (void *)contents, (void *)set_flag,
		(void *)make_fifo, (void *)make_unix_stream, (void *)make_seqpacket,
		(void *)make_datagrams, (void *)make_tcp, (void *)make_pty, (void *)child};
	const size_t n = sizeof functions / sizeof *functions;
	(void)used;
	signal(SIGRTMIN + 3, signaled);
	pthread_barrier_init(&start, NULL, (unsigned)n);
	for (size_t i = 0; i < n; ++i)
		pthread_create(&thread[i], NULL, functions[i], NULL);
	for (size_t i = 0; i < n; ++i)
		pthread_join(thread[i], NULL);
	puts("all is right");
	return 0;
}
)";

} // namespace

std::string c_program(const std::string &what)
{
	std::string text = "/* " + what + " */\n" + beginning, functions;
	for (unsigned t = 0; t < most_threads; ++t) {
		if (report().used[t] == 0)
			continue;
		const std::string name = "thread_" + std::to_string(t);
		text += "\nstatic void *" + name + "(void *nothing)\n{\n" +
			"\tfd[1] = open(\"/\", O_RDONLY);\n\tpthread_barrier_wait(&start);\n" +
			report().lines[t] + "\treturn nothing;\n}\n";
		functions += name + ", ";
	}
	return text + "static void *(*const functions[])(void *) = {" + functions + "};\n" + ending;
}

} // namespace calls
