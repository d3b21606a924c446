// SPDX-License-Identifier: MIT
//
// ev_pthread_mutex_lock, ev_pthread_barrier_wait; and what is refused.
#define BOOST_TEST_MODULE ev_sync_mutex
#include "source_objects.hpp"

#include <sys/mman.h>
#include <sys/wait.h>

BOOST_AUTO_TEST_CASE(a_mutex_belongs_to_the_thread_that_read_the_event)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE,
				 PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP})
			for (bool contended : {false, true}) {
				Mutex m(shared, type);
				if (contended)
					BOOST_TEST_REQUIRE(pthread_mutex_lock(m) == 0);
				BOOST_TEST_REQUIRE(ev_pthread_mutex_lock(m, ec, &datum) == 0);
				if (contended) {
					check_nothing(ec);
					BOOST_TEST_REQUIRE(pthread_mutex_unlock(m) == 0);
				}
				// The submitter is not the reader.
				in_thread([&] {
					check_event(ec, m);
					BOOST_TEST(!m.is_free());
					if (type == PTHREAD_MUTEX_RECURSIVE) {
						BOOST_TEST(pthread_mutex_lock(m) == 0);
						BOOST_TEST(pthread_mutex_unlock(m) == 0);
						BOOST_TEST(!m.is_free());
					}
					if (type == PTHREAD_MUTEX_ERRORCHECK)
						BOOST_TEST(pthread_mutex_lock(m) == EDEADLK);
					BOOST_TEST(pthread_mutex_unlock(m) == 0);
				});
				BOOST_TEST(m.is_free());
				BOOST_TEST(pthread_mutex_destroy(m) == 0);
			}
	});
}

BOOST_AUTO_TEST_CASE(mutexes_are_handed_round_between_events_and_threads)
{
	for (bool shared : {false, true}) {
		Channel ec(0);
		Mutex m(shared);
		long counter = 0;
		constexpr int each = 3000;
		std::vector<std::thread> lockers;
		for (int i = 0; i < 2; ++i)
			lockers.emplace_back([&] {
				for (int n = 0; n < each; ++n) {
					pthread_mutex_lock(m);
					++counter;
					pthread_mutex_unlock(m);
				}
			});
		for (int n = 0; n < each; ++n) {
			BOOST_TEST_REQUIRE(ev_pthread_mutex_lock(m, ec, &datum) == 0);
			check_event(ec, m);
			++counter;
			BOOST_TEST_REQUIRE(pthread_mutex_unlock(m) == 0);
		}
		for (std::thread &locker : lockers)
			locker.join();
		BOOST_TEST(counter == 3 * each);
		BOOST_TEST(m.is_free());
	}
}

BOOST_AUTO_TEST_CASE(a_cancelled_lock_leaves_the_mutex_to_others)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Mutex m(shared);
		BOOST_TEST_REQUIRE(pthread_mutex_lock(m) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_mutex_lock(m, ec, &datum) == 0);
		std::thread other([&] {
			pthread_mutex_lock(m);
			pthread_mutex_unlock(m);
		});
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		check_event(ec, m, failed(ECANCELED));
		BOOST_TEST(pthread_mutex_unlock(m) == 0);
		other.join();
		BOOST_TEST(m.is_free());
	});
}

BOOST_AUTO_TEST_CASE(kinds_that_are_not_known_are_refused)
{
	Channel ec(0);
	pthread_mutexattr_t a;
	pthread_mutex_t m;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	BOOST_TEST_REQUIRE(pthread_mutex_init(&m, &a) == 0);
	CHECK_FAILS(ev_pthread_mutex_lock(&m, ec, nullptr), ENOTSUP);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_NONE);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	BOOST_TEST_REQUIRE(pthread_mutex_init(&m, &a) == 0);
	CHECK_FAILS(ev_pthread_mutex_lock(&m, ec, nullptr), ENOTSUP);
	Condition c;
	CHECK_FAILS(ev_pthread_cond_wait(c, &m, ec, nullptr), ENOTSUP);
	BOOST_TEST(numbers(ec).outstanding == 0u);
}

