// SPDX-License-Identifier: MIT
//
// The contract tests' threads, children and signal handlers. A part of support.hpp, which includes
// it.
#ifndef CONTRACT_PROCESSES_HPP
#define CONTRACT_PROCESSES_HPP

#include <filesystem>

namespace contract {

/// Runs `body` in a thread that has exited when this returns.
inline void in_thread(std::function<void()> body)
{
	std::thread(std::move(body)).join();
}

/// True while the thread sits in system call `number` (one of `number`, `other`).
inline bool blocked_in(pid_t thread, long number, long other = -1)
{
	std::ifstream in("/proc/self/task/" + std::to_string(thread) + "/syscall");
	long current = -2;
	return (in >> current) && (current == number || current == other);
}
/// 'S' while it sleeps in the kernel, 'Z' when it has ended but cannot go yet. Of any process.
inline char thread_state(pid_t thread)
{
	std::ifstream in("/proc/" + std::to_string(thread) + "/stat");
	std::string text;
	std::getline(in, text);
	const size_t name_end = text.rfind(')');
	return name_end == std::string::npos || name_end + 2 >= text.size() ? '?'
									    : text[name_end + 2];
}
inline pid_t thread_id()
{
	return static_cast<pid_t>(syscall(SYS_gettid));
}

/// Whether it is so, and not for a moment only: who is woken does not sleep any more, however long
/// it waits for a processor.
template <class Sleeps> bool for_long(Sleeps sleeps)
{
	for (int i = 0; i < 10; ++i, usleep(100))
		if (!sleeps())
			return false;
	return true;
}

/// All threads of the process but one: nobody goes on before that one does.
inline bool all_others_sleep(pid_t process, pid_t one)
{
	return for_long([=] {
		for (const auto &task : std::filesystem::directory_iterator(
			     "/proc/" + std::to_string(process) + "/task"))
			if (pid_t id = std::stoi(task.path().filename());
			    id != one && thread_state(id) != 'S')
				return false;
		return true;
	});
}

inline int suspend_on(const aiocb &cb, const timespec *timeout = nullptr)
{
	const aiocb *list[] = {&cb};
	return aio_suspend(list, 1, timeout);
}

/// A call that waits, in a thread of its own.
class Waiter {
public:
	explicit Waiter(std::function<int()> call)
	    : thread_([this, call] {
		      id_ = thread_id();
		      int const result = call();
		      error_ = result == 0 ? 0 : errno;
		      result_ = result;
		      returned_ = true;
	      })
	{
	}
	~Waiter()
	{
		if (thread_.joinable())
			thread_.join();
	}
	bool asleep()
	{
		return eventually([&] {
			       return returned_ || (id_ != 0 && thread_state(id_) == 'S');
		       }) &&
		       !returned_;
	}
	bool returned() const { return returned_; }
	bool returns()
	{
		return eventually([&] { return returned_.load(); });
	}
	int result() const { return result_; }
	int error() const { return error_; }
	void send(int number) { pthread_kill(thread_.native_handle(), number); }
	/// Sends the signal until the call has returned: one that comes before the call began
	/// changes nothing.
	bool interrupt(int number)
	{
		return eventually([&] {
			if (!returned_)
				pthread_kill(thread_.native_handle(), number);
			usleep(500);
			return returned_.load();
		});
	}

private:
	std::atomic<pid_t> id_{0};
	std::atomic<bool> returned_{false};
	std::atomic<int> result_{-2}, error_{0};
	std::thread thread_;
};

/// A child's check: Boost's own belong to the parent alone.
#define CHILD_REQUIRE(condition)                                                                   \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			dprintf(STDERR_FILENO, "%s:%d: child: %s (errno %d)\n", __FILE__,          \
				__LINE__, #condition, errno);                                      \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/// Exit status, or 128 + signal.
inline int wait_for(pid_t child)
{
	int status = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
template <class Body> pid_t spawn_child(Body body)
{
	fflush(nullptr);
	const pid_t child = fork();
	BOOST_TEST_REQUIRE(child >= 0);
	if (child != 0)
		return child;
	signal(SIGALRM, SIG_DFL);
	alarm(case_limit - 10);
	// A failed requirement of Boost's would go on as the parent does.
	try {
		body();
	} catch (...) {
		_exit(3);
	}
	_exit(0);
}
/// 0 when `body` came to its end in a child process.
template <class Body> int in_child(Body body)
{
	return wait_for(spawn_child(body));
}
/// What a process may do whose descriptors are its own to close: what `body` returns (0, or the
/// step that went wrong); 128 and more: the signal that ended it.
inline int in_child_process(const std::function<int()> &body)
{
	const pid_t child = fork();
	if (child == 0) {
		alarm(60);
		_exit(body());
	}
	int status = 0;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
/// Runs one test case of this same program in a new process, with the environment changed.
inline int run_self(const char *test_case,
		    const std::vector<std::pair<const char *, const char *>> &environment)
{
	return in_child([&] {
		for (auto const &[name, value] : environment)
			setenv(name, value, 1);
		std::string const only = std::string("--run_test=") + test_case;
		execl("/proc/self/exe", "contract", only.c_str(), "--log_level=error",
		      "--report_level=no", nullptr);
		_exit(127);
	});
}

/// Installs a signal handler and puts the old one back.
class SignalHandler {
public:
	SignalHandler(int number, void (*handler)(int), int flags = 0) : number_(number)
	{
		struct sigaction action {};
		action.sa_handler = handler;
		action.sa_flags = flags;
		sigaction(number, &action, &old_);
	}
	SignalHandler(int number, void (*handler)(int, siginfo_t *, void *), int flags = 0)
	    : number_(number)
	{
		struct sigaction action {};
		action.sa_sigaction = handler;
		action.sa_flags = flags | SA_SIGINFO;
		sigaction(number, &action, &old_);
	}
	SignalHandler(const SignalHandler &) = delete;
	~SignalHandler() { sigaction(number_, &old_, nullptr); }

private:
	int number_;
	struct sigaction old_;
};

} // namespace contract

#endif
