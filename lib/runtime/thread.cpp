// SPDX-License-Identifier: MIT
#include "runtime/last_thread.hpp"
#include "runtime/sync.hpp"

#include <cstdlib>
#include <sys/prctl.h>

namespace sigevec {

namespace {

// What a new thread needs to know, handed over by its creator.
struct Start {
	void *(*main)(void *);
	void *arg;
	const char *name;
};

// The library's own threads run no code of the application's, so they need little stack; the sanitizers need more. Where there is no address space
// left for that, less will do.
constexpr size_t stack_sizes[] = {256 * 1024, 64 * 1024, 32 * 1024};

void *enter(void *p)
{
	Start s = *static_cast<Start *>(p);
	free(p);
	prctl(PR_SET_NAME, s.name);
	last_thread::began();
	void *result = s.main(s.arg);
	last_thread::ended();
	return result;
}

} // namespace

int start_thread(void *(*main)(void *), void *arg, const char *name)
{
	auto *s = static_cast<Start *>(malloc(sizeof(Start)));
	if (s == nullptr)
		return EAGAIN;
	*s = {main, arg, name};

	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_t t;
	int e = EAGAIN;
	for (size_t size : stack_sizes) {
		// The mask is inherited: the application's signals are never handled on a thread it does not know.
		BlockSignals blocked;
		if (pthread_attr_setstacksize(&attr, size) == 0)
			e = pthread_create(&t, &attr, enter, s);
		if (e == 0)
			break;
	}
	pthread_attr_destroy(&attr);
	if (e != 0)
		free(s);
	else
		last_thread::started();
	return e;
}

} // namespace sigevec
