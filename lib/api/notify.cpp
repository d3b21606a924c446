// SPDX-License-Identifier: MIT
//
// mq_notify, timer_create, timer_delete, timer_getoverrun, getaddrinfo_a, gai_suspend, gai_cancel:
// libc's own, but for SIGEV_EC.
//
// Whoever does not ask for SIGEV_EC gets libc's function and nothing else: nothing is set up, and
// no other member is read. Not in the static library, whose objects are without PIC: a static
// program has one function of each name, and there it is libc's.
#include "api/result.hpp"
#include "libc.hpp"
#include "runtime/process.hpp"
#include "sigevec/ec.h"
#include "source/addrinfo.hpp"
#include "source/mq.hpp"
#include "source/timer.hpp"
#include "submit/check.hpp"

#include <cerrno>

#ifdef PIC

using namespace sigevec;

// Today's ABI of timers on this machine. Callers of GLIBC_2.2.5, whose timer_t is an int, are to
// find libc's functions: so here the names have versions (lib/libsigevec.map). Elsewhere, and for
// all the other names, there has never been another ABI.
#ifdef __x86_64__
#define SIGEVEC_TIMER(name, ...)                                                                   \
	SIGEVEC_EXPORT int sigevec_##name(__VA_ARGS__);                                            \
	extern "C" __attribute__((visibility("default"),                                           \
				  alias("sigevec_" #name))) int sigevec_old_##name(__VA_ARGS__);   \
	asm(".symver sigevec_" #name ", " #name "@@GLIBC_2.34, remove");                           \
	asm(".symver sigevec_old_" #name ", " #name "@GLIBC_2.3.3, remove");                       \
	SIGEVEC_EXPORT int sigevec_##name(__VA_ARGS__)
#else
#define SIGEVEC_TIMER(name, ...) SIGEVEC_EXPORT int name(__VA_ARGS__)
#endif

SIGEVEC_EXPORT int mq_notify(mqd_t queue, const struct sigevent *e)
{
	const struct sigevent *event = api::unassumed(e);
	if (event == nullptr || event->sigev_notify != SIGEV_EC)
		return libc::functions().mq_notify(queue, e);
	return api::result_of(process::ensure() ? mq::notify(queue, *event) : ENOMEM);
}

SIGEVEC_TIMER(timer_create, clockid_t clock, struct sigevent *e, timer_t *id)
{
	const struct sigevent *event = api::unassumed(e);
	if (event == nullptr || event->sigev_notify != SIGEV_EC)
		return libc::functions().timer_create(clock, e, id);
	return api::result_of(process::ensure() ? timer::create(clock, *event, id) : EAGAIN);
}

SIGEVEC_TIMER(timer_delete, timer_t id)
{
	int error = process::ready() ? timer::remove(id) : -1;
	return error < 0 ? libc::functions().timer_delete(id) : api::result_of(error);
}

SIGEVEC_TIMER(timer_getoverrun, timer_t id)
{
	int n = process::ready() ? timer::overrun(id) : -1;
	return n < 0 ? libc::functions().timer_getoverrun(id) : n;
}

SIGEVEC_EXPORT int getaddrinfo_a(int mode, struct gaicb *list[], int n, struct sigevent *e)
{
	if (e == nullptr || mode != GAI_NOWAIT || e->sigev_notify != SIGEV_EC)
		return libc::functions().getaddrinfo_a(mode, list, n, e);
	if (n < 0 || (n > 0 && api::unassumed(list) == nullptr)) {
		errno = EINVAL;
		return EAI_SYSTEM;
	}
	if (!process::ensure())
		return EAI_MEMORY;
	int error = 0, result = sigevec::addrinfo::start(list, n, *e, &error);
	if (error != 0)
		errno = error;
	return result;
}

SIGEVEC_EXPORT int gai_suspend(const struct gaicb *const list[], int n,
			       const struct timespec *timeout)
{
	bool ours = process::ready() && n > 0 && api::unassumed(list) != nullptr;
	return ours ? sigevec::addrinfo::suspend(list, n, timeout)
		    : libc::functions().gai_suspend(list, n, timeout);
}

SIGEVEC_EXPORT int gai_cancel(struct gaicb *request)
{
	return process::ready() ? sigevec::addrinfo::cancel(request)
				: libc::functions().gai_cancel(request);
}

#endif
