// SPDX-License-Identifier: MIT
//
// The program of event_bufferevent_random: drawn from a seed, it does with bufferevents of either
// kind whatever can be done, and writes down what it is told.
#ifndef CONTRACT_EVENT_BUFFEREVENT_PROGRAM_HPP
#define CONTRACT_EVENT_BUFFEREVENT_PROGRAM_HPP

#include "event_bufferevent_course.hpp"

#include <chrono>
#include <csignal>
#include <thread>

namespace contract {

inline constexpr int steps = 120, most = 4, turns = 20;
inline constexpr int crowd = 12;               // a base that has so many does not wait by itself
inline constexpr int too_many_callbacks = 300; // libevent tells of a full input without end

class Program {
public:
	/// model: the course that this one is to take. It is waited for at each place where nothing
	/// happens by itself: what comes by way of the kernel's threads and the library's may come
	/// late.
	Program(const Kind &kind, unsigned seed, const Course *model)
	    : kind_(kind), random_(seed), model_(model)
	{
		const timeval hour{3600, 0};
		limits_ = ev_token_bucket_cfg_new(700, 900, 500, 800, &hour);
		event_base_priority_init(base_, 3);
		for (int i = 0; seed % 2 == 0 && i < crowd; ++i)
			idle_.push_back(kind_.make(base_, -1, 0));
	}
	~Program()
	{
		for (auto *bev : idle_)
			bufferevent_free(bev);
		for (auto &a : actors_)
			release(*a);
		quiet();
		for (auto &a : actors_)
			if (a->group != nullptr)
				bufferevent_rate_limit_group_free(a->group);
		ev_token_bucket_cfg_free(limits_);
	}

	Course run()
	{
		for (int i = 0; i < most; ++i)
			make();
		for (int i = 0; i < steps; ++i) {
			Actor &a = *actors_[below(random_, unsigned(actors_.size()))];
			step(a);
			if (below(random_, 3) != 0)
				quiet();
		}
		quiet();
		for (auto &a : actors_) {
			look(*a);
			course_.records.push_back(a->record);
		}
		return course_;
	}

private:
	template <class... T> static void note(Actor &a, const char *what, T... values)
	{
		std::string line = a.name + " " + what;
		((line += " " + std::to_string(values)), ...);
		a.record.push_back(std::move(line));
	}

	void make()
	{
		actors_.push_back(std::make_unique<Actor>());
		Actor &a = *actors_.back();
		a.program = this;
		a.name = "#" + std::to_string(actors_.size());
		a.random.seed(random_());
		static constexpr int types[] = {SOCK_STREAM, SOCK_STREAM, SOCK_STREAM, SOCK_DGRAM,
						SOCK_SEQPACKET};
		const int type = types[below(random_, std::size(types))];
		a.datagrams = type != SOCK_STREAM;
		sockets(a, type);
		int options = int(below(random_, 16));
		if (options & BEV_OPT_UNLOCK_CALLBACKS)
			options |= BEV_OPT_DEFER_CALLBACKS;
		options &= ~BEV_OPT_CLOSE_ON_FREE;
		const bool filtered = below(random_, 5) == 0;
		// How much is read ahead below a filter whose callbacks are deferred depends on how
		// many turns that takes.
		if (filtered)
			options &= BEV_OPT_THREADSAFE;
		a.bev = kind_.make(base_, a.ours, options);
		BOOST_TEST_REQUIRE(a.bev != nullptr);
		if (filtered) {
			a.under = a.bev;
			a.bev = bufferevent_filter_new(a.under, pass, pass, 0, nullptr, nullptr);
		}
		callbacks(a);
		note(a, "made", options, type, a.under != nullptr);
	}

