/* SPDX-License-Identifier: MIT */
/* A program outside of the source tree, as a user writes it: reads the beginning of a file and says
 * what it is. */
#include <errno.h>
#include <fcntl.h>
#include <sigevec.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	char text[5] = "";
	struct aiocb cb;
	const struct aiocb *const list[] = {&cb};
	struct sigevec_engine engine;
	unsigned i;

	if (argc != 2)
		return 2;
	memset(&cb, 0, sizeof cb);
	cb.aio_fildes = open(argv[1], O_RDONLY);
	cb.aio_buf = text;
	cb.aio_nbytes = 4;
	if (aio_read(&cb) != 0) {
		perror("aio_read");
		return 1;
	}
	while (aio_error(&cb) == EINPROGRESS)
		aio_suspend(list, 1, NULL);
	if (aio_return(&cb) != 4) {
		fprintf(stderr, "aio_return: %s\n", strerror(aio_error(&cb)));
		return 1;
	}
	printf("%s begins with %s\n", argv[1], text);
	for (i = 0; sigevec_get_engine(i, &engine) == 0; i++)
		printf("engine %s: %s: %s\n", engine.name, engine.works ? "works" : "no",
		       engine.reason);
	return i == 0;
}
