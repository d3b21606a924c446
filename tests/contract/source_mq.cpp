// SPDX-License-Identifier: MIT
//
// mq_notify with SIGEV_EC: POSIX's one-shot rules, as events.
#define BOOST_TEST_MODULE source_mq
#include "channel.hpp"

#include <aio.h>
#include <mqueue.h>
#include <sys/resource.h>
#include <sys/un.h>

namespace {

int datum;

/// A message queue without a name, open for both directions and non-blocking.
class Queue {
public:
	Queue()
	{
		static std::atomic<int> count{0};
		std::string const name =
			"/sigevec-" + std::to_string(getpid()) + "-" + std::to_string(count++);
		mq_attr attributes{};
		attributes.mq_maxmsg = 2;
		attributes.mq_msgsize = 8;
		mqd_ = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600,
			       &attributes);
		if (mqd_ == mqd_t(-1) && errno == ENOSYS)
			skip_program("no message queues here");
		BOOST_TEST_REQUIRE(mqd_ != mqd_t(-1));
		mq_unlink(name.c_str());
	}
	Queue(Queue &&other) noexcept : mqd_(std::exchange(other.mqd_, mqd_t(-1))) {}
	Queue &operator=(Queue &&other) noexcept
	{
		std::swap(mqd_, other.mqd_);
		return *this;
	}
	~Queue() { close(); }
	operator mqd_t() const { return mqd_; }
	void close()
	{
		if (mqd_ != mqd_t(-1))
			mq_close(mqd_);
		mqd_ = mqd_t(-1);
	}
	void send() const { BOOST_TEST_REQUIRE(mq_send(mqd_, "x", 1, 0) == 0); }
	void empty() const
	{
		char message[8];
		while (mq_receive(mqd_, message, sizeof message, nullptr) >= 0) {
		}
		BOOST_TEST_REQUIRE(errno == EAGAIN);
	}

private:
	mqd_t mqd_;
};

int register_for(mqd_t queue, ec_t ec, void *data = &datum)
{
	const sigevent event = channel_event(ec, data);
	return mq_notify(queue, &event);
}
void check_event(ec_t ec, mqd_t queue, void *data = &datum)
{
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_type == event_type_msq);
	BOOST_TEST(event.ev_un.ev_msq == queue);
	BOOST_TEST(outcome(event) == ok(0));
	BOOST_TEST(event.ev_data == data);
}
/// Some other process's, or some other kind of, registration is possible: there is none.
bool is_free(mqd_t queue)
{
	sigevent none{};
	none.sigev_notify = SIGEV_NONE;
	return mq_notify(queue, &none) == 0 && mq_notify(queue, nullptr) == 0;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_message_in_an_empty_queue_is_an_event)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(!is_readable(ec));
		queue.send();
		BOOST_TEST(becomes_readable(ec));
		check_event(ec, queue);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(!is_readable(ec));
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(a_blocked_reader_is_woken)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		for (bool registered_before : {true, false}) {
			if (registered_before)
				BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
			event_data_t event{};
			std::atomic<pid_t> reader{0};
			std::thread blocked([&] {
				reader = thread_id();
				take_events(ec, &event, 1);
			});
			BOOST_TEST(eventually(
				[&] { return reader != 0 && thread_state(reader) == 'S'; }));
			// Another thread that submits takes a channel for one thread away from its
			// ring.
			if (!registered_before)
				BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
			queue.send();
			blocked.join();
			BOOST_TEST(event.ev_type == event_type_msq);
			queue.empty();
		}
	});
}

BOOST_AUTO_TEST_CASE(it_is_told_once)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		queue.send();
		queue.empty();
		queue.send();
		check_event(ec, queue);
		queue.empty();
		queue.send();
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(is_free(queue));
		for (int i = 0; i < 100; ++i) { // and again as often as it is asked for
			queue.empty();
			BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
			queue.send();
			check_event(ec, queue);
		}
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_message_in_a_queue_that_is_not_empty_is_no_event)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		queue.send();
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		queue.send();
		BOOST_TEST(found_empty(ec));
		queue.empty();
		queue.send();
		check_event(ec, queue);
	});
}

BOOST_AUTO_TEST_CASE(a_waiting_receiver_gets_the_message_and_the_channel_nothing)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		mq_attr blocking{};
		mq_setattr(queue, &blocking, nullptr);
		std::atomic<pid_t> receiver{0};
		std::thread waiting([&] {
			char message[8];
			receiver = thread_id();
			if (mq_receive(queue, message, sizeof message, nullptr) != 1)
				abort();
		});
		BOOST_TEST(
			eventually([&] { return receiver != 0 && thread_state(receiver) == 'S'; }));
		queue.send();
		waiting.join();
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(!is_free(queue)); // the registration stands
		queue.send();
		check_event(ec, queue);
	});
}

