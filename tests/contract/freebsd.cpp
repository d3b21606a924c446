// SPDX-License-Identifier: MIT
//
// aio_readv, aio_writev and aio_waitcomplete as FreeBSD has them: the iovec array in
// aio_buf, its count in aio_nbytes.
#define BOOST_TEST_MODULE freebsd
#include "support.hpp"

#include <algorithm>
#include <climits>
#include <sys/mman.h>
#include <sys/uio.h>

// Weak: the program can then say what is missing, and runs with the library preloaded.
extern "C" {
int aio_readv(struct aiocb *) __attribute__((weak));
int aio_writev(struct aiocb *) __attribute__((weak));
ssize_t aio_waitcomplete(struct aiocb **, struct timespec *) __attribute__((weak));
}

namespace {

struct NeedFunctions {
	NeedFunctions()
	{
		if (aio_readv == nullptr || aio_writev == nullptr || aio_waitcomplete == nullptr)
			skip_program(
				"the C library has no aio_readv, aio_writev and aio_waitcomplete");
	}
};
BOOST_TEST_GLOBAL_FIXTURE(NeedFunctions);

/// A request over buffers of the given sizes; `pieces` outlives it.
struct Vector {
	std::vector<Request *> buffers;
	std::vector<iovec> pieces;
	Request &request;
	Vector(int fd, const std::vector<size_t> &sizes, off_t offset = 0)
	    : request(keep(fd, 0, offset))
	{
		for (size_t size : sizes) {
			buffers.push_back(&keep(fd, size));
			pieces.push_back({buffers.back()->data(), size});
		}
		use(pieces.data(), pieces.size());
	}
	void use(iovec *array, size_t count)
	{
		request.cb.aio_buf = array;
		request.cb.aio_nbytes = count;
	}
	void fill(const std::string &data)
	{
		size_t at = 0;
		for (Request *buffer : buffers) {
			memcpy(buffer->data(), data.data() + at, buffer->size);
			at += buffer->size;
		}
	}
	std::string text()
	{
		std::string all;
		for (Request *buffer : buffers)
			all += buffer->text();
		return all;
	}
};

const timespec at_once{};

ssize_t wait_complete(aiocb **cb, const timespec *timeout = nullptr)
{
	timespec copy{};
	if (timeout != nullptr)
		copy = *timeout;
	return aio_waitcomplete(cb, timeout != nullptr ? &copy : nullptr);
}

void check_nothing_left()
{
	aiocb *cb = reinterpret_cast<aiocb *>(16);
	BOOST_TEST(wait_complete(&cb, &at_once) == -1);
	BOOST_TEST((errno == EAGAIN || errno == EINPROGRESS));
	BOOST_TEST(cb == nullptr);
}

} // namespace

BOOST_AUTO_TEST_CASE(vectors_are_written_and_read_in_order)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		std::string const data = pattern(7 * 4096);
		Vector out(file.fd, {4096, 8192, 16384}), in(file.fd, {16384, 4096, 8192});
		out.fill(data);
		BOOST_TEST_REQUIRE(aio_writev(&out.request.cb) == 0);
		BOOST_TEST(finish(out.request) == ok(7 * 4096));
		BOOST_TEST((file.content() == data));
		BOOST_TEST_REQUIRE(aio_readv(&in.request.cb) == 0);
		BOOST_TEST(finish(in.request) == ok(7 * 4096));
		BOOST_TEST((in.text() == data));
	});
}

BOOST_AUTO_TEST_CASE(uneven_vectors_at_an_offset_end_at_the_end_of_the_file)
{
	File file = disk_file();
	Vector out(file.fd, {1, 0, 10, 3000, 7}, 5), in(file.fd, {3, 5000, 10}, 5);
	out.fill(pattern(3018));
	BOOST_TEST_REQUIRE(aio_writev(&out.request.cb) == 0);
	BOOST_TEST(finish(out.request) == ok(3018));
	BOOST_TEST_REQUIRE(aio_readv(&in.request.cb) == 0);
	BOOST_TEST(finish(in.request) == ok(3018));
	BOOST_TEST(in.text().substr(0, 3018) == pattern(3018));
}

