// SPDX-License-Identifier: MIT
//
// Programs on libaio: what a request ends with, and who is told (io_submit(2), io_getevents(2)).
#define BOOST_TEST_MODULE libaio_results
#include "libaio.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include <cstddef>

#include <linux/fs.h>

BOOST_AUTO_TEST_CASE(an_event_has_the_iocb_its_data_the_count_and_no_second_result)
{
	Context context;
	std::string const text = pattern(16384);
	for_each_file_kind([&](const FileKind &kind) {
		File file = make_file(kind);
		for (auto [write, read] :
		     {std::pair{IO_CMD_PWRITE, IO_CMD_PREAD}, {IO_CMD_PWRITEV, IO_CMD_PREADV}}) {
			BOOST_TEST(run(context,
				       keep_op(write, file.fd, text.size(), 4096).with(text)) ==
				   16384);
			Op &in = keep_op(read, file.fd, text.size(), 4096);
			BOOST_TEST(run(context, in) == 16384);
			BOOST_TEST((in.text() == text));
		}
	});
}

BOOST_AUTO_TEST_CASE(a_read_is_short_at_the_end_of_the_file_and_0_beyond_it)
{
	Context context;
	for (File &file : std::array<File, 2>{disk_file(), tmpfs_file()}) {
		put(file.fd, pattern(5000));
		BOOST_TEST(run(context, read_op(file.fd, 4096, 4096)) == 904);
		BOOST_TEST(run(context, read_op(file.fd, 4096, 5000)) == 0);
		BOOST_TEST(run(context, read_op(file.fd, 4096, 1 << 20)) == 0);
		BOOST_TEST(run(context, read_op(file.fd, 0, 0)) == 0);
		BOOST_TEST(run(context, write_op(file.fd, "", 0)) == 0);
	}
}

BOOST_AUTO_TEST_CASE(an_error_is_negative_in_all_64_bits)
{
	Context context;
	File file = disk_file();
	put(file.fd, pattern(4096));
	Op &nowhere = read_op(file.fd, 4096);
	nowhere.cb.u.c.buf = reinterpret_cast<void *>(4096);
	BOOST_TEST(run(context, nowhere) == -EFAULT);
	if (File direct(disk_directory(), O_RDWR | O_DIRECT); direct.fd >= 0) {
		BOOST_TEST(pwrite(direct.fd, nowhere.data(), 4096, 0) == 4096);
		Op &odd = read_op(direct.fd, 4096, 1);
		BOOST_TEST(run(context, odd) == -EINVAL);
	}
	Stream stream = tcp_stream();
	BOOST_TEST(run(context, read_op(stream.reader, 10, 5)) == -ESPIPE);
}

BOOST_AUTO_TEST_CASE(fsync_and_fdatasync_end_with_0)
{
	Context context;
	File file = disk_file();
	BOOST_TEST(run(context, write_op(file.fd, "text")) == 4);
	BOOST_TEST(run(context, keep_op(IO_CMD_FSYNC, file.fd)) == 0);
	BOOST_TEST(run(context, keep_op(IO_CMD_FDSYNC, file.fd)) == 0);
}

BOOST_AUTO_TEST_CASE(streams_give_what_is_there)
{
	Context context;
	for_each_stream([&](Stream &stream) {
		put(stream.writer, "hello");
		Op &in = read_op(stream.reader, 100);
		BOOST_TEST(run(context, in) == 5);
		BOOST_TEST(in.text().substr(0, 5) == "hello");
		BOOST_TEST(run(context, write_op(stream.writer, "again")) == 5);
		BOOST_TEST(take(stream.reader, 5) == "again");
	});
	Fd counter(eventfd(3, 0));
	Op &in = read_op(counter, 8);
	BOOST_TEST(run(context, in) == 8);
	BOOST_TEST(in.data()[0] == 3);
	Fd null(open("/dev/null", O_RDWR)), zero(open("/dev/zero", O_RDWR));
	BOOST_TEST(run(context, read_op(null, 10)) == 0);
	BOOST_TEST(run(context, write_op(null, "gone")) == 4);
	BOOST_TEST(run(context, read_op(zero, 10)) == 10);
}

