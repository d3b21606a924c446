// SPDX-License-Identifier: MIT
//
// The queue and the credits of a channel, in every order of their threads' steps up to a bound
// (tests/schedules/scheduler.hpp). What the kernel does for a channel is below: a descriptor that
// is readable from a signal until the edge is taken.
#define BOOST_TEST_MODULE schedules_channel
#include <boost/test/unit_test.hpp>

#include "../schedules/checks.hpp"

#include "channel/admission.cpp"
#include "channel/channel.cpp"
#include "channel/push.cpp"
#include "channel/queue.cpp"
#include "runtime/driver_wakeup.hpp"

using namespace schedules;
using namespace sigevec;

namespace {

std::atomic<uint32_t> edge{0};
DriverWakeup driver;
std::atomic<bool> look{false};

} // namespace

// ---- what the channel calls

namespace sigevec {

namespace wakeup {

bool signal(Channel *c)
{
	edge.store(1);
	futex_wake(edge, INT_MAX);
	uint32_t begun = 1;
	c->signalled.compare_exchange_strong(begun, 2, mo::seq_cst);
	return true;
}

bool drain(Channel *, bool, bool)
{
	return edge.exchange(0) != 0;
}

void signal_owner(Channel *c)
{
	channel::wake_one(c);
}

int attach(Channel *)
{
	return 0;
}

void remove(Channel *)
{
}

} // namespace wakeup

namespace reader_fds {

bool used(const Channel *)
{
	return false;
}
void collect(Channel *)
{
}
void collect_all(Channel *)
{
}
int sleep(Channel *, const struct timespec &)
{
	return 0;
}
void wake(Channel *)
{
}
void remove(Channel *)
{
}

} // namespace reader_fds

namespace moderation {

bool due(const Channel *)
{
	return true;
}
void note_first(Channel *)
{
}
Deadline limit(const Channel *, const Deadline &d)
{
	return d;
}
void start_clock(Channel *)
{
}
void stop(const Channel *)
{
}

} // namespace moderation

namespace own_epoll {

int make(bool, Mark *)
{
	return 7;
}
Mark draw()
{
	return Mark{};
}
void anchor(int, Anchor *)
{
}
void weigh(Anchor *)
{
}
bool is(int, Mark)
{
	return true;
}
bool is_anchored(int, Mark, const Anchor &)
{
	return true;
}
void close(int, Mark)
{
}

} // namespace own_epoll

namespace figures {

stats_file::Channel *open(int, unsigned, uint64_t)
{
	return nullptr;
}
void close(stats_file::Channel *)
{
}

} // namespace figures

namespace helper {

void look_at_streams()
{
	look.store(true, mo::seq_cst);
	driver.call();
}

} // namespace helper

namespace channel {

const Outside outside{[](Channel *) {}, nullptr, nullptr, [] {}};
const RingOps ring_ops{nullptr, nullptr, [](Channel *) {}, nullptr,
		       nullptr, nullptr, nullptr,          nullptr};

} // namespace channel
} // namespace sigevec

namespace {

// ---- a channel, and events for it

struct World {
	Channel *c;
	Notification event[3];
	std::atomic<int> told[3], dropped[3];
};

World *world; // of the schedule that is tried

size_t number_of(const Notification &n)
{
	return static_cast<size_t>(&n - world->event);
}

constexpr EventOps ops{
	[](Notification &n, event_data_t *) {
		world->told[number_of(n)].fetch_add(1, mo::relaxed);
		return true;
	},
	[](Notification &n) { world->dropped[number_of(n)].fetch_add(1, mo::relaxed); },
	[](Notification &) {},
};

std::shared_ptr<World> make_world(uint32_t limit)
{
	auto w = std::make_shared<World>();
	world = w.get();
	edge.store(0);
	look.store(false);
	driver.does_not_sleep();
	if (auto *old = channel::table.find(7); old != nullptr)
		old->store(nullptr);
	// The last schedule's, which has not ended.
	if (Channel *c = channel::at(0); c != nullptr && c->life.load() != 0) {
		c->life.store(0);
		channel::pool[c->home].give_back(c);
	}
	int fd = channel::create(0);
	w->c = channel::table.find(fd)->load();
	w->c->limit.store(limit);
	for (Notification &n : w->event) {
		n.event.channel = w->c;
		n.ops = &ops;
	}
	return w;
}

// An event, which has its credit.
void tell(World *w, size_t i)
{
	channel::push(w->event[i]);
}

// As many threads, each with an event.
void add_pushers(Run *run, const std::shared_ptr<World> &w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		channel::add_credit(w->c);
		run->threads.push_back([w, i] { tell(w.get(), i); });
	}
}

int read(Channel *c, unsigned most, bool wait)
{
	event_data_t v[4];
	int n = channel::next(c, v, most, wait, Deadline{});
	if (n > 0) {
		channel::keep(c);
		channel::release(c, static_cast<unsigned>(n));
	}
	return n;
}

