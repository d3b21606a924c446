// SPDX-License-Identifier: MIT
//
// Rule 8, the other half: what can be done at once is done within the call, in the order of the
// file's requests, and attempts that keep failing are not made each time (lib/engine/attempts.hpp).
#define BOOST_TEST_MODULE r08_attempts
#include "counters.hpp"
#include "support.hpp"

#include <algorithm>
#include <sys/statfs.h>

namespace {

constexpr size_t page = 4096;

bool tried_in_the_call()
{
	const char *const engine = getenv("SIGEVEC_ENGINE");
	return engine == nullptr || engine == std::string_view("inline");
}

/// File systems of which the library knows that a copy into the cache waits for no server.
bool local(int fd)
{
	struct statfs s;
	return fstatfs(fd, &s) == 0 &&
	       (s.f_type == 0xef53 || s.f_type == 0x58465342 || s.f_type == 0x9123683e);
}

Request &start_fsync(int fd)
{
	Request &request = keep(fd, 0);
	BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &request.cb) == 0);
	return request;
}

/// In the cache no longer, where the kernel does as it is asked.
void drop_from_cache(int fd)
{
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
}

std::vector<File> disk_and_memory()
{
	std::vector<File> files;
	files.push_back(disk_file());
	files.push_back(tmpfs_file());
	return files;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_small_write_into_the_cache_ends_within_the_call)
{
	for (File &file : disk_and_memory()) {
		Since done("inline_done");
		Request &request = start_write(file.fd, pattern(page));
		const bool at_once = !request.pending();
		BOOST_TEST(finish(request) == ok(page));
		BOOST_TEST((file.content() == pattern(page)));
		if (tried_in_the_call() && (file.path.starts_with("/dev/shm") || local(file.fd))) {
			BOOST_TEST(at_once);
			BOOST_TEST(done.count() == 1);
		}
	}
}

// POSIX does not ask for it, nor does kernel AIO by itself, nor the ring, where a write that has to
// wait goes on in a thread.
BOOST_AUTO_TEST_CASE(a_small_write_does_not_overtake_large_ones_of_the_same_file)
{
	const char *const engine = getenv("SIGEVEC_ENGINE");
	if (engine != nullptr &&
	    (engine == std::string_view("kaio") || engine == std::string_view("uring")))
		return;
	constexpr size_t large = 4 << 20;
	for (File &file : disk_and_memory()) {
		std::vector<Request *> before;
		for (int i = 0; i < 6; ++i)
			before.push_back(&start_write(file.fd, std::string(large, 'a')));
		Request &last = start_write(file.fd, std::string(page, 'b'), large - page);
		for (Request *r : before)
			BOOST_TEST(finish(*r) == ok(large));
		BOOST_TEST(finish(last) == ok(page));
		BOOST_TEST((file.content(page, large - page) == std::string(page, 'b')));
	}
}

BOOST_AUTO_TEST_CASE(small_appends_do_not_overtake_large_ones)
{
	constexpr size_t large = 4 << 20;
	for (const std::string &directory : {disk_directory(), std::string("/dev/shm")}) {
		File file(directory, O_RDWR | O_APPEND);
		std::vector<Request *> writes;
		for (int i = 0; i < 6; ++i)
			writes.push_back(&start_write(file.fd, std::string(large, 'a')));
		for (const char *text : {"b", "c"})
			writes.push_back(&start_write(file.fd, text));
		for (Request *r : writes)
			BOOST_TEST(finish(*r) == ok(static_cast<ssize_t>(r->size)));
		BOOST_TEST((file.content(3, 6 * large - 1) == "abc"));
	}
}

BOOST_AUTO_TEST_CASE(
	an_append_to_a_file_in_memory_goes_to_its_end_though_the_number_was_another_open_file_of_it)
{
	File file = tmpfs_file();
	BOOST_TEST(finish(start_write(file.fd, "0123456789")) == ok(10));
	Fd appending(open(file.path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC));
	BOOST_TEST_REQUIRE(dup2(appending, file.fd) == int(file.fd));
	BOOST_TEST(finish(start_write(file.fd, "x", 3)) == ok(1));
	BOOST_TEST((file.content() == "0123456789x"));
}

BOOST_AUTO_TEST_CASE(a_part_of_a_page_is_written_right_whether_it_is_in_the_cache_or_not)
{
	File file = disk_file();
	std::string expected = pattern(5 * page);
	put(file.fd, expected);
	for (int turn = 0; turn < 2; ++turn) {
		for (auto [offset, bytes] : {std::pair<size_t, size_t>{100, 50},
					     {page - 10, 20},
					     {2 * page + 7, 2 * page},
					     {5 * page - 3, 40}}) {
			if (turn == 0)
				drop_from_cache(file.fd);
			std::string const data =
				pattern(bytes, static_cast<unsigned>(offset + bytes));
			BOOST_TEST(finish(start_write(file.fd, data, static_cast<off_t>(offset))) ==
				   ok(static_cast<ssize_t>(bytes)));
			expected.resize(std::max(expected.size(), offset + bytes), '\0');
			expected.replace(offset, bytes, data);
			BOOST_TEST((file.content() == expected));
		}
	}
}