BOOST_AUTO_TEST_CASE(a_poll_ends_with_what_is_ready)
{
	Context context;
	Stream stream = pipe_stream();
	BOOST_TEST(run(context, poll_op(stream.writer, POLLOUT)) == POLLOUT);
	Op &in = poll_op(stream.reader, POLLIN);
	BOOST_TEST(submit(context, in) == 1);
	io_event event;
	timespec none{};
	BOOST_TEST(io_getevents(context, 1, 1, &event, &none) == 0);
	put(stream.writer, "x");
	event = next(context);
	BOOST_TEST((event.res & ~static_cast<unsigned long>(POLLRDNORM)) ==
		   static_cast<unsigned long>(POLLIN)); // the kernel has both
	BOOST_TEST(event.obj == &in.cb);
	take(stream.reader, 1);
	BOOST_TEST(submit(context, in) == 1);
	stream.writer.reset();
	BOOST_TEST(next(context).res == static_cast<unsigned long>(POLLHUP));
}

BOOST_AUTO_TEST_CASE(rwf_nowait_is_answered_with_eagain)
{
	Context context;
	Stream stream = pipe_stream();
	BOOST_TEST(run(context, read_op(stream.reader, 10).flags(RWF_NOWAIT)) == -EAGAIN);
	put(stream.writer, "there");
	BOOST_TEST(run(context, read_op(stream.reader, 10).flags(RWF_NOWAIT)) == 5);
	File file = disk_file();
	put(file.fd, pattern(4096));
	BOOST_TEST(run(context, read_op(file.fd, 4096).flags(RWF_NOWAIT)) == 4096);
	if (File direct(disk_directory(), O_RDWR | O_DIRECT); direct.fd >= 0) {
		Op &allocating = write_op(direct.fd, pattern(4096)).flags(RWF_NOWAIT);
		const long n = run(context, allocating);
		BOOST_TEST((n == -EAGAIN || n == 4096));
		BOOST_TEST(pwrite(direct.fd, allocating.data(), 4096, 0) == 4096);
		BOOST_TEST(fsync(direct.fd) == 0);
		const long back = run(context, read_op(direct.fd, 4096).flags(RWF_NOWAIT));
		BOOST_TEST((back == -EAGAIN || back == 4096));
	}
}

// A page of the file that has not been written back would have to be, before O_DIRECT reads it: by
// whichever way the request goes, as a buffer and as a vector.
BOOST_AUTO_TEST_CASE(rwf_nowait_waits_for_no_page_to_be_written_back)
{
	File file(disk_directory(), O_RDWR | O_DIRECT);
	if (file.fd < 0)
		return;
	Context context;
	Fd cached(open(file.path.c_str(), O_RDWR));
	for (int opcode : {IO_CMD_PREAD, IO_CMD_PREADV}) {
		Op &read = keep_op(opcode, file.fd, 8192).flags(RWF_NOWAIT);
		if (opcode == IO_CMD_PREADV) { // O_DIRECT wants whole pages
			read.halves[0].iov_len = read.halves[1].iov_len = 4096;
			read.halves[1].iov_base = read.data() + 4096;
		}
		long n = 0;
		// Somebody else may have had it written back.
		for (int i = 0; i < 10 && n != -EAGAIN; i++) {
			BOOST_TEST(pwrite(cached, pattern(8192).data(), 8192, 0) == 8192);
			iovec whole{read.data(), 8192};
			if (preadv2(file.fd, &whole, 1, 0, RWF_NOWAIT) != -1 || errno != EAGAIN)
				return; // this file system does not wait
			n = run(context, read);
		}
		BOOST_TEST(n == -EAGAIN);
	}
}

