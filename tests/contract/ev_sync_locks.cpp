// SPDX-License-Identifier: MIT
//
// ev_pthread_rwlock_rdlock, ev_pthread_rwlock_wrlock, ev_pthread_cond_wait.
#define BOOST_TEST_MODULE ev_sync_locks
#include "source_objects.hpp"

namespace {

constexpr int rwlock_kinds[] = {PTHREAD_RWLOCK_PREFER_READER_NP, PTHREAD_RWLOCK_PREFER_WRITER_NP,
				PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP};

template <class Body> void for_each_lock(Body body)
{
	for_each_channel_and_scope([&](Channel &ec, bool shared) {
		for (int kind : rwlock_kinds)
			BOOST_TEST_CONTEXT("kind " << kind)
			{
				RwLock lock(shared, kind);
				body(ec, lock);
				BOOST_TEST(lock.is_free());
			}
	});
}
int unlock(pthread_rwlock_t *lock)
{
	return pthread_rwlock_unlock(lock);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_free_lock_is_taken_at_once)
{
	for_each_lock([](Channel &ec, RwLock &lock) {
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_rdlock(lock, ec, &datum) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_rdlock(lock, ec, &datum) == 0);
		check_event(ec, lock);
		check_event(ec, lock);
		BOOST_TEST(pthread_rwlock_trywrlock(lock) == EBUSY);
		BOOST_TEST(unlock(lock) == 0);
		BOOST_TEST(unlock(lock) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_wrlock(lock, ec, &datum) == 0);
		in_thread([&] {
			check_event(ec, lock);
			BOOST_TEST(pthread_rwlock_tryrdlock(lock) == EBUSY);
			BOOST_TEST(pthread_rwlock_rdlock(lock) ==
				   EDEADLK); // the reader of the event is its writer
			BOOST_TEST(unlock(lock) == 0);
		});
	});
}