void all_told_once(World *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		require(w->told[i].load() == 1, "an event has not been told once");
	require(channel::admitted(w->c->life.load()) == 0, "credits are lost");
	// Whoever signals late tells of nothing, once: who finds that takes it back.
	require(read(w->c, 4, false) == -ETIMEDOUT, "more than was pushed");
	require(edge.load() == 0, "it is readable, and there is nothing");
}

// ---- the descriptor

// With two preemptions a few of these take longer than a change should wait for.
const Bounds few{getenv("SIGEVEC_LONG") != nullptr ? 2U : 1U, 1};

// Who reads when the descriptor says so, and then until there is nothing.
Run polled()
{
	auto w = make_world(10);
	Run run;
	run.time_passes = false;
	add_pushers(&run, w, 2);
	run.threads.push_back([w] {
		for (int n = 0; n < 2;) {
			while (edge.load(mo::seq_cst) == 0)
				sigevec::futex_wait(edge, 0, nullptr);
			for (int i; (i = read(w->c, 4, false)) > 0;)
				n += i;
		}
	});
	run.at_the_end = [w] { all_told_once(w.get(), 2); };
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_descriptor_is_readable_while_there_is_an_event_and_only_then)
{
	holds(polled, few);
	finds(polled, Error::split_changes);
}

// ---- readers that sleep

namespace {

Run read_by_sleepers()
{
	auto w = make_world(10);
	Run run;
	run.time_passes = false;
	for (int i = 0; i < 2; i++)
		run.threads.push_back([w] {
			require(read(w->c, 1, true) == 1, "a read that waits has got nothing");
		});
	add_pushers(&run, w, 2);
	run.at_the_end = [w] { all_told_once(w.get(), 2); };
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(no_reader_sleeps_while_there_is_an_event)
{
	holds(read_by_sleepers, {few.preemptions, few.preemptions - 1});
	finds(read_by_sleepers, Error::split_changes);
}

// ---- credits

namespace {

Run admitting()
{
	auto w = make_world(2);
	auto admitted = std::make_shared<std::atomic<unsigned>>(0);
	Run run;
	for (int i = 0; i < 3; i++)
		run.threads.push_back([w, admitted] {
			Channel *c;
			if (channel::admit(w->c->fd, &c, false) != 0)
				return;
			require(admitted->fetch_add(1) < 2, "more than the limit");
			admitted->fetch_sub(1);
			channel::return_credit(c);
		});
	run.at_the_end = [w] {
		require(channel::admitted(w->c->life.load()) == 0, "credits are lost");
		require(w->c->high_water.load() <= 2, "more than the limit are counted");
	};
	return run;
}

// A multishot request (the driver's) that has two connections to tell of, in a channel that takes
// one; it stops for want of a credit and goes on when a reader returns one.
Run multishot()
{
	auto w = make_world(1);
	Run run;
	run.time_passes = false;
	run.threads.push_back([w] {
		for (size_t i = 0; i < 2;) {
			driver.will_sleep();
			if (!look.exchange(false, mo::seq_cst) && i != 0)
				sigevec::futex_wait(driver.word(), DriverWakeup::asleep, nullptr);
			driver.does_not_sleep();
			while (i < 2 && channel::admit_another(w->c))
				tell(w.get(), i++);
		}
	});
	run.threads.push_back([w] {
		for (int n = 0; n < 2; n++)
			require(read(w->c, 1, true) == 1, "a read that waits has got nothing");
	});
	run.at_the_end = [w] { all_told_once(w.get(), 2); };
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_channel_admits_no_more_than_its_limit)
{
	holds(admitting);
	finds(admitting, Error::split_changes);
}

BOOST_AUTO_TEST_CASE(a_multishot_request_goes_on_when_there_is_room)
{
	holds(multishot, few);
	finds(multishot, Error::late_stores);
}

// ---- the end of a channel

namespace {

// It ends while an event comes and another one is admitted.
Run ending()
{
	auto w = make_world(10);
	auto refused = std::make_shared<std::atomic<int>>(0);
	Run run;
	add_pushers(&run, w, 1);
	run.threads.push_back([w, refused] {
		Channel *c;
		if (channel::admit(7, &c, false) == 0)
			tell(w.get(), 1);
		else
			refused->store(1);
	});
	run.threads.push_back([w] {
		channel::keep(w->c);
		channel::destroy(w->c);
		channel::release(w->c);
	});
	run.at_the_end = [w, refused] {
		require(w->dropped[0].load() == 1, "an event has not been dropped once");
		require(w->dropped[1].load() + refused->load() == 1,
			"an event has neither been refused nor dropped");
		require(w->c->life.load() == 0, "it is kept");
	};
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_end_of_a_channel_drops_each_event_once)
{
	holds(ending, few);
	finds(ending, Error::split_changes);
}
