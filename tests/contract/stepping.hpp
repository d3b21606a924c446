// SPDX-License-Identifier: MIT
//
// Two threads in every order: one is taken through its call instruction by instruction (ptrace),
// and at each place, round by round, the other one does all of its own. Nothing depends on time: a
// thread that sleeps is seen to sleep. Include it after support.hpp.
//
// What the two do is in a process of its own, whose verdicts come back in shared memory.
#ifndef CONTRACT_STEPPING_HPP
#define CONTRACT_STEPPING_HPP

#include "processes.hpp"

#include <semaphore.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include <algorithm>

#if defined(__x86_64__)
#define CONTRACT_STEPPING 1
#else
#define CONTRACT_STEPPING 0
#endif

namespace contract {

/// All of it in the process of its own, prepare() and judge() by the thread of second().
struct Race {
	std::function<void()> prepare;
	std::function<void()> before = [] {}; ///< by the first thread, not stepped through
	std::function<void()> first;          ///< stepped through
	std::function<void()> second;         ///< at once; it may have to wait for the first one
	std::function<std::string()> judge;   ///< nothing: right
	bool fresh =
		false; ///< each round in a process that has not used the library, and steps alike
	long last = 0; ///< only the last so many places, each of them; 0: all
	long until = 20000; ///< only places before that
};

namespace stepping {

struct Shared {
	sem_t begin, second, ended, judged, attached;
	std::atomic<pid_t> first_thread;
	std::atomic<bool> second_done;
	char verdict[256];
};

inline Shared &shared()
{
	static Shared &s =
		*static_cast<Shared *>(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	return s;
}

inline void trap()
{
#if CONTRACT_STEPPING
	asm volatile("int3");
#endif
}

inline void wait_on(sem_t &s)
{
	while (sem_wait(&s) != 0)
		;
}

/// False: it hangs.
inline bool comes(sem_t &s)
{
	timespec limit{};
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += hang_limit.count();
	int result;
	while ((result = sem_timedwait(&s, &limit)) != 0 && errno == EINTR)
		;
	return result == 0;
}

inline bool sleeps(pid_t thread)
{
	return for_long([=] { return thread_state(thread) == 'S'; });
}

inline void *first_thread(void *race)
{
	Shared &s = shared();
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, nullptr); // but for what the thread does itself
	s.first_thread = thread_id();
	for (;;) {
		wait_on(s.begin);
		static_cast<Race *>(race)->before();
		trap();
		static_cast<Race *>(race)->first();
		trap();
	}
}

/// The process of its own.
[[noreturn]] inline void rounds(Race &race)
{
	Shared &s = shared();
	pthread_t thread;
	pthread_create(&thread, nullptr, first_thread, &race);
	wait_on(s.attached);
	for (;;) {
		race.prepare();
		sem_post(&s.begin);
		wait_on(s.second);
		race.second();
		s.second_done = true;
		wait_on(s.ended);
		std::string verdict = race.judge();
		snprintf(s.verdict, sizeof s.verdict, "%s", verdict.c_str());
		sem_post(&s.judged);
	}
}

/// The tracer's view of the process.
class Subject {
public:
	explicit Subject(Race &race)
	{
		Shared &s = shared();
		for (sem_t *one : {&s.begin, &s.second, &s.ended, &s.judged, &s.attached})
			sem_init(one, 1, 0);
		s.first_thread = 0;
		process_ = fork();
		if (process_ == 0)
			rounds(race);
		attached_ = eventually([&] { return s.first_thread != 0; }) &&
			    ptrace(PTRACE_SEIZE, s.first_thread.load(), nullptr, nullptr) == 0;
		first_ = s.first_thread;
		sem_post(&s.attached);
	}
	~Subject()
	{
		kill(process_, SIGKILL);
		for (pid_t one : {first_, process_}) // the process ends with its threads
			while (waitpid(one, nullptr, __WALL) != one && errno != ECHILD)
				;
	}
	Subject(const Subject &) = delete;
	Subject &operator=(const Subject &) = delete;

	bool attached() const { return attached_; }

	/// Where the steps lead: the instruction before each of them.
	using Trail = std::vector<long>;

	/// One round: the second thread's turn comes after so many steps of the first one's. False:
	/// it is wrong, see verdict(). *taken: as many as there were before that. The first `jump'
	/// ones, which are those of `known', are not seen one by one.
	bool round(long steps, long *taken, const Trail &known = {}, long jump = 0,
		   Trail *trail = nullptr)
	{
		Shared &s = shared();
		s.second_done = false;
		s.verdict[0] = 0;
		if (!run_to_trap()) // to the first trap
			return hangs("the beginning");
		bool ended = false, asleep = false;
		*taken = 0;
		if (jump != 0 && jump <= steps) {
			if (!run_along(known, jump))
				return hangs("the first call");
			*taken = jump;
			ended = at_trap();
		}
		for (; *taken < steps && !ended && !asleep; ++*taken) {
			if (trail != nullptr)
				trail->push_back(place());
			asleep = !step();
			ended = !asleep && at_trap();
		}
		sem_post(&s.second);
		eventually([&] { return s.second_done || all_others_sleep(process_, first_); });
		if (asleep && !stops())
			return hangs("the first call");
		if (!ended && !run_to_trap())
			return hangs("the first call");
		if (!at_trap()) {
			hung_ = "the first call dies of a signal";
			return false;
		}
		go(PTRACE_CONT);
		sem_post(&s.ended);
		return comes(s.judged) ? s.verdict[0] == 0
				       : hangs("the second call, or what follows");
	}

