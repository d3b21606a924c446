// SPDX-License-Identifier: MIT
//
// inject [OPTION...] [SCENARIO...]: every system call that the library makes in a scenario fails.
//
// A scenario is run once to count: which calls the library makes, from which of its places, how
// often. Then once more for each place, for its first, second and last call, and for each error
// that the call may give: that call fails, or all of that number do from then on. A filter of the
// scenario's hands each call of the library's over to this program (seccomp_unotify(2)), which lets
// it go on or answers in the kernel's place, so it has not been carried out. Calls of the
// scenario's own are not hit: their instruction, or their caller, is in the scenario's code.
//
// Not injected: what the kernel cannot refuse (futex wakes, munmap, close, what libc does for
// itself at the start of a thread), and for waiting calls EINTR and EAGAIN for ever: after 20 the
// call goes on, for a kernel that says so for ever does not exist.
//
// --all            every injection and not a sample
// --seconds N      a sample that takes about so long; --seed S: this one again
// --only PATTERN   injections whose name, as a report gives it, has this (a regular expression)
// --limit N        seconds after which a scenario counts as hung (20). Only those count in which
//                  none of its threads ran or stood in a queue for a processor, nor the kernel's
//                  that deliver packets, up to six times as many: a loaded machine makes nothing
//                  hang
// --part I/N       every Nth injection
#ifdef __x86_64__
#include "shared.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <map>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <random>
#include <regex>
#include <sched.h>
#include <set>
#include <sstream>
#include <string>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace faults {

using Clock = std::chrono::steady_clock;

// ---------------------------------------------------------------- which errors

struct Call {
	long number;
	const char *name;
	bool waits; // says EINTR and EAGAIN for a while only
	bool only;  // the errors are all there are
	std::vector<int> errors;
};

static const std::vector<int> general = {EINTR,  EAGAIN, ENOMEM, ENOBUFS,
					 EMFILE, ENFILE, EPERM,  ENOSYS};

