// SPDX-License-Identifier: MIT
//
// timer_create and getaddrinfo_a with SIGEV_EC.
#define BOOST_TEST_MODULE source_timer
#include "channel.hpp"

#include <netdb.h>
#include <set>
#include <time.h>

namespace {

int datum;

int create(clockid_t clock, ec_t ec, timer_t *id, void *data = &datum)
{
	sigevent event = channel_event(ec, data);
	return timer_create(clock, &event, id);
}

class Timer {
public:
	explicit Timer(ec_t ec, clockid_t clock = CLOCK_MONOTONIC, void *data = &datum)
	{
		BOOST_TEST_REQUIRE(create(clock, ec, &id_, data) == 0);
		exists_ = true;
	}
	Timer(Timer &&other) noexcept : id_(other.id_), exists_(std::exchange(other.exists_, false))
	{
	}
	~Timer()
	{
		if (exists_)
			remove();
	}
	operator timer_t() const { return id_; }
	void remove()
	{
		exists_ = false;
		BOOST_TEST(timer_delete(id_) == 0);
	}
	void set(long after_ns, long every_ns = 0) const
	{
		const itimerspec t{{every_ns / 1000000000, every_ns % 1000000000},
				   {after_ns / 1000000000, after_ns % 1000000000}};
		BOOST_TEST_REQUIRE(timer_settime(id_, 0, &t, nullptr) == 0);
	}

private:
	timer_t id_{};
	bool exists_ = false;
};

event_data_t check_event(ec_t ec, timer_t timer, void *data = &datum)
{
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_type == event_type_timer);
	BOOST_TEST(event.ev_un.ev_obj == timer);
	BOOST_TEST(event.ev_errno == 0);
	BOOST_TEST(event.ev_result >= 1);
	BOOST_TEST(event.ev_data == data);
	return event;
}
constexpr long millisecond = 1000000;

timespec now(clockid_t clock)
{
	timespec t{};
	BOOST_TEST_REQUIRE(clock_gettime(clock, &t) == 0);
	return t;
}
/// A clock of processor time stands still while its thread sleeps, and the kernel looks at it at
/// times only.
void work_until_expired(timer_t timer)
{
	itimerspec left{};
	do
		BOOST_TEST_REQUIRE(timer_gettime(timer, &left) == 0);
	while (left.it_value.tv_sec != 0 || left.it_value.tv_nsec != 0);
}
long threads()
{
	std::ifstream status("/proc/self/status");
	for (std::string line; std::getline(status, line);)
		if (line.rfind("Threads:", 0) == 0)
			return atol(line.c_str() + 8);
	return -1;
}

/// A look-up that needs no server.
struct Lookup {
	addrinfo hints{};
	gaicb request{};
	explicit Lookup(const char *name, int flags = AI_NUMERICHOST)
	{
		hints.ai_flags = flags;
		hints.ai_family = AF_UNSPEC;
		hints.ai_socktype = SOCK_STREAM;
		request.ar_name = name;
		request.ar_request = &hints;
	}
	~Lookup()
	{
		if (request.ar_result != nullptr)
			freeaddrinfo(request.ar_result);
	}
};
int look_up(std::vector<gaicb *> list, ec_t ec, void *data = &datum)
{
	sigevent event = channel_event(ec, data);
	return getaddrinfo_a(GAI_NOWAIT, list.data(), int(list.size()), &event);
}
void check_list(ec_t ec, void *data = &datum)
{
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_type == event_type_addrinfo);
	BOOST_TEST(outcome(event) == ok(0));
	BOOST_TEST(event.ev_data == data);
}

} // namespace

