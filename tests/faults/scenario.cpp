// SPDX-License-Identifier: MIT
//
// scenarios NAME: one scenario, three times: with the fault that inject has planned, and twice
// without. What is wrong is said in the shared memory; see inject.cpp.
#ifdef __x86_64__
#include "scenario.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdlib>
#include <link.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>

extern "C" {
extern const char __executable_start, etext;
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
}

namespace faults {

Shared *shared;

// ----------------------------------------------------------------- allocations

/// True when this allocation is to fail. Called for every one, from any thread.
static bool refused(uintptr_t caller)
{
	Shared *const s = shared;
	if (s == nullptr || s->injecting.load() == 0 || caller < s->library ||
	    caller >= s->library_end)
		return false;
	const uintptr_t offset = caller - s->library;
	for (Site &site : s->sites) {
		uintptr_t none = 0;
		if (!site.offset.compare_exchange_strong(none, offset) && none != offset)
			continue;
		const unsigned turn = site.count.fetch_add(1) + 1;
		if (s->allocation_site == 0)
			return false;
		const bool here = s->allocation_site == offset && turn == s->allocation_turn;
		if (!here && !(s->onwards && s->hits.load() != 0))
			return false;
		s->hits.fetch_add(1);
		errno = ENOMEM;
		return true;
	}
	return false;
}

} // namespace faults

#define CALLER reinterpret_cast<uintptr_t>(__builtin_return_address(0))
extern "C" void *malloc(size_t n)
{
	return faults::refused(CALLER) ? nullptr : __libc_malloc(n);
}
extern "C" void *calloc(size_t n, size_t size)
{
	return faults::refused(CALLER) ? nullptr : __libc_calloc(n, size);
}
extern "C" void *realloc(void *p, size_t n)
{
	return faults::refused(CALLER) ? nullptr : __libc_realloc(p, n);
}
extern "C" void *aligned_alloc(size_t a, size_t n)
{
	return faults::refused(CALLER) ? nullptr : __libc_memalign(a, n);
}

namespace faults {

// ------------------------------------------------------------------- the judge

void stage(const char *text)
{
	snprintf(shared->stage, sizeof shared->stage, "round %d: %s", shared->round.load(), text);
}

void wrong(const char *format, ...)
{
	char line[300];
	int n = snprintf(line, sizeof line, "round %d: ", shared->round.load());
	va_list arguments;
	va_start(arguments, format);
	n += vsnprintf(line + n, sizeof line - n, format, arguments);
	va_end(arguments);
	const unsigned size = std::min<unsigned>(n, sizeof line - 2);
	line[size] = '\n';
	const unsigned at = shared->length.fetch_add(size + 1);
	if (at + size + 2 < sizeof shared->verdict)
		memcpy(shared->verdict + at, line, size + 1);
}

bool accepted(const char *what, long result, std::initializer_list<int> documented)
{
	const int e = errno;
	if (result >= 0)
		return true;
	// A kernel without a call, or a filter, stays so: what needs that call is not supported.
	if (e == ENOTSUP && (shared->error == ENOSYS || shared->error == EPERM))
		return false;
	if (strict())
		wrong("%s fails with %s", what, strerrorname_np(e));
	for (int d : documented)
		if (d == e)
			return false;
	if (!strict())
		wrong("%s fails with %s, which is not documented", what, strerrorname_np(e));
	return false;
}

bool ended(const char *what, int error, long result, long expected)
{
	if (error == 0) {
		if (result != expected)
			wrong("%s ends with %ld instead of %ld", what, result, expected);
		return result == expected;
	}
	if (strict())
		wrong("%s ends with %s", what, strerrorname_np(error));
	else if (error == EINTR || (error != shared->error && error != ENOMEM && error != EAGAIN))
		wrong("%s ends with %s", what, strerrorname_np(error));
	if (result != -1)
		wrong("%s ends with %s and the result %ld", what, strerrorname_np(error), result);
	return false;
}

// ------------------------------------------------------------------ notifications

static const int number = SIGRTMIN + 2;

static void called(sigval v)
{
	static_cast<Notified *>(v.sival_ptr)->calls.fetch_add(1);
}

Notified::Notified(Tell t) : how(t)
{
	if (how == Tell::channel) {
		stage("ec_create");
		ec = ec_create(EC_CLOEXEC);
		accepted("ec_create", ec, {EMFILE, ENFILE, ENOMEM});
	}
}

Notified::~Notified()
{
	stage("ec_destroy");
	if (ec >= 0 && ec_destroy(ec) != 0)
		wrong("ec_destroy fails with %s", strerrorname_np(errno));
}

sigevent Notified::event()
{
	sigevent e{};
	e.sigev_value.sival_ptr = this;
	switch (how) {
	case Tell::none:
		e.sigev_notify = SIGEV_NONE;
		break;
	case Tell::signal:
		e.sigev_notify = SIGEV_SIGNAL;
		e.sigev_signo = number;
		break;
	case Tell::thread:
		e.sigev_notify = SIGEV_THREAD;
		e.sigev_notify_function = called;
		break;
	case Tell::channel:
		e.sigev_notify = SIGEV_EC;
		e.sigev_ec = ec;
	}
	return e;
}

static bool take_signal(Notified *n, bool waiting, const char *what)
{
	const uint64_t set = uint64_t(1) << (number - 1);
	const timespec at_once{};
	siginfo_t i;
	long r;
	do
		r = raw(SYS_rt_sigtimedwait, &set, &i, waiting ? nullptr : &at_once, sizeof set);
	while (r == -EINTR);
	if (r > 0 && (i.si_code != SI_ASYNCIO || i.si_value.sival_ptr != n))
		wrong("%s: a signal that is not its own", what);
	return r > 0;
}

void Notified::wait(aiocb *cb, const char *what)
{
	char text[100];
	snprintf(text, sizeof text, "%s: the notification", what);
	stage(text);
	event_data_t e{};
	switch (how) {
	case Tell::none:
		if (cb != nullptr)
			poll_end(cb);
		break;
	case Tell::signal:
		take_signal(this, true, what);
		break;
	case Tell::thread:
		while (calls.load() == 0)
			nap(200);
		calls.fetch_sub(1);
		break;
	case Tell::channel:
		if (next(ec, &e, what) && (e.ev_data != this || e.ev_un.ev_aio != cb))
			wrong("%s: an event that is not its own", what);
	}
	if (cb != nullptr && aio_error(cb) == EINPROGRESS)
		wrong("%s: notified before the end", what);
}

void Notified::none_more(const char *what)
{
	event_data_t e;
	const timespec at_once{};
	if ((how == Tell::signal && take_signal(this, false, what)) ||
	    (how == Tell::channel && ec_next_events(ec, &e, 1, &at_once) > 0) || calls.load() != 0)
		wrong("%s: notified twice", what);
}

void Notified::take_what_there_is()
{
	event_data_t e;
	const timespec at_once{};
	if (how == Tell::signal)
		take_signal(this, false, "a late signal");
	if (how == Tell::channel)
		ec_next_events(ec, &e, 1, &at_once);
	calls = 0;
}

void poll_end(const aiocb *cb)
{
	while (aio_error(cb) == EINPROGRESS)
		nap(100);
}

aiocb request(int fd, void *buffer, size_t size, off_t offset)
{
	aiocb cb{};
	cb.aio_fildes = fd;
	cb.aio_buf = buffer;
	cb.aio_nbytes = size;
	cb.aio_offset = offset;
	cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	return cb;
}

bool next(ec_t ec, event_data_t *e, const char *what)
{
	for (;;) {
		const int n = ec_next_events(ec, e, 1, nullptr);
		if (n == 1)
			return true;
		// A futex or a poll that says EINTR has been interrupted, for all the library
		// knows.
		if (n < 0 && errno == EINTR && shared->error == EINTR && !strict())
			continue;
		wrong("%s: ec_next_events returns %d, %s", what, n, strerrorname_np(errno));
		return false;
	}
}

// ------------------------------------------------------------------------ set-up

static int find_library(struct dl_phdr_info *info, size_t, void *name)
{
	if (strstr(info->dlpi_name, static_cast<const char *>(name)) == nullptr)
		return 0;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const auto &p = info->dlpi_phdr[i];
		if (p.p_type != PT_LOAD || (p.p_flags & PF_X) == 0)
			continue;
		shared->library_end = info->dlpi_addr + p.p_vaddr + p.p_memsz;
	}
	shared->library = info->dlpi_addr;
	return 1;
}

