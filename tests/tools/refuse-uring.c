/* SPDX-License-Identifier: MIT */
/*
 * refuse-uring --enosys|--eperm COMMAND [ARGUMENT...]
 *
 * Runs COMMAND in a process tree where io_uring_setup fails, as in a container: --eperm as under Docker's seccomp profile,
 * --enosys as on a kernel that never heard of it. Exit 77 when the system allows no seccomp filter, 125 on misuse.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The same number on every architecture whose table begins at 0, and under x32's flag. */
enum { number_of_io_uring_setup = 425, x32_flag = 0x40000000 };

static int refuse(unsigned error)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, (unsigned)~x32_flag),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number_of_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
}

int main(int argc, char **argv)
{
	unsigned error = 0;

	if (argc >= 3 && strcmp(argv[1], "--enosys") == 0)
		error = ENOSYS;
	if (argc >= 3 && strcmp(argv[1], "--eperm") == 0)
		error = EPERM;
	if (!error) {
		fprintf(stderr, "usage: refuse-uring --enosys|--eperm COMMAND [ARGUMENT...]\n");
		return 125;
	}
	if (refuse(error) < 0) {
		printf("no seccomp filter here: %s\n", strerror(errno));
		return 77;
	}
	execvp(argv[2], argv + 2);
	fprintf(stderr, "refuse-uring: %s: %s\n", argv[2], strerror(errno));
	return 125;
}
