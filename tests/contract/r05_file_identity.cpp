// SPDX-License-Identifier: MIT
//
// Rule 5: a request holds the file it was submitted on, however the number is used
// afterwards; and only as long as it is outstanding.
#define BOOST_TEST_MODULE r05_file_identity
#include "counters.hpp"
#include "support.hpp"

#include <sys/file.h>

namespace {

/// Puts another file on the number in one step, as close and open in two would.
void replace_descriptor(int number, int with)
{
	BOOST_TEST_REQUIRE(dup2(with, number) == number);
}

/// The other end sees the end of the stream: nobody holds the closed end any more.
void check_writer_sees_end(Stream &s)
{
	BOOST_TEST(eventually([&] {
		pollfd ready{s.writer, POLLIN, 0};
		return poll(&ready, 1, 0) > 0 &&
		       (ready.revents & (POLLERR | POLLHUP | POLLRDHUP | POLLIN)) != 0;
	}));
	char c;
	if (s.duplex)
		BOOST_TEST(read(s.writer, &c, 1) <= 0);
}
void check_reader_sees_end(Stream &s)
{
	BOOST_TEST(eventually([&] {
		pollfd ready{s.reader, POLLIN, 0};
		return poll(&ready, 1, 0) > 0;
	}));
	char c;
	BOOST_TEST(read(s.reader, &c, 1) <= 0);
}

/// The parent's record lock as another process sees it.
bool locked_for_others(const std::string &path)
{
	const int status = in_child([&] {
		int const fd = open(path.c_str(), O_RDWR);
		struct flock lock {};
		lock.l_type = F_WRLCK;
		_exit(fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK &&
				      lock.l_pid == getppid()
			      ? 10
			      : 11);
	});
	return status == 10;
}

} // namespace

BOOST_AUTO_TEST_CASE(writes_land_in_the_file_that_was_open_when_they_were_submitted,
		     BETTER_THAN_GLIBC)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind), other = make_file(kind);
		int const number = file.fd;
		std::vector<Request *> writes;
		for (int i = 0; i < 200; ++i)
			writes.push_back(&start_write(number, pattern(16384, i), i * 16384));
		file.fd.reset();
		Fd reused(open(other.path.c_str(), O_RDWR));
		BOOST_TEST_REQUIRE(reused == number);
		for (Request *request : writes)
			BOOST_TEST(finish(*request) == ok(16384));
		for (int i = 0; i < 200; ++i)
			BOOST_TEST((file.content(16384, i * 16384) == pattern(16384, i)));
		BOOST_TEST(other.content().empty());
	});
}

BOOST_AUTO_TEST_CASE(reads_come_from_the_file_that_was_open_when_they_were_submitted,
		     BETTER_THAN_GLIBC)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind), other = make_file(kind);
		put(Fd(open(file.path.c_str(), O_WRONLY)), std::string(64 * 16384, 'A'));
		put(Fd(open(other.path.c_str(), O_WRONLY)), std::string(64 * 16384, 'B'));
		std::vector<Request *> reads;
		for (int i = 0; i < 64; ++i)
			reads.push_back(&start_read(file.fd, 16384, i * 16384));
		replace_descriptor(file.fd, other.fd);
		for (Request *request : reads) {
			BOOST_TEST(finish(*request) == ok(16384));
			BOOST_TEST((request->text() == std::string(16384, 'A')));
		}
	});
}

BOOST_AUTO_TEST_CASE(appends_and_their_fsync_stay_with_their_file, BETTER_THAN_GLIBC)
{
	File file = disk_file(O_APPEND), other = disk_file(O_APPEND);
	std::vector<Request *> writes;
	for (int i = 0; i < 100; ++i)
		writes.push_back(&start_write(file.fd, pattern(10000, i)));
	Request &sync = keep(file.fd, 0);
	BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
	replace_descriptor(file.fd, other.fd);
	BOOST_TEST(finish(sync) == ok(0));
	for (Request *request : writes)
		BOOST_TEST(finish(*request) == ok(10000));
	BOOST_TEST(file.content().size() == 1000000u);
	BOOST_TEST(other.content().empty());
}

