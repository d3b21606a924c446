/* SPDX-License-Identifier: MIT */
/* Two channels, one with a ring: events that were read, that are in the queue, that were refused; then waits for its standard input. */
#include <sigevec.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static char in[16];

int main(void)
{
	event_data_t e;
	int ends[2];
	ec_t queue = ec_create(0), ring = ec_create(EC_SINGLE);
	if (queue < 0 || ring < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 || ec_set_limit(queue, 5) != 0)
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
		if (write(ends[1], "1234", 4) != 4 || ec_next_event(ring, &e) != 0 || e.ev_result != 4)
			return 5;
	printf("%d %d %d\n", (int)getpid(), queue, ring);
	fflush(stdout);
	return read(STDIN_FILENO, in, 1) < 0;
}
