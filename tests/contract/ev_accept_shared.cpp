// SPDX-License-Identifier: MIT
//
// Several that accept from one socket: whoever waits, is cancelled, or goes away takes no
// connection from the others, nor the wake-up that tells of it.
#define BOOST_TEST_MODULE ev_accept_shared
#include "socket_calls.hpp"

#include "processes.hpp"

#include <atomic>
#include <barrier>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <thread>

namespace {

int datum;

void start_accepting(ec_t ec, int listener, int more = EV_MULTISHOT)
{
	BOOST_TEST_REQUIRE(ev_accept(listener, more | SOCK_CLOEXEC, ec, &datum) == 0);
	BOOST_TEST(found_empty(ec)); // it waits now
}

/// Closes the connection that the event tells of.
void take_connection(ec_t ec)
{
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_errno == 0);
	BOOST_TEST_REQUIRE(event.ev_result >= 0);
	close(int(event.ev_result));
}

/// A connection that nobody has taken; or none.
Fd in_backlog(int listener)
{
	return has_data(listener) ? Fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)) : Fd();
}

/// Whether such a channel has a ring that takes connections, in the calls of its owner: then they
/// stay with the listener until it is read.
bool takes_when_read(unsigned flags)
{
	const Fd listener = listening_socket(unix_stream_kind);
	Channel ec(flags);
	start_accepting(ec, listener);
	const Fd client = connected_to(unix_stream_kind, listener);
	return becomes_readable(ec) && has_data(listener);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_process_blocked_in_accept_is_woken_beside_a_channel_nobody_reads)
{
	for (const SocketKind &kind : {unix_stream_kind, tcp4_kind})
		for_each_channel_kind([&](unsigned flags) {
			if (!takes_when_read(flags))
				return;
			const Fd listener = listening_socket(kind);
			Channel ec(flags);
			start_accepting(ec, listener);
			for (int i = 0; i < 3; ++i) {
				Waiter other([&] {
					const int s =
						accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
					close(s);
					return s < 0 ? -1 : 0;
				});
				BOOST_TEST_REQUIRE(other.asleep());
				const Fd client = connected_to(kind, listener);
				BOOST_TEST_REQUIRE(other.returns());
				BOOST_TEST(other.result() == 0);
			}
			// It was woken, too, and has found nothing.
			BOOST_TEST(found_empty(ec));
			const Fd client = connected_to(kind, listener);
			take_connection(ec);
		});
}

BOOST_AUTO_TEST_CASE(a_channel_that_is_read_gets_what_one_that_is_not_read_was_woken_for)
{
	for_each_channel_kind([](unsigned flags) {
		if (!takes_when_read(flags))
			return;
		const Fd listener = listening_socket(tcp4_kind);
		Channel idle(flags), busy(flags);
		start_accepting(idle, listener);
		start_accepting(busy, listener);
		for (int i = 0; i < 5; ++i) {
			const Fd client = connected_to(tcp4_kind, listener);
			take_connection(busy);
		}
		BOOST_TEST(found_empty(idle));
		BOOST_TEST(ev_cancel(busy, &datum) == 0);
		BOOST_TEST(outcome(next_event(busy)) == failed(ECANCELED));
		const Fd client = connected_to(tcp4_kind, listener);
		take_connection(idle);
	});
}

BOOST_AUTO_TEST_CASE(a_connection_that_comes_while_its_accept_is_cancelled_is_given_or_left)
{
	for_each_channel_kind([](unsigned flags) {
		for (int multishot : {0, int(EV_MULTISHOT)}) {
			const Fd listener = listening_socket(unix_stream_kind);
			Channel ec(flags);
			std::barrier both(2);
			constexpr int rounds = 100;
			std::thread peer([&] {
				for (int i = 0; i < rounds; ++i) {
					both.arrive_and_wait();
					const Fd client = connected_to(unix_stream_kind, listener);
					both.arrive_and_wait();
				}
			});
			int given = 0, left = 0;
			for (int i = 0; i < rounds; ++i) {
				start_accepting(ec, listener, multishot);
				both.arrive_and_wait();
				const bool found = ev_cancel(ec, &datum) == 0;
				both.arrive_and_wait();
				event_data_t last = next_event(ec);
				if (last.ev_errno == 0) {
					close(int(last.ev_result));
					++given;
					if (multishot != 0)
						last = next_event(ec);
				}
				if (found && last.ev_errno != 0)
					BOOST_TEST(last.ev_errno == ECANCELED);
				left += in_backlog(listener) >= 0;
				BOOST_TEST(found_empty(ec));
			}
			peer.join();
			BOOST_TEST(given + left == rounds);
		}
	});
}

BOOST_AUTO_TEST_CASE(what_a_channel_of_one_thread_has_not_taken_stays_when_it_ends)
{
	for (unsigned flags : {unsigned(EC_SINGLE), unsigned(EC_SINGLE | EC_BATCH)}) {
		if (!takes_when_read(flags))
			continue;
		const Fd listener = listening_socket(tcp4_kind);
		Channel ec(flags), next(flags);
		start_accepting(ec, listener);
		start_accepting(next, listener);
		const Fd client = connected_to(tcp4_kind, listener);
		BOOST_TEST(becomes_readable(ec));
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		take_connection(next);
	}
}

