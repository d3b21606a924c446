// SPDX-License-Identifier: MIT
//
// Event channels under load: an event that arrives while a reader finds the channel
// empty is neither lost nor slept through, and each event goes to exactly one reader.
#define BOOST_TEST_MODULE ec_readiness_races
#include "channel.hpp"

#include <sys/epoll.h>

#include <algorithm>

namespace {

constexpr int wait_ms = 1000 * int(hang_limit.count());
constexpr uintptr_t poison = UINTPTR_MAX;

/// Which events of which poster were read how often.
class Tally {
public:
	Tally(size_t posters, size_t each) : each_(each), seen_(posters * each) {}
	size_t total() const { return seen_.size(); }
	void *data(size_t poster, size_t number) const { return as_data(poster * each_ + number); }
	void note(const event_data_t &event)
	{
		const uintptr_t index = as_number(event.ev_data);
		if (index < seen_.size())
			++seen_[index];
		else
			++foreign_;
		++noted_;
	}
	bool has(size_t poster, size_t number) const { return seen_[poster * each_ + number] != 0; }
	size_t noted() const { return noted_; }
	/// Each exactly once.
	bool exact() const
	{
		return foreign_ == 0 && std::all_of(seen_.begin(), seen_.end(),
						    [](const auto &n) { return n == 1; });
	}

private:
	size_t each_;
	std::vector<std::atomic<unsigned>> seen_;
	std::atomic<size_t> noted_{0}, foreign_{0};
};

using Threads = std::vector<std::thread>;
void join(Threads &threads)
{
	for (std::thread &thread : threads)
		thread.join();
	threads.clear();
}

/// Posters that post and post, or each wait until its event has been read.
Threads start_posters(ec_t ec, Tally &tally, size_t posters, size_t each, bool one_at_a_time,
		      std::atomic<bool> &stop)
{
	Threads threads;
	for (size_t poster = 0; poster < posters; ++poster)
		threads.emplace_back([=, &tally, &stop] {
			for (size_t i = 0; i < each && !stop; ++i) {
				if (!post(ec, as_number(tally.data(poster, i))))
					return;
				while (one_at_a_time && !tally.has(poster, i) && !stop)
					sched_yield();
			}
		});
	return threads;
}

/// Reads as an edge-triggered loop does: waits, then takes events down to a read that finds none.
void read_by_edges(ec_t ec, Tally &tally, unsigned at_once_most)
{
	Fd epoll(epoll_create1(EPOLL_CLOEXEC));
	epoll_event interest{EPOLLIN | EPOLLET, {}}, got;
	BOOST_TEST_REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, ec, &interest) == 0);
	std::array<event_data_t, 64> events;
	while (tally.noted() < tally.total()) {
		const int ready = wait_through_stops(epoll, &got, 1, wait_ms);
		if (ready < 0 && errno == EINTR)
			continue;
		BOOST_TEST_REQUIRE(ready == 1, "an event did not wake the loop, " << tally.noted()
										  << " were read");
		int count;
		while ((count = ec_next_events(ec, events.data(), at_once_most, &at_once)) > 0)
			for (int i = 0; i < count; ++i)
				tally.note(events[size_t(i)]);
		BOOST_TEST_REQUIRE(count == 0);
	}
}

/// As read_by_edges, by poll, and blocked in the library.
void read_by_poll(ec_t ec, Tally &tally)
{
	while (tally.noted() < tally.total()) {
		BOOST_TEST_REQUIRE(becomes_readable(ec));
		event_data_t event;
		while (ec_next_events(ec, &event, 1, &at_once) == 1)
			tally.note(event);
	}
}
void read_blocked(ec_t ec, Tally &tally)
{
	event_data_t event;
	while (tally.noted() < tally.total() && take_events(ec, &event, 1) == 1)
		tally.note(event);
}

template <class Read>
void check_one_reader(size_t posters, size_t each, bool one_at_a_time, Read read)
{
	for_each_channel([&](Channel &ec) {
		Tally tally(posters, each);
		std::atomic<bool> stop{false};
		struct Joiner { // also when a check has failed
			Threads threads;
			std::atomic<bool> &stop;
			~Joiner()
			{
				stop = true;
				join(threads);
			}
		};
		{
			Joiner joiner{start_posters(ec, tally, posters, each, one_at_a_time, stop),
				      stop};
			read(ec, tally);
			if (tally.noted() >= tally.total())
				join(joiner.threads);
		}
		BOOST_TEST(tally.noted() == tally.total());
		BOOST_TEST(tally.exact());
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(!is_readable(ec));
	});
}

