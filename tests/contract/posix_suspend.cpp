// SPDX-License-Identifier: MIT
//
// POSIX.1-2017 aio_suspend, and which functions are cancellation points: what the
// numbered rules do not already cover.
#define BOOST_TEST_MODULE posix_suspend
#include "support.hpp"

#include <climits>

BOOST_AUTO_TEST_CASE(requests_of_all_kinds_are_waited_for_in_one_list)
{
	for (int round = 0; round < 10; ++round) {
		std::list<File> files;
		std::vector<Stream> streams;
		std::vector<const aiocb *> list;
		for (const FileKind &kind : file_kinds()) {
			files.push_back(make_file(kind));
			list.push_back(&start_write(files.back().fd, pattern(4096)).cb);
			list.push_back(nullptr);
		}
		for (StreamMaker make : stream_kinds) {
			streams.push_back(make());
			list.push_back(&start_read(streams.back().reader, 1).cb);
		}
		// Each turn takes what has ended out of the list, as programs do.
		size_t ended = 0;
		auto wait = [&](size_t until) {
			while (ended < until) {
				BOOST_TEST_REQUIRE(aio_suspend(list.data(),
							       static_cast<int>(list.size()),
							       nullptr) == 0);
				for (aiocb const *&cb : list)
					if (cb != nullptr && aio_error(cb) != EINPROGRESS) {
						BOOST_TEST(aio_error(cb) == 0);
						cb = nullptr;
						++ended;
					}
			}
		};
		wait(files.size());
		for (Stream &s : streams)
			put(s.writer, "x");
		wait(files.size() + streams.size());
	}
}

BOOST_AUTO_TEST_CASE(the_longest_timeouts_end_nothing_early)
{
	for (timespec timeout :
	     {timespec{LONG_MAX, 999999999}, timespec{LONG_MAX / 1000000000, 999999999}}) {
		Stream s = unix_stream();
		Request &request = start_read(s.reader, 1);
		Waiter waiter([&] { return suspend_on(request.cb, &timeout); });
		BOOST_TEST(waiter.asleep());
		put(s.writer, "x");
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.result() == 0);
	}
}

// As in glibc, and unlike a handler without SA_RESTART (r10_waiting.cpp). ThreadSanitizer keeps a
// signal back until the thread makes a call that it knows, so nothing would come.
BOOST_AUTO_TEST_CASE(a_handler_with_sa_restart_does_not_end_the_wait,
		     *boost::unit_test::enable_if<!thread_sanitizer>())
{
	static std::atomic<int> signals;
	signals = 0;
	SignalHandler handler(
		SIGUSR1, +[](int) { ++signals; }, SA_RESTART);
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	Waiter waiter([&] { return suspend_on(request.cb); });
	for (int i = 0; i < 20; ++i) {
		BOOST_TEST(waiter.asleep());
		waiter.send(SIGUSR1);
		BOOST_TEST(eventually([&] { return signals == i + 1; }));
	}
	put(s.writer, "x");
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 0);
}

