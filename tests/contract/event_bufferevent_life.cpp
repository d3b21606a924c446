// SPDX-License-Identifier: MIT
//
// bufferevent_sigevec_new: descriptors, connections, threads and ends of life, as with
// bufferevent_socket_new.
#define BOOST_TEST_MODULE event_bufferevent_life
#include "libevent.hpp"

using namespace contract;

namespace {

bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/// What connects to a listener, and what the listener accepts.
struct Connecting {
	Connecting(Base &base, const Kind &kind, int fd = -1, int options = BEV_OPT_CLOSE_ON_FREE)
	    : bev(kind.make(base, fd, options))
	{
		listen_to(bev, told);
	}
	~Connecting() { bufferevent_free(bev); }
	bufferevent *bev;
	Told told;
};

} // namespace

// ---------------------------------------------------------------- the descriptor

BOOST_AUTO_TEST_CASE(the_descriptor_is_told_and_can_be_exchanged)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind);
		Sockets other;
		BOOST_TEST(bufferevent_getfd(c.bev) == int(c.ours));
		BOOST_TEST((bufferevent_get_base(c.bev) == static_cast<event_base *>(base)));
		bufferevent_enable(c.bev, EV_READ);
		c.send("one");
		BOOST_TEST(base.until([&] { return c.told.data == "one"; }));
		BOOST_TEST(bufferevent_setfd(c.bev, other.ours) == 0);
		BOOST_TEST(bufferevent_getfd(c.bev) == int(other.ours));
		c.send("not for it");
		other.send(" two");
		BOOST_TEST(base.until([&] { return c.told.data == "one two"; }));
		bufferevent_write(c.bev, "answer", 6);
		BOOST_TEST(base.until([&] { return output_length(c.bev) == 0; }));
		BOOST_TEST(other.received() == "answer");
		BOOST_TEST(c.unread() == 10);
		BOOST_TEST(bufferevent_setfd(c.bev, -1) == 0);
		BOOST_TEST(bufferevent_getfd(c.bev) == -1);
		other.send("nor this");
		base.settle();
		BOOST_TEST(c.told.data == "one two");
		BOOST_TEST(is_open(other.ours));
	});
}

BOOST_AUTO_TEST_CASE(it_is_closed_with_the_bufferevent_if_that_was_asked_for)
{
	for_each_kind([](const Kind &kind) {
		for (bool close : {false, true}) {
			Base base;
			Connection c(base, kind, close ? BEV_OPT_CLOSE_ON_FREE : 0);
			bufferevent_enable(c.bev, EV_READ);
			base.settle(); // a receive is under way
			c.free();
			if (!close) { // from now on the descriptor is the program's
				c.send("text");
				base.settle();
				BOOST_TEST(c.unread() == 4);
				continue;
			}
			int const fd = c.ours.release();
			char byte;
			BOOST_TEST(base.until(
				[&] { return recv(c.peer, &byte, 1, MSG_DONTWAIT) == 0; }));
			BOOST_TEST(!is_open(fd));
		}
	});
}

BOOST_AUTO_TEST_CASE(a_number_that_is_used_again_is_the_new_file)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		for (int round = 0; round < 20; ++round) {
			Connection c(base, kind, BEV_OPT_CLOSE_ON_FREE);
			c.ours.release();
			bufferevent_enable(c.bev, EV_READ);
			c.send("text");
			if (round % 2 == 0) {
				BOOST_TEST_REQUIRE(
					base.until([&] { return c.told.data == "text"; }));
			} else
				event_base_loop(base, EVLOOP_NONBLOCK);
			c.free();
			event_base_loop(base, EVLOOP_NONBLOCK);
		}
	});
}

