// SPDX-License-Identifier: MIT
//
// Programs on libaio that wait in io_getevents for O_DIRECT transfers: who is used to doing that
// waits for the kernel itself, and loses no event whatever else happens meanwhile.
#define BOOST_TEST_MODULE libaio_leading
#include "libaio.hpp"

#include <dirent.h>
#include <pthread.h>

using namespace contract;

namespace {

constexpr size_t block = 4096, blocks = 64;

/// A file of 64 blocks that is transferred directly; skips the program where there is none.
struct Direct : File {
	Direct() : File(disk_directory(), O_RDWR | O_DIRECT)
	{
		if (fd < 0)
			skip_program("no O_DIRECT");
		Op &all = keep_op(IO_CMD_PWRITE, fd, block * blocks);
		for (size_t i = 0; i < blocks; i++)
			memset(all.data() + i * block, 'a' + static_cast<int>(i % 26), block);
		BOOST_TEST_REQUIRE(pwrite(fd, all.data(), block * blocks, 0) ==
				   static_cast<ssize_t>(block * blocks));
		fsync(fd);
	}
};

struct Reader {
	Direct file;
	std::vector<Op *> ops;
	Reader()
	{
		for (size_t i = 0; i < blocks; i++)
			ops.push_back(&read_op(file.fd, block, static_cast<long long>(i * block)));
	}
	Op &op(size_t i) { return *ops[i % blocks]; }
	/// What was read of block i is what stands there.
	bool right(size_t i)
	{
		return op(i).data()[block - 1] == 'a' + static_cast<int>(i % blocks % 26);
	}
	/// So many one after the other, each waited for.
	void in_turns(io_context_t context, size_t count)
	{
		for (size_t i = 0; i < count; i++) {
			BOOST_TEST_REQUIRE(run(context, op(i)) == static_cast<long>(block));
			BOOST_TEST_REQUIRE(right(i));
		}
	}
};

constexpr size_t habit = 64; // more turns than it takes to be used to it

/// How often the library's thread for kernel AIO has been woken; -1: there is none.
long background_switches()
{
	long sum = -1;
	DIR *const tasks = opendir("/proc/self/task");
	while (const dirent *const e = readdir(tasks)) {
		std::ifstream status("/proc/self/task/" + std::string(e->d_name) + "/status");
		bool background = false;
		for (std::string line; std::getline(status, line);) {
			background |= line == "Name:\tsigevec-kaio";
			if (background && line.rfind("voluntary_ctxt_switches:", 0) == 0)
				sum = std::max(sum, 0l) + std::stol(line.substr(24));
		}
	}
	closedir(tasks);
	return sum;
}

} // namespace

BOOST_AUTO_TEST_CASE(who_waits_for_direct_reads_is_woken_by_the_kernel)
{
	Reader reader;
	Context context;
	reader.in_turns(context, habit);
	if (background_switches() < 0)
		return;
	// A thread that is kept from its processor leaves events alone, and is helped for a while.
	bool alone = false;
	for (int round = 0; round < 10 && !alone; round++) {
		constexpr size_t turns = 400;
		const long before = background_switches();
		reader.in_turns(context, turns);
		alone = background_switches() - before < static_cast<long>(turns / 2);
	}
	BOOST_TEST(alone);
}

BOOST_AUTO_TEST_CASE(what_nobody_comes_for_is_in_the_ring_all_the_same)
{
	Reader reader;
	Context context;
	for (size_t i = 0; i < 8; i++) {
		reader.in_turns(context, habit);
		const unsigned tail = context.ring()->tail;
		BOOST_TEST(submit(context, reader.op(i)) == 1);
		BOOST_TEST(eventually([&] { return context.ring()->tail != tail; }));
		BOOST_TEST(next(context).obj == &reader.op(i).cb);
		BOOST_TEST(reader.right(i));
	}
}

BOOST_AUTO_TEST_CASE(an_eventfd_is_told_of_what_nobody_waits_for)
{
	Reader reader;
	Context context;
	const Fd told(eventfd(0, EFD_CLOEXEC));
	reader.in_turns(context, habit);
	BOOST_TEST(submit(context, reader.op(1).tells(told)) == 1);
	uint64_t count = 0;
	BOOST_TEST(read(told, &count, sizeof count) == static_cast<ssize_t>(sizeof count));
	BOOST_TEST(count == 1u);
	BOOST_TEST(next(context).res == block);
}

BOOST_AUTO_TEST_CASE(what_is_left_ends_before_its_context_does)
{
	Reader reader;
	for (size_t i = 0; i < 8; i++) {
		Context context;
		reader.in_turns(context, habit);
		memset(reader.op(i).data(), '?', block);
		BOOST_TEST(submit(context, reader.op(i)) == 1);
		BOOST_TEST(io_destroy(context.release()) == 0);
		BOOST_TEST(reader.right(i));
	}
}