BOOST_AUTO_TEST_CASE(vectors_keep_their_place_among_other_requests_of_a_stream)
{
	for_each_stream([](Stream &s) {
		std::string const large = pattern(1 << 20);
		Request &first = start_write(s.writer, "first");
		Vector out(s.writer, {1000, 1 << 19, (1 << 19) - 1000});
		out.fill(large);
		BOOST_TEST_REQUIRE(aio_writev(&out.request.cb) == 0);
		Request &last = start_write(s.writer, "last");
		BOOST_TEST((take(s.reader, 5 + large.size() + 4) == "first" + large + "last"));
		BOOST_TEST(finish(first) == ok(5));
		BOOST_TEST(finish(out.request) == ok(1 << 20));
		BOOST_TEST(finish(last) == ok(4));
	});
}

BOOST_AUTO_TEST_CASE(a_pending_vector_read_takes_what_comes)
{
	for_each_stream([](Stream &s) {
		Vector in(s.reader, {2, 2, 2});
		BOOST_TEST_REQUIRE(aio_readv(&in.request.cb) == 0);
		BOOST_TEST(in.request.pending());
		put(s.writer, "abcde");
		BOOST_TEST(finish(in.request) == ok(5));
		BOOST_TEST(in.text() == "abcde?");
	});
}

BOOST_AUTO_TEST_CASE(the_array_is_read_at_submission)
{
	for_each_stream([](Stream &s) {
		Vector in(s.reader, {2, 2});
		BOOST_TEST_REQUIRE(aio_readv(&in.request.cb) == 0);
		in.pieces.assign(2, iovec{reinterpret_cast<void *>(8), 12345});
		put(s.writer, "abcd");
		BOOST_TEST(finish(in.request) == ok(4));
		BOOST_TEST(in.text() == "abcd");
	});
}

BOOST_AUTO_TEST_CASE(bad_vectors_are_refused_or_reported)
{
	File file = disk_file();
	BOOST_TEST(finish(start_write(file.fd, "content")) == ok(7));
	std::vector<iovec> many(IOV_MAX + 1, iovec{nullptr, 0});
	iovec nowhere{reinterpret_cast<void *>(8), 10};
	struct {
		iovec *array;
		size_t count;
		int error;
	} const cases[] = {{many.data(), IOV_MAX + 1, EINVAL},
			   {many.data(), SIZE_MAX, EINVAL},
			   {many.data(), size_t{1} << 32, EINVAL},
			   {&nowhere, 1, EFAULT}};
	for (const auto &bad : cases) {
		Vector in(file.fd, {}), out(file.fd, {});
		in.use(bad.array, bad.count);
		out.use(bad.array, bad.count);
		BOOST_TEST(finish_or_refused(aio_readv(&in.request.cb), in.request.cb) ==
			   failed(bad.error));
		BOOST_TEST(finish_or_refused(aio_writev(&out.request.cb), out.request.cb) ==
			   failed(bad.error));
	}
	std::array<iovec, 2> huge{iovec{many.data(), SSIZE_MAX}, iovec{many.data(), 1}};
	Vector out(file.fd, {});
	out.use(huge.data(), 2);
	BOOST_TEST(finish_or_refused(aio_writev(&out.request.cb), out.request.cb) ==
		   failed(EINVAL));
	BOOST_TEST(file.content() == "content");
}

BOOST_AUTO_TEST_CASE(other_bad_arguments_are_those_of_aio_read)
{
	File file = disk_file();
	for (int fd : {-1, INT_MAX}) {
		Vector in(fd, {10});
		BOOST_TEST(aio_readv(&in.request.cb) == 0);
		BOOST_TEST(finish(in.request) == failed(EBADF));
	}
	Vector priority(file.fd, {10}), offset(file.fd, {10}, -1);
	priority.request.cb.aio_reqprio = 21;
	BOOST_TEST(aio_writev(&priority.request.cb) == -1);
	BOOST_TEST(errno == EINVAL);
	BOOST_TEST(aio_writev(&offset.request.cb) == -1);
	BOOST_TEST(errno == EINVAL);
	BOOST_TEST(file.content().empty());
}

