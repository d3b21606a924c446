// SPDX-License-Identifier: MIT
//
// Rule 7: what is refused at once, what is accepted and reported through aio_error,
// and what of the aiocb is read, and when.
#define BOOST_TEST_MODULE r07_arguments
#include "support.hpp"

#include <climits>
#include <limits>

namespace {

int closed_number()
{
	const int fd = open("/dev/null", O_RDWR);
	close(fd);
	return fd;
}

int list_of_one(int opcode, aiocb &cb)
{
	cb.aio_lio_opcode = opcode;
	aiocb *list[] = {&cb};
	return lio_listio(LIO_NOWAIT, list, 1, nullptr);
}

/// Memory as a legacy caller leaves it: every byte `junk` but the members that POSIX names for the
/// call.
aiocb &uninitialised(Request &request, unsigned char junk, bool with_transfer = true)
{
	const aiocb set = request.cb;
	memset(&request.cb, junk, sizeof request.cb);
	if (junk == EINPROGRESS)
		request.cb.__error_code = EINPROGRESS; // left behind by an earlier request
	request.cb.aio_fildes = set.aio_fildes;
	request.cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	if (with_transfer) {
		request.cb.aio_buf = set.aio_buf;
		request.cb.aio_nbytes = set.aio_nbytes;
		request.cb.aio_offset = set.aio_offset;
		request.cb.aio_reqprio = 0;
	}
	return request.cb;
}

constexpr unsigned char junk_bytes[] = {0x00, 0xff, 0xa5, EINPROGRESS, 0x01, 0x80};

} // namespace

BOOST_AUTO_TEST_CASE(a_bad_descriptor_is_accepted_and_reported)
{
	for (int fd : {-1, INT_MAX, INT_MIN, closed_number()}) {
		BOOST_TEST_CONTEXT("descriptor " << fd)
		{
			BOOST_TEST(finish(start_read(fd, 10)) == failed(EBADF));
			BOOST_TEST(finish(start_write(fd, "x")) == failed(EBADF));
			for (int opcode : {LIO_READ, LIO_WRITE}) {
				Request &request = reading(fd, 10);
				BOOST_TEST(list_of_one(opcode, request.cb) == 0);
				BOOST_TEST(finish(request) == failed(EBADF));
			}
		}
	}
}

BOOST_AUTO_TEST_CASE(a_wrongly_opened_descriptor_is_accepted_and_reported)
{
	File file = disk_file();
	Fd read_only(open(file.path.c_str(), O_RDONLY)),
		write_only(open(file.path.c_str(), O_WRONLY));
	Fd path_only(open(file.path.c_str(), O_PATH));
	BOOST_TEST(finish(start_write(read_only, "x")) == failed(EBADF));
	BOOST_TEST(finish(start_read(write_only, 1)) == failed(EBADF));
	BOOST_TEST(finish(start_write(path_only, "x")) == failed(EBADF));
	BOOST_TEST(finish(start_read(path_only, 1)) == failed(EBADF));
	for (StreamMaker make : {pipe_stream, fifo_stream}) {
		Stream s = make();
		BOOST_TEST(finish(start_write(s.reader, "x")) == failed(EBADF));
		BOOST_TEST(finish(start_read(s.writer, 1)) == failed(EBADF));
	}
	BOOST_TEST(file.content().empty());
}

BOOST_AUTO_TEST_CASE(a_bad_descriptor_is_notified_like_any_result)
{
	static std::atomic<int> calls;
	calls = 0;
	Request &request = reading(-1, 1);
	request.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
	request.cb.aio_sigevent.sigev_notify_function = [](sigval) { ++calls; };
	BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
	BOOST_TEST(eventually([] { return calls == 1; }));
	BOOST_TEST(finish(request) == failed(EBADF));
}

