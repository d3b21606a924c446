// SPDX-License-Identifier: MIT
//
// What waits for other sources than transfers cost: ending some costs what is ended, and waiting
// costs nothing.
//
// Costs are the process's own processor time, which other programs do not add to, and are compared
// with themselves: eight times as many waits cost about eight times as much, and 64 times if each
// looks at all others.
#define BOOST_TEST_MODULE source_costs
#include "source_objects.hpp"

#include <mqueue.h>
#include <netdb.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>

namespace {

constexpr int few = 2000, many = 8 * few;

double processor_time()
{
	timespec t{};
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}
/// The least of some runs, for what else happens only adds.
template <class Run> double cost_of(Run run, int n)
{
	double least = run(n);
	for (int i = 0; i < 2; ++i)
		least = std::min(least, run(n));
	return least;
}
/// `run' ends n waits, and returns what that has cost. What else the machine does only adds, but it
/// may add several times as much where threads take turns (a processor that has been idle, or one
/// for two threads): few and many in turn, until the least of both has been seen.
template <class Run> void check_grows_linearly(Run run)
{
	constexpr int rounds = 12;
	double for_few = cost_of(run, few), for_many = cost_of(run, many);
	const auto is_linear = [&] { return for_many < std::max(for_few, 0.001) * 32; };
	for (int i = 0; i < rounds && !is_linear(); ++i) {
		for_many = std::min(for_many, run(many));
		for_few = std::min(for_few, run(few));
	}
	BOOST_TEST_MESSAGE(few << " cost " << for_few << " s, " << many << " cost " << for_many
			       << " s");
	BOOST_TEST(is_linear(),
		   few << " cost " << for_few << " s, " << many << " cost " << for_many << " s");
}

class Waits {
public:
	/// data(i) of each wait. Fewer than n where there are places for no more.
	template <class Data>
	Waits(int n, bool one_semaphore, Data data) : semaphores_(one_semaphore ? 1 : n)
	{
		BOOST_TEST_REQUIRE(ec_set_limit(ec_, 1000000) == 0);
		for (sem_t &s : semaphores_)
			BOOST_TEST_REQUIRE(sem_init(&s, 0, 0) == 0);
		for (; count_ < n && ev_sem_wait(&semaphores_[one_semaphore ? 0 : count_], nullptr,
						 ec_, data(count_)) == 0;
		     ++count_) {
		}
	}
	int count() const { return count_; }
	Channel &channel() { return ec_; }
	int tokens()
	{
		int sum = 0;
		for (sem_t &s : semaphores_) {
			int value = -1;
			sem_post(&s);
			sem_getvalue(&s, &value);
			sum += value;
		}
		return sum;
	}
	int semaphores() const { return int(semaphores_.size()); }

private:
	Channel ec_;
	std::vector<sem_t> semaphores_;
	int count_ = 0;
};

/// The waits end, by what `end' does, and leave the semaphores as they were.
template <class Data, class End> double cost_to_end(int n, bool one_semaphore, Data data, End end)
{
	Waits waits(n, one_semaphore, data);
	if (one_semaphore)
		BOOST_TEST(waits.count() == n);
	const double before = processor_time();
	end(waits);
	const double cost = processor_time() - before;
	BOOST_TEST(waits.tokens() == waits.semaphores());
	// Without a ring there are places for some: then the cost of the rest is what it would be.
	return waits.count() == n ? cost : cost * n / waits.count();
}
void *same(int)
{
	return &datum;
}
void *own(int i)
{
	return as_data(uintptr_t(i) + 1);
}

void cancel_each(Waits &waits)
{
	for (int i = 0; i < waits.count(); ++i)
		if (ev_cancel(waits.channel(), own(i)) != 0)
			BOOST_FAIL("wait " << i << " is not found");
	BOOST_TEST(drain(waits.channel()) == waits.count());
}
void cancel_all(Waits &waits)
{
	BOOST_TEST(ev_cancel(waits.channel(), &datum) == 0);
	BOOST_TEST(drain(waits.channel()) == waits.count());
}
void destroy(Waits &waits)
{
	BOOST_TEST(ec_destroy(waits.channel().release()) == 0);
}

template <class F> void for_one_and_many_semaphores(F body)
{
	for (bool one : {false, true})
		BOOST_TEST_CONTEXT((one ? "one semaphore" : "a semaphore each"))
		{
			body(one);
		}
}

} // namespace

BOOST_AUTO_TEST_CASE(cancelling_each_of_many_waits_is_linear)
{
	for_one_and_many_semaphores([](bool one) {
		check_grows_linearly([&](int n) { return cost_to_end(n, one, own, cancel_each); });
	});
}

