// SPDX-License-Identifier: MIT
//
// Programs on libaio: fork, the end of the program, and what is on the disk then.
#define BOOST_TEST_MODULE libaio_process
#include "libaio.hpp"
#include "refusal.hpp"

BOOST_AUTO_TEST_CASE(a_child_has_no_contexts_of_its_parents_and_can_have_its_own)
{
	Context context;
	Stream stream = pipe_stream();
	File file = tmpfs_file();
	put(file.fd, "text");
	BOOST_TEST(submit(context, poll_op(stream.reader, POLLIN)) == 1);
	BOOST_TEST(in_child([&] {
			   CHILD_REQUIRE(submit(context, read_op(file.fd, 4)) == -EINVAL);
			   iocb cb{};
			   CHILD_REQUIRE(io_cancel(context, &cb, nullptr) == -EINVAL);
			   io_event event;
			   CHILD_REQUIRE(io_getevents(context, 1, 1, &event, nullptr) == -EINVAL);
			   CHILD_REQUIRE(io_destroy(context) == -EINVAL);
			   io_context_t own = nullptr;
			   CHILD_REQUIRE(io_setup(4, &own) == 0);
			   CHILD_REQUIRE(submit(own, read_op(file.fd, 4)) == 1);
			   CHILD_REQUIRE(next(own).res == 4);
			   CHILD_REQUIRE(io_destroy(own) == 0);
		   }) == 0);
	put(stream.writer, "x");
	BOOST_TEST((next(context).res & POLLIN) != 0u);
}

BOOST_AUTO_TEST_CASE(no_child_can_write_into_the_ring_of_its_parent)
{
	if (!ours())
		return; // into the kernel's it can
	const Context context;
	const void *ring = context.ring();
	const Stream stream = pipe_stream();
	BOOST_TEST(write(stream.writer, ring, 4) == 4);
	auto writable = [&] {
		iovec there{const_cast<void *>(ring), 4};
		return readv(stream.reader, &there, 1) >= 0 || errno != EFAULT;
	};
	BOOST_TEST(in_child([&] { CHILD_REQUIRE(!writable()); }) == 0);
	const pid_t child = _Fork();
	if (child == 0)
		_exit(writable() ? 1 : 0);
	int status = -1;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(status == 0);
}