namespace {

/// Closes the descriptor of a bufferevent that lives on; the number is that of the next file.
int close_ours(Connection &c)
{
	int const number = c.ours;
	c.ours.reset();
	return number;
}

/// A program's own event on what has the number now.
bool is_heard(Base &base, const Sockets &s, int number)
{
	BOOST_TEST_REQUIRE((int(s.ours) == number || int(s.peer) == number));
	bool heard = false;
	event *const own = event_new(
		base, number, EV_READ,
		[](evutil_socket_t, short, void *h) { *static_cast<bool *>(h) = true; }, &heard);
	event_add(own, nullptr);
	BOOST_TEST_REQUIRE(::send(int(s.ours) == number ? s.peer : s.ours, "text", 4, 0) == 4);
	base.settle();
	event_free(own);
	return heard;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_descriptor_with_which_reading_is_disabled_may_be_closed)
{
	for_each_kind([](const Kind &kind) {
		for (const short which : {EV_READ, EV_READ | EV_WRITE}) {
			Base base;
			Connection c(base, kind);
			bufferevent_enable(c.bev, EV_READ);
			base.settle();
			bufferevent_disable(c.bev, which);
			int const number = close_ours(c);
			Sockets next;
			BOOST_TEST(is_heard(base, next, number));
		}
	});
}

BOOST_AUTO_TEST_CASE(also_after_the_callback_in_which_that_was_done)
{
	for_each_kind([](const Kind &kind) {
		for (const short which : {EV_READ, EV_READ | EV_WRITE}) {
			Base base;
			Connection c(base, kind);
			c.told.on_read = [&](bufferevent *bev) { bufferevent_disable(bev, which); };
			bufferevent_enable(c.bev, EV_READ);
			c.send("text");
			BOOST_TEST(base.until([&] { return c.told.reads == 1; }));
			int const number = close_ours(c);
			Sockets next;
			BOOST_TEST(is_heard(base, next, number));
		}
	});
}

BOOST_AUTO_TEST_CASE(or_in_the_callback_for_another_bufferevent)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		std::unique_ptr<Connection> next;
		Connection c(base, kind);
		int number = -1;
		c.told.on_read = [&](bufferevent *bev) {
			bufferevent_disable(bev, EV_READ);
			number = close_ours(c);
			next = std::make_unique<Connection>(base, kind);
			bufferevent_enable(next->bev, EV_READ);
		};
		bufferevent_enable(c.bev, EV_READ);
		c.send("text");
		BOOST_TEST(base.until([&] { return next != nullptr; }));
		BOOST_TEST_REQUIRE(int(next->ours) == number);
		next->send("text");
		BOOST_TEST(base.until([&] { return next->told.data == "text"; }));
	});
}

BOOST_AUTO_TEST_CASE(a_pipe_works_too)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		int ends[2];
		BOOST_TEST_REQUIRE(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
		Told told;
		bufferevent *const out = kind.make(base, ends[1], BEV_OPT_CLOSE_ON_FREE);
		bufferevent *const in = kind.make(base, ends[0], BEV_OPT_CLOSE_ON_FREE);
		listen_to(in, told);
		bufferevent_enable(in, EV_READ);
		bufferevent_write(out, "through", 7);
		BOOST_TEST(base.until([&] { return told.data == "through"; }));
		bufferevent_free(out);
		BOOST_TEST(base.until(
			[&] { return told.events == (BEV_EVENT_EOF | BEV_EVENT_READING); }));
		bufferevent_free(in);
	});
}

// ---------------------------------------------------------------- connections

BOOST_AUTO_TEST_CASE(a_connection_is_told_before_what_was_written_is_sent)
{
	for_each_kind([](const Kind &kind) {
		for (bool own_socket : {false, true}) {
			Base base;
			Listener listener;
			int const fd =
				own_socket ? socket(AF_INET,
						    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
					   : -1;
			Connecting c(base, kind, fd);
			bufferevent_write(c.bev, "early", 5);
			bufferevent_enable(c.bev, EV_READ);
			BOOST_TEST(bufferevent_socket_connect(c.bev, listener.to(),
							      sizeof listener.address) == 0);
			BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
			BOOST_TEST(c.told.events == BEV_EVENT_CONNECTED);
			BOOST_TEST(bufferevent_getfd(c.bev) >= 0);
			Fd accepted(accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC));
			BOOST_TEST(base.until([&] { return output_length(c.bev) == 0; }));
			char text[10] = "";
			BOOST_TEST(recv(accepted, text, 5, MSG_WAITALL) == 5);
			BOOST_TEST(text == "early");
			for (int round = 0; round < 3; ++round) {
				BOOST_TEST(send(accepted, "12345", 5, 0) == 5);
				BOOST_TEST(base.until([&] {
					return c.told.data.size() == 5u * size_t(round + 1);
				}));
				bufferevent_write(c.bev, "67890", 5);
				BOOST_TEST(base.until([&] { return output_length(c.bev) == 0; }));
				BOOST_TEST(recv(accepted, text, 5, MSG_WAITALL) == 5);
			}
			BOOST_TEST(c.told.event_calls == 1);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_refused_connection_is_an_error_and_may_be_tried_again)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Listener listener, closed;
		closed.fd.reset();
		Connecting c(base, kind);
		BOOST_TEST(bufferevent_socket_connect(c.bev, closed.to(), sizeof closed.address) ==
			   0);
		BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
		BOOST_TEST((c.told.events & BEV_EVENT_ERROR) != 0);
		BOOST_TEST((c.told.events & BEV_EVENT_CONNECTED) == 0);
		int const fd = bufferevent_getfd(c.bev);
		bufferevent_setfd(c.bev, -1);
		close(fd);
		BOOST_TEST(bufferevent_socket_connect(c.bev, listener.to(),
						      sizeof listener.address) == 0);
		BOOST_TEST(base.until([&] { return (c.told.events & BEV_EVENT_CONNECTED) != 0; }));
	});
}

