// SPDX-License-Identifier: MIT
//
// ev_signal: signals as events.
#define BOOST_TEST_MODULE source_signal
#include "channel.hpp"

namespace {

int datum, other_datum;

sigset_t set_of(std::initializer_list<int> numbers)
{
	sigset_t set;
	sigemptyset(&set);
	for (int number : numbers)
		sigaddset(&set, number);
	return set;
}
int wait_for_signals(std::initializer_list<int> numbers, ec_t ec, void *data = &datum)
{
	const sigset_t set = set_of(numbers);
	return ev_signal(&set, ec, data);
}
bool is_blocked(int number)
{
	sigset_t now;
	pthread_sigmask(SIG_SETMASK, nullptr, &now);
	return sigismember(&now, number) == 1;
}
void queue_signal(int number, int value)
{
	sigval v{};
	v.sival_int = value;
	BOOST_TEST_REQUIRE(sigqueue(getpid(), number, v) == 0);
}
event_data_t check_event(ec_t ec, int number, int code, void *data = &datum)
{
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_type == event_type_sig);
	BOOST_TEST(event.ev_un.ev_sig.sigev_signo == number);
	BOOST_TEST(event.ev_un.ev_sig.sigev_code == code);
	BOOST_TEST(outcome(event) == ok(number));
	BOOST_TEST(event.ev_data == data);
	return event;
}
/// What a case leaves behind would end the program later.
struct CleanMask {
	sigset_t before;
	CleanMask() { pthread_sigmask(SIG_SETMASK, nullptr, &before); }
	~CleanMask()
	{
		const sigset_t all =
			set_of({SIGUSR1, SIGUSR2, SIGCHLD, SIGRTMIN + 1, SIGRTMIN + 2});
		const timespec none{0, 0};
		while (sigtimedwait(&all, nullptr, &none) > 0) {
		}
		pthread_sigmask(SIG_SETMASK, &before, nullptr);
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(a_signal_is_an_event_with_its_code_and_sender)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		BOOST_TEST_REQUIRE(wait_for_signals({SIGUSR1, SIGUSR2}, ec) == 0);
		BOOST_TEST(is_blocked(SIGUSR1));
		BOOST_TEST(is_blocked(SIGUSR2));
		BOOST_TEST(found_empty(ec));
		BOOST_TEST_REQUIRE(kill(getpid(), SIGUSR2) == 0);
		BOOST_TEST(becomes_readable(ec));
		event_data_t const event = check_event(ec, SIGUSR2, SI_USER);
		BOOST_TEST(event.ev_un.ev_sig.sigev_pid == getpid());
		BOOST_TEST(event.ev_un.ev_sig.sigev_uid == int(getuid()));
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(!is_readable(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_queued_signal_brings_its_value)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		BOOST_TEST_REQUIRE(wait_for_signals({SIGRTMIN + 1}, ec) == 0);
		for (int i = 0; i < 20; ++i)
			queue_signal(SIGRTMIN + 1, i);
		for (int i = 0; i < 20; ++i)
			BOOST_TEST(check_event(ec, SIGRTMIN + 1, SI_QUEUE)
					   .ev_un.ev_sig.sigev_value.sival_int == i);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_signal_for_the_readers_own_thread_is_an_event)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		BOOST_TEST_REQUIRE(wait_for_signals({SIGUSR1}, ec) == 0);
		BOOST_TEST_REQUIRE(raise(SIGUSR1) == 0);
		BOOST_TEST(is_readable(ec));
		check_event(ec, SIGUSR1, SI_TKILL);
	});
}

BOOST_AUTO_TEST_CASE(what_was_pending_before_is_an_event)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		sigset_t const set = set_of({SIGUSR1});
		pthread_sigmask(SIG_BLOCK, &set, nullptr);
		BOOST_TEST_REQUIRE(kill(getpid(), SIGUSR1) == 0);
		BOOST_TEST_REQUIRE(wait_for_signals({SIGUSR1}, ec) == 0);
		check_event(ec, SIGUSR1, SI_USER);
	});
}