BOOST_AUTO_TEST_CASE(queued_reads_follow_their_stream_when_the_number_is_reused, BETTER_THAN_GLIBC)
{
	for (StreamMaker make : stream_kinds) {
		Stream s = make(), other = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			std::vector<Request *> reads;
			for (int i = 0; i < 4; ++i)
				reads.push_back(&start_read(s.reader, 1));
			replace_descriptor(s.reader, other.reader);
			put(other.writer, "wxyz");
			put(s.writer, "abcd");
			for (int i = 0; i < 4; ++i) {
				BOOST_TEST(finish(*reads[i]) == ok(1));
				BOOST_TEST(reads[i]->text() == std::string(1, "abcd"[i]));
			}
			BOOST_TEST(take(other.reader, 4) == "wxyz");
		}
	}
}

// No terminal: closing its master throws away what the slave has not read.
BOOST_AUTO_TEST_CASE(queued_writes_follow_their_stream_when_the_number_is_reused, BETTER_THAN_GLIBC)
{
	for (StreamMaker make : {pipe_stream, fifo_stream, unix_stream_default, tcp_stream}) {
		Stream s = make(), other = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			const size_t filled = fill(s.writer);
			Request &first = start_write(s.writer, pattern(50000, 1)),
				&second = start_write(s.writer, pattern(50000, 2));
			replace_descriptor(s.writer, other.writer);
			take(s.reader, filled);
			BOOST_TEST(
				(take(s.reader, 100000) == pattern(50000, 1) + pattern(50000, 2)));
			BOOST_TEST(finish(first) == ok(50000));
			BOOST_TEST(finish(second) == ok(50000));
			BOOST_TEST(!has_data(other.reader));
		}
	}
}

BOOST_AUTO_TEST_CASE(new_requests_on_a_reused_number_go_to_the_new_file, BETTER_THAN_GLIBC)
{
	for (StreamMaker make : stream_kinds) {
		Stream s = make(), other = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			Request &old = start_read(s.reader, 1);
			replace_descriptor(s.reader, other.reader);
			Request &fresh = start_read(s.reader, 1);
			put(other.writer, "n");
			BOOST_TEST(finish(fresh) == ok(1));
			BOOST_TEST(fresh.text() == "n");
			BOOST_TEST(old.pending());
			put(s.writer, "o");
			BOOST_TEST(finish(old) == ok(1));
			BOOST_TEST(old.text() == "o");
		}
	}
}

BOOST_AUTO_TEST_CASE(a_number_reused_for_another_kind_of_file_is_treated_as_that_kind)
{
	File file = disk_file();
	BOOST_TEST(finish(start_write(file.fd, "file")) == ok(4));
	for_each_stream([&](Stream &s) {
		replace_descriptor(file.fd, s.reader);
		Request &request = start_read(file.fd, 3);
		put(s.writer, "str");
		BOOST_TEST(finish(request) == ok(3));
		File again = disk_file();
		replace_descriptor(file.fd, again.fd);
		BOOST_TEST(finish(start_write(file.fd, "again", 5)) == ok(5));
		BOOST_TEST(again.content().size() == 10u);
	});
}

BOOST_AUTO_TEST_CASE(a_closed_stream_stays_open_for_its_request, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 2);
		s.reader.reset();
		put(s.writer, "ab");
		BOOST_TEST(finish(request) == ok(2));
		BOOST_TEST(request.text() == "ab");
	});
}

/// Two files take turns at one number while reads of both wait, some of them through another open
/// file.
BOOST_AUTO_TEST_CASE(reads_that_wait_together_come_each_from_its_own_file_and_leave_no_reference,
		     BETTER_THAN_GLIBC)
{
	constexpr int blocks = 64;
	constexpr size_t page = 4096;
	std::array<File, 2> files{disk_file(), disk_file()};
	const std::array<std::string, 2> content{pattern(blocks * page, 7),
						 pattern(blocks * page, 8)};
	for (int i = 0; i < 2; ++i) {
		put(files[i].fd, content[i]);
		fsync(files[i].fd);
		posix_fadvise(files[i].fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	std::vector<Request *> reads;
	{
		Fd number(dup(files[0].fd));
		for (int i = 0; i < blocks; ++i) {
			File &file = files[i % 2];
			Fd again(open(file.path.c_str(), O_RDWR | O_CLOEXEC));
			replace_descriptor(number, i % 4 < 2 ? int(file.fd) : int(again));
			reads.push_back(&start_read(number, page,
						    i * 167 % blocks * static_cast<off_t>(page)));
		}
	}
	for (int i = 0; i < blocks; ++i) {
		BOOST_TEST(finish(*reads[i]) == ok(page));
		BOOST_TEST(
			(reads[i]->text() == content[i % 2].substr(i * 167 % blocks * page, page)));
	}
	// A lease for writing is granted only while nobody else has the file open.
	for (File &file : files)
		BOOST_TEST(fcntl(file.fd, F_SETLEASE, F_WRLCK) == 0);
}

BOOST_AUTO_TEST_CASE(no_reference_remains_after_a_completed_read)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		put(s.writer, "x");
		BOOST_TEST(finish(request) == ok(1));
		s.reader.reset();
		check_writer_sees_end(s);
	});
}

