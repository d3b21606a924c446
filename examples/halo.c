/* SPDX-License-Identifier: MIT */
/*
 * halo COUNT [ROUNDS] [PROVIDER]: a bar of metal that cools, cut into COUNT parts, each a process
 * of its own. In each round a part puts its borders into its neighbours' memory and then tells them
 * by a message; it goes on when it has heard of both. Every part checks its result.
 *
 * On one machine `halo 8' starts all of them. On many, with a folder that all of them see, each
 * part is started by
 *
 *	halo COUNT ROUNDS PROVIDER RANK FOLDER
 *
 * where it leaves its address and its key for the others: how those travel is the program's own
 * affair.
 *
 *	cc halo.c $(pkg-config --cflags --libs sigevec_fabric)
 */
#include <sigevec.h>

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { cells = 1000, region_size = 1 << 20, at_once = 16 };

/* What the neighbours write: the border from the left and from the right, of even rounds and odd.
 */
struct window {
	double from[2][2];
};

/* How another part is reached. */
struct card {
	struct sockaddr_storage name;
	socklen_t len;
	dma_key_t key;
};

/* In pieces of the region: what is sent. */
struct outgoing {
	double border[2][2];
	int round[2]; /* of even rounds and odd */
};

static int count, rounds, rank, fd;
static ec_t ec;
static dma_mem_t mem;
static struct window *window;
static struct outgoing *out;
static struct card neighbour[2];
static int heard[2], ended;

static void fatal(const char *what)
{
	fprintf(stderr, "halo: part %d: %s: %s\n", rank, what, strerror(errno));
	exit(1);
}

/* ---- the others' addresses and keys, by files in a folder */

static void leave_card(const char *folder, const struct card *c)
{
	char path[4096], whole[4096];
	int f;

	snprintf(path, sizeof path, "%s/%d.new", folder, rank);
	snprintf(whole, sizeof whole, "%s/%d", folder, rank);
	f = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (f < 0 || write(f, c, sizeof *c) != sizeof *c || close(f) != 0 ||
	    rename(path, whole) != 0)
		fatal(whole);
}

static void read_card(const char *folder, int whose, struct card *c)
{
	char path[4096];
	int f;

	snprintf(path, sizeof path, "%s/%d", folder, whose);
	while ((f = open(path, O_RDONLY | O_CLOEXEC)) < 0 && errno == ENOENT)
		usleep(10000);
	if (f < 0 || read(f, c, sizeof *c) != sizeof *c)
		fatal(path);
	close(f);
}

/* ---- one part */

static void open_endpoint(const char *provider, const char *node, const char *folder)
{
	struct card mine = {.len = sizeof mine.name};
	void *p;

	ec = ec_create(EC_CLOEXEC);
	fd = fabric_open(provider, node, NULL, FABRIC_CLOEXEC);
	if (ec < 0 || fd < 0)
		fatal("fabric_open");
	if (dma_alloc(&mem, region_size, 0) != 0 || dma_assoc(fd, mem, region_size, 0) != 0 ||
	    fabric_name(fd, (struct sockaddr *)&mine.name, &mine.len) != 0)
		fatal("the endpoint");
	if (sio_reserve(mem, &p, sizeof *out) != 0)
		fatal("sio_reserve");
	out = p;
	if (sio_reserve(mem, &p, sizeof *window) != 0 ||
	    dma_export(mem, fd, p, sizeof *window, DMA_WRITE, &mine.key) != 0)
		fatal("dma_export");
	window = p;
	if (ev_recv(fd, NULL, sizeof(int[2]), AIO_DMA_BUF | EV_MULTISHOT, ec, NULL) != 0)
		fatal("ev_recv");
	leave_card(folder, &mine);
}

/* The side is told in the message's second number, as the receiver sees it. */
static void hear(event_data_t *event)
{
	const int *text = event->ev_un.ev_dma.buf;

	if (event->ev_result != sizeof(int[2]) || text[1] < 0 || text[1] > 1)
		fatal("a message");
	if (text[0] > heard[text[1]])
		heard[text[1]] = text[0];
	sio_release(mem, event->ev_un.ev_dma.buf, sizeof(int[2]));
}

/* Until the puts have ended and both neighbours have been heard of in this round. */
static void wait_for(int puts, int round)
{
	event_data_t events[at_once];
	int n, i;

	while (ended < puts || (rank > 0 && heard[0] < round) ||
	       (rank < count - 1 && heard[1] < round)) {
		n = ec_next_events(ec, events, at_once, NULL);
		for (i = 0; i < n; i++) {
			errno = events[i].ev_errno;
			if (errno != 0)
				fatal("a neighbour");
			if (events[i].ev_data == NULL)
				hear(&events[i]);
			else
				ended++;
		}
	}
}