BOOST_AUTO_TEST_CASE(the_flags_of_a_request_add_to_those_of_its_file)
{
	Context context;
	for (File &file : std::array<File, 2>{disk_file(), tmpfs_file()}) {
		put(file.fd, "first ");
		BOOST_TEST(run(context, write_op(file.fd, "second ").flags(RWF_APPEND)) == 7);
		BOOST_TEST(run(context, write_op(file.fd, "third").flags(RWF_APPEND | RWF_DSYNC)) ==
			   5);
		BOOST_TEST(file.content() == "first second third");
		BOOST_TEST(run(context, write_op(file.fd, "FIRST").flags(RWF_SYNC | RWF_HIPRI)) ==
			   5);
		BOOST_TEST(file.content() == "FIRST second third");
		BOOST_TEST(fcntl(file.fd, F_SETFL, O_APPEND) == 0);
		BOOST_TEST(run(context, write_op(file.fd, "!")) == 1);
		const long n = run(context, write_op(file.fd, "F").flags(0x20 /* RWF_NOAPPEND */));
		BOOST_TEST((n == 1 || n == refused(EOPNOTSUPP)));
		BOOST_TEST(file.content() == "FIRST second third!");
	}
}

BOOST_AUTO_TEST_CASE(a_priority_is_taken_where_it_is_meant)
{
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	Op &op = read_op(file.fd, 4);
	op.cb.aio_reqprio = 20000; // means nothing without the flag
	BOOST_TEST(run(context, op) == 4);
	op.cb.u.c.flags |= 2; // IOCB_FLAG_IOPRIO
	for (int priority : {0, 2 << 13 | 4, 2 << 13 | 7, 3 << 13}) {
		op.cb.aio_reqprio = static_cast<short>(priority);
		BOOST_TEST(run(context, op) == 4);
	}
	for (int priority : {1, 4 << 13, 5 << 13}) {
		op.cb.aio_reqprio = static_cast<short>(priority);
		BOOST_TEST(run(context, op) == refused(EINVAL));
	}
}

// ---------------------------------------------------------------- eventfds

namespace {

uint64_t counted(int eventfd)
{
	uint64_t n = 0;
	if (!has_data(eventfd) || read(eventfd, &n, sizeof n) != sizeof n)
		return 0;
	return n;
}

} // namespace

BOOST_AUTO_TEST_CASE(an_eventfd_is_told_after_the_event)
{
	Context context;
	File file = disk_file();
	put(file.fd, pattern(4096));
	Fd counter(eventfd(0, EFD_NONBLOCK));
	for (int i = 0; i < 200; i++) {
		BOOST_TEST_REQUIRE(submit(context, read_op(file.fd, 512).tells(counter)) == 1);
		BOOST_TEST_REQUIRE(eventually([&] { return has_data(counter); }));
		BOOST_TEST_REQUIRE(counted(counter) == 1u);
		BOOST_TEST_REQUIRE(context.ring()->tail.load() != context.ring()->head.load());
		io_event event;
		timespec none{};
		BOOST_TEST_REQUIRE(io_getevents(context, 1, 1, &event, &none) == 1);
	}
}

BOOST_AUTO_TEST_CASE(one_eventfd_serves_many_contexts_and_counts_each_event)
{
	Context first, second;
	File file = tmpfs_file();
	put(file.fd, "text");
	Fd counter(eventfd(0, EFD_NONBLOCK));
	for (int i = 0; i < 20; i++) {
		BOOST_TEST_REQUIRE(submit(first, read_op(file.fd, 4).tells(counter)) == 1);
		BOOST_TEST_REQUIRE(submit(second, read_op(file.fd, 4).tells(counter)) == 1);
	}
	uint64_t sum = 0;
	BOOST_TEST(eventually([&] { return (sum += counted(counter)) >= 40; }));
	BOOST_TEST(sum == 40u);
	io_event events[64];
	BOOST_TEST(get(first, 20, 64, events) == 20);
	BOOST_TEST(get(second, 20, 64, events) == 20);
}

