/* SPDX-License-Identifier: MIT */
/* A program outside of the tree with an endpoint on an interconnect: says by which provider. Also
 * as C++. */
#include <sigevec.h>

#include <stdio.h>

int main(void)
{
	struct fabric_stat s;
	int fd = fabric_open("tcp", "127.0.0.1", 0, FABRIC_CLOEXEC);

	if (fd < 0) {
		puts("no provider");
		return 0;
	}
	if (fabric_stat(fd, &s) != 0)
		return 1;
	printf("by %s\n", s.provider);
	return 0;
}