BOOST_AUTO_TEST_CASE(a_connection_that_is_reset_at_once_is_told_as_libevent_tells_it)
{
	std::string told[2];
	for_each_kind([&](const Kind &kind) {
		Base base;
		Listener listener;
		Connecting c(base, kind);
		std::string &record = told[&kind - kinds];
		c.told.on_event = [&](bufferevent *, short what) {
			record += std::to_string(what) + " ";
		};
		bufferevent_enable(c.bev, EV_READ);
		BOOST_TEST(bufferevent_socket_connect(c.bev, listener.to(),
						      sizeof listener.address) == 0);
		const linger at_once{1, 0};
		Fd accepted(accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC));
		setsockopt(accepted, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
		accepted.reset();
		BOOST_TEST(base.until([&] { return c.told.event_calls != 0; }));
		base.settle();
	});
	BOOST_TEST(told[0] == told[1]);
}

BOOST_AUTO_TEST_CASE(a_bufferevent_freed_while_connecting_tells_nothing)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Listener listener;
		Told told;
		bufferevent *const bev = kind.make(base, -1, BEV_OPT_CLOSE_ON_FREE);
		listen_to(bev, told);
		bufferevent_enable(bev, EV_READ | EV_WRITE);
		BOOST_TEST(bufferevent_socket_connect(bev, listener.to(),
						      sizeof listener.address) == 0);
		bufferevent_free(bev);
		base.settle();
		BOOST_TEST(told.event_calls + told.reads + told.writes == 0);
	});
}

// ---------------------------------------------------------------- threads, loops and their ends

BOOST_AUTO_TEST_CASE(other_threads_write_while_the_loop_runs)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection c(base, kind, BEV_OPT_THREADSAFE);
		constexpr size_t threads = 4, writes = 2000, size = 64;
		std::vector<std::thread> writers;
		for (size_t i = 0; i < threads; ++i)
			writers.emplace_back([&, i] {
				std::string const line(size, char('a' + i));
				for (size_t w = 0; w < writes; ++w)
					bufferevent_write(c.bev, line.data(), line.size());
			});
		std::string got;
		BOOST_TEST(base.until([&] {
			got += c.received();
			return got.size() == threads * writes * size;
		}));
		for (auto &w : writers)
			w.join();
		for (size_t at = 0; at < got.size(); at += size)
			BOOST_TEST_REQUIRE((got.substr(at, size) == std::string(size, got[at])));
	});
}

BOOST_AUTO_TEST_CASE(another_thread_may_run_the_loop_or_free_the_bufferevent)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		auto c = std::make_unique<Connection>(base, kind,
						      BEV_OPT_THREADSAFE | BEV_OPT_CLOSE_ON_FREE);
		c->ours.release();
		bufferevent_enable(c->bev, EV_READ);
		std::atomic<bool> heard{false};
		c->told.on_read = [&](bufferevent *bev) {
			bufferevent_write(bev, "answer", 6);
			heard = true;
		};
		std::thread loop([&] { event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY); });
		c->send("question");
		BOOST_TEST(eventually([&] { return heard.load(); }));
		std::string got;
		BOOST_TEST(eventually([&] { return (got += c->received()) == "answer"; }));
		c->free();
		char byte;
		BOOST_TEST(eventually([&] { return recv(c->peer, &byte, 1, MSG_DONTWAIT) == 0; }));
		event_base_loopbreak(base);
		loop.join();
		base.settle();
		BOOST_TEST(c->told.reads == 1);
	});
}