BOOST_AUTO_TEST_CASE(several_threads_wait_for_each_event_once)
{
	Reader reader;
	Context context;
	reader.in_turns(context, habit);
	constexpr long all = 2000, most = 16;
	std::atomic<long> got{0}, submitted{0};
	// One that lags behind all the others keeps its buffer.
	std::array<std::atomic<bool>, blocks> used{};
	const auto reap = [&] {
		while (got < all) {
			io_event events[4];
			timespec limit{0, 20000000};
			const int n = io_getevents(context, 1, 4, events, &limit);
			for (int i = 0; i < n; i++)
				used[static_cast<size_t>(events[i].obj->u.c.offset) / block] =
					false;
			if (n > 0)
				got += n;
		}
	};
	std::thread one(reap), two(reap);
	const auto end = std::chrono::steady_clock::now() + hang_limit;
	while (submitted < all && std::chrono::steady_clock::now() < end) {
		const auto turn = static_cast<size_t>(submitted);
		if (submitted - got >= most || used[turn % blocks].exchange(true))
			continue;
		if (submit(context, reader.op(turn)) == 1)
			submitted++;
		else
			used[turn % blocks] = false;
	}
	BOOST_TEST(eventually([&] { return got == all; }));
	if (got != all)
		got = all;
	one.join();
	two.join();
	BOOST_TEST(got == all);
}

BOOST_AUTO_TEST_CASE(what_ends_elsewhere_wakes_who_waits_for_the_kernel)
{
	Reader reader;
	Context context;
	reader.in_turns(context, habit);
	// One byte at a time comes through a pipe, and is waited for beside direct reads.
	int ends[2];
	BOOST_TEST_REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
	const Fd out(ends[0]), in(ends[1]);
	for (size_t i = 0; i < 200; i++) {
		Op &poll = poll_op(out, POLLIN);
		BOOST_TEST(submit(context, poll) == 1);
		BOOST_TEST(submit(context, reader.op(i)) == 1);
		BOOST_TEST(write(in, "x", 1) == 1);
		io_event events[2];
		BOOST_TEST_REQUIRE(get(context, 2, 2, events) == 2);
		char x;
		BOOST_TEST(read(out, &x, 1) == 1);
		reader.in_turns(context, 4);
	}
}

namespace {

void on_signal(int)
{
}

/// Reads while signals come in from another thread: how many events there were.
long read_amid_signals(Reader &reader, io_context_t context, size_t count)
{
	long got = 0;
	for (size_t i = 0; i < count; i++) {
		BOOST_TEST_REQUIRE(submit(context, reader.op(i)) == 1);
		io_event event;
		int n;
		while ((n = io_getevents(context, 1, 1, &event, nullptr)) == -EINTR)
			;
		got += n == 1 && event.obj == &reader.op(i).cb && reader.right(i);
	}
	return got;
}

} // namespace

BOOST_AUTO_TEST_CASE(signals_lose_no_event_of_who_waits_for_the_kernel)
{
	SignalHandler handler(SIGUSR1, on_signal, SA_RESTART);
	Reader reader;
	Context context;
	reader.in_turns(context, habit);
	std::atomic<bool> over{false};
	const pthread_t me = pthread_self();
	std::thread sender([&] {
		while (!over) {
			pthread_kill(me, SIGUSR1);
			usleep(50);
		}
	});
	const long got = read_amid_signals(reader, context, 1000);
	over = true;
	sender.join();
	BOOST_TEST(got == 1000);
}

BOOST_AUTO_TEST_CASE(a_waiter_that_is_cancelled_leaves_the_events_to_others)
{
	Reader reader;
	for (size_t i = 0; i < 20; i++) {
		Context context;
		reader.in_turns(context, habit);
		struct Args {
			io_context_t context;
			std::atomic<bool> there;
		} args{context, {false}};
		const auto wait = [](void *p) -> void * {
			auto *const a = static_cast<Args *>(p);
			pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
			a->there = true;
			// More than ever come.
			io_event events[8];
			io_getevents(a->context, 8, 8, events, nullptr);
			return nullptr;
		};
		pthread_t thread;
		BOOST_TEST_REQUIRE(pthread_create(&thread, nullptr, wait, &args) == 0);
		BOOST_TEST(eventually([&] { return args.there.load(); }));
		for (size_t k = 0; k < i % 8; k++)
			BOOST_TEST(submit(context, reader.op(k)) == 1);
		pthread_cancel(thread);
		pthread_join(thread, nullptr);
		// What it had taken is lost with it; the context waits for the rest.
	}
	Context context;
	reader.in_turns(context, habit);
}