BOOST_AUTO_TEST_CASE(a_blocked_reader_is_woken_by_a_signal)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		BOOST_TEST_REQUIRE(wait_for_signals({SIGUSR1}, ec) == 0);
		pid_t const reader = thread_id();
		std::thread killer([&] {
			eventually([&] { return thread_state(reader) == 'S'; });
			kill(getpid(), SIGUSR1);
		});
		check_event(ec, SIGUSR1, SI_USER);
		killer.join();
	});
}

BOOST_AUTO_TEST_CASE(sigchld_tells_of_the_child)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		BOOST_TEST_REQUIRE(wait_for_signals({SIGCHLD}, ec) == 0);
		pid_t const child = spawn_child([] { _exit(7); });
		event_data_t const event = check_event(ec, SIGCHLD, CLD_EXITED);
		BOOST_TEST(event.ev_un.ev_sig.sigev_pid == child);
		BOOST_TEST(event.ev_un.ev_sig.sigev_status == 7);
		BOOST_TEST(wait_for(child) == 7);
	});
}

BOOST_AUTO_TEST_CASE(other_events_come_beside_the_signals)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		BOOST_TEST_REQUIRE(wait_for_signals({SIGUSR1}, ec) == 0);
		Stream s = unix_stream();
		char byte;
		BOOST_TEST_REQUIRE(ev_recv(s.reader, &byte, 1, 0, ec, &other_datum) == 0);
		BOOST_TEST(found_empty(ec));
		put(s.writer, "x");
		BOOST_TEST(next_event(ec).ev_data == &other_datum);
		BOOST_TEST_REQUIRE(kill(getpid(), SIGUSR1) == 0);
		check_event(ec, SIGUSR1, SI_USER);
		BOOST_TEST_REQUIRE(ec_post(ec, 0, 0, &other_datum) == 0);
		BOOST_TEST(next_event(ec).ev_data == &other_datum);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(!is_readable(ec));
		std::thread poster([&] {
			usleep(1000);
			post(ec, 1);
		});
		BOOST_TEST(next_event(ec).ev_type == event_type_user);
		poster.join();
	});
}

BOOST_AUTO_TEST_CASE(several_readers_share_the_signals)
{
	Channel ec(0);
	CleanMask clean;
	BOOST_TEST_REQUIRE(wait_for_signals({SIGRTMIN + 2}, ec) == 0);
	constexpr int count = 500;
	std::atomic<int> sum{0}, taken{0};
	std::vector<std::thread> readers;
	for (int i = 0; i < 4; ++i)
		readers.emplace_back([&] {
			event_data_t event;
			while (take_events(ec, &event, 1) == 1 && event.ev_type == event_type_sig) {
				sum += event.ev_un.ev_sig.sigev_value.sival_int;
				++taken;
			}
		});
	for (int i = 1; i <= count; ++i)
		queue_signal(SIGRTMIN + 2, i);
	BOOST_TEST(eventually([&] { return taken == count; }));
	for (size_t i = 0; i < readers.size(); ++i)
		BOOST_TEST(post(ec, 1));
	for (std::thread &reader : readers)
		reader.join();
	BOOST_TEST(sum == count * (count + 1) / 2);
}

