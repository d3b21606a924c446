/* SPDX-License-Identifier: MIT */
/* bench_packets: the cable and the sender (packets_cable.c), the ways to receive (packets_ways.c,
 * packets_turns.c, packets_xdp.c), and who measures (packets.c). */
#ifndef BENCH_PACKETS_H
#define BENCH_PACKETS_H 1

#include <stddef.h>
#include <sys/types.h>

enum { batch = 64, region_size = 16 << 20, port = 7777, most_queues = 8, payload_at = 42 };

extern size_t packet_size; /* bytes of the whole frame */
extern int queues;
extern double gap; /* nanoseconds between two frames; 0: as fast as it goes */

/* ---- packets.c */
void on_processor(int n);
/* A packet has come through this queue; payload: what is behind its headers. */
void arrived(long queue, const void *payload);

/* ---- packets_cable.c */
void lay_cable(void);
pid_t start_sender(void);
void make_frame(unsigned char *f, int queue);
/* The memory of an open queue of a device, and its descriptor. */
struct dma_mem;
int open_queue(const char *device, int queue, struct dma_mem **mem);

/* ---- packets_ways.c, packets_turns.c */
struct way {
	const char *name;
	void (*receive)(void);
	/* For turns with the sender on one processor: */
	void (*open)(void);
	unsigned long (*take)(void);
};
extern const struct way ways[];
extern const size_t way_count;
int udp_socket(void);
void open_udp(void);
unsigned long take_udp(void);
void open_region(void);
unsigned long take_region(void);
void in_turns(const struct way *w);

/* ---- packets_xdp.c, where libxdp was there when this was built */
void xdp_open(void);
unsigned long xdp_take(void);
void xdp_wait(void);

#endif