BOOST_AUTO_TEST_CASE(fsync_of_a_bad_descriptor_fails_at_once)
{
	for (int fd : {-1, INT_MAX, closed_number()}) {
		Request &request = keep(fd, 0);
		BOOST_TEST(aio_fsync(O_SYNC, &request.cb) == -1);
		BOOST_TEST(errno == EBADF);
	}
}

BOOST_AUTO_TEST_CASE(fsync_of_a_descriptor_not_open_for_writing)
{
	File file = disk_file();
	Fd read_only(open(file.path.c_str(), O_RDONLY)), path_only(open(file.path.c_str(), O_PATH));
	Request &useless = keep(path_only, 0), &useful = keep(read_only, 0);
	BOOST_TEST(finish_or_refused(aio_fsync(O_SYNC, &useless.cb), useless.cb) == failed(EBADF));
	// POSIX wants a descriptor open for writing; glibc 2.36 takes this one.
	const Outcome end = finish_or_refused(aio_fsync(O_SYNC, &useful.cb), useful.cb);
	BOOST_TEST((end == ok(0) || end == failed(EBADF)), "ended with " << end);
}

BOOST_AUTO_TEST_CASE(fsync_with_an_unknown_operation_is_einval)
{
	File file = disk_file();
	for (int op : {0, -1, O_RDWR, O_SYNC | O_DSYNC | O_APPEND}) {
		Request &request = keep(file.fd, 0);
		BOOST_TEST(aio_fsync(op, &request.cb) == -1);
		BOOST_TEST(errno == EINVAL);
	}
}

BOOST_AUTO_TEST_CASE(cancel_on_a_bad_descriptor_fails_at_once)
{
	Request &request = keep(-1, 0);
	for (int fd : {-1, INT_MAX, closed_number()}) {
		request.cb.aio_fildes = fd;
		BOOST_TEST(aio_cancel(fd, nullptr) == -1);
		BOOST_TEST(errno == EBADF);
		BOOST_TEST(aio_cancel(fd, &request.cb) == -1);
		BOOST_TEST(errno == EBADF);
	}
}

BOOST_AUTO_TEST_CASE(a_priority_outside_0_to_20_is_einval_at_once_and_nothing_is_done)
{
	Stream s = unix_stream();
	put(s.writer, "unread");
	for (int priority : {-1, 21, INT_MIN, INT_MAX}) {
		Request &read = reading(s.reader, 6), &write = writing(s.reader, "x");
		read.cb.aio_reqprio = write.cb.aio_reqprio = priority;
		BOOST_TEST(aio_read(&read.cb) == -1);
		BOOST_TEST(errno == EINVAL);
		BOOST_TEST(aio_write(&write.cb) == -1);
		BOOST_TEST(errno == EINVAL);
		BOOST_TEST(read.text() == "??????");
		BOOST_TEST(list_of_one(LIO_READ, read.cb) == -1);
	}
	BOOST_TEST(take(s.reader, 6) == "unread");
	BOOST_TEST(!has_data(s.writer));
}

BOOST_AUTO_TEST_CASE(every_priority_from_0_to_20_is_accepted)
{
	BOOST_TEST(sysconf(_SC_AIO_PRIO_DELTA_MAX) == 20);
	File file = disk_file();
	for (int priority = 0; priority <= 20; ++priority) {
		Request &request = writing(file.fd, "x", priority);
		request.cb.aio_reqprio = priority;
		BOOST_TEST(aio_write(&request.cb) == 0);
		BOOST_TEST(finish(request) == ok(1));
	}
}

// glibc accepts the request and reports the offset through aio_error.
BOOST_AUTO_TEST_CASE(a_bad_offset_is_einval_at_once, BETTER_THAN_GLIBC)
{
	File file = disk_file();
	for (off_t offset : {off_t{-1}, off_t{-4096}, std::numeric_limits<off_t>::min()}) {
		Request &read = reading(file.fd, 1, offset), &write = writing(file.fd, "x", offset);
		BOOST_TEST(aio_read(&read.cb) == -1);
		BOOST_TEST(errno == EINVAL);
		BOOST_TEST(aio_write(&write.cb) == -1);
		BOOST_TEST(errno == EINVAL);
	}
	BOOST_TEST(file.content().empty());
}

