// SPDX-License-Identifier: MIT
//
// What the scenarios share: system calls of their own, which are never hit because their
// instruction is in the scenario's code; and the judge.
//
// Between the marks a scenario calls nothing of libc's that makes a system call.
#ifndef FAULTS_SCENARIO_HPP
#define FAULTS_SCENARIO_HPP

#include "shared.hpp"

#include <sigevec.h>

#include <aio.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <initializer_list>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

namespace faults {

extern Shared *shared;

/// The kernel's result: negative is an error.
template <class... A> inline long raw(long number, A... arguments)
{
	long a[6] = {(long)arguments...};
	register long r10 asm("r10") = a[3];
	register long r8 asm("r8") = a[4];
	register long r9 asm("r9") = a[5];
	long result;
	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return result;
}

inline void nap(long microseconds)
{
	timespec t{microseconds / 1000000, microseconds % 1000000 * 1000};
	raw(SYS_nanosleep, &t, nullptr);
}

/// The scenario says what it does, and what is wrong.
void stage(const char *text);
[[gnu::format(printf, 1, 2)]] void wrong(const char *format, ...);

/// A round without a fault: everything must go well.
inline bool strict()
{
	return shared->round.load() != 0 || shared->error == 0;
}

/// The call has taken the request. If not, its errno is one of its manual page.
bool accepted(const char *what, long result, std::initializer_list<int> documented = {EAGAIN});

/// How a request may end: as the call by hand, or with the error of the kernel call that failed.
bool ended(const char *what, int error, long result, long expected);

/// Objects of the scenario's own. What is made here must be gone from every table at the end.
struct Object {
	dev_t device;
	ino_t inode;
};
void remember(int fd);
int file(const char *name, int flags, size_t size = 0, unsigned char first = 0);
void pipe(int fd[2], int flags = 0);
void pair(int fd[2], int type);
int own(int fd);
void close_all(std::initializer_list<int> fds);
void put(int fd, const void *data, size_t size);
bool take(int fd, void *data, size_t size);
/// After the last round: what is still there goes into the shared memory.
void look_for_what_is_left();

/// A notification of every kind, and how it is waited for.
enum class Tell { none, signal, thread, channel };
struct Notified {
	Tell how;
	ec_t ec = -1;
	std::atomic<int> calls{0};
	explicit Notified(Tell t);
	~Notified();
	bool usable() const { return how != Tell::channel || ec >= 0; }
	sigevent event();
	/// Waits for one, and sees that it was one.
	void wait(aiocb *cb, const char *what);
	void none_more(const char *what);
	void take_what_there_is();
};

/// Waits for the end by looking only.
void poll_end(const aiocb *cb);
aiocb request(int fd, void *buffer, size_t size, off_t offset = 0);

/// Takes one event, for as long as it takes.
bool next(ec_t ec, event_data_t *e, const char *what);

/// A channel, for the length of a scenario.
struct Channel {
	ec_t ec;
	Channel()
	{
		stage("ec_create");
		ec = ec_create(EC_CLOEXEC);
		accepted("ec_create", ec, {EMFILE, ENFILE, ENOMEM, EAGAIN});
	}
	~Channel()
	{
		stage("ec_destroy");
		if (ec >= 0 && ec_destroy(ec) != 0)
			wrong("ec_destroy fails with %s", strerrorname_np(errno));
	}
	explicit operator bool() const { return ec >= 0; }
	/// The next event is this one's; false when it tells of an error.
	bool event(const char *what, void *data, event_type type, long result)
	{
		event_data_t e{};
		stage(what);
		if (!next(ec, &e, what))
			return false;
		if (e.ev_data != data || e.ev_type != type)
			wrong("%s: an event that is not its own", what);
		return ended(what, e.ev_errno, e.ev_result, result);
	}
};

struct Scenario {
	const char *name;
	void (*run)();
};
extern const Scenario scenarios[];
extern const unsigned scenario_count;

} // namespace faults

#endif
