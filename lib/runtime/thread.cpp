// SPDX-License-Identifier: MIT
#include "runtime/thread.hpp"
#include "base/sync.hpp"
#include "runtime/last_thread.hpp"

#include <cstdlib>
#include <initializer_list>
#include <sys/prctl.h>

namespace sigevec {

namespace {

// What a new thread needs to know, handed over by its creator.
struct Start {
	void *(*main)(void *);
	void *arg;
	const char *name;
};

// The library's own threads run no code of the application's, so they need little stack; the
// sanitizers need more. Where there is no address space left for that, less will do.
constexpr size_t usual = 256 * 1024, less = 64 * 1024, least = 32 * 1024;

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

// stack: 0 for libc's default.
int create(pthread_t *t, size_t stack, Start *s)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	// The mask is inherited: the application's signals are never handled on a thread it does
	// not know.
	BlockSignals blocked;
	int e = stack == 0 ? 0 : pthread_attr_setstacksize(&attr, stack);
	if (e == 0)
		e = pthread_create(t, &attr, enter, s);
	pthread_attr_destroy(&attr);
	return e;
}

int start(std::initializer_list<size_t> stacks, void *(*main)(void *), void *arg, const char *name)
{
	auto *s = static_cast<Start *>(malloc(sizeof(Start)));
	if (s == nullptr)
		return EAGAIN;
	*s = {main, arg, name};

	pthread_t t;
	int e = EAGAIN;
	for (size_t stack : stacks)
		if ((e = create(&t, stack, s)) == 0)
			break;
	if (e != 0)
		free(s);
	else
		last_thread::started();
	return e;
}

} // namespace

int start_thread(void *(*main)(void *), void *arg, const char *name)
{
	return start({usual, less, least}, main, arg, name);
}

int start_program_thread(void *(*main)(void *), void *arg, const char *name)
{
	return start({0, usual, less}, main, arg, name);
}

} // namespace sigevec