BOOST_AUTO_TEST_CASE(a_request_holds_its_eventfd_whatever_becomes_of_the_number)
{
	Context context;
	Stream stream = pipe_stream();
	Fd counter(eventfd(0, EFD_NONBLOCK)), other(eventfd(0, EFD_NONBLOCK));
	Fd copy(dup(counter));
	BOOST_TEST(submit(context, poll_op(stream.reader, POLLIN).tells(counter)) == 1);
	BOOST_TEST(dup2(other, counter) == int(counter));
	BOOST_TEST(submit(context, poll_op(stream.reader, POLLIN).tells(counter)) == 1);
	put(stream.writer, "x");
	io_event events[2];
	BOOST_TEST(get(context, 2, 2, events) == 2);
	uint64_t a = 0, b = 0;
	BOOST_TEST(eventually(
		[&] { return (a += counted(copy)) >= 1 && (b += counted(other)) >= 1; }));
	BOOST_TEST(a == 1u);
	BOOST_TEST(b == 1u);
}

BOOST_AUTO_TEST_CASE(an_eventfd_that_is_full_stops_nothing)
{
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	Fd counter(eventfd(0, EFD_NONBLOCK));
	const uint64_t nearly = UINT64_MAX - 2;
	BOOST_TEST(write(counter, &nearly, sizeof nearly) == 8);
	for (int i = 0; i < 10; i++)
		BOOST_TEST(submit(context, read_op(file.fd, 4).tells(counter)) == 1);
	io_event events[16];
	BOOST_TEST(get(context, 10, 16, events) == 10);
	BOOST_TEST(run(context, read_op(file.fd, 4)) == 4);
}

namespace {

/// Every write of this process, other than the calling thread's, from now on waits until `before`
/// has been called. Calls no write() itself. False: the system cannot do that.
bool call_before_writes(std::function<void()> before)
{
	sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const sock_fprog program{4, code};
	constexpr unsigned everywhere = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return false;
	const auto listener = int(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
					  everywhere | SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
	if (listener < 0)
		return false;
	const auto self = static_cast<__u32>(syscall(SYS_gettid));
	std::thread([=] {
		for (;;) {
			seccomp_notif call{};
			if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0)
				continue;
			if (call.pid != self)
				before();
			seccomp_notif_resp answer{};
			answer.id = call.id;
			answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
			ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
		}
	}).detach();
	return true;
}

} // namespace