#define BESIDE(name, ...)                                                                          \
	{                                                                                          \
		SYS_##name, #name, false, false,                                                   \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
#define ONLY(name, ...)                                                                            \
	{                                                                                          \
		SYS_##name, #name, false, true,                                                    \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
#define WAITS(name, ...)                                                                           \
	{                                                                                          \
		SYS_##name, #name, true, false,                                                    \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
#define WAITS_ONLY(name, ...)                                                                      \
	{                                                                                          \
		SYS_##name, #name, true, true,                                                     \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

// A call of which there is no line here gives the general errors. `only': where the kernel cannot
// give others, because the call does nothing that takes memory, a descriptor or a right, or because
// the error is an answer; and a filter that refuses the call stops every program.
static const Call calls[] = {
	WAITS(read, EIO),
	WAITS(readv, EIO),
	WAITS(pread64, EIO),
	WAITS(preadv, EIO),
	WAITS(preadv2, EIO, EOPNOTSUPP),
	WAITS(write, EIO, ENOSPC, EDQUOT),
	WAITS(writev, EIO, ENOSPC),
	WAITS(pwrite64, EIO, ENOSPC),
	WAITS(pwritev, EIO, ENOSPC),
	WAITS(pwritev2, EIO, ENOSPC, EOPNOTSUPP),
	WAITS(fsync, EIO, ENOSPC),
	WAITS(fdatasync, EIO, ENOSPC),
	WAITS_ONLY(recvmsg, EINTR, EAGAIN, ENOMEM, ENOBUFS, ECONNRESET),
	WAITS_ONLY(recvfrom, EINTR, EAGAIN, ENOBUFS),
	WAITS(sendmsg, ECONNRESET, ETOOMANYREFS),
	WAITS(sendto, ECONNRESET),
	WAITS(accept4, ECONNABORTED),
	// EINTR: it has begun, which an injected one has not.
	ONLY(connect, EAGAIN, ENOMEM, ENOBUFS, EPERM, EADDRNOTAVAIL, ECONNREFUSED),
	WAITS_ONLY(poll, EINTR, ENOMEM),
	WAITS_ONLY(ppoll, EINTR, ENOMEM),
	WAITS_ONLY(epoll_wait, EINTR),
	WAITS_ONLY(epoll_pwait, EINTR),
	ONLY(epoll_ctl, ENOMEM, ENOSPC),
	ONLY(epoll_create1, EMFILE, ENFILE, ENOMEM),
	ONLY(eventfd2, EMFILE, ENFILE, ENOMEM, ENODEV),
	ONLY(fcntl, EMFILE, ENOMEM),
	ONLY(dup, EMFILE, ENOMEM),
	ONLY(socketpair, EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM),
	ONLY(getsockopt, ),
	ONLY(getsockname, ENOBUFS),
	ONLY(setsockopt, ENOMEM, ENOBUFS, ENOPROTOOPT, EPERM),
	ONLY(ioctl, ),
	ONLY(fstat, ),
	ONLY(rt_sigaction, ),
	ONLY(prctl, ),
	ONLY(sysinfo, ),
	ONLY(uname, ),
	ONLY(prlimit64, EPERM, ENOSYS),
	WAITS_ONLY(rt_sigqueueinfo, EAGAIN),
	ONLY(tgkill, ),
	WAITS_ONLY(rt_sigtimedwait, EINTR, EAGAIN),
	WAITS_ONLY(nanosleep, EINTR),
	WAITS_ONLY(clock_nanosleep, EINTR),
	// It says where the memory ends, never an errno: libc takes one for that. malloc fails by
	// itself.
	ONLY(brk, ),
	ONLY(mmap, ENOMEM, EAGAIN, EACCES, EPERM),
	ONLY(mprotect, ENOMEM, EACCES),
	ONLY(madvise, ENOMEM, EAGAIN, EINVAL),
	ONLY(mlock, ENOMEM, EAGAIN, EPERM),
	ONLY(munlock, ENOMEM),
	ONLY(clone, EAGAIN, ENOMEM, EPERM),
	ONLY(clone3, EAGAIN, ENOMEM, EPERM, ENOSYS),
	BESIDE(io_uring_setup, ),
	WAITS(io_uring_enter, EBUSY),
	BESIDE(io_uring_register, EINVAL, EOPNOTSUPP),
	BESIDE(io_setup, ),
	BESIDE(io_submit, EIO),
	WAITS(io_getevents, ),
	WAITS(io_pgetevents, ),
	BESIDE(io_cancel, EINVAL),
	WAITS_ONLY(futex, EINTR, EAGAIN),
	WAITS(futex_waitv, ),
	BESIDE(signalfd4, ENODEV),
	BESIDE(pidfd_open, ENODEV),
	BESIDE(pidfd_getfd, EACCES),
	BESIDE(socket, EACCES, EAFNOSUPPORT),
	BESIDE(statx, EACCES),
	BESIDE(openat, EACCES, ENOENT),
	BESIDE(unshare, EINVAL),
	BESIDE(kcmp, ),
	BESIDE(close_range, ),
	BESIDE(timer_create, ),
	ONLY(timer_settime, ),
	ONLY(timer_delete, ),
	WAITS(mq_notify, ),
	WAITS(msgrcv, ),
	WAITS(msgsnd, ),
	WAITS(semop, ),
	WAITS(semtimedop, ),
};

static const Call *call_of(long number)
{
	for (const Call &c : calls)
		if (c.number == number)
			return &c;
	return nullptr;
}

static std::string name_of(long number)
{
	if (number == allocation)
		return "malloc";
	const Call *const c = call_of(number);
	return c != nullptr ? c->name : "syscall" + std::to_string(number);
}

static std::vector<int> errors_of(long number)
{
	if (number == allocation)
		return {ENOMEM};
	const Call *const c = call_of(number);
	std::vector<int> v = c != nullptr && c->only ? std::vector<int>{} : general;
	if (c != nullptr)
		v.insert(v.end(), c->errors.begin(), c->errors.end());
	return v;
}

// -------------------------------------------------------------------- injections

struct Place {
	long number;
	uintptr_t site; // in the library
	auto operator<=>(const Place &) const = default;
};

struct Injection {
	std::string scenario;
	Place place{};
	unsigned turn = 0; // from 1; 0: none, a counting run
	int error = 0;
	bool onwards = false;
	std::string name() const
	{
		char text[200];
		snprintf(text, sizeof text, "%s:%s:%#lx:%u:%s:%s", scenario.c_str(),
			 name_of(place.number).c_str(), (unsigned long)place.site, turn,
			 error ? strerrorname_np(error) : "0", onwards ? "on" : "once");
		return text;
	}
};

struct Verdict {
	std::vector<std::string> wrong;
	bool hung = false;
	unsigned hits = 0;
	std::string left;
	unsigned threads = 0;
	std::map<Place, unsigned> counted;
};

/// Where pidfd_getfd is refused, files travel by sockets (ARCHITECTURE.md), which stay.
static const char *ways(const Injection &i)
{
	return name_of(i.place.number).starts_with("pidfd_") ? "socket socket socket socket" : "";
}

/// Idle workers stay for a while.
static unsigned most_threads(const Verdict &without)
{
	return without.threads + 8;
}

// ------------------------------------------------------- time that is nobody's fault

static std::vector<std::string> names_in(const std::string &folder)
{
	std::vector<std::string> v;
	std::error_code none;
	for (const auto &entry : std::filesystem::directory_iterator(folder, none))
		v.push_back(entry.path().filename());
	return v;
}

static std::string line_of(const std::string &path)
{
	std::ifstream file(path);
	std::string line;
	std::getline(file, line);
	return line;
}

/// Seconds in which a thread has run or waited for a processor.
static double busy(const std::string &task)
{
	double ran = 0, waited = 0;
	std::istringstream(line_of(task + "/schedstat")) >> ran >> waited;
	return (ran + waited) / 1e9;
}

/// The same of all threads of a process and of its children, added up.
static double all_busy(const std::string &process)
{
	double sum = 0;
	const std::string tasks = "/proc/" + process + "/task/";
	for (const std::string &t : names_in(tasks)) {
		sum += busy(tasks + t);
		std::istringstream children(line_of(tasks + t + "/children"));
		for (std::string c; children >> c;)
			sum += all_busy(c);
	}
	return sum;
}

/// Whether a datagram over the loopback device arrives within a second, from each processor. On a
/// loaded machine there are half minutes in which none does, whoever sends it.
static bool network_works()
{
	sockaddr_in a{};
	socklen_t size = sizeof a;
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	const int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	auto *const address = reinterpret_cast<sockaddr *>(&a);
	bool good = bind(s, address, size) == 0 && getsockname(s, address, &size) == 0;
	cpu_set_t all;
	CPU_ZERO(&all);
	sched_getaffinity(0, sizeof all, &all);
	for (unsigned i = 0; i < CPU_SETSIZE && good; i++) {
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		if (!CPU_ISSET(i, &all) || sched_setaffinity(0, sizeof one, &one) != 0)
			continue;
		char c = 0;
		pollfd p{s, POLLIN, 0};
		good = sendto(s, &c, 1, 0, address, size) == 1 && poll(&p, 1, 1000) == 1 &&
		       recv(s, &c, 1, 0) == 1;
	}
	sched_setaffinity(0, sizeof all, &all);
	close(s);
	return good;
}

/// As busy(), of the kernel's threads that deliver what goes over the loopback device: on a loaded
/// machine they wait like everybody, half a minute at times.
static double softirqs_busy()
{
	static const std::vector<std::string> threads = [] {
		std::vector<std::string> v;
		for (const std::string &p : names_in("/proc"))
			if (line_of("/proc/" + p + "/comm").starts_with("ksoftirqd/"))
				v.push_back("/proc/" + p);
		return v;
	}();
	double sum = 0;
	for (const std::string &t : threads)
		sum += busy(t);
	return sum;
}

// --------------------------------------------------------- one run of a scenario

class Run {
public:
	/// without: what was left without a fault; nullptr: a counting run.
	Run(const char *program, const Injection &i, unsigned limit, const Verdict *without)
	    : injection_(i), program_(program), limit_(limit), left_without_(without)
	{
	}
	Verdict operator()();

private:
	bool start();
	bool take_listener();
	void serve();
	bool hangs();
	std::string sleepers() const;
	void answer(const seccomp_notif &n);
	bool fails(const seccomp_notif &n);
	bool can_fail(const seccomp_notif &n) const;
	std::string link(pid_t process, unsigned long fd) const;
	uintptr_t site(pid_t thread, bool &direct);
	void judge();

	const Injection &injection_;
	const char *program_;
	unsigned limit_;
	const Verdict *left_without_;
	Shared *shared_ = nullptr;
	int memory_ = -1, output_ = -1, listener_ = -1, pid_fd_ = -1;
	pid_t pid_ = -1;
	Clock::time_point start_ = Clock::now();
	double others_ = busy("/proc/self") + softirqs_busy(); // by then
	std::optional<Clock::time_point> could_go_on_;         // as far as the network is concerned
	Verdict verdict_;
};

bool Run::start()
{
	memory_ = memfd_create("faults", MFD_CLOEXEC);
	output_ = memfd_create("output", MFD_CLOEXEC);
	if (memory_ < 0 || output_ < 0 || ftruncate(memory_, sizeof(Shared)) < 0)
		return false;
	void *m = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, memory_, 0);
	if (m == MAP_FAILED)
		return false;
	shared_ = new (m) Shared{};
	shared_->listener = -1;
	shared_->error = injection_.error;
	shared_->call = int(injection_.place.number);
	shared_->onwards = injection_.onwards;
	if (left_without_ != nullptr) {
		shared_->limited = true;
		shared_->most_threads = most_threads(*left_without_);
		snprintf(shared_->may_be_left, sizeof shared_->may_be_left, "%s%s",
			 left_without_->left.c_str(), ways(injection_));
	}
	if (injection_.place.number == allocation && injection_.turn != 0) {
		shared_->allocation_site = injection_.place.site;
		shared_->allocation_turn = injection_.turn;
	}
	pid_ = fork();
	if (pid_ == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(output_, 1);
		dup2(output_, 2);
		dup2(memory_, shared_number);
		execl(program_, program_, injection_.scenario.c_str(), nullptr);
		_exit(126);
	}
	pid_fd_ = int(syscall(SYS_pidfd_open, pid_, 0));
	return pid_ > 0 && pid_fd_ >= 0;
}

bool Run::take_listener()
{
	while (shared_->listener.load() < 0) {
		siginfo_t i{};
		if (waitid(P_PID, id_t(pid_), &i, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		    i.si_pid != 0)
			return false;
		usleep(100);
	}
	listener_ = int(syscall(SYS_pidfd_getfd, pid_fd_, shared_->listener.load(), 0));
	shared_->listener = -1;
	return listener_ >= 0;
}

/// Whose call it is: the first return address on the stack that is the library's or the scenario's.
/// 0: neither's, or the scenario's. direct: libc only passes it on.
uintptr_t Run::site(pid_t thread, bool &direct)
{
	char path[40], text[300] = "";
	unsigned long stack = 0;
	snprintf(path, sizeof path, "/proc/%d/syscall", thread);
	for (unsigned tries = 0; tries < 10000; tries++) {
		const int fd = open(path, O_RDONLY | O_CLOEXEC);
		const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
		close(fd);
		if (n <= 0)
			return 0;
		text[n] = 0;
		if (text[0] != 'r') // "running": not yet asleep
			break;
	}
	const char *last = strrchr(text, ' ');
	while (last != nullptr && last > text && *--last != ' ')
		;
	if (last == nullptr || sscanf(last, " %lx", &stack) != 1)
		return 0;
	uintptr_t words[256];
	ssize_t n = -1;
	for (size_t size = sizeof words; n < 0 && size >= sizeof *words; size /= 2) {
		const iovec h{words, size}, t{(void *)stack, size};
		n = syscall(SYS_process_vm_readv, thread, &h, 1, &t, 1, 0);
	}
	for (ssize_t i = 0; i < n / ssize_t(sizeof *words); i++) {
		if (words[i] >= shared_->executable && words[i] < shared_->executable_end)
			return 0;
		if (words[i] > shared_->library && words[i] < shared_->library_end) {
			direct = i == 0;
			return words[i] - shared_->library;
		}
	}
	return 0;
}

std::string Run::link(pid_t process, unsigned long fd) const
{
	char path[60], text[200] = "";
	snprintf(path, sizeof path, "/proc/%d/fd/%lu", process, fd);
	return readlink(path, text, sizeof text - 1) > 0 ? text : "";
}

/// Whether an epoll instance watches a descriptor already: EEXIST comes before everything.
static bool watches(pid_t thread, unsigned long epoll, unsigned long fd)
{
	char path[60], line[200];
	snprintf(path, sizeof path, "/proc/%d/fdinfo/%lu", thread, epoll);
	FILE *const f = fopen(path, "re");
	bool found = f == nullptr;
	for (unsigned long target; !found && fgets(line, sizeof line, f) != nullptr;)
		found = sscanf(line, "tfd: %lu", &target) == 1 && target == fd;
	if (f != nullptr)
		fclose(f);
	return found;
}

/// By its arguments. What is said of a valid descriptor without memory cannot fail.
bool Run::can_fail(const seccomp_notif &n) const
{
	const auto *const a = n.data.args;
	switch (n.data.nr) {
	case SYS_futex: {
		const unsigned long command = a[1] & FUTEX_CMD_MASK;
		return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
	}
	case SYS_fcntl:
		return a[1] == F_DUPFD || a[1] == F_DUPFD_CLOEXEC;
	case SYS_epoll_ctl:
		return a[1] == EPOLL_CTL_ADD && !watches(pid_t(n.pid), a[0], a[2]);
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return a[3] != 0;
	case SYS_poll:
		return a[2] != 0 || injection_.error != EINTR;
	case SYS_write:
		return link(pid_t(n.pid), a[0]) != "anon_inode:[eventfd]";
	default:
		return true;
	}
}

bool Run::fails(const seccomp_notif &n)
{
	if (shared_->injecting.load() == 0)
		return false;
	if (!can_fail(n))
		return false;
	bool direct = false;
	const uintptr_t s = site(pid_t(n.pid), direct);
	// libc's own locks sleep by a system call that cannot fail them.
	if (s == 0 || (!direct && n.data.nr == SYS_futex))
		return false;
	const Place place{n.data.nr, s};
	const unsigned turn = ++verdict_.counted[place];
	if (injection_.turn == 0 || n.data.nr != injection_.place.number)
		return false;
	const bool here = place == injection_.place && turn == injection_.turn;
	if (!here && !(injection_.onwards && verdict_.hits != 0))
		return false;
	const Call *const c = call_of(n.data.nr);
	const int e = injection_.error;
	const bool a_while =
		c != nullptr && c->waits && (e == EINTR || e == EAGAIN || e == ENOBUFS);
	if (a_while && verdict_.hits >= 20)
		return false;
	verdict_.hits++;
	return true;
}

void Run::answer(const seccomp_notif &n)
{
	seccomp_notif_resp r{};
	r.id = n.id;
	if (fails(n))
		r.error = -injection_.error;
	else
		r.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

bool Run::hangs()
{
	const double t = std::chrono::duration<double>(Clock::now() - start_).count();
	if (t < limit_ || t >= 6 * limit_)
		return t >= limit_;
	const double others = busy("/proc/self") + softirqs_busy() - others_;
	if (t - all_busy(std::to_string(pid_)) - others < limit_)
		return false;
	// What it waits for may have been delivered a moment ago.
	constexpr std::chrono::seconds time_to_go_on(5);
	if (!network_works())
		could_go_on_ = {};
	else if (!could_go_on_)
		could_go_on_ = Clock::now();
	return could_go_on_ && Clock::now() - *could_go_on_ >= time_to_go_on;
}

/// What each thread of a scenario that hangs sleeps in: its name, the number of the call, and the
/// kernel's function, by which a call that waits for an answer of ours is told from one under way.
std::string Run::sleepers() const
{
	std::string s;
	const std::string tasks = "/proc/" + std::to_string(pid_) + "/task/";
	for (const std::string &t : names_in(tasks)) {
		const std::string call = line_of(tasks + t + "/syscall");
		const std::string where = line_of(tasks + t + "/stack"); // "[<0>] function+..."
		s += " " + line_of(tasks + t + "/comm") + ":" + call.substr(0, call.find(' ')) +
		     ":" + where.substr(where.find(' ') + 1, where.find('+') - where.find(' ') - 1);
	}
	return s;
}

void Run::serve()
{
	pollfd p[2] = {{listener_, POLLIN, 0}, {pid_fd_, POLLIN, 0}};
	for (auto look = start_ + std::chrono::seconds(limit_);;) {
		poll(p, 2, 1000);
		if (Clock::now() >= look) {
			verdict_.hung = hangs();
			if (verdict_.hung)
				return;
			look = Clock::now() + std::chrono::seconds(1);
		}
		if (p[0].revents & POLLIN) {
			seccomp_notif n{};
			if (ioctl(listener_, SECCOMP_IOCTL_NOTIF_RECV, &n) == 0)
				answer(n);
		} else if (p[0].revents != 0) {
			p[0].fd = -1;
		}
		if (p[1].revents != 0)
			return;
	}
}

void Run::judge()
{
	int status = 0;
	if (verdict_.hung) {
		verdict_.wrong.push_back(std::string("hangs: ") + shared_->stage + ";" +
					 sleepers() +
					 (verdict_.hits == 0 ? ", without a fault" : ""));
		if (getenv("FAULTS_STOP") != nullptr) {
			fprintf(stderr, "hung: pid %d\n", pid_);
			pause();
		}
	}
	kill(-pid_, SIGKILL);
	waitpid(pid_, &status, 0);
	if (!verdict_.hung && WIFSIGNALED(status))
		verdict_.wrong.push_back(std::string("killed by SIG") +
					 sigabbrev_np(WTERMSIG(status)) + ": " + shared_->stage);
	else if (!verdict_.hung && WEXITSTATUS(status) != 0)
		verdict_.wrong.push_back("exit " + std::to_string(WEXITSTATUS(status)) + ": " +
					 shared_->stage);
	struct stat s;
	char text[200] = "";
	if (fstat(output_, &s) == 0 && s.st_size != 0 &&
	    pread(output_, text, sizeof text - 1, 0) > 0)
		verdict_.wrong.push_back(std::string("output: ") + text);
	for (char *line = strtok(shared_->verdict, "\n"); line; line = strtok(nullptr, "\n"))
		verdict_.wrong.push_back(line);
	for (const Site &site : shared_->sites)
		if (site.offset.load() != 0)
			verdict_.counted[{allocation, site.offset.load()}] = site.count.load();
	verdict_.hits += shared_->hits.load();
	verdict_.left = shared_->left;
	verdict_.threads = shared_->threads;
}

Verdict Run::operator()()
{
	if (!start() || !take_listener()) {
		int status = 0;
		waitpid(pid_, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
			puts("no user notification of system calls here");
			exit(77);
		}
		verdict_.wrong.push_back("the scenario did not start");
	} else {
		serve();
		judge();
	}
	for (int fd : {memory_, output_, listener_, pid_fd_})
		close(fd);
	munmap(shared_, sizeof(Shared));
	return verdict_;
}

// ----------------------------------------------------------------------- the whole

struct Options {
	bool all = false;
	unsigned seconds = 60, limit = 20;
	unsigned long seed = 0;
	std::string only;
	unsigned part = 0, parts = 1;
	std::vector<std::string> scenarios;
};

static std::string program;
static std::map<std::string, Verdict> clean;

static std::multiset<std::string> words(const std::string &list)
{
	std::istringstream stream(list);
	std::multiset<std::string> all;
	for (std::string w; stream >> w;)
		all.insert(w);
	return all;
}

/// The words that the first list has and the second has not.
static std::vector<std::string> more(const std::string &list, const std::string &than)
{
	const std::multiset<std::string> x = words(list), y = words(than);
	std::vector<std::string> v;
	std::set_difference(x.begin(), x.end(), y.begin(), y.end(), std::back_inserter(v));
	return v;
}

static Verdict tried(const Injection &i, unsigned limit)
{
	const Verdict &c = clean[i.scenario];
	Verdict v = Run(program.c_str(), i, limit, i.turn == 0 ? nullptr : &c)();
	if (i.turn == 0 || v.hits == 0)
		return v;
	for (const std::string &w : v.hung ? std::vector<std::string>{} : more(v.left, c.left))
		if (std::string(ways(i)).find(w) == std::string::npos)
			v.wrong.push_back("left open: " + w);
	if (!v.hung && v.threads > most_threads(c))
		v.wrong.push_back(std::to_string(v.threads) + " threads left");
	return v;
}

static bool report(const Injection &i, const Verdict &v)
{
	for (const std::string &w : v.wrong)
		printf("%s\t%s\n", i.name().c_str(), w.c_str());
	fflush(stdout);
	return v.wrong.empty();
}

static std::vector<std::string> all_scenarios()
{
	std::vector<std::string> v;
	FILE *f = popen(program.c_str(), "r");
	char line[100];
	while (f != nullptr && fgets(line, sizeof line, f) != nullptr)
		v.emplace_back(line, strcspn(line, "\n"));
	if (f != nullptr)
		pclose(f);
	return v;
}

/// What is to be injected into a scenario, by what it has been seen to call. Three countings: what
/// depends on the threads' schedule, also of what is left in the end, is not seen each time.
static std::vector<Injection> planned(const std::string &scenario, unsigned limit, bool &good)
{
	std::vector<Injection> plan;
	std::map<Place, unsigned> counted;
	for (unsigned i = 0; i < 3; i++) {
		const Injection count{scenario};
		Verdict v = tried(count, limit);
		good = report(count, v) && good;
		for (auto [place, n] : v.counted)
			counted[place] = std::max(counted[place], n);
		Verdict &c = clean[scenario];
		for (const std::string &w : more(v.left, c.left))
			c.left += w + " ";
		c.threads = std::max(c.threads, v.threads);
	}
	for (auto [place, n] : counted)
		for (unsigned turn : std::set<unsigned>{1, std::min(2u, n), n})
			for (int e : errors_of(place.number))
				for (bool onwards : {false, true})
					if (turn == 1 || !onwards)
						plan.push_back({scenario, place, turn, e, onwards});
	return plan;
}

/// Of a sample a third of the scenarios, which leaves more time for each.
static std::vector<std::string> chosen(const Options &o)
{
	if (!o.scenarios.empty())
		return o.scenarios;
	std::vector<std::string> v = all_scenarios();
	if (o.all || !o.only.empty())
		return v;
	std::shuffle(v.begin(), v.end(), std::mt19937_64(o.seed));
	v.resize((v.size() + 2) / 3);
	return v;
}

static int run(const Options &o)
{
	printf("seed %lu\n", o.seed);
	bool good = true;
	std::vector<Injection> plan;
	for (const std::string &s : chosen(o)) {
		std::vector<Injection> p = planned(s, o.limit, good);
		plan.insert(plan.end(), p.begin(), p.end());
	}
	if (!o.only.empty())
		std::erase_if(plan, [only = std::regex(o.only)](const Injection &i) {
			return !std::regex_search(i.name(), only);
		});
	if (!o.all && o.only.empty())
		std::shuffle(plan.begin(), plan.end(), std::mt19937_64(o.seed));
	if (plan.empty()) {
		puts("there is nothing to inject: are the scenarios built?");
		return 99;
	}
	const auto end = Clock::now() + std::chrono::seconds(o.seconds);
	unsigned done = 0, hit = 0, flagged = 0;
	for (size_t n = o.part; n < plan.size() && (o.all || !o.only.empty() || Clock::now() < end);
	     n += o.parts) {
		const Verdict v = tried(plan[n], o.limit);
		done++;
		hit += v.hits != 0;
		flagged += !report(plan[n], v);
	}
	printf("%u of %zu injections, %u came to be, %u flagged\n", done, plan.size(), hit,
	       flagged);
	return flagged != 0 || !good;
}

} // namespace faults

int main(int argc, char **argv)
{
	faults::Options o;
	o.seed = (unsigned long)(time(nullptr) / 86400);
	std::string self = argv[0];
	faults::program = self.substr(0, self.rfind('/') + 1) + "scenarios";
	for (int i = 1; i < argc; i++) {
		const std::string a = argv[i];
		const char *const value = i + 1 < argc ? argv[i + 1] : "";
		if (a == "--all")
			o.all = true;
		else if (a == "--seconds")
			o.seconds = unsigned(atoi(value)), i++;
		else if (a == "--seed")
			o.seed = strtoul(value, nullptr, 0), i++;
		else if (a == "--only")
			o.only = value, i++;
		else if (a == "--limit")
			o.limit = unsigned(atoi(value)), i++;
		else if (a == "--part")
			sscanf(value, "%u/%u", &o.part, &o.parts), i++;
		else
			o.scenarios.push_back(a);
	}
	return faults::run(o);
}

#else

#include <cstdio>

int main()
{
	puts("the numbers of system calls are those of x86-64");
	return 77;
}

#endif
