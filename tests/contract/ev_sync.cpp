// SPDX-License-Identifier: MIT
//
// ev_sem_wait, ev_pthread_mutex_lock, ev_pthread_barrier_wait.
// (ev_sync_locks.cpp: read-write locks and condition variables.)
#define BOOST_TEST_MODULE ev_sync
#include "refusal.hpp"
#include "source_objects.hpp"

#include <linux/io_uring.h>
#include <sys/syscall.h>

BOOST_AUTO_TEST_CASE(a_semaphore_that_is_not_zero_is_taken_at_once)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Semaphore s(shared, 2);
		for (int left : {1, 0}) {
			BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &datum) == 0);
			BOOST_TEST(is_readable(ec));
			check_event(ec, s);
			BOOST_TEST(s.value() == left);
		}
		check_nothing(ec);
	});
}

BOOST_AUTO_TEST_CASE(a_post_is_waited_for_and_taken)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Semaphore s(shared);
		BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &datum) == 0);
		check_nothing(ec);
		BOOST_TEST(sem_post(s) == 0);
		BOOST_TEST(becomes_readable(ec));
		BOOST_TEST(s.value() == 0);
		check_event(ec, s);
		check_nothing(ec);
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(waits_go_on_under_a_filter_that_comes_later)
{
	const pid_t child = fork();
	if (child == 0) {
		alarm(60);
		const ec_t ec = ec_create(0);
		sem_t before, after, never;
		for (sem_t *s : {&before, &after, &never})
			sem_init(s, 0, 0);
		event_data_t event;
		if (ev_sem_wait(&before, nullptr, ec, &before) != 0)
			_exit(1);
		if (!contract::refuse(
			    {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register}, EPERM,
			    true))
			_exit(2);
		timespec past{1, 0};
		if (ev_sem_wait(&after, nullptr, ec, &after) != 0 ||
		    ev_sem_wait(&never, nullptr, ec, &never) != 0)
			_exit(3);
		if (ev_sem_wait(&never, &past, ec, &past) != 0 || take_events(ec, &event, 1) != 1 ||
		    event.ev_errno != ETIMEDOUT)
			_exit(4);
		for (sem_t *s : {&before, &after})
			if (sem_post(s) != 0 || take_events(ec, &event, 1) != 1 ||
			    event.ev_data != s || event.ev_errno != 0)
				_exit(5);
		if (ev_cancel(ec, &never) != 0 || take_events(ec, &event, 1) != 1 ||
		    event.ev_errno != ECANCELED)
			_exit(6);
		_exit(0);
	}
	int status = 0;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(another_process_posts)
{
	for_each_channel([](Channel &ec) {
		Semaphore s(true), back(true);
		pid_t const child = spawn_child([&] {
			for (int i = 0; i < 200; ++i)
				if (sem_wait(back) != 0 || sem_post(s) != 0)
					_exit(1);
		});
		for (int i = 0; i < 200; ++i) {
			BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &datum) == 0);
			BOOST_TEST_REQUIRE(sem_post(back) == 0);
			check_event(ec, s);
		}
		BOOST_TEST(wait_for(child) == 0);
		BOOST_TEST(s.value() == 0);
	});
}

BOOST_AUTO_TEST_CASE(posts_are_shared_with_ordinary_waiters_and_none_is_lost)
{
	for (bool shared : {false, true}) {
		Channel ec(0);
		Semaphore s(shared);
		constexpr int each = 2000, of_threads = 2;
		std::vector<std::thread> waiters;
		for (int i = 0; i < of_threads; ++i)
			waiters.emplace_back([&] {
				for (int n = 0; n < each; ++n)
					sem_wait(s);
			});
		std::thread poster([&] {
			for (int n = 0; n < (of_threads + 1) * each; ++n)
				sem_post(s);
		});
		for (int n = 0; n < each; ++n) {
			BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &datum) == 0);
			check_event(ec, s);
		}
		for (std::thread &waiter : waiters)
			waiter.join();
		poster.join();
		BOOST_TEST(s.value() == 0);
	}
}

BOOST_AUTO_TEST_CASE(a_deadline_ends_the_wait_and_takes_nothing)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Semaphore s(shared);
		timespec const past{1, 0}, soon = in_the_future(20000000),
					   far{time(nullptr) + 3600, 0};
		BOOST_TEST_REQUIRE(ev_sem_wait(s, &past, ec, &datum) == 0);
		check_event(ec, s, failed(ETIMEDOUT));
		BOOST_TEST_REQUIRE(ev_sem_wait(s, &far, ec, &other_datum) == 0);
		BOOST_TEST_REQUIRE(ev_sem_wait(s, &soon, ec, &datum) == 0);
		check_event(ec, s, failed(ETIMEDOUT));
		timespec now{};
		clock_gettime(CLOCK_REALTIME, &now);
		BOOST_TEST((now.tv_sec > soon.tv_sec || now.tv_nsec >= soon.tv_nsec));
		sem_post(s);
		check_event(ec, s, ok(0), &other_datum);
		BOOST_TEST(s.value() == 0);
		sem_post(s);
		BOOST_TEST_REQUIRE(ev_sem_wait(s, &past, ec, &datum) ==
				   0); // what can be had is had
		check_event(ec, s);
	});
}

