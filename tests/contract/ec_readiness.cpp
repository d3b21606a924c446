// SPDX-License-Identifier: MIT
//
// Event channels: the descriptor is readable exactly as long as the channel may hold an
// event, and becomes readable for the first event after a read that found it empty;
// in every kind of loop. (ec_readiness_races.cpp: the same under load.)
#define BOOST_TEST_MODULE ec_readiness
#include "channel.hpp"

#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/select.h>
#if __has_include(<event2/event.h>)
#include <event2/event.h>
#define HAVE_LIBEVENT 1
#endif

namespace {

constexpr int rounds = 3;
constexpr int wait_ms = 1000 * int(hang_limit.count());

class Epoll {
public:
	Epoll() : fd_(epoll_create1(EPOLL_CLOEXEC)) { BOOST_TEST_REQUIRE(fd_ >= 0); }
	Epoll(int watched, uint32_t events) : Epoll() { control(EPOLL_CTL_ADD, watched, events); }
	void control(int operation, int watched, uint32_t events)
	{
		epoll_event interest{events, {}};
		interest.data.fd = watched;
		BOOST_TEST_REQUIRE(epoll_ctl(fd_, operation, watched, &interest) == 0);
	}
	/// How many descriptors it names: 0 or 1 here.
	int ready(int timeout = 0)
	{
		std::array<epoll_event, 4> got;
		return wait_through_stops(fd_, got.data(), int(got.size()), timeout);
	}
	bool becomes_ready() { return ready(wait_ms) == 1; }
	operator int() const { return fd_; }

private:
	Fd fd_;
};

bool selected(int fd, bool wait)
{
	fd_set in;
	FD_ZERO(&in);
	FD_SET(fd, &in);
	timeval limit{wait ? hang_limit.count() : 0, 0};
	return select(fd + 1, &in, nullptr, nullptr, &limit) == 1 && FD_ISSET(fd, &in);
}

/// The next event is on its way: nothing was readable before, and one read takes it.
void check_one_event(ec_t ec)
{
	BOOST_TEST(outcome(next_event(ec)) == ok(1));
	BOOST_TEST(found_empty(ec));
}

} // namespace

BOOST_AUTO_TEST_CASE(poll_sees_the_event_and_nothing_before_or_after)
{
	for_each_channel_and_source([](ec_t ec, Source &source) {
		BOOST_TEST(!is_readable(ec));
		for (int i = 0; i < rounds; ++i) {
			source.prepare();
			BOOST_TEST(found_empty(ec));
			BOOST_TEST(!is_readable(ec));
			source.fire();
			BOOST_TEST(becomes_readable(ec));
			BOOST_TEST(is_readable(ec)); // looking takes nothing
			check_one_event(ec);
			BOOST_TEST(!is_readable(ec));
		}
	});
}

BOOST_AUTO_TEST_CASE(a_posted_event_is_readable_when_the_call_returns)
{
	for_each_channel([](ec_t ec) {
		for (int i = 0; i < 100; ++i) {
			BOOST_TEST_REQUIRE(ec_post(ec, 1, 0, nullptr) == 0);
			BOOST_TEST(is_readable(ec));
			check_one_event(ec);
			BOOST_TEST(!is_readable(ec));
		}
	});
}

BOOST_AUTO_TEST_CASE(select_sees_the_event_and_nothing_before_or_after)
{
	for_each_channel_and_source([](ec_t ec, Source &source) {
		for (int i = 0; i < rounds; ++i) {
			source.prepare();
			BOOST_TEST(found_empty(ec));
			BOOST_TEST(!selected(ec, false));
			source.fire();
			BOOST_TEST(selected(ec, true));
			check_one_event(ec);
			BOOST_TEST(!selected(ec, false));
		}
	});
}

BOOST_AUTO_TEST_CASE(level_triggered_epoll_names_it_until_it_was_found_empty)
{
	for_each_channel_and_source([](ec_t ec, Source &source) {
		Epoll epoll(ec, EPOLLIN);
		for (int i = 0; i < rounds; ++i) {
			source.prepare();
			BOOST_TEST(found_empty(ec));
			BOOST_TEST(epoll.ready() == 0);
			source.fire();
			BOOST_TEST(epoll.becomes_ready());
			for (int look = 0; look < 3; ++look)
				BOOST_TEST(epoll.ready() == 1);
			check_one_event(ec);
			BOOST_TEST(epoll.ready() == 0);
		}
	});
}