namespace {

/// What a thread with a cancellation pending has come through.
struct Progress {
	std::vector<std::pair<const char *, bool>> calls; // and whether it returned what it should
	const char *in = nullptr;                         // the call that did not return
	void enter(const char *name) { in = name; }
	void leave(bool right)
	{
		calls.emplace_back(in, right);
		in = nullptr;
	}
};
#define CALL(progress, expression)                                                                 \
	do {                                                                                       \
		(progress).enter(#expression);                                                     \
		(progress).leave(expression);                                                      \
	} while (0)

/// Waits without a cancellation point of its own.
bool ended(const aiocb &cb)
{
	while (aio_error(&cb) == EINPROGRESS)
		sched_yield();
	return true;
}

/// All calls on a file: one that is written, synchronised and read.
void use_file(Progress &progress, Request &request)
{
	aiocb &cb = request.cb;
	CALL(progress, aio_write(&cb) == 0);
	CALL(progress, ended(cb) && aio_return(&cb) == 4096);
	CALL(progress, aio_fsync(O_DSYNC, &cb) == 0);
	CALL(progress, ended(cb) && aio_return(&cb) == 0);
	CALL(progress, aio_read(&cb) == 0);
	CALL(progress, ended(cb) && aio_return(&cb) == 4096);
	CALL(progress, aio_cancel(cb.aio_fildes, nullptr) == AIO_ALLDONE);
	aiocb *list[] = {&cb, nullptr};
	cb.aio_lio_opcode = LIO_WRITE;
	CALL(progress, lio_listio(LIO_NOWAIT, list, 2, nullptr) == 0);
	CALL(progress, ended(cb) && aio_return(&cb) == 4096);
	cb.aio_fildes = -1;
	CALL(progress, aio_read(&cb) == 0 && aio_error(&cb) == EBADF);
}

/// A read that waits is cancelled, and one ends with data.
void use_stream(Progress &progress, Request &read, Request &write)
{
	CALL(progress, aio_read(&read.cb) == 0);
	CALL(progress, aio_error(&read.cb) == EINPROGRESS);
	CALL(progress, aio_cancel(read.cb.aio_fildes, &read.cb) == AIO_CANCELED);
	CALL(progress, aio_error(&read.cb) == ECANCELED);
	CALL(progress, aio_read(&read.cb) == 0);
	CALL(progress, aio_write(&write.cb) == 0);
	CALL(progress, ended(read.cb) && aio_return(&read.cb) == 1);
	CALL(progress, ended(write.cb) && aio_return(&write.cb) == 1);
}

struct PendingCancellation {
	Progress progress;
	std::vector<Request *> on_files;
	std::vector<std::pair<Request *, Request *>> on_streams;
	const aiocb *waits = nullptr;
};
void *run_with_cancellation_pending(void *data)
{
	auto *self = static_cast<PendingCancellation *>(data);
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, nullptr);
	pthread_cancel(pthread_self());
	for (Request *request : self->on_files)
		use_file(self->progress, *request);
	for (auto [read, write] : self->on_streams)
		use_stream(self->progress, *read, *write);
	self->progress.enter("aio_suspend");
	aio_suspend(&self->waits, 1, nullptr);
	self->progress.leave(false);
	return nullptr;
}

/// What went wrong, or nothing. Async-signal-unsafe, and so for a child of a single thread only.
std::string use_everything_with_a_cancellation_pending()
{
	PendingCancellation thread;
	std::list<File> files;
	std::vector<Stream> streams;
	for (const FileKind &kind : file_kinds()) {
		files.push_back(make_file(kind));
		thread.on_files.push_back(&keep(files.back().fd, 4096));
	}
	for (StreamMaker make : stream_kinds) {
		streams.push_back(make());
		thread.on_streams.emplace_back(&reading(streams.back().reader, 1),
					       &writing(streams.back().writer, "x"));
	}
	Stream quiet = unix_stream();
	Request &waits = reading(quiet.reader, 1);
	thread.waits = &waits.cb;
	if (aio_read(&waits.cb) != 0)
		return "aio_read before";
	pthread_t handle;
	pthread_create(&handle, nullptr, run_with_cancellation_pending, &thread);
	void *value = nullptr;
	pthread_join(handle, &value);
	for (auto [call, right] : thread.progress.calls)
		if (!right)
			return std::string(call) + " was wrong";
	if (thread.progress.in == nullptr || thread.progress.in != std::string_view("aio_suspend"))
		return std::string("cancelled in ") + thread.progress.in;
	if (value != PTHREAD_CANCELED)
		return "not cancelled";
	put(quiet.writer, "x");
	return finish(waits) == ok(1) ? "" : "the request that was waited for";
}

} // namespace

BOOST_AUTO_TEST_CASE(of_all_functions_only_aio_suspend_acts_upon_a_pending_cancellation)
{
	BOOST_TEST(use_everything_with_a_cancellation_pending() == "");
}

BOOST_AUTO_TEST_CASE(the_first_calls_of_a_process_are_no_cancellation_points_either)
{
	// In a child the library sets itself up once more, here by the thread that is being
	// cancelled.
	for (size_t first = 0; first < stream_kinds.size() + file_kinds().size(); ++first)
		BOOST_TEST(in_child([&] {
				   PendingCancellation thread;
				   std::list<File> files;
				   std::vector<Stream> streams;
				   if (first < stream_kinds.size()) {
					   streams.push_back(stream_kinds[first]());
					   thread.on_streams.emplace_back(
						   &reading(streams[0].reader, 1),
						   &writing(streams[0].writer, "x"));
				   } else {
					   files.push_back(make_file(
						   file_kinds()[first - stream_kinds.size()]));
					   thread.on_files.push_back(&keep(files.back().fd, 4096));
				   }
				   pthread_t handle;
				   pthread_create(
					   &handle, nullptr,
					   [](void *data) -> void * {
						   auto *self =
							   static_cast<PendingCancellation *>(data);
						   pthread_cancel(pthread_self());
						   for (Request *request : self->on_files)
							   use_file(self->progress, *request);
						   for (auto [read, write] : self->on_streams)
							   use_stream(self->progress, *read,
								      *write);
						   return self;
					   },
					   &thread);
				   void *value = nullptr;
				   pthread_join(handle, &value);
				   if (value != &thread)
					   dprintf(STDERR_FILENO, "cancelled in %s\n",
						   thread.progress.in);
				   CHILD_REQUIRE(value == &thread);
				   for (auto [call, right] : thread.progress.calls) {
					   if (!right)
						   dprintf(STDERR_FILENO, "%s was wrong\n", call);
					   CHILD_REQUIRE(right);
				   }
			   }) == 0);
}
