// SPDX-License-Identifier: MIT
//
// ev_msgrcv, ev_msgsnd, ev_semop: System V objects.
#define BOOST_TEST_MODULE source_sysv
#include "channel.hpp"

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

namespace {

int datum;

struct Message {
	long type;
	char text[8];
};
constexpr size_t text_size = sizeof Message{}.text;

class Queue {
public:
	Queue() : id_(msgget(IPC_PRIVATE, 0600))
	{
		if (id_ < 0 && errno == ENOSYS)
			skip_program("no System V queues here");
		BOOST_TEST_REQUIRE(id_ >= 0);
	}
	~Queue() { remove(); }
	operator int() const { return id_; }
	void remove()
	{
		if (id_ >= 0)
			msgctl(id_, IPC_RMID, nullptr);
		id_ = -1;
	}
	void send(long type) const
	{
		const Message m{type, "text"};
		BOOST_TEST_REQUIRE(msgsnd(id_, &m, text_size, 0) == 0);
	}
	long messages() const
	{
		msqid_ds state{};
		BOOST_TEST_REQUIRE(msgctl(id_, IPC_STAT, &state) == 0);
		return long(state.msg_qnum);
	}
	/// Room for so many messages.
	void restrict_to(size_t count) const
	{
		msqid_ds state{};
		BOOST_TEST_REQUIRE(msgctl(id_, IPC_STAT, &state) == 0);
		state.msg_qbytes = count * text_size;
		BOOST_TEST_REQUIRE(msgctl(id_, IPC_SET, &state) == 0);
	}

private:
	int id_;
};

class Semaphores {
public:
	explicit Semaphores(int count) : id_(semget(IPC_PRIVATE, count, 0600))
	{
		BOOST_TEST_REQUIRE(id_ >= 0);
	}
	~Semaphores() { remove(); }
	operator int() const { return id_; }
	void remove()
	{
		if (id_ >= 0)
			semctl(id_, 0, IPC_RMID);
		id_ = -1;
	}
	int value(int number = 0) const { return semctl(id_, number, GETVAL); }
	void add(short n, unsigned short number = 0) const
	{
		sembuf operation{number, n, 0};
		BOOST_TEST_REQUIRE(semop(id_, &operation, 1) == 0);
	}

private:
	int id_;
};

int receive(int queue, Message &m, long type, ec_t ec, void *data = &datum, int flags = 0)
{
	return ev_msgrcv(queue, &m, text_size, type, flags, ec, data);
}
void check_event(ec_t ec, int id, Outcome expected, void *data = &datum)
{
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_type == event_type_sync);
	BOOST_TEST(event.ev_un.ev_obj == as_data(uintptr_t(id)));
	BOOST_TEST(outcome(event) == expected);
	BOOST_TEST(event.ev_data == data);
}
unsigned thread_limit()
{
	sigevec_limits limits{};
	BOOST_TEST_REQUIRE(sigevec_get_limits(&limits) == 0);
	return limits.threads;
}
long threads()
{
	std::ifstream status("/proc/self/status");
	for (std::string line; std::getline(status, line);)
		if (line.rfind("Threads:", 0) == 0)
			return atol(line.c_str() + 8);
	return -1;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_message_that_is_there_is_received)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		queue.send(7);
		Message m{};
		BOOST_TEST_REQUIRE(receive(queue, m, 0, ec) == 0);
		check_event(ec, queue, ok(text_size));
		BOOST_TEST(m.type == 7);
		BOOST_TEST(std::string(m.text) == "text");
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_message_is_waited_for)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		Message m{};
		BOOST_TEST_REQUIRE(receive(queue, m, 5, ec) == 0);
		BOOST_TEST(found_empty(ec));
		queue.send(4); // not the one
		BOOST_TEST(found_empty(ec));
		queue.send(5);
		BOOST_TEST(becomes_readable(ec));
		check_event(ec, queue, ok(text_size));
		BOOST_TEST(m.type == 5);
		BOOST_TEST(queue.messages() == 1);
	});
}

BOOST_AUTO_TEST_CASE(room_is_waited_for)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		queue.restrict_to(1);
		Message const first{1, "first"}, second{2, "second"};
		BOOST_TEST_REQUIRE(ev_msgsnd(queue, &first, text_size, 0, ec, &datum) == 0);
		check_event(ec, queue, ok(0));
		BOOST_TEST_REQUIRE(ev_msgsnd(queue, &second, text_size, 0, ec, &datum) == 0);
		BOOST_TEST(found_empty(ec));
		Message m{};
		BOOST_TEST(msgrcv(queue, &m, text_size, 0, 0) == ssize_t(text_size));
		check_event(ec, queue, ok(0));
		BOOST_TEST(msgrcv(queue, &m, text_size, 0, 0) == ssize_t(text_size));
		BOOST_TEST(std::string(m.text) == "second");
	});
}

