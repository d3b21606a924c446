/* SPDX-License-Identifier: MIT */
/*
 * kv: values fetched from another machine's memory, where no code runs for it.
 *
 *	kv serve FILE NAME=VALUE...    leaves its address and key in FILE, and sleeps
 *	kv get FILE NAME...            prints the values; FILE has been copied here
 *
 * The table is an array of entries in a piece that is exported; who looks for a name gets the entry
 * where its sum points, and the next ones, until it finds it or an empty one. `kv serve' never
 * hears of it. On one machine:
 *
 *	kv serve /tmp/table colour=blue size=7 & sleep 1; kv get /tmp/table colour size
 *
 *	cc kv.c $(pkg-config --cflags --libs sigevec_fabric)
 */
#include <sigevec.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { entries = 1024, region_size = 1 << 20 };

struct entry {
	char name[64], value[192];
};

struct card {
	struct sockaddr_storage name;
	socklen_t len;
	dma_key_t key;
};

static int fd;
static dma_mem_t mem;

static void fatal(const char *what)
{
	fprintf(stderr, "kv: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned place_of(const char *name)
{
	unsigned sum = 5381;

	for (; *name != 0; name++)
		sum = sum * 33 + (unsigned char)*name;
	return sum % entries;
}

static void open_endpoint(void)
{
	/* Which way, and at which of this machine's addresses: by the environment, or the best. */
	fd = fabric_open(getenv("KV_PROVIDER"), getenv("KV_NODE"), NULL, FABRIC_CLOEXEC);
	if (fd < 0)
		fatal("fabric_open");
	if (dma_alloc(&mem, region_size, 0) != 0 || dma_assoc(fd, mem, region_size, 0) != 0)
		fatal("a region");
}

/* ---- serve */

static void fill(struct entry *table, char **words)
{
	for (; *words != NULL; words++) {
		char *value = strchr(*words, '=');
		unsigned i;

		if (value == NULL) {
			errno = EINVAL;
			fatal(*words);
		}
		*value++ = 0;
		for (i = place_of(*words); table[i].name[0] != 0; i = (i + 1) % entries)
			;
		snprintf(table[i].name, sizeof table[i].name, "%s", *words);
		snprintf(table[i].value, sizeof table[i].value, "%s", value);
	}
}

static void serve(const char *file, char **words)
{
	struct card card = {.len = sizeof card.name};
	char path[4096];
	void *table;
	int f;

	if (sio_reserve(mem, &table, sizeof(struct entry[entries])) != 0)
		fatal("sio_reserve");
	memset(table, 0, sizeof(struct entry[entries]));
	fill(table, words);
	if (dma_export(mem, fd, table, sizeof(struct entry[entries]), DMA_READ, &card.key) != 0 ||
	    fabric_name(fd, (struct sockaddr *)&card.name, &card.len) != 0)
		fatal("dma_export");
	snprintf(path, sizeof path, "%s.new", file);
	f = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (f < 0 || write(f, &card, sizeof card) != sizeof card || close(f) != 0 ||
	    rename(path, file) != 0)
		fatal(file);
	for (;;)
		pause();
}

/* ---- get */

static void fetch(const struct card *from, unsigned place, struct entry *to, ec_t ec)
{
	event_data_t event;

	if (ev_get(fd, (const struct sockaddr *)&from->name, from->len, &from->key,
		   place * sizeof *to, to, sizeof *to, ec, NULL) != 0 ||
	    ec_next_event(ec, &event) != 0)
		fatal("ev_get");
	errno = event.ev_errno;
	if (event.ev_result != sizeof *to)
		fatal("the other side");
}

static int look_up(const struct card *from, const char *name, struct entry *to, ec_t ec)
{
	unsigned first = place_of(name), i = first;

	do {
		fetch(from, i, to, ec);
		if (strncmp(to->name, name, sizeof to->name) == 0) {
			printf("%s=%.*s\n", name, (int)sizeof to->value, to->value);
			return 0;
		}
		i = (i + 1) % entries;
	} while (to->name[0] != 0 && i != first);
	fprintf(stderr, "kv: there is no %s\n", name);
	return 1;
}

static int get(const char *file, char **names)
{
	struct card card;
	int f = open(file, O_RDONLY | O_CLOEXEC), status = 0;
	ec_t ec = ec_create(EC_CLOEXEC);
	void *piece;

	if (f < 0 || read(f, &card, sizeof card) != sizeof card)
		fatal(file);
	close(f);
	if (ec < 0 || sio_reserve(mem, &piece, sizeof(struct entry)) != 0)
		fatal("a channel and a piece");
	for (; *names != NULL; names++)
		status |= look_up(&card, *names, piece, ec);
	return status;
}

int main(int argc, char **argv)
{
	int serves = argc > 2 && strcmp(argv[1], "serve") == 0;

	if (argc < 3 || (!serves && (argc < 4 || strcmp(argv[1], "get") != 0))) {
		fputs("usage: kv serve FILE NAME=VALUE... | kv get FILE NAME...\n", stderr);
		return 2;
	}
	open_endpoint();
	if (serves)
		serve(argv[2], argv + 3);
	return get(argv[2], argv + 3);
}
