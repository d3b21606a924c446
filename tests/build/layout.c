/* SPDX-License-Identifier: MIT */
/* Prints sizes and offsets. headers.sh builds it once with the system's headers alone and once with
 * -DSIGEVEC. */
#ifdef SIGEVEC
#include <sigevec.h>
#endif
#include <aio.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(type) printf(#type " %zu\n", sizeof(type))
#define MEMBER(type, name)                                                                         \
	printf(#type "." #name " %zu %zu\n", offsetof(type, name), sizeof(((type *)0)->name))

#define AIOCB(type)                                                                                \
	(SIZE(type), MEMBER(type, aio_fildes), MEMBER(type, aio_lio_opcode),                       \
	 MEMBER(type, aio_reqprio), MEMBER(type, aio_buf), MEMBER(type, aio_nbytes),               \
	 MEMBER(type, aio_sigevent), MEMBER(type, aio_offset))

int main(void)
{
	AIOCB(struct aiocb);
	AIOCB(struct aiocb64);
	SIZE(struct sigevent);
	MEMBER(struct sigevent, sigev_notify);
	MEMBER(struct sigevent, sigev_signo);
	MEMBER(struct sigevent, sigev_value);
	MEMBER(struct sigevent, sigev_notify_function);
	MEMBER(struct sigevent, sigev_notify_attributes);
	return 0;
}
