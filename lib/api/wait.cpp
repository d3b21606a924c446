// SPDX-License-Identifier: MIT
//
// ev_signal, ev_msgrcv, ev_msgsnd, ev_semop.
#include "api/check.hpp"
#include "runtime/process.hpp"
#include "sigevec/sync.h"
#include "source/signal.hpp"
#include "source/sysv.hpp"

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

} // namespace

SIGEVEC_EXPORT int ev_signal(const sigset_t *set, ec_t ec, void *data)
{
	if (set == nullptr)
		return api::result_of(EINVAL);
	return api::result_of(process::ensure() ? signals::start(*set, ec, data) : EAGAIN);
}

SIGEVEC_EXPORT int ev_msgrcv(int msqid, void *msgp, size_t msgsz, long msgtyp, int msgflg, ec_t ec, void *data)
{
	return start({SysvCall::Op::receive, msqid, msgp, msgsz, msgtyp, msgflg}, ec, data);
}

SIGEVEC_EXPORT int ev_msgsnd(int msqid, const void *msgp, size_t msgsz, int msgflg, ec_t ec, void *data)
{
	return start({SysvCall::Op::send, msqid, const_cast<void *>(msgp), msgsz, 0, msgflg}, ec, data);
}

SIGEVEC_EXPORT int ev_semop(int semid, struct sembuf *sops, size_t nsops, ec_t ec, void *data)
{
	return start({SysvCall::Op::operate, semid, sops, nsops, 0, 0}, ec, data);
}
