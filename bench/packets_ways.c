/* SPDX-License-Identifier: MIT */
/* For bench_packets: the ways to receive. Each goes on until the process ends. */
#define _GNU_SOURCE 1 /* recvmmsg */
#include "bench.h"
#include "config.h"
#include "packets.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sigevec.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { outstanding = 256 };

static char buffers[outstanding][2048];

int udp_socket(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), large = 1 << 22;

	require(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0, "UDP socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
	return fd;
}

static void by_recv(void)
{
	int fd = udp_socket();

	for (;;)
		if (recv(fd, buffers[0], sizeof buffers[0], 0) >= 0)
			arrived(0, buffers[0]);
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
	for (;;) {
		int n = recvmmsg(fd, m, batch, MSG_WAITFORONE, NULL);

		for (int i = 0; i < n; i++)
			arrived(0, buffers[i]);
	}
}

static void by_epoll(void)
{
	int fd = udp_socket(), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN};

	require(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0, "epoll");
	for (;;)
		if (epoll_wait(ep, &e, 1, -1) == 1)
			while (recv(fd, buffers[0], sizeof buffers[0], MSG_DONTWAIT) >= 0)
				arrived(0, buffers[0]);
}

static void on_channel(unsigned events, unsigned time, unsigned busy)
{
	static event_data_t e[batch];
	int fd = udp_socket();
	ec_t ec = ec_create(EC_CLOEXEC | EC_SINGLE | EC_BATCH);

	require(ec >= 0 && ec_moderate(ec, events, time) == 0 && ec_busy_poll(ec, busy) == 0,
		"channel");
	for (int i = 0; i < outstanding; i++)
		require(ev_recv(fd, buffers[i], sizeof buffers[i], 0, ec, buffers[i]) == 0,
			"ev_recv");
	for (;;) {
		int n = ec_next_events(ec, e, batch, NULL);

		for (int i = 0; i < n; i++) {
			arrived(0, e[i].ev_data);
			require(ev_recv(fd, e[i].ev_data, sizeof buffers[0], 0, ec, e[i].ev_data) ==
					0,
				"ev_recv");
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
	dma_mem_t mem;
	void *frame;
	int fd = open_queue("e0", (int)queue, &mem);

	for (int n; (n = sio_recv(fd, &frame, 2048, 0)) > 0;) {
		arrived(queue, (char *)frame + payload_at);
		sio_release(mem, frame, (size_t)n);
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
	xdp_open();
	for (;;)
		if (xdp_take() == 0)
			xdp_wait();
}
#endif

const struct way ways[] = {
	{"recv", by_recv, NULL, NULL},
	{"recvmmsg", by_recvmmsg, open_udp, take_udp},
	{"epoll", by_epoll, NULL, NULL},
	{"channel", by_channel, NULL, NULL},
	{"channel-busy", by_busy_channel, NULL, NULL},
	{"channel-moderated", by_moderated_channel, NULL, NULL},
	{"region", by_region, open_region, take_region},
#ifdef HAVE_LIBXDP
	{"libxdp", by_libxdp, xdp_open, xdp_take},
#endif
};
const size_t way_count = sizeof ways / sizeof ways[0];