BOOST_AUTO_TEST_CASE(a_semaphore_is_waited_for_and_taken)
{
	for_each_channel([](Channel &ec) {
		Semaphores set(2);
		{
			sembuf both[] = {{0, -1, 0}, {1, -2, 0}};
			BOOST_TEST_REQUIRE(ev_semop(set, both, 2, ec, &datum) == 0);
			memset(both, 0xff, sizeof both); // the operations are copied
		}
		set.add(1, 0);
		set.add(1, 1);
		BOOST_TEST(found_empty(ec));
		set.add(1, 1);
		check_event(ec, set, ok(0));
		BOOST_TEST(set.value(0) == 0);
		BOOST_TEST(set.value(1) == 0);
		sembuf up{0, 3, 0};
		BOOST_TEST_REQUIRE(ev_semop(set, &up, 1, ec, &datum) == 0);
		check_event(ec, set, ok(0));
		BOOST_TEST(set.value(0) == 3);
	});
}

BOOST_AUTO_TEST_CASE(ipc_nowait_ends_instead_of_waiting)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		Semaphores set(1);
		Message m{1, "x"};
		BOOST_TEST_REQUIRE(receive(queue, m, 0, ec, &datum, IPC_NOWAIT) == 0);
		check_event(ec, queue, failed(ENOMSG));
		queue.restrict_to(0);
		BOOST_TEST_REQUIRE(ev_msgsnd(queue, &m, text_size, IPC_NOWAIT, ec, &datum) == 0);
		check_event(ec, queue, failed(EAGAIN));
		sembuf down{0, -1, IPC_NOWAIT};
		BOOST_TEST_REQUIRE(ev_semop(set, &down, 1, ec, &datum) == 0);
		check_event(ec, set, failed(EAGAIN));
	});
}

BOOST_AUTO_TEST_CASE(a_removed_object_is_eidrm)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		Semaphores set(1);
		int const queue_id = queue, set_id = set;
		Message m{};
		sembuf down{0, -1, 0};
		BOOST_TEST_REQUIRE(receive(queue, m, 0, ec) == 0);
		BOOST_TEST(found_empty(ec));
		queue.remove();
		check_event(ec, queue_id, failed(EIDRM));
		BOOST_TEST_REQUIRE(ev_semop(set, &down, 1, ec, &datum) == 0);
		BOOST_TEST(eventually([&] { return semctl(set, 0, GETNCNT) == 1; }));
		set.remove();
		check_event(ec, set_id, failed(EIDRM));
	});
}

BOOST_AUTO_TEST_CASE(errors_of_the_object_are_events)
{
	for_each_channel([](Channel &ec) {
		Message m{0, ""};
		Queue queue;
		BOOST_TEST_REQUIRE(receive(-1, m, 0, ec) == 0);
		check_event(ec, -1, failed(EINVAL));
		BOOST_TEST_REQUIRE(ev_msgsnd(queue, &m, text_size, 0, ec, &datum) ==
				   0); // a type below 1
		check_event(ec, queue, failed(EINVAL));
		queue.send(1);
		BOOST_TEST_REQUIRE(ev_msgrcv(queue, &m, 1, 0, 0, ec, &datum) == 0);
		check_event(ec, queue, failed(E2BIG));
		BOOST_TEST(queue.messages() == 1);
	});
}

BOOST_AUTO_TEST_CASE(arguments_that_cannot_be_are_refused_at_the_call)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		Semaphores set(1);
		Message m{};
		sembuf down{0, -1, 0};
		CHECK_FAILS(receive(queue, m, 0, -1), EBADF);
		CHECK_FAILS(ev_msgsnd(queue, &m, 1, 0, -1, nullptr), EBADF);
		CHECK_FAILS(ev_semop(set, &down, 1, -1, nullptr), EBADF);
		CHECK_FAILS(ev_msgrcv(queue, nullptr, 1, 0, 0, ec, nullptr), EFAULT);
		CHECK_FAILS(ev_semop(set, nullptr, 1, ec, nullptr), EFAULT);
		CHECK_FAILS(ev_semop(set, &down, 1000000, ec, nullptr), E2BIG);
		BOOST_TEST_REQUIRE(ec_set_limit(ec, 1) == 0);
		BOOST_TEST_REQUIRE(ec_post(ec, 0, 0, nullptr) == 0);
		CHECK_FAILS(receive(queue, m, 0, ec), EAGAIN);
		next_event(ec);
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(ev_cancel_ends_it_and_takes_nothing)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		Semaphores set(1);
		Message m{};
		sembuf down{0, -1, 0};
		BOOST_TEST_REQUIRE(receive(queue, m, 0, ec) == 0);
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		check_event(ec, queue, failed(ECANCELED));
		queue.send(1);
		BOOST_TEST(queue.messages() == 1);
		BOOST_TEST_REQUIRE(ev_semop(set, &down, 1, ec, &datum) == 0);
		BOOST_TEST(eventually([&] { return semctl(set, 0, GETNCNT) == 1; }));
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		check_event(ec, set, failed(ECANCELED));
		BOOST_TEST(semctl(set, 0, GETNCNT) == 0);
		CHECK_FAILS(ev_cancel(ec, &datum), ENOENT);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(ec_destroy_ends_it_and_takes_nothing)
{
	for_each_channel_kind([](unsigned flags) {
		Queue queue;
		Message m{};
		Channel ec(flags);
		for (int i = 0; i < 5; ++i)
			BOOST_TEST_REQUIRE(receive(queue, m, 0, ec) == 0);
		BOOST_TEST(ec_destroy(ec.release()) == 0);
		queue.send(1);
		BOOST_TEST(queue.messages() == 1);
	});
}