namespace {

/// Whether a wait with a mask ends with what another thread brings about, and not by its time.
bool is_woken_from_a_wait_with_a_mask()
{
	io_context_t context = nullptr;
	if (io_setup(4, &context) != 0)
		return false;
	const Stream stream = pipe_stream();
	const pid_t me = thread_id();
	submit(context, poll_op(stream.reader, POLLIN));
	std::thread writer([&] {
		eventually([&] { return thread_state(me) == 'S'; });
		put(stream.writer, "x");
	});
	sigset_t none;
	sigemptyset(&none);
	timespec limit{hang_limit.count(), 0};
	io_event event;
	const auto start = std::chrono::steady_clock::now();
	const int n = io_pgetevents(context, 1, 1, &event, &limit, &none);
	const bool woken = std::chrono::steady_clock::now() - start < hang_limit;
	writer.join();
	return n == 1 && woken && io_destroy(context) == 0;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_child_that_waits_with_a_mask_is_woken_as_its_parent_was)
{
	BOOST_TEST(is_woken_from_a_wait_with_a_mask());
	BOOST_TEST(in_child([] { CHILD_REQUIRE(is_woken_from_a_wait_with_a_mask()); }) == 0);
}

// By a system call of its own, as run-times of other languages do it. The library wakes such a wait
// by a signal whose handler libc keeps to itself.
BOOST_AUTO_TEST_CASE(a_program_that_resets_all_signals_lives_and_is_woken)
{
	BOOST_TEST(in_child([] {
			   constexpr long libcs_signal = 32, bytes_of_mask = 8;
			   const std::array<unsigned long, 4> reset{};
			   CHILD_REQUIRE(is_woken_from_a_wait_with_a_mask());
			   kernels_own(SYS_rt_sigaction, libcs_signal,
				       reinterpret_cast<long>(reset.data()), 0, bytes_of_mask);
			   CHILD_REQUIRE(is_woken_from_a_wait_with_a_mask());
		   }) == 0);
}

namespace {

void fork_in_handler(int)
{
	if (fork() == 0)
		alarm(10);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_handler_may_fork_while_its_thread_waits)
{
	BOOST_TEST(in_child([&] {
			   SignalHandler handler(SIGUSR1, fork_in_handler);
			   pid_t const parent = getpid();
			   io_context_t context = nullptr;
			   CHILD_REQUIRE(io_setup(4, &context) == 0);
			   std::thread([parent] {
				   eventually([parent] {
					   return for_long(
						   [=] { return thread_state(parent) == 'S'; });
				   });
				   kill(parent, SIGUSR1);
			   }).detach();
			   sigset_t none;
			   sigemptyset(&none);
			   io_event event;
			   int const n = io_getevents(context, 1, 1, &event, nullptr);
			   CHILD_REQUIRE(n == -EINTR);
			   if (getpid() != parent)
				   _exit(0);
			   int status;
			   CHILD_REQUIRE(wait(&status) > 0);
			   CHILD_REQUIRE(status == 0);
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(what_was_accepted_is_carried_out_though_the_program_exits)
{
	for (bool append : {false, true}) {
		File file = disk_file(append ? O_APPEND : 0);
		std::string const text = pattern(64 * 20000);
		BOOST_TEST(in_child([&] {
				   io_context_t context = nullptr;
				   CHILD_REQUIRE(io_setup(256, &context) == 0);
				   for (int i = 0; i < 64; i++)
					   CHILD_REQUIRE(
						   submit(context,
							  write_op(file.fd,
								   std::string_view(text).substr(
									   static_cast<size_t>(i) *
										   20000,
									   20000),
								   i * 20000)) == 1);
				   exit(0);
			   }) == 0);
		BOOST_TEST((file.content() == text));
	}
}

BOOST_AUTO_TEST_CASE(exit_does_not_wait_for_streams_or_other_threads)
{
	if (!ours())
		return;
	Stream stream = pipe_stream();
	File file = disk_file();
	BOOST_TEST(in_child([&] {
			   io_context_t context = nullptr;
			   CHILD_REQUIRE(io_setup(256, &context) == 0);
			   CHILD_REQUIRE(submit(context, read_op(stream.reader, 5)) == 1);
			   CHILD_REQUIRE(submit(context, poll_op(stream.reader, POLLIN)) == 1);
			   std::thread([&] {
				   for (;;) {
					   Op op(IO_CMD_PWRITE, file.fd, 4096, 0);
					   if (submit(context, op) == 1)
						   next(context);
				   }
			   }).detach();
			   usleep(10000);
			   exit(0);
		   }) == 0);
}

// The event is the promise: what it says is in the file, as with the kernel, however the program
// ends.
BOOST_AUTO_TEST_CASE(what_an_event_has_told_of_outlives_a_kill)
{
	for_each_file_kind([&](const FileKind &kind) {
		File file = make_file(kind);
		Stream told = pipe_stream();
		std::string const text = pattern(16384);
		pid_t const child = spawn_child([&] {
			io_context_t context = nullptr;
			CHILD_REQUIRE(io_setup(64, &context) == 0);
			for (unsigned i = 0; i < 1000; i++) {
				CHILD_REQUIRE(submit(context,
						     write_op(file.fd, text, i % 50 * 16384)) == 1);
				CHILD_REQUIRE(next(context).res == 16384);
				CHILD_REQUIRE(write(told.writer, &i, sizeof i) == sizeof i);
			}
			for (;;)
				pause();
		});
		unsigned last = 0;
		for (int i = 0; i < 20; i++)
			BOOST_TEST_REQUIRE(read(told.reader, &last, sizeof last) ==
					   ssize_t{sizeof last});
		kill(child, SIGKILL);
		wait_for(child);
		for (unsigned i = 0; i <= last; i++)
			BOOST_TEST((file.content(16384, i % 50 * 16384) == text));
	});
}

BOOST_AUTO_TEST_CASE(contexts_of_many_threads_are_independent)
{
	File file = disk_file();
	put(file.fd, pattern(65536));
	std::vector<std::thread> threads;
	std::atomic<int> good{0};
	for (int t = 0; t < 4; t++)
		threads.emplace_back([&] {
			io_context_t context = nullptr;
			if (io_setup(32, &context) != 0)
				return;
			int n = 0;
			for (int i = 0; i < 300; i++) {
				Op op(i % 3 == 0 ? IO_CMD_PWRITE : IO_CMD_PREAD, file.fd, 512,
				      i % 100 * 512);
				if (submit(context, op) == 1 && next(context).res == 512)
					n++;
			}
			io_destroy(context);
			good += n == 300;
		});
	for (std::thread &t : threads)
		t.join();
	BOOST_TEST(good == 4);
}

// ---------------------------------------------------------------- one table

namespace {

/// Which eventfd it is; nothing: it is none.
std::string eventfd_of(int fd)
{
	std::ifstream in("/proc/self/fdinfo/" + std::to_string(fd));
	for (std::string line; std::getline(in, line);)
		if (line.starts_with("eventfd-id"))
			return line;
	return {};
}

} // namespace

BOOST_AUTO_TEST_CASE(what_has_got_the_number_of_an_eventfd_of_the_librarys_is_not_written_to)
{
	BOOST_TEST(in_child([] {
			   if (!refuse_tables())
				   return; // no filters here
			   io_context_t context = nullptr;
			   CHILD_REQUIRE(io_setup(4, &context) == 0);
			   Stream stream = pipe_stream();
			   Fd const counter(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
			   std::string const which = eventfd_of(counter);
			   if (which.empty())
				   return; // nothing tells
			   CHILD_REQUIRE(
				   submit(context, poll_op(stream.reader, POLLIN).tells(counter)) ==
				   1);
			   // Closed, and used again, by a program that does not know it.
			   File const file = disk_file();
			   for (int fd = 3; fd < 200; ++fd)
				   if (fd != counter && eventfd_of(fd) == which)
					   CHILD_REQUIRE(dup2(file.fd, fd) == fd);
			   put(stream.writer, "x");
			   CHILD_REQUIRE((next(context).res & POLLIN) != 0u);
			   // The end of the context closes what is the library's.
			   CHILD_REQUIRE(io_destroy(context) == 0);
			   CHILD_REQUIRE(file.content() == "");
		   }) == 0);
}
