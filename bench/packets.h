/* SPDX-License-Identifier: MIT */
/* bench_packets: receiving by libxdp (packets_xdp.c), where that was there when this was built. */
#ifndef BENCH_PACKETS_H
#define BENCH_PACKETS_H 1

void xdp_open(const char *device);
unsigned long xdp_take(void);
void xdp_wait(void);

#endif