BOOST_AUTO_TEST_CASE(more_calls_than_threads_all_make_progress)
{
	for_each_channel([](Channel &ec) {
		long const before = threads();
		unsigned const count = thread_limit() + 20;
		std::list<Queue> queues;
		std::vector<Message> messages(count);
		for (unsigned i = 0; i < count; ++i)
			BOOST_TEST_REQUIRE(receive(queues.emplace_back(), messages[i], 0, ec,
						   as_data(i)) == 0);
		BOOST_TEST(threads() <= before + long(thread_limit()) + 2);
		queues.back().send(3); // the last one has no thread of its own, and must not wait
				       // for the others
		check_event(ec, queues.back(), ok(text_size), as_data(count - 1));
		for (Queue &queue : queues)
			queue.send(1);
		std::vector<int> told(count);
		for (unsigned i = 0; i + 1 < count; ++i)
			++told[as_number(next_event(ec).ev_data)];
		BOOST_TEST(std::count(told.begin(), told.end() - 1, 1) == ptrdiff_t(count - 1));
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(calls_on_one_queue_wait_side_by_side)
{
	for_each_channel([](Channel &ec) {
		Queue queue;
		std::array<Message, 3> messages{};
		for (size_t i = 0; i < messages.size(); ++i) {
			BOOST_TEST_REQUIRE(
				receive(queue, messages[i], long(i + 1), ec, as_data(i)) == 0);
		}
		for (size_t i = messages.size(); i-- > 0;) {
			queue.send(long(i + 1));
			check_event(ec, queue, ok(text_size), as_data(i));
		}
	});
}

BOOST_AUTO_TEST_CASE(eintr_is_never_seen)
{
	SignalHandler handler(SIGUSR1, [](int) {});
	for_each_channel([](Channel &ec) {
		Queue queue;
		Message m{};
		BOOST_TEST_REQUIRE(receive(queue, m, 0, ec) == 0);
		for (int i = 0; i < 100; ++i)
			BOOST_TEST_REQUIRE(kill(getpid(), SIGUSR1) == 0);
		BOOST_TEST(found_empty(ec));
		queue.send(1);
		check_event(ec, queue, ok(text_size));
	});
}

BOOST_AUTO_TEST_CASE(cancelling_a_thread_works_before_and_after)
{
	// The signal by which calls are interrupted is the one of pthread_cancel.
	for (int round = 0; round < 2; ++round) {
		Channel ec(0);
		Queue queue;
		Message m{};
		BOOST_TEST_REQUIRE(receive(queue, m, 0, ec) == 0);
		BOOST_TEST(ev_cancel(ec, &datum) == 0);
		check_event(ec, queue, failed(ECANCELED));
		std::atomic<pid_t> sleeper{0};
		std::thread sleeping([&] {
			sleeper = thread_id();
			pause();
		});
		BOOST_TEST(
			eventually([&] { return sleeper != 0 && thread_state(sleeper) == 'S'; }));
		BOOST_TEST(pthread_cancel(sleeping.native_handle()) == 0);
		sleeping.join();
	}
}

BOOST_AUTO_TEST_CASE(a_child_can_use_them_too)
{
	Channel ec(0);
	Queue queue;
	Message m{};
	BOOST_TEST_REQUIRE(receive(queue, m, 0, ec) == 0);
	BOOST_TEST(in_child([&] {
			   ec_t const own = ec_create(0);
			   Semaphores set(1);
			   sembuf down{0, -1, 0};
			   if (ev_semop(set, &down, 1, own, nullptr) != 0)
				   _exit(1);
			   set.add(1);
			   event_data_t event{};
			   if (take_events(own, &event, 1) != 1 || event.ev_result != 0)
				   _exit(2);
		   }) == 0);
	BOOST_TEST(found_empty(ec));
	queue.send(1);
	check_event(ec, queue, ok(text_size));
}