BOOST_AUTO_TEST_CASE(it_stays_readable_as_long_as_events_are_left)
{
	for_each_channel([](ec_t ec) {
		Epoll epoll(ec, EPOLLIN);
		Stream s = unix_stream();
		for (int i = 0; i < 4; ++i)
			BOOST_TEST_REQUIRE(aio_read(&tell(reading(s.reader, 1), ec).cb) == 0);
		hand_over(ec);
		for (int i = 0; i < 4; ++i)
			BOOST_TEST_REQUIRE(ec_post(ec, 1, 0, nullptr) == 0);
		put(s.writer, "abcd");
		for (int left = 8; left > 0; --left) {
			BOOST_TEST(epoll.becomes_ready());
			BOOST_TEST(becomes_readable(ec));
			BOOST_TEST(outcome(next_event(ec)) == ok(1));
		}
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(epoll.ready() == 0);
		BOOST_TEST(!is_readable(ec));
	});
}

BOOST_AUTO_TEST_CASE(edge_triggered_epoll_names_it_for_the_first_event_after_an_empty_read)
{
	for_each_channel_and_source([](ec_t ec, Source &source) {
		Epoll epoll(ec, EPOLLIN | EPOLLET);
		BOOST_TEST(epoll.ready() == 0);
		for (int i = 0; i < 20; ++i) {
			source.prepare();
			BOOST_TEST(found_empty(ec));
			while (epoll.ready() > 0) {
			}
			source.fire();
			BOOST_TEST(epoll.becomes_ready());
			check_one_event(ec);
		}
	});
}

BOOST_AUTO_TEST_CASE(
	edge_triggered_epoll_and_a_request_that_is_prepared_before_the_read_that_finds_nothing)
{
	for_each_channel([](ec_t ec) {
		Epoll epoll(ec, EPOLLIN | EPOLLET);
		Source source(ec, Source::one_call);
		source.prepare();
		source.fire();
		BOOST_TEST(epoll.becomes_ready());
		for (int i = 0; i < 20; ++i) {
			BOOST_TEST(outcome(next_event(ec)) == ok(1));
			source.prepare(); // a server asks again before it looks for more
			BOOST_TEST(found_empty(ec));
			source.fire();
			BOOST_TEST(epoll.becomes_ready());
		}
		BOOST_TEST(drain(ec) == 1);
	});
}

BOOST_AUTO_TEST_CASE(an_event_that_was_there_first_is_seen_by_a_loop_that_comes_later)
{
	for_each_channel_and_source([](ec_t ec, Source &source) {
		for (uint32_t mode : {uint32_t{EPOLLIN}, uint32_t{EPOLLIN | EPOLLET},
				      uint32_t{EPOLLIN | EPOLLONESHOT}}) {
			source.prepare();
			source.fire();
			BOOST_TEST(becomes_readable(ec));
			Epoll epoll(ec, mode);
			BOOST_TEST(epoll.becomes_ready());
			check_one_event(ec);
		}
	});
}

BOOST_AUTO_TEST_CASE(one_shot_epoll_is_armed_again)
{
	for_each_channel_and_source([](ec_t ec, Source &source) {
		Epoll epoll(ec, EPOLLIN | EPOLLONESHOT);
		for (int i = 0; i < rounds; ++i) {
			source.prepare();
			source.fire();
			BOOST_TEST(epoll.becomes_ready());
			BOOST_TEST(epoll.ready() == 0);
			epoll.control(EPOLL_CTL_MOD, ec, EPOLLIN | EPOLLONESHOT);
			BOOST_TEST(epoll.becomes_ready()); // still there
			check_one_event(ec);
			epoll.control(EPOLL_CTL_MOD, ec, EPOLLIN | EPOLLONESHOT);
			BOOST_TEST(epoll.ready() == 0);
		}
	});
}

BOOST_AUTO_TEST_CASE(an_epoll_within_an_epoll_sees_it)
{
	for (uint32_t inner_mode : {uint32_t{EPOLLIN}, uint32_t{EPOLLIN | EPOLLET}})
		for (uint32_t outer_mode : {uint32_t{EPOLLIN}, uint32_t{EPOLLIN | EPOLLET}})
			for_each_channel_and_source([&](ec_t ec, Source &source) {
				Epoll inner(ec, inner_mode), outer(inner, outer_mode);
				for (int i = 0; i < rounds; ++i) {
					source.prepare();
					BOOST_TEST(found_empty(ec));
					while (inner.ready() > 0) {
					}
					while (outer_mode != EPOLLIN && outer.ready() > 0) {
					}
					BOOST_TEST(outer.ready() == 0);
					source.fire();
					BOOST_TEST(outer.becomes_ready());
					BOOST_TEST(inner.becomes_ready());
					check_one_event(ec);
					BOOST_TEST(inner.ready() == 0);
					BOOST_TEST(outer.ready() == 0);
				}
			});
}

