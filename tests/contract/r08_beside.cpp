// SPDX-License-Identifier: MIT
//
// Rule 8, small writes of which a thread has many outstanding: after some thousands a worker copies
// them beside the program, to find out whether that is quicker (lib/request/pace.hpp). They are
// what they are by either way: in order, at their place, whole, and their file is let go with the
// last of them.
#define BOOST_TEST_MODULE r08_beside
#include "counters.hpp"
#include "support.hpp"

#include <memory>
#include <sched.h>
#include <string_view>
#include <sys/statfs.h>
#include <thread>

namespace {

constexpr size_t depth = 32;
// Until a worker is tried, and some hundreds more.
constexpr size_t enough = 3500;

uint64_t number_in(int fd)
{
	uint64_t n = 0;
	BOOST_TEST(pread(fd, &n, sizeof n, 0) == static_cast<ssize_t>(sizeof n));
	return n;
}

/// Writes of one thread, so many at once, all to one place: their numbers.
class Writer {
public:
	explicit Writer(int fd) : fd_(fd) {}
	~Writer() { finish_all(); }
	Writer(const Writer &) = delete;
	Writer &operator=(const Writer &) = delete;

	void write(size_t count)
	{
		for (size_t i = 0; i < count; ++i)
			begin_next();
	}
	void finish_all()
	{
		for (size_t i = 0; i < depth; ++i)
			finish(place_[(written_ + i) % depth]);
	}
	uint64_t written() const { return written_; }

private:
	struct Place {
		struct aiocb cb;
		uint64_t number; // 0: none
	};

	void begin_next()
	{
		Place &p = place_[written_ % depth];
		finish(p);
		p.cb = {};
		p.cb.aio_fildes = fd_;
		p.cb.aio_buf = &p.number;
		p.cb.aio_nbytes = sizeof p.number;
		p.number = ++written_;
		BOOST_TEST_REQUIRE(aio_write(&p.cb) == 0);
	}
	/// It has taken effect, and none before it does any more.
	void finish(Place &p)
	{
		if (p.number == 0)
			return;
		while (aio_error(&p.cb) == EINPROGRESS)
			sched_yield();
		BOOST_TEST(aio_return(&p.cb) == static_cast<ssize_t>(sizeof p.number));
		BOOST_TEST(number_in(fd_) >= p.number);
		p.number = 0;
	}

	int fd_;
	uint64_t written_ = 0;
	std::array<Place, depth> place_{};
};

std::vector<File> disk_and_memory()
{
	std::vector<File> files;
	files.push_back(disk_file());
	files.push_back(tmpfs_file());
	for (const File &f : files)
		put(f.fd, std::string(sizeof(uint64_t), '\0'));
	return files;
}

/// A program that insists on the ring, or on kernel AIO, has its writes side by side.
struct InOrder {
	boost::test_tools::assertion_result operator()(boost::unit_test::test_unit_id) const
	{
		const char *const engine = getenv("SIGEVEC_ENGINE");
		return engine == nullptr ||
		       (engine != std::string_view("kaio") && engine != std::string_view("uring"));
	}
};

/// Where a worker is tried: with processors to choose among, and files that are copied in the call
/// otherwise.
bool is_compared(int fd)
{
	struct statfs s;
	cpu_set_t processors;
	const char *const engine = getenv("SIGEVEC_ENGINE");
	return (engine == nullptr || engine == std::string_view("inline")) &&
	       sched_getaffinity(0, sizeof processors, &processors) == 0 &&
	       CPU_COUNT(&processors) > 1 && fstatfs(fd, &s) == 0 &&
	       (s.f_type == 0xef53 || s.f_type == 0x58465342 || s.f_type == 0x9123683e ||
		s.f_type == 0x01021994);
}

} // namespace

// What the thread before has learned is not this one's.
BOOST_AUTO_TEST_CASE(writes_that_a_worker_copies_beside_the_program_take_effect_in_order,
		     *boost::unit_test::precondition(InOrder()))
{
	constexpr int threads = 8, rounds = 150;
	for (File &file : disk_and_memory()) {
		Since beside("inline_slower");
		for (int i = 0; i < threads; ++i)
			std::thread([&file] {
				Writer w(file.fd);
				for (int k = 0; k < rounds; ++k) {
					w.write(depth);
					w.finish_all();
					BOOST_TEST(number_in(file.fd) == w.written());
				}
			}).join();
		BOOST_TEST_MESSAGE(beside.count() << " beside the program");
		if (is_compared(file.fd))
			BOOST_TEST(beside.count() != 0);
	}
}

