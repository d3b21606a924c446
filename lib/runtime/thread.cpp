// SPDX-License-Identifier: MIT
#include "runtime/thread.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "clone.hpp"
#include "runtime/exit_watch.hpp"

#include <cerrno>
#include <cstdlib>
#include <initializer_list>
#include <sched.h>
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
	exit_watch::began();
	void *result = s.main(s.arg);
	exit_watch::ended();
	return result;
}

// stack: 0 for libc's default.
int create(pthread_t *t, size_t stack, Start *s)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	// The mask is inherited: the application's signals are never handled on a thread it does
	// not know. But SIGSYS: it is raised by the very call that a filter traps
	// (SECCOMP_RET_TRAP), whose answer is the handler's; blocked, it would end the program.
	sigset_t inherited;
	sigfillset(&inherited);
	sigdelset(&inherited, SIGSYS);
	int e = stack == 0 ? 0 : pthread_attr_setstacksize(&attr, stack);
	if (e == 0) {
		BlockSignals blocked(SIG_SETMASK, inherited);
		e = pthread_create(t, &attr, enter, s);
	}
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
		exit_watch::started();
	return e;
}

} // namespace

int start_thread(void *(*main)(void *), void *arg, const char *name)
{
	return start({usual, less, least}, main, arg, name);
}

namespace {

// A thread that makes the thread: whoever is made with a table of its own passes that on. It has
// its maker's thread-local data, which waits meanwhile, and is gone when it has made the other.
struct Maker {
	void *(*main)(void *);
	void *arg;
	const char *name;
	int error;
	std::atomic<uint32_t> gone; // cleared by the kernel
};

// Held while the stack is in use.
Mutex making;
alignas(64) char maker_stack[64 * 1024];

__attribute__((no_sanitize("thread", "address", "undefined"))) int make_thread(void *p)
{
	auto *m = static_cast<Maker *>(p);
	m->error = start_thread(m->main, m->arg, m->name);
	return 0;
}

} // namespace

int start_thread_apart(void *(*main)(void *), void *arg, const char *name)
{
	constexpr int all_but_files = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD |
				      CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
	Maker m = {main, arg, name, EAGAIN, 1};
	BlockSignals blocked;
	Guard<Mutex> g(making);
	if (libc::clone(make_thread, maker_stack + sizeof maker_stack, all_but_files, &m, nullptr,
			nullptr, &m.gone) < 0)
		return EAGAIN;
	// The kernel wakes all processes' sleepers on the word.
	while (m.gone.load(mo::acquire) != 0)
		syscall(SYS_futex, &m.gone, FUTEX_WAIT, 1, nullptr, nullptr, 0);
	return m.error;
}

namespace apart {
void after_fork()
{
	making.reset();
}
} // namespace apart

int start_program_thread(void *(*main)(void *), void *arg, const char *name)
{
	return start({0, usual, less}, main, arg, name);
}

} // namespace sigevec