BOOST_AUTO_TEST_CASE(an_expiration_is_an_event)
{
	for_each_channel([](Channel &ec) {
		Timer timer(ec);
		BOOST_TEST(found_empty(ec));
		timer.set(1);
		BOOST_TEST(becomes_readable(ec));
		BOOST_TEST(check_event(ec, timer).ev_result == 1);
		BOOST_TEST(timer_getoverrun(timer) == 0);
		BOOST_TEST(found_empty(ec));
		timer.set(millisecond); // and once more, this time with a blocked reader
		check_event(ec, timer);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(an_absolute_time_is_waited_for)
{
	for_each_channel([](Channel &ec) {
		for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC}) {
			Timer timer(ec, clock);
			itimerspec at{};
			at.it_value = now(clock);
			at.it_value.tv_nsec += 20 * millisecond;
			if (at.it_value.tv_nsec >= 1000000000)
				++at.it_value.tv_sec, at.it_value.tv_nsec -= 1000000000;
			BOOST_TEST_REQUIRE(timer_settime(timer, TIMER_ABSTIME, &at, nullptr) == 0);
			check_event(ec, timer);
			timespec const t = now(clock);
			BOOST_TEST((t.tv_sec > at.it_value.tv_sec ||
				    (t.tv_sec == at.it_value.tv_sec &&
				     t.tv_nsec >= at.it_value.tv_nsec)));
			at.it_value = {1, 0}; // long ago
			BOOST_TEST_REQUIRE(timer_settime(timer, TIMER_ABSTIME, &at, nullptr) == 0);
			check_event(ec, timer);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_periodic_timer_tells_every_expiration_or_counts_it)
{
	for_each_channel([](Channel &ec) {
		Timer timer(ec);
		timespec const start = now(CLOCK_MONOTONIC);
		timer.set(millisecond, millisecond);
		ssize_t told = 0;
		for (int i = 0; i < 5; ++i) {
			ssize_t const n = check_event(ec, timer).ev_result;
			BOOST_TEST(timer_getoverrun(timer) == n - 1);
			told += n;
		}
		timer.set(0);
		timespec const end = now(CLOCK_MONOTONIC);
		long const passed = (end.tv_sec - start.tv_sec) * 1000 +
				    (end.tv_nsec - start.tv_nsec) / millisecond;
		BOOST_TEST(told >= 5);
		BOOST_TEST(told <= passed + 1);
	});
}

BOOST_AUTO_TEST_CASE(what_expires_unread_is_one_event_with_a_count)
{
	for_each_channel([](Channel &ec) {
		Timer timer(ec);
		timer.set(millisecond, millisecond);
		// Who counts may not have had a processor for long.
		BOOST_TEST(eventually([&] {
			BOOST_TEST(becomes_readable(ec));
			usleep(20000);
			ssize_t const told = check_event(ec, timer).ev_result;
			BOOST_TEST(timer_getoverrun(timer) == told - 1);
			BOOST_TEST(numbers(ec).queued <= 1u);
			return told >= 10;
		}));
	});
}

BOOST_AUTO_TEST_CASE(every_clock_of_the_system_will_do)
{
	for_each_channel([](Channel &ec) {
		for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
					CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM,
					CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID}) {
			BOOST_TEST_CONTEXT("clock " << clock)
			{
				timer_t own;
				sigevent silent{};
				silent.sigev_notify = SIGEV_NONE;
				if (timer_create(clock, &silent, &own) !=
				    0) { // the system has it not: neither have we
					int const error = errno;
					CHECK_FAILS(create(clock, ec, &own), error);
					continue;
				}
				BOOST_TEST(timer_delete(own) == 0);
				Timer timer(ec, clock);
				timer.set(millisecond);
				if (clock == CLOCK_PROCESS_CPUTIME_ID ||
				    clock == CLOCK_THREAD_CPUTIME_ID)
					work_until_expired(timer);
				check_event(ec, timer);
			}
		}
	});
}

BOOST_AUTO_TEST_CASE(a_thousand_timers_need_no_thread_each)
{
	Channel first(0);
	Timer one(first);
	const long before = threads();
	for_each_channel([&](Channel &ec) {
		std::vector<Timer> timers;
		for (size_t i = 0; i < 1000; ++i)
			timers.emplace_back(ec, CLOCK_MONOTONIC, as_data(i));
		for (Timer &timer : timers)
			timer.set(millisecond);
		std::set<uintptr_t> told;
		while (told.size() < timers.size())
			told.insert(as_number(next_event(ec).ev_data));
		BOOST_TEST(*told.rbegin() == timers.size() - 1);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(threads() == before);
		BOOST_TEST(numbers(ec).outstanding == timers.size());
	});
}

BOOST_AUTO_TEST_CASE(a_deleted_timer_is_not_heard_of_again)
{
	for_each_channel([](Channel &ec) {
		Timer timer(ec);
		timer.set(1, millisecond);
		BOOST_TEST(becomes_readable(ec));
		timer.remove();
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(!is_readable(ec));
		BOOST_TEST(numbers(ec).outstanding == 0u);
		BOOST_TEST(numbers(ec).queued == 0u);
		for (int i = 0; i < 200; ++i) {
			Timer brief(ec);
			brief.set(1, 1000);
			if (i % 2 != 0)
				check_event(ec, brief);
		}
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(a_timer_takes_room_for_one_event)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 2) == 0);
		Timer one(ec), two(ec);
		timer_t three;
		CHECK_FAILS(create(CLOCK_MONOTONIC, ec, &three), EAGAIN);
		for (int i = 0; i < 20; ++i) {
			one.set(1);
			check_event(ec, one);
			BOOST_TEST(numbers(ec).outstanding == 2u);
		}
		two.remove();
		Timer again(ec);
	});
}

