// SPDX-License-Identifier: MIT
//
// Programs on libaio: what io_submit and its like say of their arguments, in the kernel's order
// (io_submit(2), io_setup(2)).
#define BOOST_TEST_MODULE libaio_arguments
#include "libaio.hpp"

#include <sys/epoll.h>

namespace {

void *const nowhere = reinterpret_cast<void *>(4096);

/// Two pages, of which the second is not there.
struct Edge {
	char *base = static_cast<char *>(
		mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	Edge() { mprotect(base + 4096, 4096, PROT_NONE); }
	~Edge() { munmap(base, 8192); }
};

} // namespace

BOOST_AUTO_TEST_CASE(the_first_bad_request_ends_the_list)
{
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	Op &good = read_op(file.fd, 4), &bad = read_op(-1, 4);
	iocb *list[] = {&good.cb, &good.cb, &bad.cb, &good.cb};
	BOOST_TEST(io_submit(context, 4, list) == 2);
	BOOST_TEST(io_submit(context, 2, list + 2) == -EBADF);
	io_event events[4];
	BOOST_TEST(get(context, 2, 4, events) == 2);
	timespec none{};
	BOOST_TEST(io_getevents(context, 0, 4, events, &none) == 0);
}

BOOST_AUTO_TEST_CASE(errno_is_not_touched)
{
	Context context;
	errno = 77;
	BOOST_TEST(submit(context, read_op(-1, 4)) == -EBADF);
	timespec none{};
	io_event event;
	BOOST_TEST(io_getevents(context, 1, 1, &event, &none) == 0);
	File file = disk_file();
	BOOST_TEST(run(context, write_op(file.fd, "text")) == 4);
	io_context_t other = nullptr;
	BOOST_TEST(io_setup(0, &other) == -EINVAL);
	BOOST_TEST(io_setup(1, &other) == 0);
	BOOST_TEST(io_destroy(other) == 0);
	BOOST_TEST(errno == 77);
}

BOOST_AUTO_TEST_CASE(a_list_may_be_empty_but_not_negative)
{
	Context context;
	BOOST_TEST(io_submit(context, 0, nullptr) == 0);
	BOOST_TEST(io_submit(context, -1, nullptr) == -EINVAL);
	BOOST_TEST(io_submit(context, LONG_MIN, nullptr) == -EINVAL);
}

BOOST_AUTO_TEST_CASE(bad_addresses_are_efault)
{
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	Op &op = read_op(file.fd, 4);
	BOOST_TEST(io_submit(context, 1, nullptr) == -EFAULT);
	for (void *bad : {nowhere, reinterpret_cast<void *>(-1l), reinterpret_cast<void *>(-4096l),
			  reinterpret_cast<void *>(0x800000000000)}) {
		BOOST_TEST(io_submit(context, 1, static_cast<iocb **>(bad)) == -EFAULT);
		BOOST_TEST(submit(context, static_cast<iocb *>(bad)) == -EFAULT);
	}
	BOOST_TEST(submit(context, static_cast<iocb *>(nullptr)) == -EFAULT);
	Edge edge;
	auto **const list = reinterpret_cast<iocb **>(edge.base + 4088);
	*list = &op.cb;
	BOOST_TEST(io_submit(context, 2, list) == 1);
	BOOST_TEST(next(context).res == 4u);
	auto *const cut = reinterpret_cast<iocb *>(edge.base + 4096 - 32);
	memcpy(static_cast<void *>(cut), &op.cb, 32);
	BOOST_TEST(submit(context, cut) == -EFAULT);

	// Out of any program's reach: said by io_submit. In reach, and not there: by the event.
	Op &buffer = read_op(file.fd, 4);
	buffer.cb.u.c.buf = reinterpret_cast<void *>(-4096l);
	BOOST_TEST(run(context, buffer) == refused(EFAULT));
	Op &vector = keep_op(IO_CMD_PREADV, file.fd, 4);
	vector.cb.u.c.buf = nowhere;
	BOOST_TEST(run(context, vector) == refused(EFAULT));
	vector.cb.u.c.buf = vector.halves.data();
	vector.halves[1].iov_base = reinterpret_cast<void *>(-4096l);
	BOOST_TEST(run(context, vector) == refused(EFAULT));

	BOOST_TEST(run(context, op) == 4);
	BOOST_TEST(submit(context, op) == 1);
	BOOST_TEST(get(context, 1, 1, static_cast<io_event *>(nowhere)) == -EFAULT);
	BOOST_TEST(next(context).res == 4u);
	BOOST_TEST(io_cancel(context, static_cast<iocb *>(nowhere), nullptr) == -EFAULT);
}

BOOST_AUTO_TEST_CASE(an_iocb_that_cannot_be_written_is_efault)
{
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	auto *const page = static_cast<iocb *>(
		mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	Op &op = read_op(file.fd, 4);
	op.cb.key = 0;
	*page = op.cb;
	BOOST_TEST(mprotect(page, 4096, PROT_READ) == 0);
	BOOST_TEST(submit(context, page) == -EFAULT);
	BOOST_TEST(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
	BOOST_TEST(submit(context, page) == 1);
	next(context);
	munmap(page, 4096);
}

BOOST_AUTO_TEST_CASE(the_key_is_written)
{
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	Op &op = read_op(file.fd, 4);
	op.cb.key = 0xabcdef;
	BOOST_TEST(run(context, op) == 4);
	BOOST_TEST(op.cb.key == 0u);
	op.cb.key = 0xabcdef;
	BOOST_TEST(io_cancel(context, &op.cb, nullptr) == -EINVAL);
}

BOOST_AUTO_TEST_CASE(bad_requests_are_refused_at_once)
{
	Context context;
	File file = disk_file();
	put(file.fd, pattern(4096));
	Stream stream = pipe_stream();
	Fd counter(eventfd(0, 0)), reader(open(file.path.c_str(), O_RDONLY)),
		writer(open(file.path.c_str(), O_WRONLY));
	Fd path(open(file.path.c_str(), O_PATH)), folder(open(".", O_RDONLY)),
		epoll(epoll_create1(0));

	struct Case {
		const char *what;
		int error;
		std::function<void(iocb &)> change;
	};
	iovec bad{nullptr, SIZE_MAX};
	std::vector<iovec> many(IOV_MAX + 1, iovec{nullptr, 0});
	const Case cases[] = {
		{"no descriptor", EBADF, [&](iocb &i) { i.aio_fildes = -1; }},
		{"a number far away", EBADF, [&](iocb &i) { i.aio_fildes = 100000; }},
		{"only a path", EBADF, [&](iocb &i) { i.aio_fildes = path; }},
		{"not for reading", EBADF, [&](iocb &i) { i.aio_fildes = writer; }},
		{"not for writing", EBADF,
		 [&](iocb &i) { i.aio_fildes = reader, i.aio_lio_opcode = IO_CMD_PWRITE; }},
		{"the wrong end of a pipe", EBADF, [&](iocb &i) { i.aio_fildes = stream.writer; }},
		{"a folder", EINVAL, [&](iocb &i) { i.aio_fildes = folder; }},
		{"an epoll instance", EINVAL, [&](iocb &i) { i.aio_fildes = epoll; }},
		{"writing to an eventfd", EINVAL,
		 [&](iocb &i) { i.aio_fildes = counter, i.aio_lio_opcode = IO_CMD_PWRITE; }},
		{"a negative offset", EINVAL, [&](iocb &i) { i.u.c.offset = -1; }},
		{"a negative offset of a pipe", EINVAL,
		 [&](iocb &i) { i.aio_fildes = stream.reader, i.u.c.offset = -1; }},
		{"an end beyond all files", EINVAL,
		 [&](iocb &i) { i.u.c.offset = LLONG_MAX - 10; }},
		{"a size beyond all", EINVAL, [&](iocb &i) { i.u.c.nbytes = SIZE_MAX; }},
		{"an unknown operation", EINVAL, [&](iocb &i) { i.aio_lio_opcode = 99; }},
		{"an operation of old", EINVAL, [&](iocb &i) { i.aio_lio_opcode = 4; }},
		{"unknown flags of the transfer", EOPNOTSUPP,
		 [&](iocb &i) { i.aio_rw_flags = 1 << 30; }},
		{"flags that contradict", EINVAL,
		 [&](iocb &i) { i.aio_rw_flags = 0x10 | 0x20, i.aio_lio_opcode = IO_CMD_PWRITE; }},
		{"no eventfd", EBADF, [&](iocb &i) { io_set_eventfd(&i, -1); }},
		{"a file as an eventfd", EINVAL, [&](iocb &i) { io_set_eventfd(&i, reader); }},
		{"a bad element", EINVAL,
		 [&](iocb &i) {
			 i.aio_lio_opcode = IO_CMD_PREADV, i.u.c.buf = &bad, i.u.c.nbytes = 1;
		 }},
		{"too many elements", EINVAL,
		 [&](iocb &i) {
			 i.aio_lio_opcode = IO_CMD_PREADV, i.u.c.buf = many.data(),
			 i.u.c.nbytes = many.size();
		 }},
		{"fsync of a range", EINVAL, [&](iocb &i) { i.aio_lio_opcode = IO_CMD_FSYNC; }},
		{"fsync of a pipe", EINVAL,
		 [&](iocb &i) {
			 i.aio_lio_opcode = IO_CMD_FSYNC, i.aio_fildes = stream.reader, i.u.c = {};
		 }},
		{"a poll with a length", EINVAL,
		 [&](iocb &i) { i.aio_lio_opcode = IO_CMD_POLL, i.u.c.buf = nullptr; }},
		{"a poll of more than 16 bits", EINVAL,
		 [&](iocb &i) {
			 i.aio_lio_opcode = IO_CMD_POLL, i.u.c = {},
			 i.u.c.buf = reinterpret_cast<void *>(0x10001);
		 }},
	};
	for (const Case &c : cases)
		BOOST_TEST_CONTEXT(c.what)
		{
			Op &op = read_op(file.fd, 100);
			c.change(op.cb);
			BOOST_TEST(run(context, op) == refused(c.error));
		}
	Op &reserved = read_op(file.fd, 100);
	reinterpret_cast<uint64_t *>(&reserved.cb)[6] = 1;
	BOOST_TEST(run(context, reserved) == refused(EINVAL));
	BOOST_TEST(run(context, keep_op(IO_CMD_FSYNC, folder)) == 0);
	BOOST_TEST(run(context, keep_op(IO_CMD_PREADV, file.fd)) == 0);
}

BOOST_AUTO_TEST_CASE(an_fsync_of_a_file_that_has_none_is_refused_at_once)
{
	Context context;
	for (const char *name : {"/dev/zero", "/dev/full", "/dev/null", "/dev/urandom",
				 "/proc/self/status", "/proc/self/ns/pid", "/proc/self", "."})
		BOOST_TEST_CONTEXT(name)
		{
			Fd fd(open(name, O_RDONLY));
			BOOST_TEST_REQUIRE(fd >= 0);
			const long judge = fsync(fd) == 0 ? 0 : refused(errno);
			for (short op : {IO_CMD_FSYNC, IO_CMD_FDSYNC})
				BOOST_TEST(run(context, keep_op(op, fd)) == judge);
		}
}

BOOST_AUTO_TEST_CASE(a_device_that_kernel_aio_cannot_write_to_is_refused_at_once)
{
	Context context;
	Fd full(open("/dev/full", O_RDWR));
	io_context_t none = nullptr;
	const bool can_be_asked = kernels_own(SYS_io_setup, 1, reinterpret_cast<long>(&none)) == 0;
	if (can_be_asked)
		kernels_own(SYS_io_destroy, reinterpret_cast<long>(none), 0);
	BOOST_TEST(run(context, write_op(full, "x")) == (can_be_asked ? refused(EINVAL) : -ENOSPC));
	BOOST_TEST(run(context, read_op(full, 10)) == 10);
}

BOOST_AUTO_TEST_CASE(of_several_errors_the_kernels_first_is_told)
{
	Context context;
	File file = disk_file();
	Fd writer(open(file.path.c_str(), O_WRONLY));
	Op &op = read_op(-1, 100, -1);
	io_set_eventfd(&op.cb, -1);
	op.cb.aio_rw_flags = 1 << 30;
	op.cb.u.c.nbytes = SIZE_MAX;
	BOOST_TEST(run(context, op) == refused(EINVAL)); // the size
	op.cb.u.c.nbytes = 100;
	BOOST_TEST(run(context, op) == refused(EBADF)); // the descriptor
	op.cb.aio_fildes = writer;
	BOOST_TEST(run(context, op) == refused(EBADF)); // the eventfd
	op.cb.u.c.flags = 0;
	BOOST_TEST(run(context, op) == refused(EOPNOTSUPP)); // the flags
	op.cb.aio_rw_flags = 0;
	BOOST_TEST(run(context, op) == refused(EBADF)); // the mode
	op.cb.aio_fildes = file.fd;
	BOOST_TEST(run(context, op) == refused(EINVAL)); // the offset
}

BOOST_AUTO_TEST_CASE(the_flags_of_a_transfer_are_those_that_the_kernel_takes)
{
	constexpr int nowait = 0x8, atomic = 0x40; // of which the file decides
	Context context(4);
	File file = disk_file();
	for (int flag = 1; flag > 0 && flag < 1 << 30; flag *= 2)
		for (bool write : {false, true}) {
			if (flag == nowait || flag == atomic)
				continue;
			std::array<char, 3> data{'a', 'b', 'c'};
			iovec const whole{data.data(), data.size()};
			const ssize_t judge = write ? pwritev2(file.fd, &whole, 1, 0, flag)
						    : preadv2(file.fd, &whole, 1, 0, flag);
			const long expected = judge < 0 ? refused(errno) : judge;
			Op &op = write ? write_op(file.fd, "abc") : read_op(file.fd, 3);
			BOOST_TEST_CONTEXT((write ? "write, " : "read, ") << flag)
			BOOST_TEST(run(context, op.flags(flag)) == expected);
		}
}

BOOST_AUTO_TEST_CASE(nothing_is_needed_once_io_submit_has_returned)
{
	Context context;
	File file = disk_file();
	std::string const text = pattern(300000);
	put(file.fd, text);
	BOOST_TEST(fsync(file.fd) == 0);
	for (int round = 0; round < 20; round++) {
		posix_fadvise(file.fd, 0, 0, POSIX_FADV_DONTNEED);
		Op &op = keep_op(IO_CMD_PREADV, file.fd, 200000, 1000);
		auto *const page = static_cast<char *>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
							    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		auto *const cb = reinterpret_cast<iocb *>(page);
		auto **const list = reinterpret_cast<iocb **>(page + 256);
		memcpy(page + 512, op.halves.data(), sizeof op.halves);
		*cb = op.cb;
		cb->u.c.buf = page + 512;
		*list = cb;
		const int copy = dup(file.fd);
		cb->aio_fildes = copy;
		BOOST_TEST_REQUIRE(io_submit(context, 1, list) == 1);
		close(copy);
		munmap(page, 4096);
		const io_event event = next(context);
		BOOST_TEST(event.res == 200000u);
		BOOST_TEST(event.obj == cb);
		BOOST_TEST((op.text() == text.substr(1000, 200000)));
	}
}

BOOST_AUTO_TEST_CASE(io_setup_and_io_destroy_say_what_is_wrong)
{
	io_context_t context = nullptr;
	BOOST_TEST(io_setup(0, &context) == -EINVAL);
	BOOST_TEST(io_setup(INT_MAX, &context) == -EINVAL);
	BOOST_TEST(io_setup(1, nullptr) == -EFAULT);
	BOOST_TEST(io_setup(1, static_cast<io_context_t *>(nowhere)) == -EFAULT);
	context = static_cast<io_context_t>(nowhere);
	BOOST_TEST(io_setup(1, &context) == -EINVAL);
	BOOST_TEST(io_destroy(nullptr) == -EINVAL);
	BOOST_TEST(io_destroy(context) == -EINVAL);
	BOOST_TEST(io_destroy(reinterpret_cast<io_context_t>(-1l)) == -EINVAL);
	BOOST_TEST(io_queue_init(0, &context) == -EINVAL);
	BOOST_TEST(io_queue_init(5, &context) == 0);
	BOOST_TEST(io_queue_release(context) == 0);
	BOOST_TEST(io_destroy(context) == -EINVAL);
	Op &op = read_op(-1, 4);
	for (io_context_t bad :
	     {context, static_cast<io_context_t>(nullptr), static_cast<io_context_t>(nowhere)}) {
		BOOST_TEST(submit(bad, op) == -EINVAL);
		op.cb.key = 0;
		BOOST_TEST(io_cancel(bad, &op.cb, nullptr) == -EINVAL);
		if (ours())
			BOOST_TEST(next(bad).res == static_cast<unsigned long>(
							    -EINVAL)); // libaio itself looks there
	}
	auto *const page = static_cast<io_context_t *>(
		mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	BOOST_TEST(io_setup(1, page) == -EFAULT);
	munmap(page, 4096);
}

BOOST_AUTO_TEST_CASE(contexts_are_set_up_and_destroyed_many_times)
{
	for (int i = 0; i < (ours() ? 5000 : 20); i++) {
		io_context_t context = nullptr;
		BOOST_TEST_REQUIRE(io_setup(1 + i % 100, &context) == 0);
		BOOST_TEST_REQUIRE(io_destroy(context) == 0);
	}
}

BOOST_AUTO_TEST_CASE(io_getevents_wants_no_more_than_there_is_room_for)
{
	Context context;
	io_event event;
	timespec none{};
	BOOST_TEST(io_pgetevents(context, 2, 1, &event, nullptr, nullptr) == -EINVAL);
	BOOST_TEST(io_pgetevents(context, -1, 1, &event, nullptr, nullptr) == -EINVAL);
	BOOST_TEST(io_getevents(context, 0, 0, nullptr, &none) == 0);
	BOOST_TEST(io_getevents(context, 0, 1, &event, nullptr) == 0);
	if (ours())
		BOOST_TEST(io_getevents(context, 0, 1, &event, static_cast<timespec *>(nowhere)) ==
			   -EFAULT);
}

BOOST_AUTO_TEST_CASE(the_versions_of_old_have_their_own_arguments)
{
	const auto get_old =
		reinterpret_cast<int (*)(io_context_t, long, io_event *, const timespec *)>(
			dlvsym(RTLD_DEFAULT, "io_getevents", "LIBAIO_0.1"));
	const auto cancel_old = reinterpret_cast<int (*)(io_context_t, iocb *)>(
		dlvsym(RTLD_DEFAULT, "io_cancel", "LIBAIO_0.1"));
	const auto wait_old = reinterpret_cast<int (*)(io_context_t, timespec *)>(
		dlvsym(RTLD_DEFAULT, "io_queue_wait", "LIBAIO_0.1"));
	BOOST_TEST_REQUIRE((get_old && cancel_old && wait_old));
	Context context;
	Stream stream = pipe_stream();
	Op &op = poll_op(stream.reader, POLLIN);
	BOOST_TEST(submit(context, op) == 1);
	timespec none{};
	io_event event;
	BOOST_TEST(get_old(context, 1, &event, &none) == 0);
	BOOST_TEST(wait_old(context, &none) == 0);
	BOOST_TEST(cancel_old(context, &op.cb) == -EINPROGRESS);
	BOOST_TEST(get_old(context, 1, &event, nullptr) == 1);
}

namespace {
long called_with;
void called(io_context_t, iocb *, long result, long)
{
	called_with = result;
}
} // namespace

BOOST_AUTO_TEST_CASE(io_queue_run_calls_the_functions_of_the_events)
{
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	Op &op = read_op(file.fd, 4);
	io_set_callback(&op.cb, called);
	BOOST_TEST(io_queue_run(context) == 0);
	BOOST_TEST(submit(context, op) == 1);
	BOOST_TEST(eventually([&] { return io_queue_run(context) == 0 && called_with == 4; }));
}