BOOST_AUTO_TEST_CASE(a_failed_submission_sends_no_notification)
{
	static std::atomic<int> calls;
	calls = 0;
	File file = disk_file();
	Request &bad = reading(file.fd, 1), &good = reading(file.fd, 1);
	bad.cb.aio_reqprio = 99;
	for (Request *request : {&bad, &good}) {
		request->cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
		request->cb.aio_sigevent.sigev_value.sival_int = request == &bad ? 100 : 1;
		request->cb.aio_sigevent.sigev_notify_function = [](sigval value) {
			calls += value.sival_int;
		};
	}
	BOOST_TEST(aio_read(&bad.cb) == -1);
	BOOST_TEST(aio_read(&good.cb) == 0);
	BOOST_TEST(eventually([] { return calls != 0; }));
	BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE(fsync_looks_at_nothing_but_the_descriptor_and_the_notification)
{
	File file = disk_file();
	BOOST_TEST(finish(start_write(file.fd, "x")) == ok(1));
	for (unsigned char junk : junk_bytes) {
		Request &request = keep(file.fd, 0);
		BOOST_TEST(aio_fsync(O_SYNC, &uninitialised(request, junk, false)) == 0);
		BOOST_TEST(finish(request) == ok(0));
	}
	Request &request = keep(file.fd, 0);
	request.cb.aio_offset = -1;
	request.cb.aio_reqprio = 1000;
	request.cb.aio_nbytes = SIZE_MAX;
	request.cb.aio_buf = nullptr;
	BOOST_TEST(aio_fsync(O_DSYNC, &request.cb) == 0);
	BOOST_TEST(finish(request) == ok(0));
}

BOOST_AUTO_TEST_CASE(an_aiocb_may_be_uninitialised_but_for_its_documented_members)
{
	for_each_file_kind([](const FileKind &kind) {
		for (unsigned char junk : junk_bytes) {
			File file = make_file(kind);
			std::string const data = pattern(8192);
			Request &write = writing(file.fd, data), &read = reading(file.fd, 8192);
			BOOST_TEST_REQUIRE(aio_write(&uninitialised(write, junk)) == 0);
			BOOST_TEST(finish(write) == ok(8192));
			BOOST_TEST_REQUIRE(aio_read(&uninitialised(read, junk)) == 0);
			BOOST_TEST(finish(read) == ok(8192));
			BOOST_TEST((read.text() == data));
		}
	});
}

BOOST_AUTO_TEST_CASE(an_uninitialised_aiocb_works_on_streams_lists_waiting_and_cancelling)
{
	for_each_stream([](Stream &s) {
		for (unsigned char junk : junk_bytes) {
			Request &listed = reading(s.reader, 1), &pending = reading(s.reader, 1);
			BOOST_TEST_REQUIRE(list_of_one(LIO_READ, uninitialised(listed, junk)) == 0);
			BOOST_TEST_REQUIRE(aio_read(&uninitialised(pending, junk)) == 0);
			BOOST_TEST(pending.pending());
			put(s.writer, "ab");
			aiocb const *list[] = {&pending.cb};
			timespec const limit{20, 0};
			BOOST_TEST(aio_suspend(list, 1, &limit) == 0);
			BOOST_TEST(finish(listed) == ok(1));
			BOOST_TEST(finish(pending) == ok(1));
			BOOST_TEST(aio_cancel(s.reader, &pending.cb) == AIO_ALLDONE);
		}
	});
}

BOOST_AUTO_TEST_CASE(an_uninitialised_aiocb_can_ask_for_a_signal)
{
	static std::atomic<int> values;
	values = 0;
	SignalHandler handler(
		SIGUSR1, +[](int, siginfo_t *info, void *) { values += info->si_value.sival_int; });
	File file = disk_file();
	for (unsigned char junk : junk_bytes) {
		Request &request = writing(file.fd, "x");
		aiocb &cb = uninitialised(request, junk);
		cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
		cb.aio_sigevent.sigev_signo = SIGUSR1;
		cb.aio_sigevent.sigev_value.sival_int = 1;
		const int before = values;
		BOOST_TEST_REQUIRE(aio_write(&cb) == 0);
		BOOST_TEST(eventually([&] { return values == before + 1; }));
		BOOST_TEST(finish(request) == ok(1));
	}
}

// glibc looks at a queued aiocb again when its turn comes.
BOOST_AUTO_TEST_CASE(the_aiocb_is_read_once_at_submission, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Stream other = pipe_stream();
		std::vector<Request *> reads;
		std::vector<std::string> buffers(4, "??");
		for (int i = 0; i < 4; ++i) {
			reads.push_back(&reading(s.reader, 0));
			aiocb &cb = reads[i]->cb;
			cb.aio_buf = buffers[i].data();
			cb.aio_nbytes = 1;
			BOOST_TEST_REQUIRE(aio_read(&cb) == 0);
			cb.aio_fildes = other.reader;
			cb.aio_buf = nullptr;
			cb.aio_nbytes = 12345;
			cb.aio_offset = -1;
			cb.aio_reqprio = 99;
			cb.aio_lio_opcode = LIO_WRITE;
			memset(&cb.aio_sigevent, 0x5a, sizeof cb.aio_sigevent);
		}
		put(s.writer, "abcd");
		for (int i = 0; i < 4; ++i) {
			BOOST_TEST(finish(*reads[i]) == ok(1));
			BOOST_TEST(buffers[i] == std::string(1, "abcd"[i]) + "?");
		}
	});
}