BOOST_AUTO_TEST_CASE(more_than_four_gibibytes_through_a_repeated_buffer)
{
	constexpr size_t piece = size_t{64} << 20, count = 65;
	auto *const memory =
		static_cast<char *>(mmap(nullptr, piece, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	BOOST_TEST_REQUIRE(memory != MAP_FAILED);
	File file = tmpfs_file();
	BOOST_TEST_REQUIRE(ftruncate(file.fd, piece * count + 10) == 0);
	BOOST_TEST_REQUIRE(pwrite(file.fd, "the end", 7, piece * count - 7) == 7);
	std::vector<iovec> pieces(count, iovec{memory, piece});
	Vector in(file.fd, {});
	in.use(pieces.data(), count);
	BOOST_TEST_REQUIRE(aio_readv(&in.request.cb) == 0);
	BOOST_TEST(finish(in.request) == ok(piece * count));
	BOOST_TEST(std::string(memory + piece - 7, 7) == "the end");
	munmap(memory, piece);
}

BOOST_AUTO_TEST_CASE(vectors_can_be_cancelled_and_notified)
{
	static std::atomic<int> calls;
	calls = 0;
	for_each_stream([](Stream &s) {
		Vector in(s.reader, {1, 1});
		in.request.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
		in.request.cb.aio_sigevent.sigev_notify_function = [](sigval) { ++calls; };
		BOOST_TEST_REQUIRE(aio_readv(&in.request.cb) == 0);
		BOOST_TEST(aio_cancel(s.reader, &in.request.cb) == AIO_CANCELED);
		BOOST_TEST(finish(in.request) == failed(ECANCELED));
	});
	BOOST_TEST(eventually([] { return calls == int(stream_kinds.size()); }));
}

BOOST_AUTO_TEST_CASE(fsync_covers_vectors)
{
	File file = disk_file();
	Vector out(file.fd, {1 << 20, 1 << 20});
	BOOST_TEST_REQUIRE(aio_writev(&out.request.cb) == 0);
	Request &sync = keep(file.fd, 0);
	BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
	BOOST_TEST(eventually([&] { return !sync.pending(); }));
	BOOST_TEST(!out.request.pending());
	BOOST_TEST(finish(out.request) == ok(2 << 20));
	BOOST_TEST(finish(sync) == ok(0));
}

// ------------------------------------------------------------- aio_waitcomplete

BOOST_AUTO_TEST_CASE(waitcomplete_gives_a_request_that_was_done_before,
		     *boost::unit_test::disabled())
{
	File file = disk_file();
	Request &request = start_write(file.fd, "done");
	BOOST_TEST(eventually([&] { return !request.pending(); }));
	aiocb *cb = nullptr;
	BOOST_TEST(wait_complete(&cb) == 4);
	BOOST_TEST(cb == &request.cb);
	check_nothing_left();
}

BOOST_AUTO_TEST_CASE(waitcomplete_gives_what_was_done_before_its_first_call)
{
	BOOST_TEST(run_self("waitcomplete_gives_a_request_that_was_done_before", {}) == 0);
}

BOOST_AUTO_TEST_CASE(waitcomplete_gives_each_request_once)
{
	Stream s = unix_stream();
	File file = disk_file();
	std::vector<aiocb *> expected;
	for (int i = 0; i < 100; ++i) {
		expected.push_back(&start_read(s.reader, 1).cb);
		expected.push_back(&start_write(file.fd, "ab", i * 2).cb);
	}
	put(s.writer, std::string(100, 'x'));
	std::vector<aiocb *> got;
	for (int i = 0; i < 200; ++i) {
		aiocb *cb = nullptr;
		const ssize_t result = wait_complete(&cb);
		BOOST_TEST_REQUIRE(cb != nullptr);
		BOOST_TEST(result == ssize_t(cb->aio_nbytes));
		got.push_back(cb);
	}
	std::sort(expected.begin(), expected.end());
	std::sort(got.begin(), got.end());
	BOOST_TEST((got == expected));
	check_nothing_left();
}

BOOST_AUTO_TEST_CASE(waitcomplete_waits_until_a_request_is_done)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 5);
		check_nothing_left();
		std::atomic<pid_t> waiter{0};
		aiocb *cb = nullptr;
		ssize_t result = -2;
		std::thread thread([&] {
			waiter = thread_id();
			result = wait_complete(&cb);
		});
		BOOST_TEST(eventually([&] { return waiter != 0 && thread_state(waiter) == 'S'; }));
		put(s.writer, "hello");
		thread.join();
		BOOST_TEST(result == 5);
		BOOST_TEST(cb == &request.cb);
	});
}