	static void sockets(Actor &a, int type)
	{
		int ends[2];
		BOOST_TEST_REQUIRE(
			socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
		a.ours.reset(ends[0]);
		a.peer.reset(ends[1]);
	}

	static void release(Actor &a)
	{
		if (a.bev != nullptr)
			bufferevent_free(std::exchange(a.bev, nullptr));
		if (a.under != nullptr)
			bufferevent_free(std::exchange(a.under, nullptr));
	}

	static void callbacks(Actor &a)
	{
		bufferevent_setcb(
			a.bev,
			[](bufferevent *, void *of) { Program::reads(*static_cast<Actor *>(of)); },
			[](bufferevent *, void *of) { Program::writes(*static_cast<Actor *>(of)); },
			[](bufferevent *, short what, void *of) {
				Program::events(*static_cast<Actor *>(of), what);
			},
			&a);
	}

	static bool too_many(Actor &a)
	{
		if (++a.callbacks < too_many_callbacks)
			return false;
		if (a.callbacks == too_many_callbacks)
			note(a, "and so on");
		bufferevent_disable(a.bev, EV_READ | EV_WRITE);
		bufferevent_setwatermark(a.bev, EV_READ, 0, 0);
		return true;
	}

	static void reads(Actor &a)
	{
		if (too_many(a))
			return;
		std::string const text = below(a.random, 4) == 0 ? some(a) : drain(a.bev);
		note(a, "reads", text.size(), std::hash<std::string>()(text), input_length(a.bev));
		within(a);
	}
	static std::string some(Actor &a)
	{
		std::string text(input_length(a.bev) / 2 + 1, '\0');
		text.resize(bufferevent_read(a.bev, text.data(), text.size()));
		return text;
	}
	static void writes(Actor &a)
	{
		if (too_many(a))
			return;
		note(a, "writes", output_length(a.bev));
		within(a);
	}
	static void events(Actor &a, short what)
	{
		const int error = (what & BEV_EVENT_ERROR) != 0 ? errno : 0;
		if (too_many(a))
			return;
		note(a, "event", what, error, bufferevent_get_enabled(a.bev), input_length(a.bev),
		     output_length(a.bev));
		within(a);
	}
	/// What a callback does besides.
	static void within(Actor &a)
	{
		switch (below(a.random, 12)) {
		case 0:
			bufferevent_disable(a.bev, EV_READ);
			break;
		case 1:
			bufferevent_enable(a.bev, EV_READ);
			break;
		case 2:
			bufferevent_disable(a.bev, EV_WRITE);
			break;
		case 3:
			bufferevent_write(a.bev, "from the callback", 17);
			break;
		case 4:
			event_base_loopbreak(a.program->base_);
			break;
		case 5:
			bufferevent_setwatermark(a.bev, EV_READ, 0, below(a.random, 2) * 3000);
			break;
		}
	}

	/// Until nothing happens any more by itself.
	void quiet()
	{
		for (auto &a : actors_)
			a->callbacks = 0;
		// One by one: in some states libevent looks at a descriptor again and again, and
		// does nothing.
		size_t before = state();
		const auto limit = std::chrono::steady_clock::now() + hang_limit;
		for (int idle = 0; idle < turns || is_late(limit);) {
			event_base_loop(base_, EVLOOP_ONCE | EVLOOP_NONBLOCK);
			idle = state() == before ? idle + 1 : 0;
			before = state();
			if (idle != 0 && moment.count() != 0)
				std::this_thread::sleep_for(moment);
			else if (idle > turns)
				sched_yield();
		}
		course_.states.push_back(state());
		for (auto &a : actors_)
			look(*a);
	}
	/// Whether it may still become what the model was here.
	bool is_late(std::chrono::steady_clock::time_point limit)
	{
		const size_t here = course_.states.size();
		if (model_ == nullptr || astray_ || here >= model_->states.size() ||
		    state() == model_->states[here])
			return false;
		astray_ = std::chrono::steady_clock::now() > limit || !goes_along();
		return !astray_;
	}
	bool goes_along() const
	{
		for (size_t i = 0; i < actors_.size(); ++i) {
			const auto &ours = actors_[i]->record, &theirs = model_->records[i];
			if (ours.size() > theirs.size() ||
			    !std::equal(ours.begin(), ours.end(), theirs.begin()))
				return false;
		}
		return true;
	}
	size_t state() const
	{
		size_t n = 0;
		for (auto &a : actors_) {
			n = 31 * n + a->record.size();
			for (bufferevent *bev : {a->bev, a->under})
				if (bev != nullptr)
					n = 31 * (31 * n + input_length(bev)) + output_length(bev);
		}
		return n;
	}
	static void look(Actor &a)
	{
		int unread = -1;
		ioctl(a.ours, FIONREAD, &unread);
		if (a.bev == nullptr)
			note(a, "has", unread);
		else
			note(a, "has", unread, input_length(a.bev), output_length(a.bev),
			     bufferevent_get_enabled(a.bev), bufferevent_getfd(a.bev) == a.ours);
	}

	void step(Actor &a)
	{
		const int what = int(below(random_, 33));
		const unsigned size = 1 + below(random_, below(random_, 3) == 0 ? 60000 : 3000),
			       x = random_(), y = random_();
		if (what < 9)
			by_the_peer(a, what, size);
		else if (a.bev != nullptr)
			by_the_program(a, what, size, x, y);
	}

	static void by_the_peer(Actor &a, int what, unsigned size)
	{
		std::string text = pattern_text(size);
		if (what < 4) {
			note(a, "peer sends", send(a.peer, text.data(), size, MSG_NOSIGNAL));
		} else if (what < 7) {
			text.resize(200000);
			const ssize_t n = recv(a.peer, text.data(), text.size(), MSG_DONTWAIT);
			text.resize(n < 0 ? 0 : size_t(n));
			note(a, "peer reads", n, std::hash<std::string>()(text));
		} else if (size % 4 == 0) {
			note(a, "peer shuts", shutdown(a.peer, what == 7 ? SHUT_WR : SHUT_RD));
		} else if (size % 9 == 0) {
			note(a, "peer closes");
			a.peer.reset();
		}
	}

	void by_the_program(Actor &a, int what, unsigned size, unsigned x, unsigned y)
	{
		const short which = short(x % 3 == 0   ? EV_READ | EV_WRITE
					  : x % 3 == 1 ? EV_READ
						       : EV_WRITE);
		switch (what) {
		case 9:
		case 10:
		case 11:
		case 12:
			note(a, "write", bufferevent_write(a.bev, pattern_text(size).data(), size));
			break;
		case 13:
			add_file(a, size, x % 5 == 0 ? y % size : size);
			break;
		case 14:
		case 15:
		case 16:
			note(a, "enable", which, bufferevent_enable(a.bev, which));
			break;
		case 17:
			note(a, "disable", which, bufferevent_disable(a.bev, which));
			break;
		case 18:
			note(a, "mark", which, x % 4000, y % 20000);
			bufferevent_setwatermark(a.bev, which, y % 2 == 0 ? 0 : x % 4000,
						 y % 3 == 0 ? 0 : x % 4000 + y % 20000);
			break;
		case 19:
			timeouts(a, x, y);
			break;
		case 20:
			sizes(a, x, y);
			break;
		case 21:
			a.limited = x % 2 == 0;
			note(a, "limit",
			     bufferevent_set_rate_limit(a.bev, a.limited ? limits_ : nullptr));
			break;
		case 22:
			note(a, "flush",
			     bufferevent_flush(a.bev, which, bufferevent_flush_mode(y % 3)));
			break;
		case 23:
			quiet(); // libevent's queues do not survive a callback whose priority is
				 // changed while it waits there
			note(a, "priority", bufferevent_priority_set(a.bev, int(x % 4)),
			     bufferevent_get_priority(a.bev));
			break;
		case 24:
			other_descriptor(a, x);
			break;
		case 25:
			some_callbacks(a, x);
			break;
		case 26:
			between_buffers(a, size, x);
			break;
		case 27:
			note(a, "less to go", a.limited && a.under == nullptr ? spend(a, x, y) : 0);
			break;
		case 28:
			marks_are(a);
			break;
		case 29:
			group(a, x);
			break;
		default:
			end_or_trigger(a, which, x);
			break;
		}
	}
	/// Not all of them, from now on.
	static void some_callbacks(Actor &a, unsigned x)
	{
		callbacks(a);
		bufferevent_data_cb reads, writes;
		bufferevent_event_cb events;
		void *arg;
		bufferevent_getcb(a.bev, &reads, &writes, &events, &arg);
		bufferevent_setcb(a.bev, x % 4 == 0 ? nullptr : reads,
				  x % 4 == 1 ? nullptr : writes, x % 4 == 2 ? nullptr : events,
				  arg);
		note(a, "callbacks", x % 4, arg == &a);
	}
	/// The program's own buffers: what moves in and out without a copy.
	static void between_buffers(Actor &a, unsigned size, unsigned x)
	{
		evbuffer *const own = evbuffer_new();
		std::string const text = pattern_text(size);
		evbuffer_add(own, text.data(), text.size());
		if (x % 3 == 0)
			note(a, "writes a buffer", bufferevent_write_buffer(a.bev, own));
		else if (x % 3 == 1)
			note(a, "reads a buffer", bufferevent_read_buffer(a.bev, own));
		else
			note(a, "drains", evbuffer_drain(bufferevent_get_input(a.bev), size));
		note(a, "own", evbuffer_get_length(own));
		evbuffer_free(own);
	}
	static int spend(Actor &a, unsigned x, unsigned y)
	{
		return bufferevent_decrement_read_limit(a.bev, x % 300) +
		       2 * bufferevent_decrement_write_limit(a.bev, y % 300);
	}
	/// Of its own: who of several reads first is nobody's business.
	void group(Actor &a, unsigned x)
	{
		if (a.under != nullptr)
			return;
		if (a.group == nullptr)
			a.group = bufferevent_rate_limit_group_new(base_, limits_);
		note(a, "group",
		     x % 3 == 0 ? bufferevent_remove_from_rate_limit_group(a.bev)
				: bufferevent_add_to_rate_limit_group(a.bev, a.group),
		     bufferevent_get_max_to_read(a.bev), bufferevent_get_max_to_write(a.bev));
	}
	static void marks_are(Actor &a)
	{
		size_t low = 0, high = 0;
		note(a, "mark of reading", bufferevent_getwatermark(a.bev, EV_READ, &low, &high),
		     low, high);
		note(a, "mark of writing", bufferevent_getwatermark(a.bev, EV_WRITE, &low, nullptr),
		     low, bufferevent_get_base(a.bev) == a.program->base_);
	}
	static void add_file(Actor &a, unsigned size, unsigned cut)
	{
		char name[] = "/tmp/sigevec-test.XXXXXX";
		const int file = mkstemp(name);
		unlink(name);
		std::string const text = pattern_text(size);
		BOOST_TEST_REQUIRE(write(file, text.data(), size) == ssize_t(size));
		note(a, "file", evbuffer_add_file(bufferevent_get_output(a.bev), file, 0, size),
		     size, cut);
		if (cut < size && a.under == nullptr)
			BOOST_TEST_REQUIRE(ftruncate(file, cut) == 0); // a filter's is in memory
	}
	static void timeouts(Actor &a, unsigned x, unsigned y)
	{
		const timeval hour{3600, 0};
		note(a, "timeouts",
		     bufferevent_set_timeouts(a.bev, x % 2 ? &hour : nullptr,
					      y % 2 ? &hour : nullptr));
	}
	static void sizes(Actor &a, unsigned x, unsigned y)
	{
		note(a, "sizes", bufferevent_set_max_single_read(a.bev, x % 3000),
		     bufferevent_set_max_single_write(a.bev, y % 3000),
		     bufferevent_get_max_to_read(a.bev), bufferevent_get_max_to_write(a.bev));
	}
	/// A new pair of sockets, or none.
	static void other_descriptor(Actor &a, unsigned x)
	{
		if (a.under != nullptr || a.datagrams)
			return;
		const Fd before = std::move(a.ours);
		look_at(a, before);
		if (x % 3 == 0) {
			a.ours.reset();
			note(a, "no descriptor", bufferevent_setfd(a.bev, -1));
			return;
		}
		sockets(a, SOCK_STREAM);
		note(a, "descriptor", bufferevent_setfd(a.bev, a.ours));
	}
	static void look_at(Actor &a, int fd)
	{
		int unread = -1;
		ioctl(fd, FIONREAD, &unread);
		note(a, "leaves", unread);
	}
	void end_or_trigger(Actor &a, short which, unsigned x)
	{
		if (x % 5 == 0) {
			quiet(); // how much of the output a turn sends is nobody's business
			note(a, "freed", input_length(a.bev), output_length(a.bev));
			release(a);
		} else if (x % 5 < 3)
			bufferevent_trigger(a.bev, which,
					    x % 2 == 0 ? int(BEV_TRIG_IGNORE_WATERMARKS)
						       : int(BEV_TRIG_DEFER_CALLBACKS));
		else
			bufferevent_trigger_event(a.bev, BEV_EVENT_CONNECTED,
						  x % 2 == 0 ? 0 : int(BEV_TRIG_DEFER_CALLBACKS));
	}

	const Kind &kind_;
	Random random_;
	Base base_;
	ev_token_bucket_cfg *limits_;
	std::vector<std::unique_ptr<Actor>> actors_;
	std::vector<bufferevent *> idle_; ///< which are there, and nothing else
	Course course_;
	const Course *model_;
	bool astray_ = false; ///< it will not be what the model was
};

} // namespace contract

#endif
