/* SPDX-License-Identifier: MIT */
/* A list of receives on 40 sockets, of which none has data, between two writes to a pipe that a
 * trace is searched for. */
#include <sigevec.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { count = 40 };

int main(void)
{
	struct aiocb cb[count + 1], *list[count + 1];
	char buf[count + 1];
	int v[count + 1][2], mark[2], i;

	if (pipe(mark) != 0)
		return 1;
	memset(cb, 0, sizeof cb);
	for (i = 0; i <= count; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, v[i]) != 0)
			return 1;
		cb[i].aio_fildes = v[i][0];
		cb[i].aio_buf = &buf[i];
		cb[i].aio_nbytes = 1;
		cb[i].aio_lio_opcode = LIO_RECV;
		cb[i].aio_sigevent.sigev_notify = SIGEV_NONE;
		list[i] = &cb[i];
	}
	/* The first request of a process starts threads. */
	if (aio_recv(&cb[count], 0) != 0)
		return 1;
	if (write(mark[1], "begin", 5) != 5 || lio_listio(LIO_NOWAIT, list, count, NULL) != 0 ||
	    write(mark[1], "end", 3) != 3)
		return 1;
	for (i = 0; i <= count; i++)
		if (write(v[i][1], "x", 1) != 1 ||
		    aio_suspend((const struct aiocb *const *)&list[i], 1, NULL) != 0 ||
		    aio_return(&cb[i]) != 1)
			return 1;
	return 0;
}