BOOST_AUTO_TEST_CASE(no_reference_remains_after_a_completed_write)
{
	for_each_stream([](Stream &s) {
		Request &request = start_write(s.writer, pattern(200000));
		take(s.reader, 200000);
		BOOST_TEST(finish(request) == ok(200000));
		s.writer.reset();
		check_reader_sees_end(s);
	});
}

BOOST_AUTO_TEST_CASE(no_reference_remains_after_a_cancelled_read, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_CANCELED);
		BOOST_TEST(finish(request) == failed(ECANCELED));
		s.reader.reset();
		check_writer_sees_end(s);
	});
}

BOOST_AUTO_TEST_CASE(no_reference_remains_when_the_descriptor_was_closed_first, BETTER_THAN_GLIBC)
{
	for_each_stream([](Stream &s) {
		Request &request = start_read(s.reader, 1);
		s.reader.reset();
		put(s.writer, "x");
		BOOST_TEST(finish(request) == ok(1));
		check_writer_sees_end(s);
	});
}

BOOST_AUTO_TEST_CASE(a_file_lock_goes_with_the_last_close)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		Fd other(open(file.path.c_str(), O_RDWR));
		BOOST_TEST_REQUIRE(flock(file.fd, LOCK_EX) == 0);
		std::vector<Request *> writes;
		for (int i = 0; i < 20; ++i)
			writes.push_back(&start_write(file.fd, pattern(4096), i * 4096));
		for (Request *request : writes)
			BOOST_TEST(finish(*request) == ok(4096));
		BOOST_TEST(flock(other, LOCK_EX | LOCK_NB) == -1);
		file.fd.reset();
		BOOST_TEST(eventually([&] { return flock(other, LOCK_EX | LOCK_NB) == 0; }));
	});
}

BOOST_AUTO_TEST_CASE(the_processs_record_locks_survive_requests_on_the_file)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		struct flock lock {};
		lock.l_type = F_WRLCK;
		BOOST_TEST_REQUIRE(fcntl(file.fd, F_SETLK, &lock) == 0);
		BOOST_TEST(locked_for_others(file.path));
		std::vector<Request *> writes;
		for (int i = 0; i < 40; ++i)
			writes.push_back(&start_write(file.fd, pattern(16384), i * 16384));
		Request &sync = keep(file.fd, 0);
		BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
		for (Request *request : writes)
			BOOST_TEST(finish(*request) == ok(16384));
		BOOST_TEST(finish(sync) == ok(0));
		BOOST_TEST(finish(start_read(file.fd, 4096)) == ok(4096));
		aio_cancel(file.fd, nullptr);
		BOOST_TEST(locked_for_others(file.path));
	});
}

BOOST_AUTO_TEST_CASE(record_locks_survive_when_the_requests_came_through_another_descriptor)
{
	File file = disk_file();
	struct flock lock {};
	lock.l_type = F_WRLCK;
	BOOST_TEST_REQUIRE(fcntl(file.fd, F_SETLK, &lock) == 0);
	const int other =
		open(file.path.c_str(), O_RDWR); // stays open: closing it is what gives locks up
	for (int i = 0; i < 50; ++i)
		BOOST_TEST(finish(start_write(other, pattern(8192), i * 8192)) == ok(8192));
	BOOST_TEST(locked_for_others(file.path));
}

// ---- what kernel AIO refuses after the call, or does in part, goes on by the number

