/* SPDX-License-Identifier: MIT */
/*
 * bench_packets WAY SIZE SECONDS QUEUES: packets over a pair of virtual Ethernet devices, in a network namespace of its own.
 * bench_packets --list: the ways.
 *
 * A second process sends, on processor 1 if there is one; this one receives for so long, on processor 0, and prints
 * "packets-per-second CPU-nanoseconds-per-packet". With 0 queues one thread sends 64 and takes 64, in turns, on one processor, which is told
 * of the ways that can take what is there. As root; ends with 77 where that cannot be.
 */
#define _GNU_SOURCE 1 /* unshare, recvmmsg, processors */
#include "bench.h"
#include "config.h"
#include "packets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sigevec.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { batch = 64, region_size = 16 << 20, port = 7777, most_queues = 8, outstanding = 256 };

static size_t packet_size; /* bytes of the whole frame */
static int queues;
static volatile int over;
static unsigned long received[most_queues];

static void on_processor(int n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(n, &set);
	sched_setaffinity(0, sizeof set, &set); /* with one processor it stays where it is */
}

static void run(const char *command)
{
	if (system(command) != 0) {
		fprintf(stderr, "bench_packets: %s\n", command);
		exit(77);
	}
}

/* Both ends are in one namespace: the receiver's address is another host's as far as the sender knows, and frames are made by hand. */
static void lay_cable(void)
{
	char text[512];

	if (unshare(CLONE_NEWNET) != 0) {
		perror("unshare");
		exit(77);
	}
	run("for i in all default; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter; done");
	snprintf(text, sizeof text,
		 "ip link add e0 address 02:00:00:00:00:01 numrxqueues %d numtxqueues %d type veth peer name e1 numrxqueues %d numtxqueues %d && "
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

static void make_frame(unsigned char *f, int queue)
{
	static const unsigned char header[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 66, 0, 2, 10, 66, 0, 1};
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

/* Sends as fast as it can, through a queue of its own. */
static void *send_frames(void *number)
{
	int queue = (int)(long)number, fd = ether_open("e1", (unsigned)queue, 0);
	dma_mem_t mem;
	void *frame;

	require(fd >= 0, "ether_open");
	require(dma_alloc(&mem, region_size, 0) == 0 && dma_assoc(fd, mem, region_size, 0) == 0, "region");
	require(sio_reserve(mem, &frame, packet_size) == 0, "sio_reserve");
	make_frame(frame, queue);
	for (unsigned long i = 1;; i++)
		if (sio_send(fd, frame, packet_size, i % 32 != 0 ? MSG_MORE : 0) < 0 && errno != EAGAIN && errno != ENOBUFS)
			return NULL;
}

static pid_t start_sender(void)
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

static int udp_socket(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), large = 1 << 22;

	require(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0, "UDP socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
	return fd;
}

/* ---- the ways: each receives until it is over ------------------------------------------------------------------------ */

static char buffers[outstanding][2048];

static void by_recv(void)
{
	int fd = udp_socket();

	while (!over)
		received[0] += recv(fd, buffers[0], sizeof buffers[0], 0) >= 0;
}

static void by_recvmmsg(void)
{
	struct mmsghdr m[batch] = {0};
	struct iovec v[batch];
	int fd = udp_socket();

	for (int i = 0; i < batch; i++) {
		v[i] = (struct iovec){buffers[i], sizeof buffers[i]};
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	while (!over) {
		int n = recvmmsg(fd, m, batch, MSG_WAITFORONE, NULL);

		received[0] += n > 0 ? (unsigned long)n : 0;
	}
}

static void by_epoll(void)
{
	int fd = udp_socket(), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN};

	require(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0, "epoll");
	while (!over)
		if (epoll_wait(ep, &e, 1, 100) == 1)
			while (recv(fd, buffers[0], sizeof buffers[0], MSG_DONTWAIT) >= 0)
				received[0]++;
}

static void on_channel(unsigned events, unsigned time, unsigned busy)
{
	const struct timespec limit = {0, 100000000};
	static event_data_t e[batch];
	int fd = udp_socket();
	ec_t ec = ec_create(EC_CLOEXEC | EC_SINGLE | EC_BATCH);

	require(ec >= 0 && ec_moderate(ec, events, time) == 0 && ec_busy_poll(ec, busy) == 0, "channel");
	for (int i = 0; i < outstanding; i++)
		require(ev_recv(fd, buffers[i], sizeof buffers[i], 0, ec, buffers[i]) == 0, "ev_recv");
	while (!over) {
		int n = ec_next_events(ec, e, batch, &limit);

		for (int i = 0; i < n; i++) {
			received[0]++;
			require(ev_recv(fd, e[i].ev_data, sizeof buffers[0], 0, ec, e[i].ev_data) == 0, "ev_recv");
		}
	}
}

static void by_channel(void)
{
	on_channel(0, 0, 0);
}

static void by_busy_channel(void)
{
	on_channel(0, 0, 50);
}

static void by_moderated_channel(void)
{
	on_channel(32, 50, 0);
}

static void *receive_frames(void *number)
{
	long queue = (long)number;
	int fd = ether_open("e0", (unsigned)queue, 0);
	dma_mem_t mem;
	void *frame;

	require(fd >= 0, "ether_open");
	require(dma_alloc(&mem, region_size, 0) == 0 && dma_assoc(fd, mem, region_size, 0) == 0, "region");
	while (!over) {
		int n = sio_recv(fd, &frame, 2048, 0);

		if (n <= 0)
			break;
		sio_release(mem, frame, (size_t)n);
		received[queue]++;
	}
	return NULL;
}

static void by_region(void)
{
	for (long q = 1; q < queues; q++) {
		pthread_t t;

		pthread_create(&t, NULL, receive_frames, (void *)q);
	}
	receive_frames(0);
}

#ifdef HAVE_LIBXDP
static void by_libxdp(void)
{
	xdp_open("e0");
	while (!over) {
		unsigned long n = xdp_take();

		received[0] += n;
		if (n == 0)
			xdp_wait();
	}
}
#endif

/* ---- the same in turns, on one processor ----------------------------------------------------------------------------- */

static int taker = -1;
static dma_mem_t taker_mem;
static struct mmsghdr taker_messages[batch];
static struct iovec taker_parts[batch];

static void open_udp(void)
{
	taker = udp_socket();
	for (int i = 0; i < batch; i++) {
		taker_parts[i] = (struct iovec){buffers[i], sizeof buffers[i]};
		taker_messages[i].msg_hdr.msg_iov = &taker_parts[i];
		taker_messages[i].msg_hdr.msg_iovlen = 1;
	}
}

static unsigned long take_udp(void)
{
	int n = recvmmsg(taker, taker_messages, batch, MSG_DONTWAIT, NULL);

	return n > 0 ? (unsigned long)n : 0;
}

static void open_region(void)
{
	taker = ether_open("e0", 0, 0);
	require(taker >= 0, "ether_open");
	require(dma_alloc(&taker_mem, region_size, 0) == 0 && dma_assoc(taker, taker_mem, region_size, 0) == 0, "region");
}

static unsigned long take_region(void)
{
	unsigned long count = 0;
	void *frame;

	for (int n; count < batch && (n = sio_recv(taker, &frame, 2048, MSG_DONTWAIT)) > 0; count++)
		sio_release(taker_mem, frame, (size_t)n);
	return count;
}

#ifdef HAVE_LIBXDP
static void open_xdp(void)
{
	xdp_open("e0");
}
#endif

static void in_turns(void (*open)(void), unsigned long (*take)(void))
{
	int fd = ether_open("e1", 0, 0);
	dma_mem_t mem;
	void *frame;

	require(fd >= 0, "ether_open");
	require(dma_alloc(&mem, region_size, 0) == 0 && dma_assoc(fd, mem, region_size, 0) == 0, "region");
	require(sio_reserve(mem, &frame, packet_size) == 0, "sio_reserve");
	make_frame(frame, 0);
	open();
	while (!over) {
		for (int i = 1; i <= batch; i++)
			sio_send(fd, frame, packet_size, i != batch ? MSG_MORE : 0);
		for (unsigned long n, left = batch; left > 0 && (n = take()) > 0; left -= n)
			received[0] += n;
	}
}

static const struct {
	const char *name;
	void (*receive)(void);
	void (*open)(void);
	unsigned long (*take)(void);
} ways[] = {
	{"recv", by_recv, NULL, NULL},
	{"recvmmsg", by_recvmmsg, open_udp, take_udp},
	{"epoll", by_epoll, NULL, NULL},
	{"channel", by_channel, NULL, NULL},
	{"channel-busy", by_busy_channel, NULL, NULL},
	{"channel-moderated", by_moderated_channel, NULL, NULL},
	{"region", by_region, open_region, take_region},
#ifdef HAVE_LIBXDP
	{"libxdp", by_libxdp, open_xdp, xdp_take},
#endif
};

static unsigned long total(void)
{
	unsigned long n = 0;

	for (int q = 0; q < most_queues; q++)
		n += *(volatile unsigned long *)&received[q];
	return n;
}

/* Measures while the others work, and ends the program. */
static void *measure(void *seconds_text)
{
	double length = atof(seconds_text) * 1e9, start, used;
	unsigned long before;
	struct timespec warm = {0, 300000000}, t;

	nanosleep(&warm, NULL);
	start = now();
	used = processor_time();
	before = total();
	t.tv_sec = (time_t)(length / 1e9);
	t.tv_nsec = (long)(length - 1e9 * (double)t.tv_sec);
	nanosleep(&t, NULL);
	double count = (double)(total() - before), elapsed = now() - start;

	used = processor_time() - used;
	printf("%.0f %.1f\n", count / elapsed * 1e9, count > 0 ? used / count : 0);
	fflush(stdout);
	_exit(count > 0 ? 0 : 1);
}

int main(int argc, char **argv)
{
	size_t count = sizeof ways / sizeof ways[0];

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < count; i++)
			puts(ways[i].name);
		return 0;
	}
	for (size_t i = 0; argc == 5 && i < count; i++) {
		pthread_t t;

		if (strcmp(argv[1], ways[i].name) != 0)
			continue;
		packet_size = (size_t)atoi(argv[2]);
		queues = atoi(argv[4]);
		int turns = queues == 0;

		queues += turns;
		if (packet_size < 60 || packet_size > 1514 || queues < 1 || queues > most_queues || (turns && !ways[i].take))
			break;
		lay_cable();
		if (!turns)
			start_sender();
		if (queues == 1)
			on_processor(0);
		require(pthread_create(&t, NULL, measure, argv[3]) == 0, "pthread_create");
		if (turns)
			in_turns(ways[i].open, ways[i].take);
		else
			ways[i].receive();
		pause();
	}
	fprintf(stderr, "usage: %s WAY SIZE SECONDS QUEUES | --list\n", argv[0]);
	return 2;
}