BOOST_AUTO_TEST_CASE(a_timer_outlives_its_channel_in_silence)
{
	for_each_channel_kind([](unsigned flags) {
		Channel ec(flags), other(flags);
		Timer waiting(ec), told(ec);
		told.set(1, millisecond);
		BOOST_TEST(becomes_readable(ec));
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		waiting.set(1);
		Timer further(other);
		further.set(5 * millisecond);
		check_event(other, further);
		BOOST_TEST(found_empty(other));
	});
}

BOOST_AUTO_TEST_CASE(timers_and_channels_that_are_none_fail)
{
	for_each_channel([](Channel &ec) {
		timer_t id;
		CHECK_FAILS(create(CLOCK_MONOTONIC, -1, &id), EBADF);
		CHECK_FAILS(create(12345, ec, &id), EINVAL);
		BOOST_TEST(numbers(ec).outstanding == 0u);
		Timer timer(ec);
		timer_t const number = timer;
		timer.remove();
		CHECK_FAILS(timer_delete(number), EINVAL);
		CHECK_FAILS(timer_getoverrun(number), EINVAL);
	});
}

BOOST_AUTO_TEST_CASE(other_timers_are_the_systems)
{
	static std::atomic<int> called{0};
	SignalHandler handler(SIGUSR1, [](int) { ++called; });
	timer_t with_signal, by_default;
	sigevent event{};
	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = SIGUSR1;
	BOOST_TEST_REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &with_signal) == 0);
	const itimerspec soon{{0, 0}, {0, 1}};
	BOOST_TEST_REQUIRE(timer_settime(with_signal, 0, &soon, nullptr) == 0);
	BOOST_TEST(eventually([] { return called == 1; }));
	BOOST_TEST(timer_getoverrun(with_signal) == 0);
	BOOST_TEST(timer_create(CLOCK_MONOTONIC, nullptr, &by_default) == 0);
	BOOST_TEST(timer_delete(by_default) == 0);
	BOOST_TEST(timer_delete(with_signal) == 0);
	CHECK_FAILS(timer_delete(with_signal), EINVAL);
	event.sigev_notify = 12345;
	CHECK_FAILS(timer_create(CLOCK_MONOTONIC, &event, &by_default), EINVAL);
}

BOOST_AUTO_TEST_CASE(a_child_has_no_timers_and_makes_its_own)
{
	Channel ec(0);
	Timer timer(ec);
	BOOST_TEST(in_child([&] {
			   event_data_t event{};
			   ec_t const own = ec_create(0);
			   sigevent ask = channel_event(own);
			   timer_t id;
			   itimerspec const soon{{0, 0}, {0, 1}};
			   if (timer_delete(timer) != -1)
				   _exit(1);
			   if (timer_create(CLOCK_MONOTONIC, &ask, &id) != 0 ||
			       timer_settime(id, 0, &soon, nullptr) != 0)
				   _exit(2);
			   if (take_events(own, &event, 1) != 1 ||
			       event.ev_type != event_type_timer)
				   _exit(3);
		   }) == 0);
	timer.set(1);
	check_event(ec, timer);
}

