// SPDX-License-Identifier: MIT
#include "libc.hpp"

#include <cerrno>
#include <dlfcn.h>

namespace sigevec::libc {

namespace {

#ifdef PIC

int lacking()
{
	errno = ENOSYS;
	return -1;
}

int lacking_name()
{
	errno = ENOSYS;
	return EAI_SYSTEM;
}

Functions found;
bool complete;

// Of several versions the default one is found. timer_* is not reached by callers of GLIBC_2.2.5,
// where a timer_t is an int (lib/api/notify.cpp).
template <class F> void look_up(F *&f, const char *name, int (*otherwise)())
{
	void *p = dlsym(RTLD_NEXT, name);
	f = reinterpret_cast<F *>(p != nullptr ? p : reinterpret_cast<void *>(otherwise));
}

void look_up_all()
{
	look_up(found.mq_notify, "mq_notify", lacking);
	look_up(found.timer_create, "timer_create", lacking);
	look_up(found.timer_delete, "timer_delete", lacking);
	look_up(found.timer_getoverrun, "timer_getoverrun", lacking);
	look_up(found.getaddrinfo_a, "getaddrinfo_a", lacking_name);
	look_up(found.gai_cancel, "gai_cancel", lacking_name);
	look_up(found.gai_suspend, "gai_suspend", lacking_name);
	__atomic_store_n(&complete, true, __ATOMIC_RELEASE);
}

__attribute__((constructor)) void at_load()
{
	if (!complete)
		look_up_all();
}

#else

// The static library takes none of them over: these are libc's.
constinit const Functions found = {mq_notify,     timer_create, timer_delete, timer_getoverrun,
				   getaddrinfo_a, gai_cancel,   gai_suspend};

#endif

} // namespace

const Functions &functions()
{
#ifdef PIC
	// Earlier than this library's constructor only other constructors run; twice looked up is
	// as good as once.
	if (!__atomic_load_n(&complete, __ATOMIC_ACQUIRE))
		look_up_all();
#endif
	return found;
}

} // namespace sigevec::libc