static int is_there(int side)
{
	return side == 0 ? rank > 0 : rank < count - 1;
}

/* To the left neighbour we are the right one. */
static void exchange(double left, double right, int round)
{
	int puts = 0, side;

	ended = 0;
	for (side = 0; side < 2; side++) {
		const struct card *to = &neighbour[side];
		double *border = &out->border[side][round % 2];
		size_t place = offsetof(struct window, from[1 - side][round % 2]);

		*border = side == 0 ? left : right;
		if (!is_there(side))
			continue;
		if (ev_put(fd, (const struct sockaddr *)&to->name, to->len, &to->key, place, border,
			   sizeof *border, ec, out) != 0)
			fatal("ev_put");
		puts++;
	}
	/* What is heard of is there: the puts end first. */
	wait_for(puts, 0);
	for (side = 0; side < 2; side++) {
		const struct card *to = &neighbour[side];

		out->round[0] = round;
		out->round[1] = 1 - side;
		if (is_there(side) && sio_sendto(fd, out->round, sizeof out->round, 0,
						 (const struct sockaddr *)&to->name, to->len) < 0)
			fatal("sio_sendto");
	}
	wait_for(puts, round);
}

static void step(double *bar, double *next, int n)
{
	int i;

	for (i = 1; i <= n; i++)
		next[i] = bar[i] + 0.25 * (bar[i - 1] - 2 * bar[i] + bar[i + 1]);
	memcpy(bar + 1, next + 1, (size_t)n * sizeof *bar);
}

static double initial(int i)
{
	return i * 7919 % 1000;
}

/* The whole bar by one process: what has to come out. */
static double *alone(void)
{
	int n = count * cells, i;
	double *bar = calloc((size_t)n + 2, sizeof *bar),
	       *next = calloc((size_t)n + 2, sizeof *bar);

	if (bar == NULL || next == NULL)
		fatal("memory");
	for (i = 1; i <= n; i++)
		bar[i] = initial(i);
	for (i = 0; i < rounds; i++)
		step(bar, next, n);
	free(next);
	return bar;
}

static int be_a_part(const char *provider, const char *node, const char *folder)
{
	static double bar[cells + 2], next[cells + 2];
	double *right;
	int i, wrong = 0;

	open_endpoint(provider, node, folder);
	for (i = 0; i < 2; i++)
		if (is_there(i))
			read_card(folder, rank + (i == 0 ? -1 : 1), &neighbour[i]);
	for (i = 1; i <= cells; i++)
		bar[i] = initial(rank * cells + i);
	for (i = 1; i <= rounds; i++) {
		exchange(bar[1], bar[cells], i);
		bar[0] = rank > 0 ? window->from[0][i % 2] : 0;
		bar[cells + 1] = rank < count - 1 ? window->from[1][i % 2] : 0;
		step(bar, next, cells);
	}
	right = alone();
	for (i = 1; i <= cells; i++)
		wrong += bar[i] != right[rank * cells + i];
	free(right);
	printf("part %d of %d: %d rounds, %d cells wrong\n", rank, count, rounds, wrong);
	return wrong != 0;
}

/* All parts on this machine. */
static int start_all(const char *provider)
{
	char name[] = "halo", folder[] = "/tmp/halo.XXXXXX", text[3][16], path[64], way[64];
	int i, status, failed = 0;
	pid_t pid;

	if (mkdtemp(folder) == NULL)
		fatal(folder);
	snprintf(text[0], sizeof text[0], "%d", count);
	snprintf(text[1], sizeof text[1], "%d", rounds);
	snprintf(way, sizeof way, "%s", provider);
	for (i = 0; i < count; i++) {
		char *arguments[] = {name, text[0], text[1], way, text[2], folder, NULL};

		snprintf(text[2], sizeof text[2], "%d", i);
		if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) != 0)
			fatal("posix_spawn");
	}
	while (wait(&status) > 0)
		failed += status != 0;
	for (i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s/%d", folder, i);
		unlink(path);
	}
	rmdir(folder);
	return failed != 0;
}

int main(int argc, char **argv)
{
	const char *provider = argc > 3 ? argv[3] : "tcp";

	count = argc > 1 ? atoi(argv[1]) : 4;
	rounds = argc > 2 ? atoi(argv[2]) : 100;
	if (count < 1 || rounds < 1 || argc == 5 || argc > 6) {
		fputs("usage: halo COUNT [ROUNDS [PROVIDER [RANK FOLDER]]]\n", stderr);
		return 2;
	}
	if (argc < 6)
		return start_all(provider);
	rank = atoi(argv[4]);
	return be_a_part(provider, getenv("HALO_NODE"), argv[5]);
}
