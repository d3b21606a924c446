/* SPDX-License-Identifier: MIT */
/* For bench_packets: one thread sends some frames and takes them, in turns, on one processor. */
#define _GNU_SOURCE 1 /* recvmmsg */
#include "bench.h"
#include "packets.h"

#include <sigevec.h>
#include <sys/socket.h>

static int taker = -1;
static dma_mem_t taker_mem;
static char buffers[batch][2048];
static struct mmsghdr messages[batch];
static struct iovec parts[batch];

void open_udp(void)
{
	taker = udp_socket();
	for (int i = 0; i < batch; i++) {
		parts[i] = (struct iovec){buffers[i], sizeof buffers[i]};
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
}

unsigned long take_udp(void)
{
	int n = recvmmsg(taker, messages, batch, MSG_DONTWAIT, NULL);

	for (int i = 0; i < n; i++)
		arrived(0, buffers[i]);
	return n > 0 ? (unsigned long)n : 0;
}

void open_region(void)
{
	taker = open_queue("e0", 0, &taker_mem);
}

unsigned long take_region(void)
{
	unsigned long count = 0;
	void *frame;

	for (int n; count < batch && (n = sio_recv(taker, &frame, 2048, MSG_DONTWAIT)) > 0;
	     count++) {
		arrived(0, (char *)frame + payload_at);
		sio_release(taker_mem, frame, (size_t)n);
	}
	return count;
}

void in_turns(const struct way *w)
{
	dma_mem_t mem;
	void *frame;
	int fd = open_queue("e1", 0, &mem);

	require(sio_reserve(mem, &frame, packet_size) == 0, "sio_reserve");
	make_frame(frame, 0);
	w->open();
	for (;;) {
		for (int i = 1; i <= batch; i++)
			sio_send(fd, frame, packet_size, i != batch ? MSG_MORE : 0);
		for (unsigned long n, left = batch; left > 0 && (n = w->take()) > 0; left -= n)
			;
	}
}