namespace {

/// The events of a kernel-AIO context, as they lie in the memory of the process.
struct EventRing {
	uint32_t id, size, head, tail, other[4];
	struct {
		uint64_t data, object;
		int64_t result, result2;
	} events[];
};

/// The result in the oldest event that nobody has taken; nullptr: there is none. *contexts: how
/// many there are.
int64_t *result_not_taken(int *contexts)
{
	std::ifstream maps("/proc/self/maps");
	int64_t *found = nullptr;
	*contexts = 0;
	for (std::string line; std::getline(maps, line);) {
		if (line.find("[aio]") == std::string::npos)
			continue;
		++*contexts;
		auto *ring = reinterpret_cast<EventRing *>(std::stoul(line, nullptr, 16));
		const uint32_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
		if (head != __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE))
			found = &ring->events[head].result;
	}
	return found;
}

/// Reads a page of `a` by O_DIRECT, of which the kernel then says `result`, before anybody asks.
/// nullptr: this engine has no such thing.
Request *read_that_goes_on(const File &a, int64_t result)
{
	// It may be turned away at once, and then a worker reads.
	const Since left_out("kaio_left_out"), waits("kaio_would_block"), full("kaio_full");
	Request &request = start_read(a.fd, 4096);
	int contexts = 0;
	result_not_taken(&contexts);
	int64_t *event = nullptr;
	if (contexts != 0 && left_out.count() + waits.count() + full.count() == 0)
		BOOST_TEST_REQUIRE(eventually(
			[&] { return (event = result_not_taken(&contexts)) != nullptr; }));
	if (event == nullptr)
		return nullptr;
	*event = result;
	return &request;
}

/// A file for O_DIRECT of two pages of these bytes; or without a descriptor: there are none.
File direct_file(char c)
{
	File file(disk_directory(), O_RDWR | O_DIRECT);
	if (file.fd < 0)
		return file;
	const Fd out(open(file.path.c_str(), O_WRONLY));
	put(out, std::string(8192, c));
	BOOST_TEST_REQUIRE(fsync(out) == 0); // or the kernel refuses the read at once
	return file;
}

/// Keeps its inode number from the next ones, of which kernel AIO would not be asked: it has
/// refused a read of that number.
void keep_number(const File &file)
{
	static std::vector<Fd> kept;
	kept.emplace_back(open(file.path.c_str(), O_RDONLY));
}

uint64_t inode(int fd)
{
	struct stat status {};
	BOOST_TEST_REQUIRE(fstat(fd, &status) == 0);
	return status.st_ino;
}

} // namespace

BOOST_AUTO_TEST_CASE(what_goes_on_after_the_call_goes_on_in_its_file)
{
	for (int64_t said : {int64_t{-EAGAIN}, int64_t{512}}) {
		File a = direct_file('A');
		keep_number(a);
		Request *read = a.fd >= 0 ? read_that_goes_on(a, said) : nullptr;
		if (read == nullptr)
			return;
		const int number = a.fd;
		a.fd.reset();
		Fd again(open(a.path.c_str(), O_RDWR | O_DIRECT));
		BOOST_TEST_REQUIRE(again == number);
		BOOST_TEST(finish(*read) == ok(4096));
		BOOST_TEST((read->text() == std::string(4096, 'A')));
	}
}

BOOST_AUTO_TEST_CASE(what_goes_on_after_the_call_ends_when_its_file_has_gone)
{
	File a = direct_file('A');
	keep_number(a);
	Request *read = a.fd >= 0 ? read_that_goes_on(a, -EAGAIN) : nullptr;
	if (read == nullptr)
		return;
	a.fd.reset();
	BOOST_TEST(finish(*read) == failed(EAGAIN));
}

// File systems give the inode number of a file that is gone to the next one.
BOOST_AUTO_TEST_CASE(what_goes_on_after_the_call_is_no_other_file_s_of_its_inode_number)
{
	File a = direct_file('A');
	Request *read = a.fd >= 0 ? read_that_goes_on(a, -EAGAIN) : nullptr;
	if (read == nullptr)
		return;
	const uint64_t before = inode(a.fd);
	const int number = a.fd;
	unlink(a.path.c_str());
	a.fd.reset();
	std::vector<File> others;
	do
		others.push_back(direct_file('B'));
	while (inode(others.back().fd) != before && others.size() < 50);
	if (others.back().fd != number)
		replace_descriptor(number, others.back().fd);
	BOOST_TEST(finish(*read) == failed(EAGAIN));
	BOOST_TEST_MESSAGE("its number " << (inode(number) == before ? "was" : "was not")
					 << " given again");
}
