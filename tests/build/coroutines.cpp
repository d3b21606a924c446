// SPDX-License-Identifier: MIT
//
// <sigevec.hpp>, a table: lives of coroutines, requests, tasks and channels; cancellation;
// exceptions; what is moved and destroyed; several threads. coroutines.sh builds it with every
// compiler, level of optimization and sanitizer there is. Prints the rows that are wrong.
#include <sigevec.hpp>

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using sigevec::channel, sigevec::detached, sigevec::result, sigevec::spawn, sigevec::task;

namespace {

int wrong = 0;
const char *row = "";

#define CHECK(...) check(bool(__VA_ARGS__), #__VA_ARGS__, __LINE__)
void check(bool right, const char *what, int line)
{
	if (right)
		return;
	std::printf("line %d, %s: not so: %s\n", line, row, what);
	wrong++;
}

/// Counts how many there are.
struct Counted {
	static inline std::atomic<int> alive = 0;
	explicit Counted(int v = 0) : value(v) { alive++; }
	Counted(const Counted &other) : value(other.value) { alive++; }
	Counted(Counted &&other) noexcept : value(std::exchange(other.value, -1)) { alive++; }
	Counted &operator=(const Counted &) = default;
	~Counted() { alive--; }
	int value;
};

struct Pair {
	Pair()
	{
		int fds[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
			std::abort();
		here = fds[0], there = fds[1];
	}
	Pair(const Pair &) = delete;
	Pair &operator=(const Pair &) = delete;
	~Pair() { close(here), close(there); }
	void put(const char *text) const { CHECK(write(there, text, 1) == 1); }
	int here, there;
};

/// A coroutine whose frame its owner destroys.
struct Held {
	struct promise_type {
		Held get_return_object()
		{
			return Held(std::coroutine_handle<promise_type>::from_promise(*this));
		}
		std::suspend_never initial_suspend() noexcept { return {}; }
		std::suspend_always final_suspend() noexcept { return {}; }
		void return_void() {}
		void unhandled_exception() { std::terminate(); }
	};
	explicit Held(std::coroutine_handle<promise_type> h) : frame(h) {}
	Held(Held &&other) noexcept : frame(std::exchange(other.frame, nullptr)) {}
	Held &operator=(Held &&) = delete;
	~Held()
	{
		if (frame)
			frame.destroy();
	}
	std::coroutine_handle<promise_type> frame;
};

char waste; // where requests receive whose coroutine may be gone before they are

task<Counted> receive(channel &ch, int fd, Counted with)
{
	Counted local(1);
	const result r = co_await ch.recv(fd, &waste, 1);
	co_return Counted(int(r.value) + local.value + with.value);
}

task<> into(channel &ch, int fd, int &sum)
{
	Counted local;
	const Counted got = co_await receive(ch, fd, Counted(10));
	sum += got.value;
}

Held hold(channel &ch, int fd, int &sum)
{
	Counted local;
	co_await into(ch, fd, sum);
}

task<> outcome_of_recv(channel &ch, int fd, result &r)
{
	r = co_await ch.recv(fd, &waste, 1);
}

// ---------------------------------------------------------------- lives

void nothing_awaited_leaves_nothing()
{
	Pair p;
	channel ch;
	int sum = 0;
	{
		auto unused = ch.recv(p.here, &waste, 1);
		auto file = ch.read(p.here, &waste, 1, 0);
		const task<> never = into(ch, p.here, sum);
		const task<Counted> with_argument = receive(ch, p.here, Counted(5));
	}
	CHECK(ch.outstanding() == 0);
	CHECK(ch.run().value == 0);
	CHECK(Counted::alive == 0);
}

void all_is_destroyed_once_at_the_end()
{
	Pair p;
	channel ch;
	int sum = 0;
	spawn(into(ch, p.here, sum));
	CHECK(Counted::alive == 4); // two locals, an argument and its copy in the frame
	p.put("x");
	CHECK(ch.run());
	CHECK(sum == 12);
	CHECK(Counted::alive == 0);
}

void tasks_that_wait_are_destroyed_from_outside()
{
	Pair p;
	channel ch;
	int sum = 0;
	{
		const Held h = hold(ch, p.here, sum);
		ch.run_once(std::chrono::nanoseconds(0));
		CHECK(ch.outstanding() == 1);
		CHECK(Counted::alive == 5);
	}
	CHECK(Counted::alive == 0);
	CHECK(ch.outstanding() == 0);
	p.put("x");
	CHECK(ch.run()); // the end of the request that was taken back finds nobody
	CHECK(sum == 0);
}

void tasks_that_have_ended_are_destroyed_from_outside()
{
	Pair p;
	channel ch;
	int sum = 0;
	const Held h = hold(ch, p.here, sum);
	p.put("x");
	CHECK(ch.run());
	CHECK(h.frame.done());
	CHECK(Counted::alive == 0);
}

void a_frame_outlives_its_channel()
{
	Pair p;
	int sum = 0;
	std::optional<channel> ch(std::in_place);
	std::vector<Held> held;
	for (int i = 0; i < 20; i++)
		held.push_back(hold(*ch, p.here, sum));
	ch.reset();
	held.clear();
	CHECK(Counted::alive == 0);
	CHECK(sum == 0);
}

void a_coroutine_destroys_another_that_waits()
{
	Pair p, q;
	channel ch;
	int sum = 0;
	std::optional<Held> victim(hold(ch, p.here, sum));
	[](channel &on, int fd, std::optional<Held> &v) -> detached {
		co_await on.recv(fd, &waste, 1);
		v.reset();
	}(ch, q.here, victim);
	q.put("x");
	CHECK(ch.run());
	CHECK(Counted::alive == 0);
	CHECK(ch.outstanding() == 0);
}

void a_coroutine_destroys_its_channels_owner_last()
{
	Pair p;
	auto own = std::make_unique<channel>();
	result r;
	bool ended = false;
	[](std::unique_ptr<channel> &on, int fd, result &to, bool &e) -> detached {
		to = co_await on->recv(fd, &waste, 1);
		e = true;
	}(own, p.here, r, ended);
	p.put("x");
	CHECK(own->run());
	own.reset();
	CHECK(ended && r.value == 1);
}

// ---------------------------------------------------------------- cancellation

template <class Make> void cancelled(Make make)
{
	channel ch;
	auto request = make(ch);
	CHECK(request.cancel() != EINVAL); // before anybody waits: nothing is ended by it
	result r;
	int ends = 0;
	[](auto &of, result &to, int &e) -> detached {
		to = co_await of;
		e++;
	}(request, r, ends);
	ch.run_once(std::chrono::nanoseconds(0));
	CHECK(ends == 0);
	request.cancel();
	CHECK(ch.run());
	CHECK(ends == 1);
	CHECK(r.error == ECANCELED && r.value == -1);
	request.cancel(); // after its end: nothing happens
	CHECK(ch.run());
	CHECK(ends == 1);
}

void every_kind_of_request_is_cancelled()
{
	Pair p;
	char data[4];
	iovec piece = {data, sizeof data};
	msghdr m{};
	m.msg_iov = &piece, m.msg_iovlen = 1;
	cancelled([&](channel &ch) { return ch.recv(p.here, data, 4); });
	cancelled([&](channel &ch) { return ch.recvmsg(p.here, &m); });
	cancelled([&](channel &ch) { return ch.poll(p.here, POLLIN); });
	cancelled([&](channel &ch) { return ch.read(p.here, data, 4, 0); });
	const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sa_family_t family = AF_UNIX; // an abstract name, of the kernel's choice
	CHECK(bind(listener, reinterpret_cast<sockaddr *>(&family), sizeof family) == 0);
	CHECK(listen(listener, 1) == 0);
	cancelled([&](channel &ch) { return ch.accept(listener); });
	close(listener);
}

void a_request_is_cancelled_by_another_coroutine_and_the_rest_go_on()
{
	constexpr int count = 40;
	Pair p[count], q;
	channel ch;
	using Request = decltype(ch.recv(0, &waste, 1));
	std::vector<std::unique_ptr<Request>> requests;
	std::vector<result> results(count);
	for (int i = 0; i < count; i++) {
		requests.push_back(
			std::unique_ptr<Request>(new Request(ch.recv(p[i].here, &waste, 1))));
		[](Request &of, result &to) -> detached { to = co_await of; }(*requests[i],
									      results[i]);
	}
	[](channel &on, int fd, auto &all) -> detached {
		co_await on.recv(fd, &waste, 1);
		for (int i = 0; i < count; i += 2)
			CHECK(all[i]->cancel() == 0);
	}(ch, q.here, requests);
	q.put("x");
	while (results[0].error != ECANCELED)
		ch.run_once();
	for (int i = 1; i < count; i += 2)
		p[i].put("x");
	CHECK(ch.run());
	for (int i = 0; i < count; i++)
		CHECK(i % 2 == 0 ? results[i].error == ECANCELED : results[i].value == 1);
}

void what_was_refused_is_a_result_and_not_cancelled_later()
{
	channel ch;
	auto request = ch.recv(-1, &waste, 1);
	result r;
	[](auto &of, result &to) -> detached { to = co_await of; }(request, r);
	CHECK(ch.run());
	CHECK(r.error == EBADF);
	CHECK(request.cancel() == ENOENT);
	channel none(0x40000000u);
	auto refused = none.recv(0, &waste, 1);
	[](auto &of, result &to) -> detached { to = co_await of; }(refused, r);
	CHECK(r.error == EBADF && none.outstanding() == 0);
	CHECK(refused.cancel() == EBADF);
}

// ---------------------------------------------------------------- exceptions

struct Thrown : std::runtime_error {
	Thrown() : std::runtime_error("thrown") {}
	Counted counted;
};

task<int> throws_at(channel &ch, int fd, int depth, bool waits)
{
	Counted local;
	if (depth > 0)
		co_return co_await throws_at(ch, fd, depth - 1, waits) + 1;
	if (waits)
		co_await ch.poll(fd, POLLIN);
	throw Thrown();
}

task<> catches(channel &ch, int fd, bool waits, int &caught)
{
	for (int i = 0; i < 3; i++) {
		bool seen = false;
		try {
			co_await throws_at(ch, fd, 20, waits);
		} catch (const Thrown &e) {
			seen = e.what() == std::string("thrown");
		}
		const result still = co_await ch.poll(fd, POLLIN); // goes on as ever
		caught += seen && still;
	}
}

void exceptions_pass_through_tasks_at_once_and_after_a_wait()
{
	Pair p;
	for (bool waits : {false, true}) {
		channel ch;
		int caught = 0;
		spawn(catches(ch, p.here, waits, caught));
		p.put("x");
		CHECK(ch.run());
		CHECK(caught == 3);
		CHECK(Counted::alive == 0);
	}
}

struct Unmovable {
	explicit Unmovable(int v) : value(v)
	{
		if (v < 0)
			throw Thrown();
	}
	Unmovable(Unmovable &&other) : Unmovable(other.value - 1) {} // throws at last
	int value;
};

task<Unmovable> value_of(int v)
{
	co_return v;
}

void a_value_that_cannot_be_made_or_moved_is_thrown_where_it_is_awaited()
{
	int made = 0, thrown = 0;
	[](int &m, int &t) -> detached {
		for (int i = -1; i < 3; i++)
			try {
				const Unmovable u = co_await value_of(i);
				m += u.value;
			} catch (const Thrown &) {
				t++;
			}
	}(made, thrown);
	CHECK(made == 1); // of 2 and of 1, moved once each
	CHECK(thrown == 2);
	CHECK(Counted::alive == 0);
}

void a_task_dies_unrun_in_a_frame_that_is_destroyed()
{
	Pair p;
	channel ch;
	int sum = 0;
	std::optional<task<>> t(into(ch, p.here, sum));
	[](std::optional<task<>> &of) -> Held {
		Counted local;
		task<> here = std::move(*of);
		co_await std::suspend_always{};
		co_await std::move(here);
	}(t);
	CHECK(Counted::alive == 0);
	CHECK(sum == 0);
}

void an_exception_out_of_a_detached_coroutine_ends_the_program()
{
	std::fflush(stdout);
	const pid_t child = fork();
	if (child == 0) {
		std::set_terminate([] { _exit(7); });
		Pair p;
		channel ch;
		p.put("x");
		spawn([](channel &on, int fd) -> task<> {
			co_await throws_at(on, fd, 3, true);
		}(ch, p.here));
		ch.run();
		_exit(0);
	}
	int status = 0;
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

// ---------------------------------------------------------------- moved and destroyed

void a_task_is_moved_before_it_runs()
{
	Pair p;
	channel ch;
	int sum = 0;
	std::vector<task<>> tasks;
	for (int i = 0; i < 10; i++)
		tasks.push_back(into(ch, p.here, sum)); // and again whenever the vector grows
	CHECK(Counted::alive == 0);
	for (task<> &t : tasks) {
		task<> there(std::move(t));
		spawn(std::move(there));
	}
	tasks.clear();
	for (int i = 0; i < 10; i++)
		p.put("x");
	CHECK(ch.run());
	CHECK(sum == 120);
	CHECK(Counted::alive == 0);
}

void a_channel_is_moved_while_coroutines_wait()
{
	Pair p;
	channel first;
	std::vector<result> results(30);
	for (result &r : results)
		spawn(outcome_of_recv(first, p.here, r));
	channel second(std::move(first)), third;
	result lost;
	{
		int sum = 0;
		const Held h = hold(third, p.here, sum);
		third = std::move(second); // what waited on the third one does not go on
		CHECK(third.outstanding() == 30);
	}
	CHECK(!first && !second && first.outstanding() == 0 && second.outstanding() == 0);
	channel &same = third;
	third = std::move(same);
	for (std::size_t i = 0; i < results.size(); i++)
		p.put("x");
	CHECK(third.run());
	for (const result &r : results)
		CHECK(r.value == 1);
	CHECK(Counted::alive == 0);
	spawn(outcome_of_recv(first, p.here, lost));
	CHECK(lost.error == EBADF);
}

void a_frame_is_destroyed_after_its_channel_has_moved()
{
	Pair p;
	int sum = 0;
	std::optional<channel> first(std::in_place);
	std::optional<Held> h(hold(*first, p.here, sum));
	channel second(std::move(*first));
	first.reset();
	CHECK(second.outstanding() == 1);
	h.reset();
	CHECK(second.outstanding() == 0);
	CHECK(second.run());
}

// ---------------------------------------------------------------- several threads

task<> echo(channel &ch, int fd)
{
	char data[16];
	for (;;) {
		const result got = co_await ch.recv(fd, data, sizeof data);
		if (got.size() == 0 || !co_await ch.send(fd, data, got.size()))
			co_return;
	}
}

task<> talk(channel &ch, int fd, int count, std::atomic<int> &done)
{
	Counted local;
	for (int i = 0; i < count; i++) {
		int back = -1;
		co_await ch.send(fd, &i, sizeof i);
		const result got = co_await ch.recv(fd, &back, sizeof back);
		done += got.size() == sizeof back && back == i;
	}
	shutdown(fd, SHUT_RDWR);
}

void several_threads_run_one_channel()
{
	constexpr int pairs = 8, messages = 30;
	channel ch(EC_CLOEXEC);
	Pair p[pairs];
	std::atomic<int> done = 0;
	for (Pair &each : p) {
		spawn(echo(ch, each.here));
		spawn(talk(ch, each.there, messages, done));
	}
	std::vector<std::thread> threads;
	for (int i = 0; i < 4; i++)
		threads.emplace_back([&] { ch.run(); });
	for (std::thread &t : threads)
		t.join();
	CHECK(done == pairs * messages);
	CHECK(ch.outstanding() == 0);
	CHECK(Counted::alive == 0);
}

void threads_hand_their_work_to_the_one_that_runs()
{
	constexpr int others = 4, each = 50;
	channel ch(EC_CLOEXEC);
	int plain = 0; // only the running thread changes it
	std::atomic<int> ended = 0;
	std::vector<std::thread> threads;
	for (int i = 0; i < others; i++)
		threads.emplace_back([&] {
			for (int k = 0; k < each; k++)
				[](channel &on, int &n, std::atomic<int> &e) -> detached {
					Counted local;
					co_await on.schedule();
					n++;
					e++;
				}(ch, plain, ended);
		});
	while (ended != others * each)
		ch.run_once();
	for (std::thread &t : threads)
		t.join();
	CHECK(plain == others * each);
	CHECK(Counted::alive == 0);
}

void another_thread_cancels_and_stops()
{
	Pair p;
	channel ch(EC_CLOEXEC);
	for (int i = 0; i < 20; i++) {
		auto request = ch.recv(p.here, &waste, 1);
		result r;
		[](auto &of, result &to) -> detached { to = co_await of; }(request, r);
		std::thread canceller([&] { CHECK(request.cancel() == 0); });
		CHECK(ch.run());
		canceller.join();
		CHECK(r.error == ECANCELED);
	}
	result r;
	spawn(outcome_of_recv(ch, p.here, r));
	std::atomic<bool> left = false;
	std::thread runner([&] {
		ch.run();
		left = true;
	});
	while (!left)
		ch.stop(), std::this_thread::yield();
	runner.join();
	CHECK(ch.outstanding() == 1);
	p.put("x");
	CHECK(ch.run());
	CHECK(r.value == 1);
}

void each_thread_has_a_channel_of_its_own()
{
	std::vector<std::thread> threads;
	std::atomic<int> done = 0;
	for (int i = 0; i < 4; i++)
		threads.emplace_back([&] {
			Pair p;
			channel ch;
			spawn(echo(ch, p.here));
			spawn(talk(ch, p.there, 20, done));
			ch.run();
		});
	for (std::thread &t : threads)
		t.join();
	CHECK(done == 80);
	CHECK(Counted::alive == 0);
}

// ---------------------------------------------------------------- the stack

task<int> deep(int left)
{
	if (left == 0)
		co_return 0;
	co_return co_await deep(left - 1) + 1;
}

void neither_depth_nor_length_needs_stack()
{
	constexpr int many = 50000;
	int depth = 0;
	long sum = 0;
	[](int &d, long &s) -> detached {
		d = co_await deep(many);
		for (int i = 0; i < many; i++)
			s += co_await deep(1);
	}(depth, sum);
	CHECK(depth == many);
	CHECK(sum == many);
}

struct Row {
	const char *name;
	void (*run)();
};
#define ROW(f)                                                                                     \
	{                                                                                          \
#f, f                                                                              \
	}
const Row rows[] = {
	ROW(an_exception_out_of_a_detached_coroutine_ends_the_program), // forks: before any thread
	ROW(nothing_awaited_leaves_nothing),
	ROW(all_is_destroyed_once_at_the_end),
	ROW(tasks_that_wait_are_destroyed_from_outside),
	ROW(tasks_that_have_ended_are_destroyed_from_outside),
	ROW(a_frame_outlives_its_channel),
	ROW(a_coroutine_destroys_another_that_waits),
	ROW(a_coroutine_destroys_its_channels_owner_last),
	ROW(every_kind_of_request_is_cancelled),
	ROW(a_request_is_cancelled_by_another_coroutine_and_the_rest_go_on),
	ROW(what_was_refused_is_a_result_and_not_cancelled_later),
	ROW(exceptions_pass_through_tasks_at_once_and_after_a_wait),
	ROW(a_value_that_cannot_be_made_or_moved_is_thrown_where_it_is_awaited),
	ROW(a_task_dies_unrun_in_a_frame_that_is_destroyed),
	ROW(a_task_is_moved_before_it_runs),
	ROW(a_channel_is_moved_while_coroutines_wait),
	ROW(a_frame_is_destroyed_after_its_channel_has_moved),
	ROW(several_threads_run_one_channel),
	ROW(threads_hand_their_work_to_the_one_that_runs),
	ROW(another_thread_cancels_and_stops),
	ROW(each_thread_has_a_channel_of_its_own),
	ROW(neither_depth_nor_length_needs_stack),
};

} // namespace

int main()
{
	for (const Row &r : rows) {
		row = r.name;
		r.run();
	}
	return wrong != 0;
}