BOOST_AUTO_TEST_CASE(readers_wait_for_a_writer)
{
	for_each_lock([](Channel &ec, RwLock &lock) {
		BOOST_TEST_REQUIRE(pthread_rwlock_wrlock(lock) == 0);
		for (int i = 0; i < 3; ++i)
			BOOST_TEST_REQUIRE(ev_pthread_rwlock_rdlock(lock, ec, &datum) == 0);
		check_nothing(ec);
		BOOST_TEST(unlock(lock) == 0);
		for (int i = 0; i < 3; ++i)
			check_event(ec, lock);
		BOOST_TEST(pthread_rwlock_trywrlock(lock) == EBUSY);
		for (int i = 0; i < 3; ++i)
			BOOST_TEST(unlock(lock) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_writer_waits_for_readers_and_writers)
{
	for_each_lock([](Channel &ec, RwLock &lock) {
		BOOST_TEST_REQUIRE(pthread_rwlock_rdlock(lock) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_wrlock(lock, ec, &datum) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_wrlock(lock, ec, &datum) == 0);
		check_nothing(ec);
		BOOST_TEST(unlock(lock) == 0);
		check_event(ec, lock);
		check_nothing(ec);
		BOOST_TEST(pthread_rwlock_tryrdlock(lock) == EBUSY);
		BOOST_TEST(unlock(lock) == 0);
		check_event(ec, lock);
		BOOST_TEST(unlock(lock) == 0);
	});
}

BOOST_AUTO_TEST_CASE(cancelled_waits_leave_the_lock_to_others)
{
	for_each_lock([](Channel &ec, RwLock &lock) {
		BOOST_TEST_REQUIRE(pthread_rwlock_wrlock(lock) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_wrlock(lock, ec, &datum) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_rdlock(lock, ec, &datum) == 0);
		std::thread writer([&] {
			pthread_rwlock_wrlock(lock);
			unlock(lock);
		});
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		check_event(ec, lock, failed(ECANCELED));
		check_event(ec, lock, failed(ECANCELED));
		BOOST_TEST(unlock(lock) == 0);
		writer.join();
		BOOST_TEST_REQUIRE(pthread_rwlock_rdlock(lock) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_wrlock(lock, ec, &datum) == 0);
		std::thread reader([&] {
			pthread_rwlock_rdlock(lock);
			unlock(lock);
		});
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		check_event(ec, lock, failed(ECANCELED));
		reader.join();
		BOOST_TEST(unlock(lock) == 0);
	});
}

BOOST_AUTO_TEST_CASE(locks_are_handed_round_between_events_and_threads)
{
	for (int kind : rwlock_kinds) {
		Channel ec(0);
		RwLock lock(true, kind);
		long first = 0, second = 0;
		constexpr int each = 2000;
		std::atomic<bool> torn{false};
		std::vector<std::thread> others;
		for (int i = 0; i < 2; ++i)
			others.emplace_back([&, i] {
				for (int n = 0; n < each; ++n)
					if (i == 0) {
						pthread_rwlock_rdlock(lock);
						if (first != second)
							torn = true;
						unlock(lock);
					} else {
						pthread_rwlock_wrlock(lock);
						++first, ++second;
						unlock(lock);
					}
			});
		for (int n = 0; n < each; ++n) {
			const bool writes = n % 3 == 0;
			BOOST_TEST_REQUIRE((writes ? ev_pthread_rwlock_wrlock
						   : ev_pthread_rwlock_rdlock)(lock, ec, &datum) ==
					   0);
			if (n % 7 == 0) {
				BOOST_TEST_REQUIRE(
					ev_pthread_rwlock_wrlock(lock, ec, &other_datum) == 0);
				if (ev_cancel(ec, &other_datum) != 0)
					BOOST_TEST_REQUIRE(errno == ENOENT);
			}
			for (int left = n % 7 == 0 ? 2 : 1; left > 0; --left) {
				const event_data_t event = next_event(ec);
				if (event.ev_errno != 0)
					continue;
				if (event.ev_data == &other_datum || writes)
					++first, ++second;
				else if (first != second)
					torn = true;
				BOOST_TEST_REQUIRE(unlock(lock) == 0);
			}
		}
		for (std::thread &other : others)
			other.join();
		BOOST_TEST(!torn);
		BOOST_TEST(first == second);
		BOOST_TEST(lock.is_free());
	}
}

BOOST_AUTO_TEST_CASE(other_processes_share_the_lock)
{
	for (int kind : rwlock_kinds) {
		Channel ec(0);
		RwLock lock(true, kind);
		const pid_t child = spawn_child([&] {
			for (int n = 0; n < 1000; ++n)
				if ((n % 2 != 0 ? pthread_rwlock_rdlock
						: pthread_rwlock_wrlock)(lock) != 0 ||
				    unlock(lock) != 0)
					_exit(1);
		});
		for (int n = 0; n < 1000; ++n) {
			BOOST_TEST_REQUIRE(
				(n % 3 != 0 ? ev_pthread_rwlock_rdlock
					    : ev_pthread_rwlock_wrlock)(lock, ec, &datum) == 0);
			check_event(ec, lock);
			BOOST_TEST_REQUIRE(unlock(lock) == 0);
		}
		BOOST_TEST(wait_for(child) == 0);
		BOOST_TEST(lock.is_free());
	}
}

BOOST_AUTO_TEST_CASE(a_condition_is_waited_for_and_the_mutex_locked_again)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		for (int type :
		     {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK}) {
			Condition c(shared);
			Mutex m(shared, type);
			BOOST_TEST_REQUIRE(pthread_mutex_lock(m) == 0);
			BOOST_TEST_REQUIRE(ev_pthread_cond_wait(c, m, ec, &datum) == 0);
			BOOST_TEST(m.is_free());
			check_nothing(ec);
			BOOST_TEST_REQUIRE(pthread_mutex_lock(m) == 0);
			BOOST_TEST(pthread_cond_signal(c) == 0);
			check_nothing(ec); // the mutex is not to be had
			BOOST_TEST(pthread_mutex_unlock(m) == 0);
			in_thread([&] {
				check_event(ec, c);
				BOOST_TEST(!m.is_free());
				BOOST_TEST(pthread_mutex_unlock(m) == 0);
			});
			BOOST_TEST(m.is_free());
			BOOST_TEST(pthread_cond_destroy(c) == 0);
			BOOST_TEST(pthread_mutex_destroy(m) == 0);
		}
	});
}