BOOST_AUTO_TEST_CASE(a_list_may_name_an_unknown_operation)
{
	File file = disk_file();
	Request &bad = writing(file.fd, "bad"), &good = writing(file.fd, "good");
	bad.cb.aio_lio_opcode = 77;
	good.cb.aio_lio_opcode = LIO_WRITE;
	aiocb *list[] = {&bad.cb, &good.cb};
	BOOST_TEST(lio_listio(LIO_WAIT, list, 2, nullptr) == -1);
	BOOST_TEST(errno == EIO);
	BOOST_TEST(finish(bad) == failed(EINVAL));
	BOOST_TEST(finish(good) == ok(4));
	BOOST_TEST(file.content() == "good");
}

BOOST_AUTO_TEST_CASE(a_list_with_a_bad_mode_is_einval_and_starts_nothing)
{
	Stream s = pipe_stream();
	Request &request = writing(s.writer, "x");
	request.cb.aio_lio_opcode = LIO_WRITE;
	aiocb *list[] = {&request.cb};
	for (int mode : {2, -1, 77}) {
		BOOST_TEST(lio_listio(mode, list, 1, nullptr) == -1);
		BOOST_TEST(errno == EINVAL);
	}
	BOOST_TEST(finish(start_write(s.writer, "y")) == ok(1));
	BOOST_TEST(take(s.reader, 1) == "y");
}

BOOST_AUTO_TEST_CASE(hostile_sizes_and_pointers_do_no_harm)
{
	aiocb *none[] = {nullptr};
	const aiocb *const_none[] = {nullptr};
	aiocb **volatile no_list = nullptr; // volatile: the compiler must not see the null
	const timespec now{};
	BOOST_TEST(aio_suspend(const_none, -1, &now) == -1);
	BOOST_TEST(errno == EINVAL);
	BOOST_TEST(aio_suspend(const_none, INT_MIN, &now) == -1);
	BOOST_TEST(errno == EINVAL);
	for (int mode : {LIO_WAIT, LIO_NOWAIT}) {
		const int negative = lio_listio(mode, none, -1, nullptr);
		BOOST_TEST((negative == 0 || errno == EINVAL));
		BOOST_TEST(lio_listio(mode, no_list, 0, nullptr) == 0);
	}
	BOOST_TEST(aio_suspend(no_list, 0, nullptr) == 0);
}