BOOST_AUTO_TEST_CASE(an_eventfd_that_is_filled_while_it_is_told_stops_nothing)
{
	if (!ours())
		return; // the kernel tells it by no system call
	BOOST_TEST(in_child([] {
			   Context context;
			   File file = tmpfs_file();
			   put(file.fd, "text");
			   Stream pipe = pipe_stream();
			   Fd counter(eventfd(0, 0));
			   const int filled = counter;
			   if (!call_before_writes([=] {
				       uint64_t now = 0, rest = UINT64_MAX - 1;
				       if (has_data(filled) && read(filled, &now, 8) != 8)
					       return;
				       iovec v{&rest, sizeof rest};
				       (void)!writev(filled, &v, 1);
			       }))
				   return;
			   io_event event;
			   CHILD_REQUIRE(submit(context, read_op(file.fd, 4).tells(counter)) == 1);
			   CHILD_REQUIRE(get(context, 1, 1, &event) == 1);
			   CHILD_REQUIRE(eventually([&] { return has_data(filled); }));
			   // Whoever has told the eventfd is needed for this.
			   for (int i = 0; i < 3; ++i) {
				   CHILD_REQUIRE(submit(context, poll_op(pipe.reader, POLLIN)) ==
						 1);
				   put(pipe.writer, "x");
				   CHILD_REQUIRE(get(context, 1, 1, &event) == 1);
				   char byte;
				   CHILD_REQUIRE(read(pipe.reader, &byte, 1) == 1);
			   }
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(eventfds_that_come_and_go_and_contexts_destroyed_at_once)
{
	File file = tmpfs_file();
	put(file.fd, "text");
	for (int i = 0; i < 100; i++) {
		Context context(4);
		Fd counter(eventfd(0, EFD_NONBLOCK));
		for (int k = 0; k < 3; k++)
			BOOST_TEST_REQUIRE(submit(context, read_op(file.fd, 4).tells(counter)) ==
					   1);
	}
}

// ------------------------------------------------------------- full contexts

BOOST_AUTO_TEST_CASE(a_full_context_is_eagain_until_events_are_taken)
{
	Context context(8);
	File file = tmpfs_file();
	put(file.fd, "text");
	int taken = 0;
	for (int n; (n = submit(context, read_op(file.fd, 4))) != -EAGAIN; taken++)
		BOOST_TEST_REQUIRE((n == 1 && taken < 100000));
	BOOST_TEST(taken >= 8);
	BOOST_TEST(taken < static_cast<int>(context.ring()->size));
	std::vector<io_event> events(static_cast<size_t>(taken));
	BOOST_TEST(get(context, taken, taken, events.data()) == taken);
	BOOST_TEST(run(context, read_op(file.fd, 4)) == 4);
}

BOOST_AUTO_TEST_CASE(buffered_requests_of_one_file_take_effect_in_the_order_of_submission)
{
	Context context(256);
	for (File &file : std::array<File, 2>{disk_file(), tmpfs_file()})
		for (int round = 0; round < 10; round++) {
			std::vector<Op *> ops;
			std::vector<iocb *> list;
			for (int i = 0; i < 40; i++) {
				ops.push_back(&write_op(
					file.fd, std::string(8192, static_cast<char>('A' + i))));
				ops.push_back(&read_op(file.fd, 8192));
			}
			for (Op *op : ops)
				list.push_back(&op->cb);
			for (size_t done = 0; done < list.size();) {
				const int n =
					io_submit(context, static_cast<long>(list.size() - done),
						  list.data() + done);
				BOOST_TEST_REQUIRE(n > 0);
				done += static_cast<size_t>(n);
			}
			std::vector<io_event> events(list.size());
			BOOST_TEST_REQUIRE(get(context, static_cast<long>(list.size()),
					       static_cast<long>(list.size()),
					       events.data()) == int(list.size()));
			for (size_t i = 0; i < ops.size(); i += 2)
				BOOST_TEST_REQUIRE((ops[i + 1]->text() == ops[i]->text()));
		}
}

BOOST_AUTO_TEST_CASE(appending_writes_land_in_the_order_of_submission)
{
	Context context(256);
	File file = disk_file(O_APPEND);
	std::string expected;
	for (int i = 0; i < 200; i++) {
		std::string const text = pattern(static_cast<size_t>(100 + i * 37 % 9000),
						 static_cast<unsigned>(i + 1));
		expected += text;
		BOOST_TEST_REQUIRE(submit(context, write_op(file.fd, text)) == 1);
	}
	std::vector<io_event> events(200);
	BOOST_TEST(get(context, 200, 200, events.data()) == 200);
	BOOST_TEST((file.content() == expected));
}

BOOST_AUTO_TEST_CASE(o_direct_counts_as_it_is_at_the_call)
{
	File file(disk_directory(), O_RDWR | O_DIRECT);
	if (file.fd < 0)
		return;
	Context context(256);
	std::string const text = pattern(1 << 20);
	BOOST_TEST(fcntl(file.fd, F_SETFL, 0) == 0);
	put(file.fd, text);
	BOOST_TEST(fsync(file.fd) == 0);
	posix_fadvise(file.fd, 0, 0, POSIX_FADV_DONTNEED);
	for (int i = 0; i < 60; i++) {
		const bool direct = i % 2 != 0;
		BOOST_TEST(fcntl(file.fd, F_SETFL, direct ? O_DIRECT : 0) == 0);
		const long long offset = (i * 7919 % 250) * 4096 + (direct ? 0 : 13);
		Op &op = i % 3 == 0 ? write_op(file.fd,
					       std::string_view(text).substr(
						       static_cast<size_t>(offset),
						       direct ? 4096 : 777),
					       offset)
				    : read_op(file.fd, direct ? 4096 : 777, offset);
		BOOST_TEST_REQUIRE(submit(context, op) == 1);
	}
	for (int i = 0; i < 60; i++) {
		const io_event event = next(context);
		BOOST_TEST(event.res == static_cast<Op *>(event.data)->size);
	}
	BOOST_TEST((file.content() == text));
}