BOOST_AUTO_TEST_CASE(a_list_of_names_is_one_event)
{
	for_each_channel([](Channel &ec) {
		Lookup v4("127.0.0.1"), v6("::1"), wrong("no.number");
		BOOST_TEST_REQUIRE(
			look_up({&v4.request, nullptr, &v6.request, &wrong.request}, ec) == 0);
		check_list(ec);
		BOOST_TEST(gai_error(&v4.request) == 0);
		BOOST_TEST(gai_error(&v6.request) == 0);
		BOOST_TEST(gai_error(&wrong.request) == EAI_NONAME);
		BOOST_TEST_REQUIRE(v6.request.ar_result != nullptr);
		BOOST_TEST(v6.request.ar_result->ai_family == AF_INET6);
		BOOST_TEST(gai_cancel(&v4.request) == EAI_ALLDONE);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(an_empty_list_is_an_event_at_once)
{
	for_each_channel([](Channel &ec) {
		BOOST_TEST(look_up({}, ec) == 0);
		check_list(ec);
		BOOST_TEST(look_up({nullptr, nullptr}, ec) == 0);
		check_list(ec);
	});
}

BOOST_AUTO_TEST_CASE(cancelled_names_end_their_list)
{
	for_each_channel([](Channel &ec) {
		std::list<Lookup> lookups;
		std::vector<gaicb *> list;
		for (int i = 0; i < 200; ++i)
			list.push_back(&lookups.emplace_back("127.0.0.1").request);
		BOOST_TEST_REQUIRE(look_up(list, ec) == 0);
		std::set<gaicb *> cancelled;
		for (gaicb *request : list)
			if (gai_cancel(request) == EAI_CANCELED)
				cancelled.insert(request);
		check_list(ec);
		for (gaicb *request : list)
			BOOST_TEST(gai_error(request) ==
				   (cancelled.count(request) != 0 ? EAI_CANCELED : 0));
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(names_outlive_their_channel_in_silence)
{
	for_each_channel_kind([](unsigned flags) {
		std::list<Lookup> lookups;
		std::vector<gaicb *> list;
		for (int i = 0; i < 50; ++i)
			list.push_back(&lookups.emplace_back("127.0.0.1").request);
		Channel ec(flags);
		BOOST_TEST_REQUIRE(look_up(list, ec) == 0);
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		for (gaicb *request : list) {
			gaicb const *one[] = {request};
			BOOST_TEST(gai_suspend(one, 1, &until_it_hangs) == 0);
		}
	});
}

BOOST_AUTO_TEST_CASE(gai_suspend_waits_for_requests_of_both_kinds)
{
	if (thread_sanitizer)
		return; // it does not know threads that libc makes for itself
	for_each_channel([](Channel &ec) {
		Lookup ours("127.0.0.1"), libcs("127.0.0.1");
		BOOST_TEST_REQUIRE(look_up({&ours.request}, ec) == 0);
		gaicb *list[] = {&libcs.request};
		BOOST_TEST_REQUIRE(getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr) == 0);
		gaicb const *both[] = {&ours.request, nullptr, &libcs.request};
		BOOST_TEST(gai_suspend(both, 3, nullptr) == 0);
		gaicb const *one[] = {&ours.request};
		BOOST_TEST(gai_suspend(one, 1, &until_it_hangs) == 0);
		BOOST_TEST(gai_error(&ours.request) == 0);
		check_list(ec);
		BOOST_TEST(eventually([&] { return gai_error(&libcs.request) == 0; }));
	});
}

BOOST_AUTO_TEST_CASE(looking_names_up_takes_no_signals)
{
	Channel ec(0);
	sigset_t set, before;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, &before);
	for (int i = 0; i < 200; ++i) {
		std::list<Lookup> lookups;
		std::vector<gaicb *> list;
		for (int n = 0; n < 5; ++n)
			list.push_back(&lookups.emplace_back("127.0.0.1").request);
		BOOST_TEST_REQUIRE(look_up(list, ec) == 0);
		BOOST_TEST_REQUIRE(kill(getpid(), SIGUSR1) == 0); // would end the program
		check_list(ec);
		BOOST_TEST(sigtimedwait(&set, nullptr, &at_once) == SIGUSR1);
	}
	pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

BOOST_AUTO_TEST_CASE(names_for_no_channel_fail)
{
	for_each_channel([](Channel &ec) {
		Lookup name("127.0.0.1");
		BOOST_TEST(look_up({&name.request}, -1) == EAI_SYSTEM);
		BOOST_TEST(errno == EBADF);
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 1) == 0);
		BOOST_TEST_REQUIRE(ec_post(ec, 0, 0, nullptr) == 0);
		BOOST_TEST(look_up({&name.request}, ec) == EAI_AGAIN);
		next_event(ec);
		BOOST_TEST(look_up({&name.request}, ec) == 0);
		check_list(ec);
	});
}

BOOST_AUTO_TEST_CASE(other_look_ups_are_the_systems)
{
	if (thread_sanitizer)
		return; // it does not know threads that libc makes for itself
	Lookup name("127.0.0.1");
	gaicb *list[] = {&name.request};
	BOOST_TEST(getaddrinfo_a(GAI_WAIT, list, 1, nullptr) == 0);
	BOOST_TEST(gai_error(&name.request) == 0);
	BOOST_TEST(gai_cancel(&name.request) == EAI_ALLDONE);
}
