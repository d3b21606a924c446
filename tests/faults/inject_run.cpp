// SPDX-License-Identifier: MIT
//
// One run of a scenario, in which one call fails, and what is wrong then.
#ifdef __x86_64__
#include "inject.hpp"

#include "shared.hpp"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <optional>
#include <poll.h>
#include <sstream>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace faults {

using Clock = std::chrono::steady_clock;

std::string Injection::name() const
{
	char text[200];
	snprintf(text, sizeof text, "%s:%s:%#lx:%u:%s:%s", scenario.c_str(),
		 name_of(place.number).c_str(), (unsigned long)place.site, turn,
		 error ? strerrorname_np(error) : "0", onwards ? "on" : "once");
	return text;
}

const char *ways(const Injection &i)
{
	return name_of(i.place.number).starts_with("pidfd_") ? "socket socket socket socket" : "";
}

unsigned most_threads(const Verdict &without)
{
	return without.threads + 8;
}

class Run {
public:
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

Verdict run_scenario(const char *program, const Injection &i, unsigned limit,
		     const Verdict *without)
{
	return Run(program, i, limit, without)();
}

} // namespace faults

#endif