BOOST_AUTO_TEST_CASE(a_connection_that_was_taken_and_not_read_is_closed_with_the_channel)
{
	for_each_channel_kind([](unsigned flags) {
		for (int multishot : {0, int(EV_MULTISHOT)}) {
			const Fd listener = listening_socket(unix_stream_kind);
			Channel ec(flags);
			start_accepting(ec, listener, multishot);
			const Fd client = connected_to(unix_stream_kind, listener);
			BOOST_TEST(eventually([&] { return numbers(ec).queued == 1; }));
			BOOST_TEST(ec_destroy(ec.release()) == 0);
			pollfd ended{client, 0, 0};
			BOOST_TEST(poll(&ended, 1, 1000 * int(hang_limit.count())) == 1);
			BOOST_TEST((ended.revents & POLLHUP) != 0);
		}
	});
}

namespace {

/// Stops this process and lets it go on, again and again, so that its threads are held up anywhere.
class Interruptions {
public:
	Interruptions()
	    : over_(new (mmap(nullptr, sizeof(std::atomic<bool>), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0)) std::atomic<bool>(false)),
	      child_(fork())
	{
		if (child_ == 0)
			interrupt(getppid());
		BOOST_TEST_REQUIRE(child_ > 0);
	}
	~Interruptions()
	{
		over_->store(true);
		waitpid(child_, nullptr, 0);
		munmap(over_, sizeof *over_);
	}
	Interruptions(const Interruptions &) = delete;
	Interruptions &operator=(const Interruptions &) = delete;

private:
	[[noreturn]] void interrupt(pid_t parent) const
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (unsigned i = 0; !over_->load(); i = i * 5 + 1) {
			usleep(i % 700);
			kill(parent, SIGSTOP);
			usleep(i % 300);
			kill(parent, SIGCONT);
		}
		_exit(0);
	}
	std::atomic<bool> *over_;
	pid_t child_;
};

} // namespace

BOOST_AUTO_TEST_CASE(it_is_closed_wherever_the_threads_are_held_up)
{
	constexpr int rounds = 300;
	const Fd listener = listening_socket(unix_stream_kind);
	Interruptions interruptions;
	for (int i = 0; i < rounds; ++i) {
		Channel ec(0);
		start_accepting(ec, listener, EV_MULTISHOT);
		const Fd client = connected_to(unix_stream_kind, listener);
		while (numbers(ec).queued == 0)
			;
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		pollfd ended{client, 0, 0};
		BOOST_TEST_REQUIRE(poll(&ended, 1, 1000 * int(hang_limit.count())) == 1);
		BOOST_TEST((ended.revents & POLLHUP) != 0);
	}
}

BOOST_AUTO_TEST_CASE(what_the_thread_that_used_a_channel_has_not_taken_the_next_one_takes)
{
	for (unsigned flags : {unsigned(EC_SINGLE), unsigned(EC_SINGLE | EC_BATCH)}) {
		const Fd listener = listening_socket(tcp4_kind);
		Channel ec(flags);
		std::vector<Fd> clients;
		in_thread([&] {
			ev_accept(listener, EV_MULTISHOT | SOCK_CLOEXEC, ec, &datum);
			ec_submit(ec);
			for (int i = 0; i < 3; ++i)
				clients.push_back(connected_to(tcp4_kind, listener));
		});
		for (int i = 0; i < 3; ++i)
			take_connection(ec);
		clients.push_back(connected_to(tcp4_kind, listener));
		take_connection(ec);
	}
}

BOOST_AUTO_TEST_CASE(an_accept_that_waits_holds_its_socket_whatever_becomes_of_the_number)
{
	for_each_channel([](Channel &ec) {
		for (int multishot : {0, int(EV_MULTISHOT)}) {
			Fd listener = listening_socket(tcp4_kind);
			const Fd other = listening_socket(tcp4_kind);
			Address to = address_of(listener);
			start_accepting(ec, listener, multishot);
			BOOST_TEST_REQUIRE(dup2(other, listener) == int(listener));
			const Fd client = new_socket(tcp4_kind);
			BOOST_TEST(connect(client, to.get(), to.length) == 0);
			take_connection(ec);
			BOOST_TEST(!has_data(other));
			if (multishot == 0)
				continue;
			BOOST_TEST(ev_cancel(ec, &datum) == 0);
			BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
		}
	});
}

BOOST_AUTO_TEST_CASE(a_limit_that_is_raised_lets_waiting_connections_in)
{
	for_each_channel([](Channel &ec) {
		const Fd listener = listening_socket(tcp4_kind);
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 2) == 0);
		start_accepting(ec, listener);
		BOOST_TEST_REQUIRE(ec_post(ec, 0, 0, nullptr) == 0); // the last credit
		const Fd client = connected_to(tcp4_kind, listener);
		BOOST_TEST(next_event(ec).ev_type == event_type_user);
		take_connection(ec);
		Stream s = unix_stream();
		static char c;
		BOOST_TEST_REQUIRE(ev_recv(s.reader, &c, 1, 0, ec, &c) == 0);
		const Fd second = connected_to(tcp4_kind, listener);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(has_data(listener)); // it waits
		in_thread([&] { ec_set_limit(ec, 3); });
		BOOST_TEST(becomes_readable(ec));
		take_connection(ec);
	});
}