BOOST_AUTO_TEST_CASE(a_write_leaves_the_time_of_the_last_read_alone)
{
	File file = disk_file();
	put(file.fd, pattern(2 * page));
	const timespec times[] = {{1000000000, 0}, {0, UTIME_OMIT}};
	BOOST_TEST_REQUIRE(futimens(file.fd, times) == 0);
	BOOST_TEST(finish(start_write(file.fd, pattern(10), page - 5)) == ok(10));
	struct stat status {};
	BOOST_TEST_REQUIRE(fstat(file.fd, &status) == 0);
	BOOST_TEST(status.st_atim.tv_sec == 1000000000);
}

BOOST_AUTO_TEST_CASE(an_fsync_of_a_file_in_memory_waits_for_what_is_before_it)
{
	constexpr size_t large = 16 << 20;
	File file = tmpfs_file();
	for (int i = 0; i < 4; ++i) {
		Request &write = start_write(file.fd, std::string(large, 'a'));
		Request &sync = start_fsync(file.fd);
		BOOST_TEST(finish(sync) == ok(0));
		BOOST_TEST(!write.pending());
		BOOST_TEST(finish(write) == ok(large));
	}
	Request &sync = start_fsync(file.fd);
	if (tried_in_the_call())
		BOOST_TEST(!sync.pending());
	BOOST_TEST(finish(sync) == ok(0));
}

// In an order that no reading ahead follows.
static off_t scattered(size_t i, size_t blocks)
{
	return static_cast<off_t>(i * 167 % blocks * page);
}

BOOST_AUTO_TEST_CASE(a_lone_read_of_a_cold_file_is_begun_in_the_call)
{
	constexpr size_t blocks = 256;
	File file = disk_file();
	std::string const content = pattern(blocks * page);
	put(file.fd, content);
	if (!tried_in_the_call() || !local(file.fd))
		return;
	drop_from_cache(file.fd);
	Since cold("inline_cold"), done("inline_done"), left_out("inline_left_out");
	for (size_t i = 0; i < blocks; ++i) {
		const off_t at = scattered(i, blocks);
		Request &request = start_read(file.fd, page, at);
		BOOST_TEST_REQUIRE(finish(request) == ok(page));
		BOOST_TEST_REQUIRE(
			(request.text() == content.substr(static_cast<size_t>(at), page)));
	}
	BOOST_TEST_MESSAGE(cold.count() << " attempts failed, " << done.count() << " did not");
	BOOST_TEST(cold.count() + done.count() == blocks);
	BOOST_TEST(left_out.count() == 0);
}

BOOST_AUTO_TEST_CASE(reads_of_a_cold_file_that_is_busy_are_not_each_attempted)
{
	constexpr size_t large = 1 << 20, busy = 24, blocks = 64;
	File file = disk_file();
	put(file.fd, pattern((busy + 1) * large));
	if (!tried_in_the_call() || !local(file.fd))
		return;
	drop_from_cache(file.fd);
	Since cold("inline_cold"), left_out("inline_left_out");
	std::vector<Request *> before, after;
	for (size_t i = 0; i < busy; ++i)
		before.push_back(&start_read(file.fd, large, static_cast<off_t>((i + 1) * large)));
	for (size_t i = 0; i < blocks; ++i)
		after.push_back(&start_read(file.fd, page, scattered(i, blocks)));
	const auto waiting = std::count_if(before.begin(), before.end(),
					   [](const Request *r) { return r->pending(); });
	BOOST_TEST_MESSAGE(cold.count() << " attempts failed, " << left_out.count()
					<< " were left out, behind " << waiting);
	// More than the few beside which each is tried, all the while.
	constexpr size_t many = 9;
	if (static_cast<size_t>(waiting) >= many && cold.count() != 0)
		BOOST_TEST(left_out.count() >= blocks / 2);
	for (Request *r : before)
		BOOST_TEST(finish(*r) == ok(large));
	for (Request *r : after)
		BOOST_TEST(finish(*r) == ok(page));
}

// The engine that is quicker is found out by trying both: the data is right by either, and some
// dozens are enough for it (tests/unit/pace.cpp has what is then chosen).
BOOST_AUTO_TEST_CASE(direct_writes_one_after_the_other_are_right_by_either_way)
{
	constexpr size_t blocks = 64, turns = 6;
	const File file(disk_directory(), O_RDWR | O_DIRECT);
	if (file.fd < 0)
		return;
	const Fd plain(open(file.path.c_str(), O_RDWR | O_CLOEXEC));
	put(plain, std::string(blocks * page, '-'));
	BOOST_TEST_REQUIRE(fsync(plain) == 0);
	Since by_worker("kaio_slower"), by_kernel("kaio_done");
	std::string expected;
	for (size_t i = 0; i < turns * blocks; ++i) {
		const std::string data = pattern(page, static_cast<unsigned>(i));
		const auto at = static_cast<off_t>(i % blocks * page);
		BOOST_TEST_REQUIRE(finish(start_write(file.fd, data, at)) == ok(page));
		if (i >= (turns - 1) * blocks)
			expected += data;
	}
	BOOST_TEST((file.content() == expected));
	BOOST_TEST_MESSAGE(by_kernel.count() << " by the kernel, " << by_worker.count() << " not");
	// Where the kernel refuses most of them there is nothing to compare.
	if (getenv("SIGEVEC_ENGINE") == nullptr && by_kernel.count() >= 128)
		BOOST_TEST(by_worker.count() >= 8);
}