BOOST_AUTO_TEST_CASE(two_loops_see_the_same_channel)
{
	for_each_channel_and_source([](ec_t ec, Source &source) {
		Epoll one(ec, EPOLLIN | EPOLLET), other(ec, EPOLLIN);
		for (int i = 0; i < rounds; ++i) {
			source.prepare();
			BOOST_TEST(found_empty(ec));
			source.fire();
			BOOST_TEST(one.becomes_ready());
			BOOST_TEST(other.becomes_ready());
			check_one_event(ec);
			BOOST_TEST(other.ready() == 0);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_blocked_loop_is_woken)
{
	using Wait = bool (*)(int);
	constexpr Wait waits[] = {
		[](int fd) { return becomes_readable(fd); },
		[](int fd) { return selected(fd, true); },
		[](int fd) {
			Fd epoll(epoll_create1(EPOLL_CLOEXEC));
			epoll_event interest{EPOLLIN | EPOLLET, {}}, got;
			return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) == 0 &&
			       wait_through_stops(epoll, &got, 1, wait_ms) == 1;
		},
	};
	for (Wait wait : waits)
		for_each_channel_and_source([&](ec_t ec, Source &source) {
			source.prepare();
			BOOST_TEST(found_empty(ec));
			std::atomic<pid_t> id{0};
			std::atomic<bool> woken{false};
			std::thread loop([&] {
				id = thread_id();
				woken = wait(ec);
			});
			BOOST_TEST(eventually([&] { return id != 0 && thread_state(id) == 'S'; }));
			source.fire();
			loop.join();
			BOOST_TEST(woken.load());
			check_one_event(ec);
		});
}

BOOST_AUTO_TEST_CASE(one_channel_is_watched_through_another)
{
	for_each_channel_and_source([](ec_t ec, Source &source) {
		Channel watcher;
		source.prepare();
		BOOST_TEST(found_empty(ec));
		BOOST_TEST_REQUIRE(ev_poll(ec, POLLIN, watcher, nullptr) == 0);
		BOOST_TEST(found_empty(watcher));
		source.fire();
		event_data_t const event = next_event(watcher);
		BOOST_TEST((event.ev_result & POLLIN) != 0);
		BOOST_TEST(event.ev_errno == 0);
		check_one_event(ec);
	});
}

// ------------------------------------------------------------------- libevent

#ifdef HAVE_LIBEVENT
namespace {

/// libevent as it is found when the program runs; it is not linked with the tests.
class Libevent {
public:
	Libevent()
	{
		for (const char *name : {"libevent_core-2.1.so.7", "libevent-2.1.so.7",
					 "libevent_core.so", "libevent.so"})
			if (handle_ == nullptr)
				handle_ = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	}
	bool found() const { return handle_ != nullptr; }
	template <class Function> Function *get(const char *name, Function *)
	{
		void *const symbol = dlsym(handle_, name);
		BOOST_TEST_REQUIRE(symbol != nullptr);
		return reinterpret_cast<Function *>(symbol);
	}

private:
	void *handle_ = nullptr;
};
#define LIBEVENT(function) library.get(#function, static_cast<decltype(&::function)>(nullptr))

struct Seen {
	ec_t ec;
	int calls = 0, events = 0;
};

} // namespace

BOOST_AUTO_TEST_CASE(a_libevent_loop_runs_its_function_for_events)
{
	Libevent library;
	if (!library.found()) {
		BOOST_TEST_MESSAGE("skipped: no libevent to load");
		return;
	}
	for (short mode : {short{EV_READ | EV_PERSIST}, short{EV_READ | EV_PERSIST | EV_ET}})
		for_each_channel_and_source([&](ec_t ec, Source &source) {
			event_base *const base = LIBEVENT(event_base_new)();
			Seen seen{ec};
			auto on_event = [](evutil_socket_t, short, void *argument) {
				auto *const s = static_cast<Seen *>(argument);
				++s->calls;
				s->events += drain(s->ec);
			};
			event *const watch = LIBEVENT(event_new)(base, ec, mode, on_event, &seen);
			BOOST_TEST_REQUIRE(LIBEVENT(event_add)(watch, nullptr) == 0);
			auto const loop = LIBEVENT(event_base_loop);
			for (int i = 1; i <= rounds; ++i) {
				source.prepare();
				BOOST_TEST(found_empty(ec));
				loop(base, EVLOOP_NONBLOCK);
				BOOST_TEST(seen.events == i - 1);
				source.fire();
				while (seen.events < i && loop(base, EVLOOP_ONCE) == 0) {
				}
				BOOST_TEST(seen.events == i);
				int const calls = seen.calls;
				loop(base, EVLOOP_NONBLOCK);
				BOOST_TEST(seen.calls == calls);
			}
			LIBEVENT(event_free)(watch);
			LIBEVENT(event_base_free)(base);
		});
}
#else
BOOST_AUTO_TEST_CASE(a_libevent_loop_runs_its_function_for_events)
{
	BOOST_TEST_MESSAGE("skipped: built without libevent's headers");
}
#endif
