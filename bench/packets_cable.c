/* SPDX-License-Identifier: MIT */
/* For bench_packets: two virtual Ethernet devices in a network namespace of their own, and the
 * process that sends. */
#define _GNU_SOURCE 1 /* unshare */
#include "bench.h"
#include "packets.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sigevec.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
	frames = 256
}; /* one after the other: a frame's time must not be written over before the frame has been sent */

static void run(const char *command)
{
	if (system(command) != 0) {
		fprintf(stderr, "bench_packets: %s\n", command);
		exit(77);
	}
}

/* Both ends are in one namespace: the receiver's address is another host's as far as the sender
 * knows, and frames are made by hand. */
void lay_cable(void)
{
	char text[512];

	if (unshare(CLONE_NEWNET) != 0) {
		perror("unshare");
		exit(77);
	}
	run("for i in all default; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; echo 0 > "
	    "/proc/sys/net/ipv4/conf/$i/rp_filter; done");
	snprintf(text, sizeof text,
		 "ip link add e0 address 02:00:00:00:00:01 numrxqueues %d numtxqueues %d type veth "
		 "peer name e1 numrxqueues %d numtxqueues %d && "
		 "ip address add 10.66.0.1/24 dev e0 && ip link set e0 up && ip link set e1 up",
		 queues, queues, queues, queues);
	run(text);
}

static unsigned short checksum(const unsigned char *p, size_t n)
{
	unsigned long sum = 0;

	for (size_t i = 0; i < n; i += 2)
		sum += (unsigned long)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (unsigned short)~sum;
}

void make_frame(unsigned char *f, int queue)
{
	static const unsigned char header[] = {2, 0, 0,    0,  0, 1, 2,  0,  0, 0, 0,  2,
					       8, 0, 0x45, 0,  0, 0, 0,  0,  0, 0, 64, 17,
					       0, 0, 10,   66, 0, 2, 10, 66, 0, 1};
	size_t ip = packet_size - 14, udp = ip - 20;

	memset(f, 0, packet_size);
	memcpy(f, header, sizeof header);
	f[16] = (unsigned char)(ip >> 8), f[17] = (unsigned char)ip;
	unsigned short c = checksum(f + 14, 20);
	f[24] = (unsigned char)(c >> 8), f[25] = (unsigned char)c;
	f[34] = 0x11, f[35] = (unsigned char)queue; /* from */
	f[36] = port >> 8, f[37] = port & 0xff;
	f[38] = (unsigned char)(udp >> 8), f[39] = (unsigned char)udp;
}

int open_queue(const char *device, int queue, dma_mem_t *mem)
{
	int fd = ether_open(device, (unsigned)queue, 0);

	require(fd >= 0, "ether_open");
	require(dma_alloc(mem, region_size, 0) == 0 && dma_assoc(fd, *mem, region_size, 0) == 0,
		"region");
	return fd;
}

/* As fast as it can, 32 for a system call. */
static void send_quickly(int fd, void *const *frame)
{
	for (unsigned long i = 1;; i++)
		if (sio_send(fd, frame[0], packet_size, i % 32 != 0 ? MSG_MORE : 0) < 0 &&
		    errno != EAGAIN && errno != ENOBUFS)
			return;
}

/* One by one, each with the time at which it is sent. It does not sleep in between, and does not
 * make up for what it has missed. */
static void send_evenly(int fd, void *const *frame)
{
	double next = now();

	for (unsigned long i = 0;; i++) {
		double t;

		while ((t = now()) < next)
			;
		next = (next + gap > t ? next : t) + gap;
		memcpy((char *)frame[i % frames] + payload_at, &t, sizeof t);
		if (sio_send(fd, frame[i % frames], packet_size, 0) < 0 && errno != EAGAIN &&
		    errno != ENOBUFS)
			return;
	}
}

/* Through a queue of its own. */
static void *send_frames(void *number)
{
	dma_mem_t mem;
	void *frame[frames];
	int queue = (int)(long)number, fd = open_queue("e1", queue, &mem);

	for (int i = 0; i < frames; i++) {
		require(sio_reserve(mem, &frame[i], packet_size) == 0, "sio_reserve");
		make_frame(frame[i], queue);
	}
	if (gap == 0)
		send_quickly(fd, frame);
	else
		send_evenly(fd, frame);
	return NULL;
}

pid_t start_sender(void)
{
	pid_t parent = getpid(), child = fork();

	if (child != 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	on_processor(1);
	for (long q = 1; q < queues; q++) {
		pthread_t t;

		pthread_create(&t, NULL, send_frames, (void *)q);
	}
	send_frames(0);
	_exit(1);
}