BOOST_AUTO_TEST_CASE(ev_cancel_ends_it_with_a_last_event)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		BOOST_TEST_REQUIRE(wait_for_signals({SIGUSR1}, ec) == 0);
		BOOST_TEST_REQUIRE(wait_for_signals({SIGUSR2}, ec, &other_datum) == 0);
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		event_data_t event = next_event(ec);
		BOOST_TEST(event.ev_type == event_type_sig);
		BOOST_TEST(outcome(event) == failed(ECANCELED));
		BOOST_TEST(event.ev_data == &datum);
		CHECK_FAILS(ev_cancel(ec, &datum), ENOENT);
		BOOST_TEST_REQUIRE(kill(getpid(), SIGUSR1) ==
				   0); // blocked, and pending for whoever asks
		BOOST_TEST(found_empty(ec));
		BOOST_TEST_REQUIRE(kill(getpid(), SIGUSR2) == 0);
		BOOST_TEST(becomes_readable(ec));
		// One that has been taken from the kernel is told before the last event.
		struct ec_stat s = numbers(ec);
		BOOST_TEST(s.queued == 1u);
		BOOST_TEST(ev_cancel(ec, &other_datum) == 0);
		check_event(ec, SIGUSR2, SI_USER, &other_datum);
		BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(a_destroyed_channel_leaves_the_signals_pending)
{
	for_each_channel_kind([](unsigned flags) {
		CleanMask clean;
		Channel ec(flags);
		BOOST_TEST_REQUIRE(wait_for_signals({SIGUSR1}, ec) == 0);
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		BOOST_TEST_REQUIRE(kill(getpid(), SIGUSR1) == 0);
		sigset_t const set = set_of({SIGUSR1});
		timespec const limit = until_it_hangs;
		BOOST_TEST(sigtimedwait(&set, nullptr, &limit) == SIGUSR1);
	});
}

BOOST_AUTO_TEST_CASE(at_the_limit_signals_wait_in_the_kernel)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		BOOST_TEST_REQUIRE(wait_for_signals({SIGRTMIN + 1}, ec) == 0);
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 1) == 0);
		for (int i = 0; i < 10; ++i)
			queue_signal(SIGRTMIN + 1, i);
		for (int i = 0; i < 10; ++i) {
			BOOST_TEST(numbers(ec).outstanding + numbers(ec).queued == 1u);
			BOOST_TEST(check_event(ec, SIGRTMIN + 1, SI_QUEUE)
					   .ev_un.ev_sig.sigev_value.sival_int == i);
		}
	});
}

BOOST_AUTO_TEST_CASE(sigkill_and_sigstop_are_left_out_in_silence)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		BOOST_TEST_REQUIRE(wait_for_signals({SIGKILL, SIGSTOP, SIGUSR1}, ec) == 0);
		BOOST_TEST_REQUIRE(kill(getpid(), SIGUSR1) == 0);
		check_event(ec, SIGUSR1, SI_USER);
	});
}

BOOST_AUTO_TEST_CASE(arguments_that_cannot_be_are_refused)
{
	for_each_channel([](Channel &ec) {
		CleanMask clean;
		CHECK_FAILS(wait_for_signals({SIGUSR1}, -1), EBADF);
		BOOST_TEST(!is_blocked(SIGUSR1));
		CHECK_FAILS(ev_signal(nullptr, ec, nullptr), EINVAL);
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 1) == 0);
		BOOST_TEST_REQUIRE(ec_post(ec, 0, 0, nullptr) == 0);
		CHECK_FAILS(wait_for_signals({SIGUSR1}, ec), EAGAIN);
		next_event(ec);
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(a_program_that_closes_everything_is_not_disturbed)
{
	BOOST_TEST(in_child([] {
			   ec_t const ec = ec_create(0);
			   sigset_t const set = set_of({SIGUSR1});
			   if (ev_signal(&set, ec, nullptr) != 0)
				   _exit(1);
			   for (int fd = 3; fd < 64; ++fd)
				   close(fd);
			   int ends[2];
			   for (int i = 0; i < 20; ++i)
				   if (pipe(ends) != 0 || write(ends[1], "abc", 3) != 3)
					   _exit(2);
			   event_data_t event;
			   if (ec_next_events(ec, &event, 1, &at_once) != -1 || errno != EBADF)
				   _exit(3);
			   char text[3];
			   if (read(ends[0], text, 3) != 3)
				   _exit(4);
		   }) == 0);
}