BOOST_AUTO_TEST_CASE(an_fsync_behind_writes_beside_the_program_covers_them,
		     *boost::unit_test::precondition(InOrder()))
{
	for (File &file : disk_and_memory())
		std::thread([&file] {
			Writer w(file.fd);
			w.write(enough);
			struct aiocb sync = {};
			sync.aio_fildes = file.fd;
			BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &sync) == 0);
			const struct aiocb *const list[] = {&sync};
			while (aio_error(&sync) == EINPROGRESS)
				aio_suspend(list, 1, nullptr);
			BOOST_TEST(aio_return(&sync) == 0);
			BOOST_TEST(number_in(file.fd) == w.written());
		}).join();
}

BOOST_AUTO_TEST_CASE(an_append_behind_writes_beside_the_program_goes_to_the_end,
		     *boost::unit_test::precondition(InOrder()))
{
	for (File &file : disk_and_memory())
		std::thread([&file] {
			Writer w(file.fd);
			w.write(enough);
			BOOST_TEST_REQUIRE(fcntl(file.fd, F_SETFL, O_APPEND) == 0);
			BOOST_TEST(finish(start_write(file.fd, "end", 0)) == ok(3));
			w.finish_all();
			BOOST_TEST(number_in(file.fd) == w.written());
			BOOST_TEST(file.content().substr(sizeof(uint64_t)) == "end");
		}).join();
}

BOOST_AUTO_TEST_CASE(a_file_is_let_go_with_the_last_write_beside_the_program,
		     *boost::unit_test::precondition(InOrder()))
{
	constexpr int rounds = 40;
	for (File &file : disk_and_memory())
		std::thread([&file] {
			{
				Writer w(file.fd);
				w.write(enough);
			}
			Since beside("inline_slower");
			for (int i = 0; i < rounds; ++i) {
				{
					Fd again(open(file.path.c_str(), O_RDWR | O_CLOEXEC));
					Writer w(again);
					w.write(depth / 4);
				}
				// A lease for writing is granted only while nobody else has the
				// file open.
				BOOST_TEST(fcntl(file.fd, F_SETLEASE, F_WRLCK) == 0);
				fcntl(file.fd, F_SETLEASE, F_UNLCK);
			}
			if (is_compared(file.fd))
				BOOST_TEST(beside.count() != 0);
		}).join();
}

// By kernel AIO, or by the ring to find out whether that is quicker (lib/engine/select.cpp).
BOOST_AUTO_TEST_CASE(transfers_with_o_direct_of_a_thread_with_several_are_right_by_either_way)
{
	constexpr size_t block = 4096, blocks = 256, transfers = 3000;
	File file = disk_file();
	put(file.fd, std::string(blocks * block, '\0'));
	Fd direct(open(file.path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
	if (direct < 0)
		return; // not on this file system
	std::thread([&] {
		struct Place {
			struct aiocb cb;
			std::unique_ptr<char, void (*)(void *)> buffer{
				static_cast<char *>(aligned_alloc(block, block)), free};
			uint64_t expected;
		};
		std::vector<Place> places(depth);
		std::array<uint64_t, blocks> written{};
		auto end = [&](Place &p) {
			if (p.cb.aio_buf == nullptr)
				return;
			const struct aiocb *const list[] = {&p.cb};
			while (aio_error(&p.cb) == EINPROGRESS)
				aio_suspend(list, 1, nullptr);
			BOOST_TEST(aio_return(&p.cb) == static_cast<ssize_t>(block));
			uint64_t there = 0;
			memcpy(&there, p.buffer.get() + block - sizeof there, sizeof there);
			BOOST_TEST(there == p.expected);
			p.cb.aio_buf = nullptr;
		};
		for (const bool writes : {true, false})
			for (size_t i = 0; i < transfers; ++i) {
				Place &p = places[i % depth];
				end(p);
				// No two that are outstanding are of one block.
				const size_t which = i % blocks;
				p.expected = writes ? (written[which] = i + 1) : written[which];
				if (writes)
					memcpy(p.buffer.get() + block - sizeof p.expected,
					       &p.expected, sizeof p.expected);
				p.cb = {};
				p.cb.aio_fildes = direct;
				p.cb.aio_buf = p.buffer.get();
				p.cb.aio_nbytes = block;
				p.cb.aio_offset = static_cast<off_t>(which * block);
				BOOST_TEST_REQUIRE((writes ? aio_write : aio_read)(&p.cb) == 0);
				if (i + 1 == transfers)
					for (Place &each : places)
						end(each);
			}
	}).join();
}