BOOST_AUTO_TEST_CASE(one_registration_excludes_others)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		CHECK_FAILS(register_for(queue, ec), EBUSY);
		sigevent none{};
		none.sigev_notify = SIGEV_NONE;
		CHECK_FAILS(mq_notify(queue, &none), EBUSY);
		BOOST_TEST(numbers(ec).outstanding == 1u);
		BOOST_TEST_REQUIRE(mq_notify(queue, nullptr) == 0);
		BOOST_TEST_REQUIRE(mq_notify(queue, &none) == 0);
		CHECK_FAILS(register_for(queue, ec), EBUSY);
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(a_registration_is_removed_without_an_event)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		BOOST_TEST_REQUIRE(mq_notify(queue, nullptr) == 0);
		queue.send();
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(numbers(ec).outstanding == 0u);
		BOOST_TEST(is_free(queue));
	});
}

BOOST_AUTO_TEST_CASE(a_close_removes_the_registration)
{
	for_each_channel([](Channel &ec) {
		Queue queue, other;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		queue.close();
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(numbers(ec).outstanding == 0u);
		BOOST_TEST_REQUIRE(register_for(other, ec) == 0);
		other.send();
		check_event(ec, other);
	});
}

BOOST_AUTO_TEST_CASE(
	a_registration_that_is_removed_takes_no_room_and_no_descriptor_though_nobody_reads)
{
	for_each_channel([&](Channel &ec) {
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 1) == 0);
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		int const open = open_descriptors();
		for (int i = 0; i < 500; ++i) {
			if (i % 2 == 0)
				BOOST_TEST_REQUIRE(mq_notify(queue, nullptr) == 0);
			else
				queue = Queue();
			BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		}
		BOOST_TEST(open_descriptors() == open);
		queue.send();
		check_event(ec, queue);
	});
}

BOOST_AUTO_TEST_CASE(another_process_sends_the_message)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		pid_t const child = fork();
		if (child == 0)
			_exit(mq_send(queue, "x", 1, 0) != 0);
		check_event(ec, queue);
		BOOST_TEST(wait_for(child) == 0);
	});
}

BOOST_AUTO_TEST_CASE(many_queues_share_a_channel_and_need_no_thread)
{
	rlimit limit{};
	getrlimit(RLIMIT_MSGQUEUE, &limit);
	const size_t bytes_each = 2 * (8 + 48) + 4 * 48; // what the kernel charges at most
	const size_t count = std::min<size_t>(200, limit.rlim_cur / bytes_each / 2);
	for_each_channel([&](Channel &ec) {
		std::vector<Queue> queues(count);
		char tasks_before[64], tasks_after[64];
		auto tasks = [](char *text) {
			std::ifstream status("/proc/self/status");
			for (std::string line; std::getline(status, line);)
				if (line.rfind("Threads:", 0) == 0)
					snprintf(text, 64, "%s", line.c_str());
		};
		tasks(tasks_before);
		for (size_t i = 0; i < count; ++i)
			BOOST_TEST_REQUIRE(register_for(queues[i], ec, as_data(i)) == 0);
		for (Queue &queue : queues)
			queue.send();
		std::vector<bool> told(count);
		for (size_t i = 0; i < count; ++i) {
			event_data_t const event = next_event(ec);
			BOOST_TEST_REQUIRE(as_number(event.ev_data) < count);
			BOOST_TEST(event.ev_un.ev_msq == queues[as_number(event.ev_data)]);
			told[as_number(event.ev_data)] = true;
		}
		BOOST_TEST(std::count(told.begin(), told.end(), true) == ptrdiff_t(count));
		tasks(tasks_after);
		BOOST_TEST(std::string(tasks_before) == tasks_after);
	});
}

BOOST_AUTO_TEST_CASE(ev_cancel_removes_it_with_a_last_event)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		event_data_t const event = next_event(ec);
		BOOST_TEST(event.ev_type == event_type_msq);
		BOOST_TEST(outcome(event) == failed(ECANCELED));
		BOOST_TEST(is_free(queue));
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		queue.send();
		CHECK_FAILS(ev_cancel(ec, &datum), ENOENT);
		check_event(ec, queue);
	});
}

BOOST_AUTO_TEST_CASE(ec_destroy_removes_it)
{
	for_each_channel_kind([](unsigned flags) {
		Queue queue;
		Channel ec(flags);
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		BOOST_TEST(is_free(queue));
		queue.send();
	});
}

BOOST_AUTO_TEST_CASE(what_cannot_be_registered_fails_and_changes_nothing)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		Fd const no_channel(open("/dev/null", O_RDWR | O_CLOEXEC));
		CHECK_FAILS(register_for(queue, no_channel), EBADF);
		CHECK_FAILS(register_for(queue, -1), EBADF);
		CHECK_FAILS(register_for(mqd_t(no_channel), ec), EBADF);
		CHECK_FAILS(register_for(mqd_t(-1), ec), EBADF);
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 1) == 0);
		BOOST_TEST_REQUIRE(ec_post(ec, 0, 0, nullptr) == 0);
		CHECK_FAILS(register_for(queue, ec), EAGAIN);
		next_event(ec);
		BOOST_TEST(is_free(queue));
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(other_notifications_are_the_systems)
{
	Queue queue;
	sigevent event{};
	event.sigev_notify = SIGEV_NONE;
	BOOST_TEST(mq_notify(queue, &event) == 0);
	BOOST_TEST(mq_notify(queue, nullptr) == 0);
	event.sigev_notify = 12345;
	CHECK_FAILS(mq_notify(queue, &event), EINVAL);
	if (thread_sanitizer)
		return; // it does not know threads that libc makes for itself
	static std::atomic<int> called{0};
	event.sigev_notify = SIGEV_THREAD;
	event.sigev_value.sival_int = 7;
	event.sigev_notify_function = [](sigval v) { called = v.sival_int; };
	BOOST_TEST(mq_notify(queue, &event) == 0);
	queue.send();
	BOOST_TEST(eventually([] { return called == 7; }));
}

