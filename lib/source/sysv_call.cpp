// SPDX-License-Identifier: MIT
#include "source/sysv_call.hpp"

#include "base/chains.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::sysv {

namespace {

using Op = SysvCall::Op;

// More operations than any kernel takes.
constexpr size_t most_operations = 65536;

long blocking_call(const SysvCall &c)
{
	switch (c.op) {
	case Op::receive:
		return syscall(SYS_msgrcv, c.id, c.buf, c.size, c.type, c.flags);
	case Op::send:
		return syscall(SYS_msgsnd, c.id, c.buf, c.size, c.flags);
	default:
		return syscall(SYS_semtimedop, c.id, c.buf, c.size, nullptr);
	}
}

// What the kernel says of the object itself: 0, EACCES without the right to read it, EINVAL or
// EIDRM when there is none.
int look_at_object(const SysvCall &c)
{
	struct msqid_ds queue;
	struct semid_ds set;
	long n = c.op == Op::operate ? syscall(SYS_semctl, c.id, 0, IPC_STAT, &set)
				     : syscall(SYS_msgctl, c.id, IPC_STAT, &queue);
	return n < 0 ? errno : 0;
}

bool is_gone(const SysvCall &c)
{
	int error = look_at_object(c);
	return error == EINVAL || error == EIDRM;
}

// Of a call that was accepted while its object was there.
ssize_t accepted(const SysvCall &c, ssize_t result)
{
	return result == -EINVAL && is_gone(c) ? -EIDRM : result;
}

} // namespace

ssize_t wait_in(const SysvCall &c)
{
	long n = blocking_call(c);
	return accepted(c, n < 0 ? -errno : n);
}

bool attempt(const SysvCall &c, ssize_t *result)
{
	constexpr timespec none{0, 0};
	SysvCall now = c;
	now.flags |= IPC_NOWAIT;
	long n = c.op == Op::operate ? syscall(SYS_semtimedop, c.id, c.buf, c.size, &none)
				     : blocking_call(now);
	*result = n < 0 ? -errno : n;
	bool would_wait = n < 0 && (errno == EAGAIN || errno == ENOMSG || errno == EINTR);
	return !would_wait ||
	       (c.op != Op::operate && (c.flags & IPC_NOWAIT) != 0 && errno != EINTR);
}

bool attempt_again(const SysvCall &c, ssize_t *result)
{
	bool ended = attempt(c, result);
	*result = accepted(c, *result);
	return ended;
}

bool is_refused(const SysvCall &c, ssize_t *result)
{
	int error = look_at_object(c);
	// To receive, and to look at a queue, is the same right.
	bool refused =
		error == EINVAL || error == EIDRM || (error == EACCES && c.op == Op::receive);
	*result = error == EIDRM ? -EINVAL : -error;
	return refused;
}

uint64_t queue_of(const SysvCall &c)
{
	uint64_t h = hash_of(static_cast<uint64_t>(c.op), static_cast<uint64_t>(c.id));
	if (c.op != Op::operate)
		return hash_of(hash_of(h, c.size), hash_of(static_cast<uint64_t>(c.type),
							   static_cast<uint64_t>(c.flags)));
	const auto *v = static_cast<const struct sembuf *>(c.buf);
	for (size_t i = 0; i < c.size; i++)
		h = hash_of(h, uint64_t{v[i].sem_num} << 32 |
				       static_cast<uint64_t>(static_cast<uint16_t>(v[i].sem_op))
					       << 16 |
				       static_cast<uint16_t>(v[i].sem_flg));
	return h;
}

int copy_operations(SysvCall *c)
{
	if (c->op != Op::operate)
		return 0;
	if (c->size > most_operations)
		return E2BIG;
	void *own = malloc((c->size + 1) * sizeof(struct sembuf));
	if (own == nullptr)
		return EAGAIN;
	memcpy(own, c->buf, c->size * sizeof(struct sembuf));
	c->buf = own;
	return 0;
}

void free_operations(const SysvCall &c)
{
	if (c.op == Op::operate)
		free(c.buf);
}

} // namespace sigevec::sysv