BOOST_AUTO_TEST_CASE(ev_cancel_takes_nothing_and_posts_reach_others)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Semaphore s(shared);
		BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &datum) == 0);
		BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &other_datum) == 0);
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		check_event(ec, s, failed(ECANCELED));
		CHECK_FAILS(ev_cancel(ec, &datum), ENOENT);
		check_nothing(ec);
		sem_post(s);
		check_event(ec, s, ok(0), &other_datum);
		sem_post(s);
		check_nothing(ec);
		BOOST_TEST(s.value() == 1);
	});
}

BOOST_AUTO_TEST_CASE(cancels_and_posts_at_the_same_time_lose_no_token)
{
	for_each_channel_and_scope([](Channel &ec, bool shared) {
		Semaphore s(shared);
		constexpr int rounds = 300, each = 8;
		std::atomic<bool> over{false};
		std::atomic<int> posted{0};
		std::thread poster([&] {
			while (!over) {
				if (s.value() < each)
					++posted, sem_post(s);
				sched_yield();
			}
		});
		int taken = 0;
		for (int i = 0; i < rounds; ++i) {
			for (int n = 0; n < each; ++n)
				BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec,
							       as_data(uintptr_t(n) + 1)) == 0);
			for (int n = 0; n < each; ++n)
				ev_cancel(ec, as_data(uintptr_t(n) + 1));
			for (int n = 0; n < each; ++n) {
				Outcome const end = outcome(next_event(ec));
				if (end == ok(0))
					++taken;
				else
					BOOST_TEST(end == failed(ECANCELED));
			}
		}
		over = true;
		poster.join();
		BOOST_TEST(s.value() == posted - taken);
		check_nothing(ec);
	});
}

// What a cancelled wait has left in the kernel is no waiter of what is there afterwards.
BOOST_AUTO_TEST_CASE(after_ev_cancel_the_memory_is_the_programs)
{
	for_each_channel([](Channel &ec) {
		size_t const page = size_t(sysconf(_SC_PAGESIZE));
		void *const m = mmap(nullptr, page, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		BOOST_TEST_REQUIRE(m != MAP_FAILED);
		sem_t *const s = static_cast<sem_t *>(m);
		for (int i = 0; i < 30; ++i) {
			sem_init(s, 0, 0);
			constexpr int waits = 3;
			for (int n = 0; n < waits; ++n)
				BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &datum) == 0);
			if (i % 3 == 0)
				usleep(2000); // they are asleep, most likely
			BOOST_TEST(ev_cancel(ec, &datum) == 0);
			for (int n = 0; n < waits; ++n)
				BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
			if (i % 2 == 0)
				BOOST_TEST_REQUIRE(mmap(m, page, PROT_READ | PROT_WRITE,
							MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
							0) == m);
			sem_init(s, 0, 0);
			std::atomic<pid_t> waiter{0};
			std::thread other([&] {
				waiter = thread_id();
				while (sem_wait(s) != 0) {
				}
			});
			BOOST_TEST(eventually(
				[&] { return waiter != 0 && thread_state(waiter) == 'S'; }));
			sem_post(s);
			other.join();
		}
		munmap(m, page);
		Semaphore next;
		BOOST_TEST_REQUIRE(ev_sem_wait(next, nullptr, ec, &datum) == 0);
		sem_post(next);
		check_event(ec, next);
	});
}

BOOST_AUTO_TEST_CASE(ec_destroy_takes_nothing_and_gives_back_what_nobody_read)
{
	for_each_channel_kind([](unsigned flags) {
		Semaphore s(true, 1);
		Mutex m;
		RwLock l;
		Channel ec(flags);
		BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &datum) == 0); // acquired, unread
		BOOST_TEST_REQUIRE(ev_sem_wait(s, nullptr, ec, &datum) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_mutex_lock(m, ec, &datum) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_mutex_lock(m, ec, &datum) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_wrlock(l, ec, &datum) == 0);
		BOOST_TEST_REQUIRE(ev_pthread_rwlock_rdlock(l, ec, &datum) == 0);
		BOOST_TEST(s.value() == 0);
		BOOST_TEST(!m.is_free());
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		BOOST_TEST(s.value() == 1);
		BOOST_TEST(m.is_free());
		BOOST_TEST(l.is_free());
	});
}

