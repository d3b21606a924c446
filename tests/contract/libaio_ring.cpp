// SPDX-License-Identifier: MIT
//
// Programs on libaio that read the ring of their context themselves, or call the kernel with it.
#define BOOST_TEST_MODULE libaio_ring
#include "libaio.hpp"

BOOST_AUTO_TEST_CASE(the_ring_has_the_kernels_layout)
{
	for (int nr : {1, 5, 128, 1000}) {
		Context context(nr);
		const Ring &ring = *context.ring();
		BOOST_TEST(ring.magic == 0xa10a10a1u);
		BOOST_TEST(ring.header_length == 32u);
		BOOST_TEST(ring.incompat == 0u);
		BOOST_TEST((ring.compat & 1) == 1u);
		BOOST_TEST(ring.head == 0u);
		BOOST_TEST(ring.tail == 0u);
		BOOST_TEST(ring.size > 2u * static_cast<unsigned>(nr));
	}
}

BOOST_AUTO_TEST_CASE(events_appear_without_a_call_and_stay_until_the_head_is_moved)
{
	Context context(16);
	Ring &ring = *context.ring();
	for (File &file : std::array<File, 2>{disk_file(), make_file({"", disk_directory(), 0})}) {
		put(file.fd, pattern(1 << 20));
		BOOST_TEST(fsync(file.fd) == 0);
	}
	for_each_file_kind([&](const FileKind &kind) {
		File file = make_file(kind);
		put(Fd(open(file.path.c_str(), O_WRONLY)), pattern(65536));
		for (unsigned i = 0; i < 3 * ring.size; i++) {
			unsigned const tail = ring.tail;
			Op &op = read_op(file.fd, 4096, 4096 * (i % 16));
			BOOST_TEST_REQUIRE(submit(context, op) == 1);
			BOOST_TEST_REQUIRE(eventually([&] { return ring.tail != tail; }));
			BOOST_TEST_REQUIRE(ring.tail == (tail + 1) % ring.size);
			io_event const &event = ring.events[tail];
			BOOST_TEST_REQUIRE(event.obj == &op.cb);
			BOOST_TEST_REQUIRE(event.data == &op);
			BOOST_TEST_REQUIRE(event.res == 4096u);
			if (i % 7 == 0) {
				BOOST_TEST_REQUIRE(next(context).obj == &op.cb);
			} else {
				ring.head = ring.tail.load();
			}
		}
		timespec none{};
		io_event event;
		BOOST_TEST(io_getevents(context, 0, 1, &event, &none) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_write_ends_without_a_call_too)
{
	Context context(16);
	for_each_file_kind([&](const FileKind &kind) {
		File file = make_file(kind);
		for (int i = 0; i < 20; i++) {
			unsigned const tail = context.ring()->tail;
			BOOST_TEST_REQUIRE(
				submit(context, write_op(file.fd, pattern(4096), i * 4096)) == 1);
			BOOST_TEST_REQUIRE(
				eventually([&] { return context.ring()->tail != tail; }));
			context.ring()->head = context.ring()->tail.load();
		}
	});
}

BOOST_AUTO_TEST_CASE(each_event_is_taken_once_by_several_threads)
{
	Context context(256);
	File file = tmpfs_file();
	put(file.fd, "text");
	File cold = disk_file();
	put(cold.fd, pattern(65536));
	constexpr int total = 4000;
	std::vector<std::atomic<int>> seen(total);
	std::atomic<int> taken{0};
	std::vector<std::thread> threads;
	for (int t = 0; t < 3; t++)
		threads.emplace_back([&, t] {
			io_event events[8];
			while (taken < total) {
				timespec brief{0, t == 0 ? 0 : 1000000};
				int const n = io_getevents(context, t % 2, 8, events, &brief);
				for (int i = 0; i < n; i++)
					seen[reinterpret_cast<size_t>(events[i].data)]++;
				taken += n > 0 ? n : 0;
			}
		});
	for (int i = 0; i < total; i++) {
		Op &op = read_op(i % 2 != 0 ? file.fd : cold.fd, 4);
		op.cb.data = reinterpret_cast<void *>(static_cast<long>(i));
		BOOST_TEST_REQUIRE(eventually([&] { return submit(context, op) == 1; }));
	}
	for (std::thread &t : threads)
		t.join();
	BOOST_TEST(taken == total);
	BOOST_TEST(std::all_of(seen.begin(), seen.end(), [](const auto &n) { return n == 1; }));
}

BOOST_AUTO_TEST_CASE(a_ring_that_is_scribbled_over_harms_that_context_alone)
{
	File file = tmpfs_file();
	put(file.fd, "text");
	Context other;
	{
		Context context(16);
		Ring &ring = *context.ring();
		Fd counter(eventfd(0, EFD_NONBLOCK));
		for (unsigned value : {1u, 77u, 0x80000000u, UINT_MAX, ring.size, ring.size - 1}) {
			ring.head = value;
			for (int i = 0; i < 300; i++)
				submit(context, read_op(file.fd, 4).tells(counter));
			ring.tail = value + 3;
			io_event events[16];
			timespec brief{0, 1000000};
			io_getevents(context, 1, 16, events, &brief);
		}
		const unsigned size = ring.size;
		memset(static_cast<void *>(&ring), 0xff, sizeof(Ring) + size * sizeof(io_event));
		submit(context, read_op(file.fd, 4));
	}
	BOOST_TEST(run(other, read_op(file.fd, 4)) == 4);
}

namespace {

/// As CRIU does: from then on the context is known by the new address.
Ring *move_ring(Ring *ring)
{
	const size_t bytes = sizeof(Ring) + ring->size * sizeof(io_event);
	void *place = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	BOOST_TEST_REQUIRE(place != MAP_FAILED);
	void *moved = mremap(ring, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	BOOST_TEST_REQUIRE(moved == place);
	return static_cast<Ring *>(moved);
}

io_context_t context_of(Ring *ring)
{
	return reinterpret_cast<io_context_t>(ring);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_ring_may_be_moved)
{
	File file = tmpfs_file();
	put(file.fd, "text");
	for (int i = 0; i < 100; i++) {
		Context context(4);
		Stream stream = pipe_stream();
		Op &poll = poll_op(stream.reader, POLLIN);
		Ring *ring = move_ring(reinterpret_cast<Ring *>(context.release()));
		BOOST_TEST_REQUIRE(submit(context_of(ring), poll) == 1);
		io_context_t old = context_of(ring);
		ring = move_ring(ring); // with a request under way
		put(stream.writer, "x");
		BOOST_TEST_REQUIRE(eventually([&] { return ring->tail != ring->head; }));
		BOOST_TEST(ring->events[ring->head].obj == &poll.cb);
		BOOST_TEST(next(context_of(ring)).obj == &poll.cb);
		BOOST_TEST(run(context_of(ring), read_op(file.fd, 4)) == 4);
		if (old != context_of(ring))
			BOOST_TEST(submit(old, read_op(file.fd, 4)) == -EINVAL);
		BOOST_TEST(io_destroy(context_of(ring)) == 0);
		BOOST_TEST(io_destroy(context_of(ring)) == -EINVAL);
	}
}

// Its events are lost, and nothing else is.
BOOST_AUTO_TEST_CASE(a_ring_may_be_unmapped)
{
	File file = tmpfs_file();
	put(file.fd, "text");
	Context other;
	Context context(4);
	Fd counter(eventfd(0, EFD_NONBLOCK));
	Stream stream = pipe_stream();
	BOOST_TEST(submit(context, poll_op(stream.reader, POLLIN).tells(counter)) == 1);
	munmap(context.ring(), sizeof(Ring) + context.ring()->size * sizeof(io_event));
	context.release();
	put(stream.writer, "x");
	BOOST_TEST(eventually([&] { return has_data(counter); }));
	BOOST_TEST(run(other, read_op(file.fd, 4)) == 4);
}

BOOST_AUTO_TEST_CASE(the_system_calls_take_the_context)
{
	io_context_t context = nullptr;
	BOOST_TEST_REQUIRE(syscall(SYS_io_setup, 8, &context) == 0);
	File file = tmpfs_file();
	put(file.fd, "text");
	Op &op = read_op(file.fd, 4);
	iocb *list[] = {&op.cb};
	BOOST_TEST(syscall(SYS_io_submit, context, 1l, list) == 1);
	io_event event;
	BOOST_TEST(syscall(SYS_io_getevents, context, 1l, 1l, &event, nullptr) == 1);
	BOOST_TEST(event.res == 4u);
	errno = 0;
	op.cb.aio_fildes = -1;
	BOOST_TEST(syscall(SYS_io_submit, context, 1l, list) == -1);
	BOOST_TEST(errno == EBADF);
	timespec none{};
	BOOST_TEST(syscall(SYS_io_pgetevents, context, 0l, 1l, &event, &none, nullptr) == 0);
	BOOST_TEST(syscall(SYS_io_cancel, context, &op.cb, &event) == -1);
	BOOST_TEST(errno == EINVAL);
	BOOST_TEST(syscall(SYS_io_destroy, context) == 0);
	BOOST_TEST(syscall(SYS_io_destroy, context) == -1);
	BOOST_TEST(errno == EINVAL);
	// All others are the kernel's.
	BOOST_TEST(syscall(SYS_getpid) == getpid());
	BOOST_TEST(syscall(SYS_close, -1) == -1);
	BOOST_TEST(errno == EBADF);
	char *const memory = reinterpret_cast<char *>(syscall(
		SYS_mmap, 0l, 4096l, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1l, 0l));
	BOOST_TEST_REQUIRE(memory != MAP_FAILED);
	memory[4095] = 1;
	munmap(memory, 4096);
}

BOOST_AUTO_TEST_CASE(a_context_of_the_kernels_is_the_kernels)
{
	io_context_t context = nullptr;
	if (kernels_own(SYS_io_setup, 8, reinterpret_cast<long>(&context)) != 0)
		return;
	File file = tmpfs_file();
	put(file.fd, "text");
	BOOST_TEST(run(context, read_op(file.fd, 4)) == 4);
	Stream stream = pipe_stream();
	Op &op = poll_op(stream.reader, POLLIN);
	BOOST_TEST(submit(context, op) == 1);
	BOOST_TEST(io_cancel(context, &op.cb, nullptr) == -EINPROGRESS);
	BOOST_TEST(next(context).obj == &op.cb);
	BOOST_TEST(io_destroy(context) == 0);
}

// As QEMU does: events are looked at in place, and call-backs submit again before the head is moved
// for good.
BOOST_AUTO_TEST_CASE(callbacks_submit_while_events_are_taken_in_place)
{
	Context context(128);
	Ring &ring = *context.ring();
	File file = disk_file();
	put(file.fd, pattern(65536));
	Fd counter(eventfd(0, EFD_NONBLOCK));
	int submitted = 0, ended = 0;
	const auto again = [&] {
		if (submitted == 3000)
			return;
		submitted++;
		BOOST_TEST_REQUIRE(
			submit(context,
			       read_op(file.fd, 512, 512 * (submitted % 128)).tells(counter)) == 1);
	};
	for (int i = 0; i < 32; i++)
		again();
	while (ended < 3000) {
		BOOST_TEST_REQUIRE(eventually([&] { return has_data(counter); }));
		uint64_t n;
		BOOST_TEST_REQUIRE(read(counter, &n, sizeof n) == 8);
		while (ring.head != ring.tail) {
			const io_event event = ring.events[ring.head];
			ring.head = (ring.head + 1) % ring.size;
			BOOST_TEST_REQUIRE(event.res == 512u);
			ended++;
			again();
		}
	}
	BOOST_TEST(ended == 3000);
}