/// A reader for check_readers: takes one event at a time until it gets the poison.
using ReadLoop = void (*)(ec_t, Tally &);
bool takes(const event_data_t &event, Tally &tally)
{
	if (as_number(event.ev_data) == poison)
		return false;
	tally.note(event);
	return true;
}
void loop_blocked(ec_t ec, Tally &tally)
{
	event_data_t event;
	do {
		if (ec_next_event(ec, &event) != 0)
			return;
	} while (takes(event, tally));
}
void loop_polling(ec_t ec, Tally &tally)
{
	for (;;) {
		if (!becomes_readable(ec))
			return;
		event_data_t event;
		const int count = ec_next_events(ec, &event, 1, &at_once);
		if (count < 0 || (count == 1 && !takes(event, tally)))
			return;
	}
}

void check_readers(std::vector<ReadLoop> loops, size_t posters, size_t each, bool one_at_a_time)
{
	Channel ec;
	Tally tally(posters, each);
	std::atomic<bool> stop{false};
	std::atomic<size_t> gone{0};
	Threads readers;
	for (ReadLoop loop : loops)
		readers.emplace_back([&, loop] {
			loop(ec, tally);
			++gone;
		});
	Threads writers = start_posters(ec, tally, posters, each, one_at_a_time, stop);
	size_t last = 0;
	while (tally.noted() < tally.total()) // slow is well, at a standstill is not
		if (!eventually([&] { return tally.noted() != last; }))
			break;
		else
			last = tally.noted();
	BOOST_TEST(tally.noted() == tally.total());
	stop = true;
	join(writers);
	for (size_t i = 0; i < loops.size(); ++i)
		BOOST_TEST(post(ec, poison));
	const bool all_gone = eventually([&] { return gone == loops.size(); });
	BOOST_TEST(all_gone);
	if (!all_gone)
		ec_destroy(ec.release());
	join(readers);
	BOOST_TEST(tally.exact());
}

} // namespace

// ----------------------------------------------------------------- one reader

BOOST_AUTO_TEST_CASE(an_edge_triggered_loop_never_sleeps_through_an_event)
{
	for (unsigned most : {1u, 64u})
		check_one_reader(1, 6000, true,
				 [&](ec_t ec, Tally &tally) { read_by_edges(ec, tally, most); });
	check_one_reader(3, 3000, true, [](ec_t ec, Tally &tally) { read_by_edges(ec, tally, 1); });
}

BOOST_AUTO_TEST_CASE(an_edge_triggered_loop_reads_each_event_of_a_flood_once)
{
	for (unsigned most : {1u, 7u, 64u})
		check_one_reader(3, 10000, false,
				 [&](ec_t ec, Tally &tally) { read_by_edges(ec, tally, most); });
}

BOOST_AUTO_TEST_CASE(a_polling_reader_reads_each_event_once)
{
	check_one_reader(3, 10000, false, read_by_poll);
	check_one_reader(3, 2000, true, read_by_poll);
}

BOOST_AUTO_TEST_CASE(a_blocked_reader_reads_each_event_once)
{
	check_one_reader(3, 10000, false, read_blocked);
	check_one_reader(3, 2000, true, read_blocked);
	check_one_reader(1, 4000, true, read_blocked);
}

BOOST_AUTO_TEST_CASE(a_loop_that_asks_again_sees_the_end_of_every_request)
{
	constexpr size_t streams = 3, each = 2000;
	for (bool one_call : {true, false})
		for_each_channel([&](Channel &ec) {
			std::vector<Stream> s;
			std::vector<Request *> requests;
			for (size_t i = 0; i < streams; ++i) {
				s.push_back(unix_stream());
				requests.push_back(&tell(reading(s[i].reader, 1), ec, as_data(i)));
			}
			auto ask = [&](size_t i) {
				Request &r = *requests[i];
				int const asked = one_call ? ev_recv(s[i].reader, r.data(), 1, 0,
								     ec, as_data(i))
							   : aio_read(&r.cb);
				BOOST_TEST_REQUIRE(asked == 0);
			};
			Fd epoll(epoll_create1(EPOLL_CLOEXEC));
			epoll_event interest{EPOLLIN | EPOLLET, {}}, got;
			BOOST_TEST_REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, ec, &interest) == 0);
			for (size_t i = 0; i < streams; ++i)
				ask(i);
			hand_over(ec);
			std::array<std::atomic<size_t>, streams> ended{};
			std::atomic<bool> stop{false};
			Threads writers;
			for (size_t i = 0; i < streams; ++i)
				writers.emplace_back([&, i] {
					for (size_t n = 0; n < each && !stop; ++n) {
						if (write(s[i].writer, "x", 1) != 1)
							return;
						while (ended[i] <= n && !stop)
							sched_yield();
					}
				});
			size_t total = 0, wrong = 0;
			bool woken = true;
			while (total < streams * each && woken) {
				woken = wait_through_stops(epoll, &got, 1, wait_ms) == 1;
				for (event_data_t event; take_events(ec, &event, 1, at_once) == 1;
				     ++total) {
					size_t const i = as_number(event.ev_data);
					wrong += outcome(event) != ok(1);
					if (ended[i] + 1 < each)
						ask(i);
					++ended[i];
				}
			}
			stop = true;
			join(writers);
			BOOST_TEST(woken);
			BOOST_TEST(total == streams * each);
			BOOST_TEST(wrong == 0u);
		});
}