BOOST_AUTO_TEST_CASE(a_broadcast_wakes_all_and_a_signal_one)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Condition c(shared);
		Mutex m(shared);
		auto wait = [&] {
			BOOST_TEST_REQUIRE(pthread_mutex_lock(m) == 0);
			BOOST_TEST_REQUIRE(ev_pthread_cond_wait(c, m, ec, &datum) == 0);
		};
		auto take = [&] {
			check_event(ec, c);
			BOOST_TEST(pthread_mutex_unlock(m) == 0);
		};
		for (int round = 0; round < 5; ++round) {
			for (int i = 0; i < 4; ++i)
				wait();
			BOOST_TEST(pthread_cond_signal(c) == 0);
			take();
			check_nothing(ec);
			BOOST_TEST(pthread_cond_broadcast(c) == 0);
			for (int i = 0; i < 3; ++i)
				take();
			check_nothing(ec);
		}
		BOOST_TEST(pthread_cond_destroy(c) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_cancelled_wait_takes_no_signal)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Condition c(shared);
		Mutex m(shared);
		for (int round = 0; round < 5; ++round) {
			for (void *data : {&datum, &other_datum}) {
				BOOST_TEST_REQUIRE(pthread_mutex_lock(m) == 0);
				BOOST_TEST_REQUIRE(ev_pthread_cond_wait(c, m, ec, data) == 0);
			}
			BOOST_TEST(ev_cancel(ec, &datum) == 0);
			check_event(ec, c, failed(ECANCELED));
			BOOST_TEST(m.is_free());
			BOOST_TEST(pthread_cond_signal(c) == 0);
			check_event(ec, c, ok(0), &other_datum);
			BOOST_TEST(pthread_mutex_unlock(m) == 0);
		}
		BOOST_TEST(pthread_cond_destroy(c) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_mutex_of_somebody_else_is_eperm)
{
	if (thread_sanitizer)
		return; // it reports the attempt
	for_each_channel([](Channel &ec) {
		Condition c;
		Mutex m(false, PTHREAD_MUTEX_ERRORCHECK);
		CHECK_FAILS(ev_pthread_cond_wait(c, m, ec, nullptr), EPERM);
		BOOST_TEST(numbers(ec).outstanding == 0u);
		BOOST_TEST(pthread_cond_destroy(c) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_queue_with_a_condition_loses_nothing)
{
	for (bool shared : {false, true}) {
		Channel ec(0);
		Condition c(shared);
		Mutex m(shared);
		std::deque<int> queue;
		constexpr int count = 3000;
		int taken_by_thread = 0, taken_by_events = 0;
		long sum = 0;
		std::thread producer([&] {
			for (int i = 1; i <= count; ++i) {
				pthread_mutex_lock(m);
				queue.push_back(i);
				pthread_cond_signal(c);
				pthread_mutex_unlock(m);
			}
			pthread_mutex_lock(m);
			queue.insert(queue.end(), 2, 0); // the end, for each consumer
			pthread_cond_broadcast(c);
			pthread_mutex_unlock(m);
		});
		auto take = [&](int &taken) { // with the mutex; false: the end
			int const item = queue.front();
			queue.pop_front();
			sum += item;
			taken += item != 0;
			return item != 0;
		};
		std::thread consumer([&] {
			pthread_mutex_lock(m);
			do
				while (queue.empty())
					pthread_cond_wait(c, m);
			while (take(taken_by_thread));
			pthread_mutex_unlock(m);
		});
		pthread_mutex_lock(m);
		do
			while (queue.empty()) {
				BOOST_TEST_REQUIRE(ev_pthread_cond_wait(c, m, ec, &datum) == 0);
				check_event(ec, c);
			}
		while (take(taken_by_events));
		pthread_mutex_unlock(m);
		consumer.join();
		producer.join();
		BOOST_TEST(taken_by_thread + taken_by_events == count);
		BOOST_TEST(sum == long{count} * (count + 1) / 2);
		BOOST_TEST(pthread_cond_destroy(c) == 0);
	}
}