namespace {

/// Whether io_uring may be used here, and waits for futexes (its operation 51). *idle: and who
/// sleeps in a ring can be told from who waits for a device (Linux 6.15); otherwise rings come
/// last.
bool the_kernel_has_futex_requests(bool *idle)
{
	const char *const engine = getenv("SIGEVEC_ENGINE");
	if (engine != nullptr && strcmp(engine, "auto") != 0 && strcmp(engine, "uring") != 0)
		return false;
	io_uring_params parameters = {};
	const int ring = int(syscall(SYS_io_uring_setup, 8, &parameters));
	if (ring < 0)
		return false;
	alignas(io_uring_probe) char
		space[sizeof(io_uring_probe) + 256 * sizeof(io_uring_probe_op)] = {};
	const auto &probe = *reinterpret_cast<const io_uring_probe *>(space);
	const bool known =
		syscall(SYS_io_uring_register, ring, IORING_REGISTER_PROBE, space, 256) == 0 &&
		probe.last_op >= 51 && (probe.ops[51].flags & IO_URING_OP_SUPPORTED) != 0;
	close(ring);
	*idle = (parameters.features & 1u << 17) != 0;
	return known;
}

} // namespace

BOOST_AUTO_TEST_CASE(where_the_kernel_has_futex_requests_one_thread_does_for_all)
{
	bool idle = false;
	if (!the_kernel_has_futex_requests(&idle)) {
		BOOST_TEST_MESSAGE("no io_uring with futex operations here");
		return;
	}
	const long before = threads();
	constexpr unsigned many = 3000;
	for_each_channel([&](Channel &ec) {
		std::list<Semaphore> all;
		for (uintptr_t i = 0; i < many; ++i)
			BOOST_TEST_REQUIRE(ev_sem_wait(all.emplace_back(i % 2 != 0), nullptr, ec,
						       as_data(i)) == 0);
		BOOST_TEST(threads() <= before + (idle ? 1 : 8));
		for (Semaphore &s : all)
			sem_post(s);
		std::vector<int> told(many);
		for (unsigned i = 0; i < many; ++i)
			++told[as_number(next_event(ec).ev_data)];
		BOOST_TEST(std::count(told.begin(), told.end(), 1) == ptrdiff_t(many));
	});
}

BOOST_AUTO_TEST_CASE(a_thousand_semaphores_need_eight_threads_at_most)
{
	const long before = threads();
	for_each_channel([&](Channel &ec) {
		std::list<Semaphore> all;
		for (uintptr_t i = 0; i < 1000; ++i) {
			BOOST_TEST_REQUIRE(ev_sem_wait(all.emplace_back(i % 2 != 0), nullptr, ec,
						       as_data(i)) == 0);
		}
		BOOST_TEST(threads() <= before + 8);
		for (Semaphore &s : all)
			sem_post(s);
		std::vector<int> told(all.size());
		for (size_t i = 0; i < all.size(); ++i)
			++told[as_number(next_event(ec).ev_data)];
		BOOST_TEST(std::count(told.begin(), told.end(), 1) == ptrdiff_t(all.size()));
		check_nothing(ec);
	});
}

BOOST_AUTO_TEST_CASE(beyond_what_can_wait_the_call_fails_and_changes_nothing)
{
	Channel ec(0);
	Semaphore s;
	int accepted = 0;
	while (accepted < 5000 && ev_sem_wait(s, nullptr, ec, &datum) == 0)
		++accepted;
	BOOST_TEST(accepted >= 1000);
	if (accepted < 5000)
		BOOST_TEST(errno == EAGAIN);
	BOOST_TEST(numbers(ec).outstanding == unsigned(accepted));
	for (int i = 0; i < accepted; ++i)
		sem_post(s);
	for (int i = 0; i < accepted; ++i)
		check_event(ec, s);
	BOOST_TEST(s.value() == 0);
	sem_post(s);
	BOOST_TEST(sem_trywait(s) == 0);
}

BOOST_AUTO_TEST_CASE(a_child_waits_for_itself)
{
	Channel ec(0);
	Semaphore parents(true);
	BOOST_TEST_REQUIRE(ev_sem_wait(parents, nullptr, ec, &datum) == 0);
	BOOST_TEST(in_child([&] {
			   ec_t const own = ec_create(0);
			   Semaphore s;
			   event_data_t event{};
			   if (ev_sem_wait(s, nullptr, own, nullptr) != 0 || sem_post(s) != 0)
				   _exit(1);
			   if (take_events(own, &event, 1) != 1 ||
			       event.ev_type != event_type_sync || event.ev_errno != 0)
				   _exit(2);
			   if (sem_post(parents) != 0)
				   _exit(3);
		   }) == 0);
	check_event(ec, parents);
}