BOOST_AUTO_TEST_CASE(a_bad_buffer_is_efault)
{
	auto check = [](int fd, off_t offset, bool can_read) {
		for (uintptr_t address : {uintptr_t{0}, uintptr_t{8}, ~uintptr_t{4095}}) {
			Request &read = keep(fd, 0, offset), &write = keep(fd, 0, offset);
			read.cb.aio_buf = write.cb.aio_buf = reinterpret_cast<void *>(address);
			read.cb.aio_nbytes = write.cb.aio_nbytes = 10;
			if (can_read)
				BOOST_TEST(finish_or_refused(aio_read(&read.cb), read.cb) ==
					   failed(EFAULT));
			BOOST_TEST(finish_or_refused(aio_write(&write.cb), write.cb) ==
				   failed(EFAULT));
		}
	};
	File disk = disk_file(), memory = tmpfs_file();
	put(disk.fd, "0123456789");
	put(memory.fd, "0123456789");
	check(disk.fd, 0, true);
	check(memory.fd, 0, true);
	Stream s = unix_stream();
	put(s.writer, "0123456789");
	check(s.reader, 0, true);
	check(pipe_stream().writer, 0, false);
	BOOST_TEST(disk.content() == "0123456789");
}

BOOST_AUTO_TEST_CASE(nothing_is_transferred_when_nothing_is_asked_for)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		BOOST_TEST(finish(start_write(file.fd, "", 4096)) == ok(0));
		BOOST_TEST(finish(start_read(file.fd, 0, 4096)) == ok(0));
		BOOST_TEST(file.content().empty());
	});
	Stream s = pipe_stream();
	BOOST_TEST(finish(start_read(s.reader, 0)) == ok(0));
	BOOST_TEST(finish(start_write(s.writer, "")) == ok(0));
	BOOST_TEST(!has_data(s.reader));
}

BOOST_AUTO_TEST_CASE(an_unknown_kind_of_notification_is_no_reason_to_fail)
{
	File file = disk_file();
	Request &request = writing(file.fd, "x");
	request.cb.aio_sigevent.sigev_notify = 9999;
	BOOST_TEST(aio_write(&request.cb) == 0);
	BOOST_TEST(finish(request) == ok(1));
}

BOOST_AUTO_TEST_CASE(the_names_with_64_are_the_same_functions)
{
	File file = disk_file();
	Request &write = writing(file.fd, "hello"), &read = reading(file.fd, 5),
		&sync = keep(file.fd, 0);
	auto as64 = [](Request &request) { return reinterpret_cast<aiocb64 *>(&request.cb); };
	BOOST_TEST(aio_write64(as64(write)) == 0);
	const aiocb64 *list[] = {as64(write)};
	BOOST_TEST(aio_suspend64(list, 1, nullptr) == 0);
	BOOST_TEST(aio_error64(as64(write)) == 0);
	BOOST_TEST(aio_return64(as64(write)) == 5);
	BOOST_TEST(aio_fsync64(O_SYNC, as64(sync)) == 0);
	BOOST_TEST(finish(sync) == ok(0));
	BOOST_TEST(aio_cancel64(file.fd, as64(sync)) == AIO_ALLDONE);
	read.cb.aio_lio_opcode = LIO_READ;
	aiocb64 *batch[] = {as64(read)};
	BOOST_TEST(lio_listio64(LIO_WAIT, batch, 1, nullptr) == 0);
	BOOST_TEST(finish(read) == ok(5));
	BOOST_TEST(read.text() == "hello");
}