	std::string verdict() const { return hung_.empty() ? shared().verdict : hung_; }

private:
	bool hangs(const char *what)
	{
		hung_ = std::string(what) + " does not end";
		return false;
	}

	void go(decltype(PTRACE_CONT) how)
	{
		if (running_)
			return;
		ptrace(how, first_, nullptr, signal_);
		signal_ = 0;
		running_ = true;
	}

	/// It has stopped: a signal that is its own it gets.
	void note_stop(int status)
	{
		running_ = false;
		if (WIFSTOPPED(status) && status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP)
			signal_ = WSTOPSIG(status);
	}

	bool stopped()
	{
		int status = 0;
		if (running_ && waitpid(first_, &status, __WALL | WNOHANG) == first_)
			note_stop(status);
		return !running_;
	}

	bool stops()
	{
		return eventually([&] { return stopped(); });
	}

	long place() const
	{
		return ptrace(PTRACE_PEEKUSER, first_, offsetof(user, regs.rip), nullptr);
	}

	/// Only a system call can sleep.
	bool at_system_call() const
	{
		constexpr long instruction = 0x050f;
		return (ptrace(PTRACE_PEEKTEXT, first_, place(), nullptr) & 0xffff) == instruction;
	}

	bool stop_at(long where, bool stop) const
	{
		return ptrace(PTRACE_POKEUSER, first_, offsetof(user, u_debugreg[0]), where) == 0 &&
		       ptrace(PTRACE_POKEUSER, first_, offsetof(user, u_debugreg[7]), long{stop}) ==
			       0;
	}

	/// So many steps of those at once, by a breakpoint of the processor's where the last one
	/// leads; to the end if it goes another way. False: it hangs.
	bool run_along(const Trail &known, long steps)
	{
		long where = known[static_cast<size_t>(steps)];
		auto times = std::count(known.begin(), known.begin() + steps + 1, where);
		if (place() == where)
			--times;             // where it stands
		if (!stop_at(where, true)) { // no such thing on this machine
			while (steps-- != 0 && step() && !at_trap())
				;
			return !running_;
		}
		for (bool ended = false; times != 0 && !ended; --times) {
			if (!run_to_trap())
				return false;
			ended = at_trap();
		}
		return stop_at(0, false);
	}

	/// True: it has stopped again. False: it sleeps.
	bool step()
	{
		bool may_sleep = at_system_call();
		go(PTRACE_SINGLESTEP);
		if (may_sleep)
			return eventually([&] { return stopped() || sleeps(first_); }) && stopped();
		int status;
		if (waitpid(first_, &status, __WALL) == first_)
			note_stop(status);
		return !running_;
	}

	bool run_to_trap()
	{
		do {
			go(PTRACE_CONT);
			if (!stops())
				return false;
		} while (signal_ != 0);
		return true;
	}

	bool at_trap() const
	{
		siginfo_t info{};
		return !running_ && ptrace(PTRACE_GETSIGINFO, first_, nullptr, &info) == 0 &&
		       info.si_signo == SIGTRAP && info.si_code == SI_KERNEL;
	}

	pid_t process_ = -1, first_ = -1;
	long signal_ = 0;
	bool attached_ = false, running_ = true;
	std::string hung_;
};

} // namespace stepping

/// So many rounds there are, and so many steps in them, or a little more.
inline constexpr long most_rounds = 25, most_steps = 40000;

/// Every order, or as many as there may be, evenly: of a call that starts threads and waits for
/// them, some.
inline void in_every_order(Race race)
{
	if (thread_sanitizer || address_sanitizer)
		skip_program("with a sanitizer a call has too many steps");
#if CONTRACT_STEPPING
	auto subject = std::make_unique<stepping::Subject>(race);
	if (!subject->attached())
		skip_program("ptrace is refused");
	long all = 0, taken;
	stepping::Subject::Trail trail;
	// What the library sets up with the first call is seen to once.
	bool right = race.fresh || subject->round(0, &taken);
	BOOST_TEST_REQUIRE(right, subject->verdict() << ", one after the other");
	right = subject->round(race.until, &all, {}, 0, race.fresh ? &trail : nullptr);
	BOOST_TEST_REQUIRE(right, subject->verdict() << ", one after the other");
	// Only what has an end has last steps.
	bool each = race.fresh && race.last != 0 && all < race.until;
	long begin = each && race.last < all ? all - race.last : 0;
	long stride = each ? 1 : 1 + std::max(all * all / 2 / most_steps, all / most_rounds);
	for (long k = begin; k < all; k += stride) {
		if (race.fresh) {
			subject.reset();
			subject = std::make_unique<stepping::Subject>(race);
		}
		right = subject->round(k, &taken, trail, each ? begin : 0);
		BOOST_TEST_REQUIRE(right, subject->verdict()
						  << ", after " << k << " of " << all << " steps");
	}
	BOOST_TEST_MESSAGE(all << " steps, every " << stride << ".");
#else
	(void)race;
	skip_program("steps are known for x86-64 only");
#endif
}

} // namespace contract

#endif