// --------------------------------------------------------------- many readers

BOOST_AUTO_TEST_CASE(each_event_goes_to_exactly_one_of_several_blocked_readers)
{
	check_readers({4, loop_blocked}, 3, 15000, false);
	check_readers({4, loop_blocked}, 3, 4000, true);
	check_readers({4, loop_blocked}, 1, 4000, true);
}

BOOST_AUTO_TEST_CASE(each_event_goes_to_exactly_one_of_several_polling_readers)
{
	check_readers({3, loop_polling}, 3, 6000, false);
	check_readers({3, loop_polling}, 2, 3000, true);
}

BOOST_AUTO_TEST_CASE(blocked_and_polling_readers_share_a_channel)
{
	check_readers({loop_blocked, loop_polling, loop_blocked, loop_polling}, 3, 6000, false);
	check_readers({loop_blocked, loop_polling, loop_blocked, loop_polling}, 2, 3000, true);
}

BOOST_AUTO_TEST_CASE(ends_of_requests_go_to_exactly_one_of_several_blocked_readers)
{
	constexpr size_t count = 4000;
	Channel ec;
	Stream s = unix_stream();
	Tally tally(1, count);
	Threads readers;
	for (int i = 0; i < 4; ++i)
		readers.emplace_back([&] { loop_blocked(ec, tally); });
	for (size_t i = 0; i < count; ++i)
		BOOST_TEST_REQUIRE(aio_read(&tell(reading(s.reader, 1), ec, tally.data(0, i)).cb) ==
				   0);
	for (size_t sent = 0; sent < count; sent += 100)
		put(s.writer, std::string(100, 'x'));
	BOOST_TEST(eventually([&] { return tally.noted() == count; }));
	for (int i = 0; i < 4; ++i)
		BOOST_TEST(post(ec, poison));
	join(readers);
	BOOST_TEST(tally.exact());
}

namespace {

/// How often a thread has gone to sleep.
unsigned long sleeps(pid_t thread)
{
	std::ifstream in("/proc/self/task/" + std::to_string(thread) + "/status");
	for (std::string word; in >> word;)
		if (unsigned long count; word == "voluntary_ctxt_switches:" && in >> count)
			return count;
	return 0;
}

} // namespace

BOOST_AUTO_TEST_CASE(one_event_wakes_one_reader)
{
	constexpr size_t readers = 8, events = 200;
	Channel ec;
	std::array<std::atomic<pid_t>, readers> ids{};
	std::atomic<size_t> read{0};
	Threads threads;
	for (auto &id : ids)
		threads.emplace_back([&] {
			id = thread_id();
			for (event_data_t event;
			     ec_next_event(ec, &event) == 0 && as_number(event.ev_data) != poison;)
				++read;
		});
	auto all_asleep = [&] {
		return std::all_of(ids.begin(), ids.end(),
				   [](auto &id) { return id != 0 && thread_state(id) == 'S'; });
	};
	auto all_sleeps = [&] {
		unsigned long sum = 0;
		for (auto &id : ids)
			sum += sleeps(id);
		return sum;
	};
	BOOST_TEST(eventually(all_asleep));
	const unsigned long before = all_sleeps();
	for (size_t i = 1; i <= events; ++i) {
		BOOST_TEST_REQUIRE(post(ec, 1));
		BOOST_TEST_REQUIRE(eventually([&] { return read == i && all_asleep(); }));
	}
	// The reader that got it goes to sleep again, perhaps once more on the way; a crowd of
	// eight would show.
	BOOST_TEST(all_sleeps() - before < 3 * events);
	for (size_t i = 0; i < readers; ++i)
		BOOST_TEST(post(ec, poison));
	join(threads);
}
