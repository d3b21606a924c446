/* SPDX-License-Identifier: MIT */
/*
 * refuse-uring --enosys|--eperm|--eperm-aio COMMAND [ARGUMENT...]
 *
 * Runs COMMAND in a process tree where io_uring_setup fails, as in a container: --eperm as under
 * Docker's seccomp profile, --enosys as on a kernel that never heard of it, --eperm-aio with kernel
 * AIO refused as well. Exit 77 when the system allows no seccomp filter, 125 on misuse.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same number on every architecture whose table begins at 0, and under x32's flag. */
enum { number_of_io_uring_setup = 425, x32_flag = 0x40000000 };

static int refuse(unsigned error, bool aio)
{
	unsigned others[] = {SYS_io_setup,  SYS_io_destroy,   SYS_io_submit,
			     SYS_io_cancel, SYS_io_getevents, SYS_io_pgetevents};
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, (unsigned)~x32_flag),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number_of_io_uring_setup, 6, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, others[0], 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, others[1], 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, others[2], 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, others[3], 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, others[4], 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, others[5], 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};

	/* The same number again refuses nothing more. */
	for (unsigned i = 0; !aio && i < sizeof others / sizeof *others; i++)
		program[3 + i].k = number_of_io_uring_setup;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
}

int main(int argc, char **argv)
{
	unsigned error = 0;
	bool aio = false;

	if (argc >= 3 && strcmp(argv[1], "--enosys") == 0)
		error = ENOSYS;
	if (argc >= 3 && strcmp(argv[1], "--eperm") == 0)
		error = EPERM;
	if (argc >= 3 && strcmp(argv[1], "--eperm-aio") == 0) {
		error = EPERM;
		aio = true;
	}
	if (!error) {
		fprintf(stderr,
			"usage: refuse-uring --enosys|--eperm|--eperm-aio COMMAND [ARGUMENT...]\n");
		return 125;
	}
	if (refuse(error, aio) < 0) {
		printf("no seccomp filter here: %s\n", strerror(errno));
		return 77;
	}
	execvp(argv[2], argv + 2);
	fprintf(stderr, "refuse-uring: %s: %s\n", argv[2], strerror(errno));
	return 125;
}