BOOST_AUTO_TEST_CASE(a_child_has_none_of_it_and_disturbs_nothing)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		pid_t const child = fork();
		if (child == 0) {
			ec_t const own = ec_create(0);
			Queue mine;
			event_data_t event;
			bool good = own >= 0 && register_for(mine, own) == 0 &&
				    mq_send(mine, "x", 1, 0) == 0 &&
				    take_events(own, &event, 1) == 1 &&
				    event.ev_type == event_type_msq;
			mq_close(queue);
			ec_destroy(own);
			_exit(good ? 0 : 1);
		}
		BOOST_TEST(wait_for(child) == 0);
		BOOST_TEST(found_empty(ec));
		queue.send();
		check_event(ec, queue);
	});
}

// The threads of the library's that have a table of their own close what they do not need there: a
// close by this process is what takes a registration away.
BOOST_AUTO_TEST_CASE(a_registration_stands_while_the_library_makes_its_threads)
{
	const pid_t child = fork();
	if (child == 0) { // which has none of them yet
		Queue queue;
		sigevent by_signal{};
		by_signal.sigev_notify = SIGEV_SIGNAL;
		by_signal.sigev_signo = SIGURG;
		bool good = mq_notify(queue, &by_signal) == 0;
		int ends[2];
		char byte = 'x';
		good = good && pipe(ends) == 0 && write(ends[1], &byte, 1) == 1;
		aiocb cb{};
		cb.aio_fildes = ends[0];
		cb.aio_buf = &byte;
		cb.aio_nbytes = 1;
		const aiocb *list[] = {&cb};
		good = good && aio_read(&cb) == 0 && aio_suspend(list, 1, nullptr) == 0 &&
		       aio_return(&cb) == 1;
		_exit(good && !is_free(queue) ? 0 : 1);
	}
	BOOST_TEST(wait_for(child) == 0);
}

BOOST_AUTO_TEST_CASE(a_registration_stands_while_requests_are_for_the_queue_itself)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		char text[200];
		for (int i = 0; i < 3; ++i) {
			aiocb cb{};
			cb.aio_fildes = queue;
			cb.aio_buf = text;
			cb.aio_nbytes = sizeof text;
			aiocb const *list[] = {&cb};
			BOOST_TEST_REQUIRE(aio_read(&cb) == 0);
			BOOST_TEST(aio_suspend(list, 1, nullptr) == 0);
			BOOST_TEST(aio_return(&cb) > 0);
			BOOST_TEST(!is_free(queue));
			// It can be written to.
			BOOST_TEST_REQUIRE(ev_poll(queue, POLLOUT, ec, nullptr) == 0);
			event_data_t const event = next_event(ec);
			BOOST_TEST((event.ev_result & POLLOUT) != 0);
			BOOST_TEST(!is_free(queue));
		}
		queue.send();
		check_event(ec, queue);
	});
}

BOOST_AUTO_TEST_CASE(a_registration_stands_while_a_thread_connects_with_the_callers_rights)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		Fd const from(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
		sockaddr_un nobody{};
		nobody.sun_family = AF_UNIX;
		strcpy(nobody.sun_path, "/nonexistent/sigevec");
		int const submitted = ev_connect(from, reinterpret_cast<sockaddr *>(&nobody),
						 sizeof nobody, ec, nullptr);
		if (submitted == 0)
			BOOST_TEST(outcome(next_event(ec)) == failed(ENOENT));
		BOOST_TEST(!is_free(queue));
		queue.send();
		check_event(ec, queue);
	});
}

// A reader that looks before it sleeps need not be woken; it has to look once more.
BOOST_AUTO_TEST_CASE(no_event_is_lost_between_looking_and_sleeping)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		BOOST_TEST_REQUIRE(register_for(queue, ec) == 0);
		constexpr int count = 20000;
		std::atomic<int> taken{0};
		std::thread reader([&] {
			event_data_t event;
			while (taken < count && take_events(ec, &event, 1) == 1)
				++taken;
		});
		for (int i = 0; i < count && eventually([&] { return taken == i; }); ++i) {
			// As long as a reader looks, or somewhat less or more.
			for (int pause = i % 499 * 40; pause > 0; --pause)
				atomic_signal_fence(std::memory_order_seq_cst);
			if (ec_post(ec, 0, 0, nullptr) != 0)
				BOOST_FAIL("ec_post");
		}
		reader.join();
		BOOST_TEST(taken == count);
		queue.send();
		check_event(ec, queue);
	});
}