BOOST_AUTO_TEST_CASE(the_loop_ends_when_nobody_waits_any_more)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		{
			Connection c(base, kind);
			BOOST_TEST(event_base_dispatch(base) == 1);
			bufferevent_enable(c.bev, EV_READ);
			c.told.on_read = [](bufferevent *bev) {
				bufferevent_disable(bev, EV_READ);
			};
			c.send("text");
			BOOST_TEST(event_base_dispatch(base) == 1);
			BOOST_TEST(c.told.reads == 1);
			bufferevent_write(c.bev, "text", 4);
			BOOST_TEST(event_base_dispatch(base) == 1);
			BOOST_TEST(c.received() == "text");
			std::string const much = pattern_text(4000000);
			bufferevent_write(c.bev, much.data(), much.size());
			base.settle(); // it waits for room
			bufferevent_disable(c.bev, EV_WRITE);
			BOOST_TEST(event_base_dispatch(base) == 1);
			bufferevent_enable(c.bev, EV_READ);
			base.settle();
		}
		BOOST_TEST(event_base_dispatch(base) == 1);
	});
}

BOOST_AUTO_TEST_CASE(a_base_may_be_freed_right_after_its_bufferevents)
{
	for_each_kind([](const Kind &kind) {
		for (int round = 0; round < 5; ++round) {
			Sockets s;
			auto base = std::make_unique<Base>();
			bufferevent *const bev =
				kind.make(*base, s.ours.release(), BEV_OPT_CLOSE_ON_FREE);
			bufferevent_enable(bev, EV_READ);
			if (round % 2 == 0)
				base->settle();
			bufferevent_free(bev);
			base.reset();
			char byte;
			BOOST_TEST(eventually([&] {
				return recv(s.peer, &byte, 1, MSG_DONTWAIT) == 0;
			})); // closed
		}
	});
}

BOOST_AUTO_TEST_CASE(a_child_of_fork_makes_its_own)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		Connection of_parent(base, kind);
		bufferevent_enable(of_parent.bev, EV_READ);
		base.settle();
		pid_t const child = fork();
		if (child == 0) {
			if (event_reinit(base) != 0)
				_exit(2);
			bufferevent_free(of_parent.bev);
			Base own;
			Connection c(own, kind);
			bufferevent_enable(c.bev, EV_READ);
			c.send("in the child");
			_exit(own.until([&] { return c.told.data == "in the child"; }) ? 0 : 1);
		}
		int status = -1;
		BOOST_TEST(waitpid(child, &status, 0) == child);
		BOOST_TEST(status == 0);
		of_parent.send("in the parent");
		BOOST_TEST(base.until([&] { return of_parent.told.data == "in the parent"; }));
	});
}

BOOST_AUTO_TEST_CASE(after_event_reinit_that_of_the_parent_goes_on_in_the_child)
{
	for_each_kind([](const Kind &kind) {
		for (const size_t waiting : {0, 1000000}) {
			Base base;
			Connection c(base, kind);
			bufferevent_enable(c.bev, EV_READ);
			std::string const text = pattern_text(1500000);
			bufferevent_write(c.bev, text.data(), waiting);
			base.settle(); // it waits for data, and for room
			pid_t const child = fork();
			if (child == 0) {
				if (event_reinit(base) != 0)
					_exit(2);
				c.send("in the child");
				if (!base.until([&] { return c.told.data == "in the child"; }))
					_exit(1);
				bufferevent_write(c.bev, &text[waiting], text.size() - waiting);
				std::string got;
				_exit(base.until([&] { return (got += c.received()) == text; })
					      ? 0
					      : 3);
			}
			int status = -1;
			BOOST_TEST(waitpid(child, &status, 0) == child);
			BOOST_TEST(status == 0);
		}
	});
}

BOOST_AUTO_TEST_CASE(hundreds_of_connections_share_one_channel)
{
	for_each_kind([](const Kind &kind) {
		Base base;
		std::vector<std::unique_ptr<Connection>> all;
		for (int i = 0; i < 300; ++i) {
			all.push_back(std::make_unique<Connection>(base, kind));
			all.back()->told.on_read = [](bufferevent *bev) {
				bufferevent_write(bev, "back", 4);
			};
			bufferevent_enable(all.back()->bev, EV_READ);
		}
		for (int round = 0; round < 5; ++round) {
			for (auto &c : all)
				c->send("there");
			std::vector<std::string> got(all.size());
			BOOST_TEST(base.until([&] {
				size_t done = 0;
				for (size_t i = 0; i < all.size(); ++i)
					done += (got[i] += all[i]->received()) == "back";
				return done == all.size();
			}));
		}
	});
}