BOOST_AUTO_TEST_CASE(arguments_that_cannot_be_are_refused)
{
	for_each_channel([](Channel &ec) {
		Semaphore s;
		timespec const wrong{1, -1};
		CHECK_FAILS(ev_sem_wait(nullptr, nullptr, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_sem_wait(s, &wrong, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_sem_wait(s, nullptr, -1, nullptr), EBADF);
		CHECK_FAILS(ev_pthread_mutex_lock(nullptr, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_pthread_rwlock_rdlock(nullptr, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_pthread_rwlock_wrlock(nullptr, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_pthread_barrier_wait(nullptr, ec, nullptr), EINVAL);
		CHECK_FAILS(ev_pthread_cond_wait(nullptr, nullptr, ec, nullptr), EINVAL);
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 1) == 0);
		BOOST_TEST_REQUIRE(ec_post(ec, 0, 0, nullptr) == 0);
		CHECK_FAILS(ev_sem_wait(s, nullptr, ec, nullptr), EAGAIN);
		next_event(ec);
		BOOST_TEST(numbers(ec).outstanding == 0u);
		sem_post(s); // the refused waits have left nothing in the queue
		BOOST_TEST(s.value() == 1);
	});
}

BOOST_AUTO_TEST_CASE(a_barrier_is_left_when_all_have_come)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Barrier b(shared, 3);
		for (int round = 0; round < 5; ++round) {
			BOOST_TEST_REQUIRE(ev_pthread_barrier_wait(b, ec, &datum) == 0);
			BOOST_TEST_REQUIRE(ev_pthread_barrier_wait(b, ec, &datum) == 0);
			check_nothing(ec);
			int serial = 0;
			in_thread([&] {
				serial += pthread_barrier_wait(b) == PTHREAD_BARRIER_SERIAL_THREAD;
			});
			for (int i = 0; i < 2; ++i) {
				event_data_t const event = next_event(ec);
				BOOST_TEST(event.ev_errno == 0);
				BOOST_TEST(event.ev_un.ev_obj ==
					   static_cast<pthread_barrier_t *>(b));
				serial += event.ev_result == PTHREAD_BARRIER_SERIAL_THREAD;
			}
			BOOST_TEST(serial == 1);
		}
		for (int i = 0; i < 3; ++i)
			BOOST_TEST_REQUIRE(ev_pthread_barrier_wait(b, ec, &datum) == 0);
		int serial = 0;
		for (int i = 0; i < 3; ++i)
			serial += next_event(ec).ev_result == PTHREAD_BARRIER_SERIAL_THREAD;
		BOOST_TEST(serial == 1);
		BOOST_TEST(pthread_barrier_destroy(b) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_cancelled_barrier_wait_has_not_come)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Barrier b(shared, 2);
		BOOST_TEST_REQUIRE(ev_pthread_barrier_wait(b, ec, &datum) == 0);
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		check_event(ec, b, failed(ECANCELED));
		BOOST_TEST_REQUIRE(ev_pthread_barrier_wait(b, ec, &datum) == 0);
		check_nothing(ec);
		BOOST_TEST(pthread_barrier_wait(b) == PTHREAD_BARRIER_SERIAL_THREAD);
		check_event(ec, b);
		BOOST_TEST(pthread_barrier_destroy(b) == 0);
	});
}

BOOST_AUTO_TEST_CASE(what_a_process_writes_into_a_barrier_that_it_shares_ends_no_other)
{
	Channel ec;
	void *const m = mmap(nullptr, sizeof(pthread_barrier_t), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	BOOST_TEST_REQUIRE(m != MAP_FAILED);
	auto *const b = static_cast<pthread_barrier_t *>(m);
	pthread_barrierattr_t shared;
	BOOST_TEST_REQUIRE(pthread_barrierattr_init(&shared) == 0);
	BOOST_TEST_REQUIRE(pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED) == 0);
	BOOST_TEST_REQUIRE(pthread_barrier_init(b, &shared, 2) == 0);
	BOOST_TEST_REQUIRE(ev_pthread_barrier_wait(b, ec, nullptr) == 0);
	pid_t const child = fork();
	if (child == 0) {
		memset(m, 0, sizeof(pthread_barrier_t));
		_exit(0);
	}
	BOOST_TEST(waitpid(child, nullptr, 0) == child);
	// The waiter looks at it again, and whoever is next.
	ev_cancel(ec, nullptr);
	next_event(ec);
	ev_pthread_barrier_wait(b, ec, nullptr);
	munmap(m, sizeof(pthread_barrier_t));
}
