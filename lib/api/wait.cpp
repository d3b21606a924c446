// SPDX-License-Identifier: MIT
//
// ev_sem_wait, ev_pthread_*, ev_signal, ev_msgrcv, ev_msgsnd, ev_semop.
#include "api/result.hpp"
#include "nptl.hpp"
#include "runtime/process.hpp"
#include "sigevec/sync.h"
#include "source/signal.hpp"
#include "source/sync.hpp"
#include "source/sysv.hpp"
#include "submit/check.hpp"

#include <cerrno>

using namespace sigevec;
using source::SysvCall;

namespace {

int start(const SysvCall &call, ec_t ec, void *data)
{
	if (call.buf == nullptr)
		return api::result_of(EFAULT);
	return api::result_of(process::ensure() ? sysv::start(call, ec, data) : EAGAIN);
}

int wait_for(const source::Protocol &p, void *object, pthread_mutex_t *mutex,
	     const struct timespec *abstime, ec_t ec, void *data)
{
	if (object == nullptr)
		return api::result_of(EINVAL);
	if (mutex != nullptr && nptl::kind_of(mutex) > nptl::most_known_kind)
		return api::result_of(ENOTSUP);
	if (!process::ensure())
		return api::result_of(EAGAIN);
	return api::result_of(source::sync::start(&p, object, mutex, abstime, ec, data));
}

} // namespace

SIGEVEC_EXPORT int ev_sem_wait(sem_t *sem, const struct timespec *abstime, ec_t ec, void *data)
{
	return wait_for(source::semaphore_protocol, sem, nullptr, abstime, ec, data);
}

SIGEVEC_EXPORT int ev_pthread_mutex_lock(pthread_mutex_t *mutex, ec_t ec, void *data)
{
	return wait_for(source::mutex_protocol, mutex, mutex, nullptr, ec, data);
}

SIGEVEC_EXPORT int ev_pthread_rwlock_rdlock(pthread_rwlock_t *lock, ec_t ec, void *data)
{
	return wait_for(source::read_protocol, lock, nullptr, nullptr, ec, data);
}

SIGEVEC_EXPORT int ev_pthread_rwlock_wrlock(pthread_rwlock_t *lock, ec_t ec, void *data)
{
	return wait_for(source::write_protocol, lock, nullptr, nullptr, ec, data);
}

SIGEVEC_EXPORT int ev_pthread_barrier_wait(pthread_barrier_t *barrier, ec_t ec, void *data)
{
	return wait_for(source::barrier_protocol, barrier, nullptr, nullptr, ec, data);
}

SIGEVEC_EXPORT int ev_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, ec_t ec,
					void *data)
{
	if (mutex == nullptr)
		return api::result_of(EINVAL);
	return wait_for(source::condition_protocol, cond, mutex, nullptr, ec, data);
}

SIGEVEC_EXPORT int ev_signal(const sigset_t *set, ec_t ec, void *data)
{
	if (set == nullptr)
		return api::result_of(EINVAL);
	return api::result_of(process::ensure() ? signals::start(*set, ec, data) : EAGAIN);
}

SIGEVEC_EXPORT int ev_msgrcv(int msqid, void *msgp, size_t msgsz, long msgtyp, int msgflg, ec_t ec,
			     void *data)
{
	return start({SysvCall::Op::receive, msqid, msgp, msgsz, msgtyp, msgflg}, ec, data);
}

SIGEVEC_EXPORT int ev_msgsnd(int msqid, const void *msgp, size_t msgsz, int msgflg, ec_t ec,
			     void *data)
{
	return start({SysvCall::Op::send, msqid, const_cast<void *>(msgp), msgsz, 0, msgflg}, ec,
		     data);
}

SIGEVEC_EXPORT int ev_semop(int semid, struct sembuf *sops, size_t nsops, ec_t ec, void *data)
{
	return start({SysvCall::Op::operate, semid, sops, nsops, 0, 0}, ec, data);
}
