/* SPDX-License-Identifier: MIT */
/*
 * ether_notify DEVICE [FRAMES]: an asynchronous Ethernet receive, as U. Drepper's paper of 2006
 * sketches it. The device is opened, a call-back is registered, and the main program pauses. When
 * frames have arrived in its memory the call-back runs on a thread of the library's, and wakes the
 * main program by a signal, which takes them. Prints a line for each, and ends after so many.
 *
 * It takes the rights of ether_open(3); to try it: ip link add e0 type veth peer name e1, and send
 * something from e1.
 */
#include <sigevec.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { region_size = 4 << 20 };

static pthread_t main_thread;
static dma_mem_t mem;

static void woken(int number)
{
	(void)number; /* pause() returns */
}

static void io_complete(int fd, void *context)
{
	(void)fd;
	(void)context;
	pthread_kill(main_thread, SIGUSR1);
}

static void require(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

/* Takes what is there; returns how many that were. */
static long take(int fd)
{
	long count = 0;
	void *frame;

	for (int n; (n = sio_recv(fd, &frame, 65536, MSG_DONTWAIT)) > 0; count++) {
		const unsigned char *f = frame;

		if (n >= 14)
			printf("%d bytes from %02x:%02x:%02x:%02x:%02x:%02x, type %02x%02x\n", n,
			       f[6], f[7], f[8], f[9], f[10], f[11], f[12], f[13]);
		sio_release(mem, frame, (size_t)n);
	}
	return count;
}

int main(int argc, char **argv)
{
	long wanted = argc > 2 ? atol(argv[2]) : 1000000000;
	struct sigaction action = {.sa_handler = woken};
	sigset_t usual, blocked;
	int fd;

	if (argc < 2) {
		fprintf(stderr, "usage: %s DEVICE [FRAMES]\n", argv[0]);
		return 2;
	}
	/* Blocked but for the pause, so that a signal between two steps is not missed. */
	main_thread = pthread_self();
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &blocked, &usual);
	sigaction(SIGUSR1, &action, NULL);

	fd = ether_open(argv[1], 0, ETHER_PROMISC);
	require(fd >= 0, "ether_open");
	require(dma_alloc(&mem, region_size, 0) == 0, "dma_alloc");
	require(dma_assoc(fd, mem, region_size, 0) == 0, "dma_assoc");
	printf("waiting\n");
	while (wanted > 0) {
		require(async_io_notify(fd, io_complete, NULL) == 0, "async_io_notify");
		sigsuspend(&usual); /* pause(), with the signal let in */
		wanted -= take(fd);
		fflush(stdout);
	}
	require(dma_disassoc(fd, mem, region_size) == 0, "dma_disassoc");
	close(fd);
	dma_free(mem, region_size);
	return 0;
}
