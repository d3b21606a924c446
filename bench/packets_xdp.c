/* SPDX-License-Identifier: MIT */
/* For bench_packets: the bare loop over libxdp's own calls that a region is compared with. */
#include "bench.h"
#include "packets.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <xdp/xsk.h>

enum { slots = 4096, slot_size = 2048, at_once = 64, memory_size = slots * slot_size };

static struct xsk_ring_prod fill, transmit;
static struct xsk_ring_cons completed, receive;
static struct xsk_socket *xsk;
static char *area;

void xdp_open(void)
{
	const struct xsk_umem_config memory = {4096, 2048, slot_size, 0, 0};
	const struct xsk_socket_config socket = {
		.rx_size = 2048, .tx_size = 2048, .bind_flags = XDP_USE_NEED_WAKEUP | XDP_COPY};
	struct xsk_umem *umem;
	uint32_t at;

	area = mmap(NULL, memory_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	require(area != MAP_FAILED, "mmap");
	require((errno = -xsk_umem__create(&umem, area, memory_size, &fill, &completed, &memory)) ==
			0,
		"xsk_umem__create");
	require((errno = -xsk_socket__create(&xsk, "e0", 0, umem, &receive, &transmit, &socket)) ==
			0,
		"xsk_socket__create");
	require(xsk_ring_prod__reserve(&fill, 2048, &at) == 2048, "fill ring");
	for (uint32_t i = 0; i < 2048; i++)
		*xsk_ring_prod__fill_addr(&fill, at + i) = (uint64_t)i * slot_size;
	xsk_ring_prod__submit(&fill, 2048);
}

/* Takes what there is, and gives it back. */
unsigned long xdp_take(void)
{
	uint32_t from, to, n = xsk_ring_cons__peek(&receive, at_once, &from);

	if (n == 0)
		return 0;
	require(xsk_ring_prod__reserve(&fill, n, &to) == n, "fill ring");
	for (uint32_t i = 0; i < n; i++) {
		uint64_t address = xsk_ring_cons__rx_desc(&receive, from + i)->addr;

		arrived(0, area + address + payload_at);
		*xsk_ring_prod__fill_addr(&fill, to + i) = address & ~(uint64_t)(slot_size - 1);
	}
	xsk_ring_prod__submit(&fill, n);
	xsk_ring_cons__release(&receive, n);
	return n;
}

void xdp_wait(void)
{
	struct pollfd p = {.fd = xsk_socket__fd(xsk), .events = POLLIN};

	poll(&p, 1, 100);
}