BOOST_AUTO_TEST_CASE(waitcomplete_reports_a_failed_request_with_its_block)
{
	Request &request = start_read(-1, 1);
	aiocb *cb = nullptr;
	BOOST_TEST(wait_complete(&cb) == -1);
	BOOST_TEST(errno == EBADF);
	BOOST_TEST(cb == &request.cb);
	check_nothing_left();
}

BOOST_AUTO_TEST_CASE(waitcomplete_reports_cancelled_requests_fsyncs_and_lists)
{
	Stream s = unix_stream();
	Request &cancelled = start_read(s.reader, 1);
	BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_CANCELED);
	aiocb *cb = nullptr;
	BOOST_TEST(wait_complete(&cb) == -1);
	BOOST_TEST(errno == ECANCELED);
	BOOST_TEST(cb == &cancelled.cb);
	File file = disk_file();
	Request &sync = keep(file.fd, 0), &listed = writing(file.fd, "abc");
	BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
	BOOST_TEST(wait_complete(&cb) == 0);
	BOOST_TEST(cb == &sync.cb);
	listed.cb.aio_lio_opcode = LIO_WRITE;
	aiocb *list[] = {&listed.cb};
	BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list, 1, nullptr) == 0);
	BOOST_TEST(wait_complete(&cb) == 3);
	BOOST_TEST(cb == &listed.cb);
	check_nothing_left();
}

BOOST_AUTO_TEST_CASE(waitcomplete_leaves_out_what_aio_return_has_taken)
{
	File file = disk_file();
	Request &taken = start_write(file.fd, "a"), &left = start_write(file.fd, "bc");
	BOOST_TEST(finish(taken) == ok(1));
	aiocb *cb = nullptr;
	BOOST_TEST(wait_complete(&cb) == 2);
	BOOST_TEST(cb == &left.cb);
	check_nothing_left();
}

BOOST_AUTO_TEST_CASE(waitcomplete_refuses_a_bad_timeout)
{
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	for (const timespec &bad : {timespec{0, 1000000000}, timespec{0, -1}, timespec{-1, 0}}) {
		aiocb *cb = nullptr;
		BOOST_TEST(wait_complete(&cb, &bad) == -1);
		BOOST_TEST(errno == EINVAL);
	}
	const timespec moment{0, 5000000};
	aiocb *cb = reinterpret_cast<aiocb *>(16);
	BOOST_TEST(wait_complete(&cb, &moment) == -1);
	BOOST_TEST((errno == EAGAIN || errno == EINPROGRESS));
	BOOST_TEST(cb == nullptr);
	put(s.writer, "x");
	BOOST_TEST(wait_complete(&cb) == 1);
	BOOST_TEST(cb == &request.cb);
}

BOOST_AUTO_TEST_CASE(waitcomplete_gives_eintr_on_a_signal)
{
	SignalHandler handler(
		SIGUSR1, +[](int) {});
	Stream s = unix_stream();
	Request &request = start_read(s.reader, 1);
	std::atomic<int> error{-1};
	std::thread thread([&] {
		aiocb *cb = nullptr;
		int const failed_with = wait_complete(&cb) == -1 ? errno : 0;
		error = failed_with;
	});
	BOOST_TEST(eventually([&] {
		if (error == -1)
			pthread_kill(thread.native_handle(), SIGUSR1);
		usleep(500);
		return error != -1;
	}));
	thread.join();
	BOOST_TEST(error == EINTR);
	put(s.writer, "x");
	aiocb *cb = nullptr;
	BOOST_TEST(wait_complete(&cb) == 1);
	BOOST_TEST(cb == &request.cb);
}

BOOST_AUTO_TEST_CASE(threads_in_waitcomplete_share_the_requests)
{
	Stream s = unix_stream();
	for (int i = 0; i < 400; ++i)
		start_read(s.reader, 1);
	std::atomic<int> got{0};
	std::vector<std::thread> threads;
	for (int i = 0; i < 4; ++i)
		threads.emplace_back([&] {
			aiocb *cb = nullptr;
			for (int j = 0; j < 100; ++j)
				got += wait_complete(&cb) == 1 && cb != nullptr;
		});
	put(s.writer, std::string(400, 'x'));
	for (std::thread &thread : threads)
		thread.join();
	BOOST_TEST(got == 400);
	check_nothing_left();
}
