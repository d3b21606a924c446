// SPDX-License-Identifier: MIT
//
// A wait that is told many times (a timer, a multishot accept, a signal): its event, which is
// queued once at a time, its credit and its end, in every order of their threads' steps up to a
// bound (tests/schedules/scheduler.hpp).
#define BOOST_TEST_MODULE schedules_source
#include <boost/test/unit_test.hpp>

#include "../schedules/checks.hpp"

#include "source/source.cpp"

using namespace schedules;
using namespace sigevec;

namespace {

std::atomic<Notification *> in_queue{nullptr};
std::atomic<int> credits{0}, told{0};

} // namespace

// ---- what a source calls

namespace sigevec {

namespace channel {

void push(Notification &n)
{
	require(in_queue.exchange(&n) == nullptr, "its event is in the queue twice");
}
void add_credit(Channel *)
{
	credits.fetch_add(1);
}
void return_credit(Channel *)
{
	require(credits.fetch_sub(1) > 0, "a credit is returned twice");
}

} // namespace channel

namespace source::index {

void remove(Wait *)
{
}

} // namespace source::index

namespace helper {

void close_inside(int)
{
}

} // namespace helper

namespace stats {

namespace {
stats_file::Row rows[stats_file::rows];
} // namespace
std::atomic<stats_file::Row *> table{rows};
unsigned own_rows = stats_file::own_rows;

} // namespace stats
} // namespace sigevec

namespace {

bool describe(source::Wait *w, event_data_t *)
{
	told.fetch_add(1);
	source::rearm(w);
	return true;
}

constexpr source::Kind kind = {describe, nullptr, nullptr, nullptr, nullptr, false};

// A reader, which returns the credit of what it has read.
void read()
{
	Notification *n = in_queue.exchange(nullptr);
	if (n == nullptr)
		return;
	event_data_t d;
	n->ops->describe(*n, &d);
	n->ops->release(*n);
	channel::return_credit(nullptr);
}

// It is told of twice, read twice, and ended.
Run told_and_ended()
{
	in_queue.store(nullptr);
	credits.store(1); // what the submission has taken
	told.store(0);
	source::Wait *w = source::create(&kind, nullptr, {}, 1);
	auto ended = std::make_shared<std::atomic<bool>>(false);
	uint64_t handle = source::handle(w);
	Run run;
	run.threads.push_back([handle, ended] {
		for (int i = 0; i < 2; i++) {
			source::Wait *mine = source::find(handle);
			bool over = ended->load();
			require(mine != nullptr || over, "it is over before its end");
			if (mine == nullptr)
				return;
			source::push_again(mine);
			source::release(mine);
		}
	});
	run.threads.push_back([] {
		for (int i = 0; i < 2; i++)
			read();
	});
	run.threads.push_back([w, ended] {
		ended->store(true);
		require(source::end(w), "another one has ended it");
		source::release(w);
	});
	run.at_the_end = [w, handle] {
		read();
		require(in_queue.load() == nullptr, "there is an event after the last one");
		require(credits.load() == 0, "a credit is lost");
		require(static_cast<uint32_t>(w->life.load()) == 0, "it is kept");
		require(source::find(handle) == nullptr, "it is found after its end");
	};
	return run;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_wait_has_one_event_and_one_credit_until_it_ends)
{
	holds(told_and_ended);
	finds(told_and_ended, Error::split_changes);
}
