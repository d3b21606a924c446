// SPDX-License-Identifier: MIT
// What NIXL's POSIX plugin does: thousands of aio_read and aio_write on O_DIRECT files, polled by
// aio_error; requests are cancelled, and files closed, in between. Prints how many were right, of
// how many; what was cancelled or ended with EBADF counts as right if nothing of it is wrong.
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { files = 4, blocks = 256, block = 4096, rounds = 3 };

static struct aiocb list[files * blocks];
static char *memory;
static int fds[files];

static unsigned word_of(int file, int n, int round)
{
	return (unsigned)(file * 1000003 + n * 101 + round * 7919 + 1);
}

static void fill(char *at, unsigned word)
{
	for (int i = 0; i < block; i += (int)sizeof word)
		memcpy(at + i, &word, sizeof word);
}

static int holds(const char *at, unsigned word)
{
	for (int i = 0; i < block; i += (int)sizeof word)
		if (memcmp(at + i, &word, sizeof word) != 0)
			return 0;
	return 1;
}

static void set_up(int i)
{
	struct aiocb *cb = &list[i];
	memset(cb, 0, sizeof *cb);
	cb->aio_fildes = fds[i / blocks];
	cb->aio_offset = (off_t)(i % blocks) * block;
	cb->aio_buf = memory + (size_t)i * block;
	cb->aio_nbytes = block;
	cb->aio_sigevent.sigev_notify = SIGEV_NONE;
}

static int submit(int reads, struct aiocb *cb)
{
	int r;
	while ((r = reads ? aio_read(cb) : aio_write(cb)) != 0 && errno == EAGAIN)
		usleep(100);
	return r;
}

// As the plugin: over and over the whole list, until none is left.
static void poll_all(int count)
{
	static char ended[files * blocks];
	memset(ended, 0, sizeof ended);
	for (int left = count; left != 0;) {
		int before = left;
		for (int i = 0; i < count; i++)
			if (!ended[i] && aio_error(&list[i]) != EINPROGRESS)
				ended[i] = 1, left--;
		if (left == before)
			usleep(100);
	}
}

static int open_file(int file)
{
	char name[20];
	snprintf(name, sizeof name, "nixl.%d", file);
	return open(name, O_RDWR | O_CREAT | O_DIRECT, 0600);
}

static int write_all(int round)
{
	int right = 0;
	for (int i = 0; i < files * blocks; i++) {
		set_up(i);
		fill(memory + (size_t)i * block, word_of(i / blocks, i % blocks, round));
		if (submit(0, &list[i]) != 0)
			return 0;
	}
	poll_all(files * blocks);
	for (int i = 0; i < files * blocks; i++)
		right += aio_return(&list[i]) == block;
	return right;
}

// One file is cancelled, and closed and opened again while its reads are under way.
static int read_all(int round)
{
	int right = 0, victim = round % files;
	memset(memory, '?', (size_t)files * blocks * block);
	for (int i = 0; i < files * blocks; i++) {
		set_up(i);
		if (submit(1, &list[i]) != 0)
			return 0;
	}
	aio_cancel(fds[victim], &list[victim * blocks + blocks / 2]);
	aio_cancel(fds[victim], NULL);
	close(fds[victim]);
	poll_all(files * blocks);
	for (int i = 0; i < files * blocks; i++) {
		int error = aio_error(&list[i]);
		ssize_t n = aio_return(&list[i]);
		int given_up = error == ECANCELED || error == EBADF;
		right += n == block ? holds(memory + (size_t)i * block,
					    word_of(i / blocks, i % blocks, round))
				    : n == -1 && given_up && i / blocks == victim;
	}
	fds[victim] = open_file(victim);
	return right;
}

int main(void)
{
	int right = 0;
	memory = aligned_alloc(block, (size_t)files * blocks * block);
	for (int i = 0; i < files; i++)
		if ((fds[i] = open_file(i)) < 0)
			return 77;
	for (int round = 0; round < rounds; round++)
		right += write_all(round) + read_all(round);
	printf("%d of %d right\n", right, rounds * 2 * files * blocks);
	return right != rounds * 2 * files * blocks;
}
