/* SPDX-License-Identifier: MIT */
/* bench_fabric by this library: an endpoint, or a connection with a channel. */
#include <sigevec.h>

#include "fabric.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { region_size = 1 << 20 };

struct card {
	struct sockaddr_storage name;
	socklen_t len;
	dma_key_t key;
};

static int fd;
static ec_t ec;
static dma_mem_t mem;
static struct card neighbour;
static char *piece;

static const struct sockaddr *to(void)
{
	return (const struct sockaddr *)&neighbour.name;
}

static void ours_open(const char *provider, int is_peer)
{
	struct card mine;
	void *p = NULL, *exported = NULL;

	(void)is_peer;
	memset(&mine, 0, sizeof mine);
	mine.len = sizeof mine.name;
	ec = ec_create(EC_CLOEXEC);
	fd = fabric_open(provider, "127.0.0.1", NULL, FABRIC_CLOEXEC);
	if (ec < 0 || fd < 0)
		fail("fabric_open");
	if (dma_alloc(&mem, region_size, 0) != 0 || dma_assoc(fd, mem, region_size, 0) != 0 ||
	    fabric_name(fd, (struct sockaddr *)&mine.name, &mine.len) != 0 ||
	    sio_reserve(mem, &p, LARGE) != 0 || sio_reserve(mem, &exported, LARGE) != 0 ||
	    dma_export(mem, fd, exported, LARGE, DMA_READ | DMA_WRITE, &mine.key) != 0)
		fail("an endpoint");
	piece = p;
	tell(&mine, sizeof mine);
	hear(&neighbour, sizeof neighbour);
}

static void ours_send(size_t n)
{
	if (sio_sendto(fd, piece, n, 0, to(), neighbour.len) != (int)n)
		fail("sio_sendto");
}

static void ours_receive(size_t n)
{
	const void *p;

	if (sio_recvfrom(fd, &p, n, 0, NULL, 0) != (int)n)
		fail("sio_recvfrom");
	sio_release(mem, (void *)p, n);
}

static void await(size_t n)
{
	event_data_t event;

	if (ec_next_event(ec, &event) != 0)
		fail("ec_next_event");
	errno = event.ev_errno;
	if (event.ev_result != (ssize_t)n)
		fail("a transfer");
}

static void ours_put(size_t n)
{
	if (ev_put(fd, to(), neighbour.len, &neighbour.key, 0, piece, n, ec, NULL) != 0)
		fail("ev_put");
	await(n);
}

static void ours_get(size_t n)
{
	if (ev_get(fd, to(), neighbour.len, &neighbour.key, 0, piece, n, ec, NULL) != 0)
		fail("ev_get");
	await(n);
}

const struct way ours = {"ours", ours_open, ours_send, ours_receive, ours_put, ours_get};

/* ---- the same by TCP */

static char text[LARGE];

static void socket_open(const char *provider, int is_peer)
{
	struct sockaddr_in name = {.sin_family = AF_INET};
	socklen_t len = sizeof name;
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	(void)provider;
	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ec = ec_create(EC_CLOEXEC | EC_SINGLE);
	if (ec < 0 || s < 0)
		fail("socket");
	if (is_peer) {
		if (bind(s, (struct sockaddr *)&name, len) != 0 || listen(s, 1) != 0 ||
		    getsockname(s, (struct sockaddr *)&name, &len) != 0)
			fail("bind");
		tell(&name, sizeof name);
		fd = accept(s, NULL, NULL);
		close(s);
	} else {
		hear(&name, sizeof name);
		fd = connect(s, (struct sockaddr *)&name, len) == 0 ? s : -1;
	}
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
		fail("a connection");
}

static void socket_send(size_t n)
{
	if (ev_send(fd, text, n, 0, ec, NULL) != 0)
		fail("ev_send");
	await(n);
}

static void socket_receive(size_t n)
{
	if (ev_recv(fd, text, n, MSG_WAITALL, ec, NULL) != 0)
		fail("ev_recv");
	await(n);
}

const struct way tcp_socket = {"socket", socket_open, socket_send, socket_receive, NULL, NULL};