/// Every system call is told to inject, but the scenario's own and those that cannot fail; and
/// connect, which a signal would end here with EINTR before it has begun, as the kernel never does.
static int make_filter()
{
	const auto low = uint32_t(shared->executable), high = uint32_t(shared->executable >> 32);
	const auto end = uint32_t(shared->executable_end);
	const auto ip = unsigned(offsetof(seccomp_data, instruction_pointer));
	std::vector<sock_filter> p = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ip + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ip),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, low, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, end, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
	};
	for (unsigned nr : {SYS_rt_sigreturn, SYS_exit, SYS_exit_group, SYS_gettid, SYS_getpid,
			    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_sched_yield,
			    SYS_restart_syscall, SYS_clock_gettime, SYS_set_robust_list, SYS_rseq,
			    SYS_munmap, SYS_close, SYS_rt_sigprocmask, SYS_connect}) {
		p.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1));
		p.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	}
	p.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
	sock_fprog program{static_cast<unsigned short>(p.size()), p.data()};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return int(
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
			&program));
}

static bool set_up()
{
	void *m =
		mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_number, 0);
	if (m == MAP_FAILED)
		return false;
	close(shared_number);
	shared = static_cast<Shared *>(m);
	shared->executable = reinterpret_cast<uintptr_t>(&__executable_start);
	shared->executable_end = reinterpret_cast<uintptr_t>(&etext);
	char name[] = "libsigevec.so", other[] = "libsigevec_aio.so";
	if (!dl_iterate_phdr(find_library, name) && !dl_iterate_phdr(find_library, other))
		return false;
	// Whatever a scenario sends, or leaves in its sockets, is not a signal's business.
	const uint64_t set = uint64_t(1) << (number - 1) | uint64_t(1) << (SIGUSR1 - 1);
	raw(SYS_rt_sigprocmask, SIG_BLOCK, &set, nullptr, sizeof set);
	const int listener = make_filter();
	if (listener < 0)
		return false;
	shared->listener = listener;
	while (shared->listener.load() >= 0)
		nap(100);
	raw(SYS_close, listener);
	return true;
}

static int run(const Scenario &s)
{
	for (int round = 0; round < 3; round++) {
		shared->round = round;
		shared->injecting = round == 0;
		s.run();
		shared->injecting = 0;
	}
	look_for_what_is_left();
	return 0;
}

} // namespace faults

int main(int argc, char **argv)
{
	using namespace faults;
	if (argc == 1)
		for (unsigned i = 0; i < scenario_count; i++)
			puts(scenarios[i].name);
	if (argc < 2)
		return 0;
	if (!set_up())
		return 77;
	for (unsigned i = 0; i < scenario_count; i++)
		if (strcmp(scenarios[i].name, argv[1]) == 0)
			return run(scenarios[i]);
	return 2;
}

#else

int main()
{
	return 77;
}

#endif
