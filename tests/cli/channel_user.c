/* SPDX-License-Identifier: MIT */
/*
 * Three channels, one with a ring, and one whose requests were cancelled, too: events that were
 * read, that are in the queue, that were refused, that are still to come; then waits for its
 * standard input.
 */
#include <sigevec.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static char in[16];

int main(void)
{
	event_data_t e;
	int ends[2];
	ec_t queue = ec_create(0), ring = ec_create(EC_SINGLE), shared = ec_create(0);
	if (queue < 0 || ring < 0 || shared < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 ||
	    ec_set_limit(queue, 5) != 0)
		return 1;
	for (int i = 0; i < 6; i++)
		if (ec_post(queue, i, 0, NULL) != (i < 5 ? 0 : -1))
			return 2;
	for (int i = 0; i < 2; i++)
		if (ec_next_event(queue, &e) != 0 || e.ev_result != i)
			return 3;
	/* Three receives, two of which end. */
	for (int i = 0; i < 3; i++)
		if (ev_recv(ends[0], in, 4, 0, ring, NULL) != 0)
			return 4;
	for (int i = 0; i < 2; i++)
		if (write(ends[1], "1234", 4) != 4 || ec_next_event(ring, &e) != 0 ||
		    e.ev_result != 4)
			return 5;
	/* Three receives are cancelled; one event is not read; two receives go on. */
	for (int i = 0; i < 3; i++)
		if (ev_recv(ends[1], in, 4, 0, shared, &ring) != 0)
			return 6;
	if (ev_cancel(shared, &ring) != 0)
		return 7;
	for (int i = 0; i < 3; i++)
		if (ec_next_event(shared, &e) != 0 || e.ev_result != -1)
			return 8;
	if (ec_post(shared, 0, 0, NULL) != 0 || ec_next_event(shared, &e) != 0 ||
	    ec_post(shared, 0, 0, NULL) != 0)
		return 9;
	for (int i = 0; i < 2; i++)
		if (ev_recv(ends[1], in, 4, 0, shared, NULL) != 0)
			return 10;
	printf("%d %d %d %d\n", (int)getpid(), queue, ring, shared);
	fflush(stdout);
	return read(STDIN_FILENO, in, 1) < 0;
}