BOOST_AUTO_TEST_CASE(cancelling_all_of_many_waits_is_linear)
{
	for_one_and_many_semaphores([](bool one) {
		check_grows_linearly([&](int n) { return cost_to_end(n, one, same, cancel_all); });
	});
}

BOOST_AUTO_TEST_CASE(destroying_a_channel_with_many_waits_is_linear)
{
	for_one_and_many_semaphores([](bool one) {
		check_grows_linearly([&](int n) { return cost_to_end(n, one, own, destroy); });
	});
}

BOOST_AUTO_TEST_CASE(cancelling_few_beside_many_costs_what_few_cost)
{
	Waits others(150000, true, same);
	const auto cancel_few = [&](int n) {
		double const before = processor_time();
		Channel ec;
		Semaphore s;
		for (int i = 0; i < n; ++i) {
			BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &datum) == 0);
			BOOST_TEST(ev_cancel(ec, &datum) == 0);
			next_event(ec);
		}
		return processor_time() - before;
	};
	const double beside = cost_of(cancel_few, 100);
	ec_destroy(others.channel().release());
	BOOST_TEST(beside < std::max(cost_of(cancel_few, 100), 0.001) * 16);
}

BOOST_AUTO_TEST_CASE(deleting_many_timers_is_linear)
{
	rlimit limit{};
	getrlimit(RLIMIT_SIGPENDING, &limit);
	if (limit.rlim_max < rlim_t(many))
		skip_program("too few timers are allowed");
	limit.rlim_cur = limit.rlim_max;
	BOOST_TEST_REQUIRE(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
	check_grows_linearly([](int n) {
		Channel ec;
		sigevent event = channel_event(ec);
		std::vector<timer_t> timers(static_cast<size_t>(n));
		for (timer_t &t : timers)
			BOOST_TEST_REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &t) == 0);
		double const before = processor_time();
		while (!timers.empty()) {
			if (timer_delete(timers.back()) != 0)
				BOOST_FAIL("timer_delete");
			timers.pop_back();
		}
		double const cost = processor_time() - before;
		BOOST_TEST(numbers(ec).outstanding == 0u);
		return cost;
	});
}

BOOST_AUTO_TEST_CASE(a_long_list_of_names_is_linear)
{
	check_grows_linearly([](int n) {
		Channel ec;
		addrinfo hints{};
		hints.ai_flags = AI_NUMERICHOST;
		std::vector<gaicb> requests(static_cast<size_t>(n));
		std::vector<gaicb *> list;
		for (gaicb &r : requests) {
			r.ar_name = "127.0.0.1";
			r.ar_request = &hints;
			list.push_back(&r);
		}
		sigevent event = channel_event(ec);
		double const before = processor_time();
		BOOST_TEST_REQUIRE(getaddrinfo_a(GAI_NOWAIT, list.data(), n, &event) == 0);
		BOOST_TEST(next_event(ec).ev_result == 0);
		double const cost = processor_time() - before;
		for (gaicb &r : requests) {
			if (gai_error(&r) != 0)
				BOOST_FAIL("gai_error");
			freeaddrinfo(r.ar_result);
		}
		return cost;
	});
}

BOOST_AUTO_TEST_CASE(many_system_v_calls_wait_without_the_processor)
{
	constexpr int count = 200;
	struct Message {
		long type;
		char text[8];
	};
	std::vector<Message> messages(count);
	std::vector<int> queues;
	Channel ec;
	for (Message &m : messages) {
		const int id = msgget(IPC_PRIVATE, 0600);
		if (id < 0 && errno == ENOSYS)
			skip_program("no System V queues here");
		BOOST_TEST_REQUIRE(id >= 0);
		queues.push_back(id);
		BOOST_TEST_REQUIRE(ev_msgrcv(id, &m, sizeof m.text, 0, 0, ec, &m) == 0);
	}
	// How often the process has been given the processor: what waits in a thread is never
	// woken, whatever else runs here.
	rusage before{}, after{};
	getrusage(RUSAGE_SELF, &before);
	constexpr int tenths = 10;
	for (int i = 0; i < tenths; ++i)
		std::this_thread::sleep_for(std::chrono::milliseconds(100));
	getrusage(RUSAGE_SELF, &after);
	BOOST_TEST(after.ru_nvcsw - before.ru_nvcsw < 30 * tenths);
	const Message m{1, "text"};
	for (int id : queues)
		BOOST_TEST_REQUIRE(msgsnd(id, &m, sizeof m.text, 0) == 0);
	for (int i = 0; i < count; ++i)
		BOOST_TEST(outcome(next_event(ec)) == ok(sizeof m.text));
	for (int id : queues)
		msgctl(id, IPC_RMID, nullptr);
}
