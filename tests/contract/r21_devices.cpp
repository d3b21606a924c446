// SPDX-License-Identifier: MIT
//
// Rule 21 at devices and other files whose readiness tells less than their calls: what read(2) and
// write(2) do at once ends at once, also where poll(2) never says that it would; what they wait for
// is waited for, and can be cancelled.
#define BOOST_TEST_MODULE r21_devices
#include "refusal.hpp"

#include <linux/perf_event.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

namespace {

/// The kernel's log, behind all that it has; none where it is not to be had.
Fd log_end(int flags)
{
	Fd log(open("/dev/kmsg", flags | O_CLOEXEC));
	if (log >= 0)
		lseek(log, 0, SEEK_END);
	return log;
}

bool says_ready(int fd, short events)
{
	pollfd p{fd, events, 0};
	return poll(&p, 1, 0) > 0;
}

/// A counter whose samples are mapped: poll(2) tells of those, and read(2) gives the count.
class Counter {
public:
	Counter()
	{
		perf_event_attr a{};
		a.type = PERF_TYPE_SOFTWARE;
		a.size = sizeof a;
		a.config = PERF_COUNT_SW_DUMMY;
		a.exclude_kernel = 1;
		fd_.reset(int(syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
		if (fd_ >= 0)
			memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
	}
	~Counter()
	{
		if (memory_ != MAP_FAILED)
			munmap(memory_, bytes_);
	}
	Counter(const Counter &) = delete;
	operator int() const { return memory_ != MAP_FAILED ? int(fd_) : -1; }

private:
	size_t bytes_ = size_t(2 * getpagesize());
	Fd fd_;
	void *memory_ = MAP_FAILED;
};

struct Watched {
	std::string folder = temp_name("/tmp");
	Fd fd{inotify_init1(IN_CLOEXEC)};
	Watched()
	{
		BOOST_TEST_REQUIRE(mkdir(folder.c_str(), 0700) == 0);
		BOOST_TEST_REQUIRE(inotify_add_watch(fd, folder.c_str(), IN_CREATE) >= 0);
	}
	~Watched()
	{
		rmdir((folder + "/a").c_str());
		rmdir(folder.c_str());
	}
	Watched(const Watched &) = delete;
	void happens() const { BOOST_TEST_REQUIRE(mkdir((folder + "/a").c_str(), 0700) == 0); }
};

} // namespace

BOOST_AUTO_TEST_CASE(a_write_ends_where_the_device_never_says_that_it_can_be_written)
{
	Fd const log = log_end(O_WRONLY);
	if (log < 0) {
		BOOST_TEST_MESSAGE("no /dev/kmsg, or no right to it");
		return;
	}
	BOOST_TEST(!says_ready(log, POLLOUT));
	for (int i = 0; i < 3; ++i)
		BOOST_TEST(finish(start_write(log, "<7>a test of libsigevec")) == ok(23));
}

BOOST_AUTO_TEST_CASE(a_read_ends_where_the_file_never_says_that_it_can_be_read)
{
	const Counter counter;
	if (counter < 0) {
		BOOST_TEST_MESSAGE("perf_event_open is refused");
		return;
	}
	BOOST_TEST(!says_ready(counter, POLLIN));
	for (int i = 0; i < 3; ++i)
		BOOST_TEST(finish(start_read(counter, 8)) == ok(8));
	BOOST_TEST(finish(start_read(counter, 1)) == failed(ENOSPC));
}

BOOST_AUTO_TEST_CASE(a_read_waits_for_what_the_device_gets_later)
{
	Fd const log = log_end(O_RDONLY), writer = log_end(O_WRONLY);
	if (log < 0 || writer < 0) {
		BOOST_TEST_MESSAGE("no /dev/kmsg, or no right to it");
		return;
	}
	for (int i = 0; i < 3; ++i) {
		Request &read = start_read(log, 8192);
		BOOST_TEST_REQUIRE(write(writer, "<7>one more of libsigevec", 25) == 25);
		finish(read);
		BOOST_TEST((aio_return(&read.cb) > 0));
	}
}

BOOST_AUTO_TEST_CASE(a_read_that_waits_at_a_device_is_cancelled, BETTER_THAN_GLIBC)
{
	Fd const log = log_end(O_RDONLY);
	if (log < 0) {
		BOOST_TEST_MESSAGE("no /dev/kmsg, or no right to it");
		return;
	}
	Request &read = start_read(log, 8192);
	const int answer = aio_cancel(log, &read.cb);
	// The kernel may have something to tell just now.
	if (answer != AIO_ALLDONE)
		BOOST_TEST(answer == AIO_CANCELED);
	if (answer == AIO_CANCELED)
		BOOST_TEST(finish(read) == failed(ECANCELED));
}

BOOST_AUTO_TEST_CASE(many_reads_that_wait_at_devices_starve_nobody, BETTER_THAN_GLIBC)
{
	std::vector<Fd> logs;
	std::vector<Request *> reads;
	for (int i = 0; i < 150; ++i) {
		logs.push_back(log_end(O_RDONLY));
		if (logs.back() < 0) {
			BOOST_TEST_MESSAGE("no /dev/kmsg, or no right to it");
			return;
		}
		reads.push_back(&start_read(logs.back(), 8192));
	}
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		BOOST_TEST(finish(start_write(file.fd, pattern(4096))) == ok(4096));
		Request &sync = keep(file.fd, 0);
		BOOST_TEST(aio_fsync(O_SYNC, &sync.cb) == 0);
		BOOST_TEST(finish(sync) == ok(0));
	});
	for (size_t i = 0; i < reads.size(); ++i) {
		aio_cancel(logs[i], nullptr);
		finish(*reads[i]);
	}
}

BOOST_AUTO_TEST_CASE(where_no_thread_can_be_made_a_read_waits_at_a_device_and_holds_up_nobody,
		     BETTER_THAN_GLIBC)
{
	Fd const log = log_end(O_RDONLY), writer = log_end(O_WRONLY);
	if (log < 0 || writer < 0) {
		BOOST_TEST_MESSAGE("no /dev/kmsg, or no right to it");
		return;
	}
	BOOST_TEST(in_child([&] {
			   constexpr unsigned clone3_number = 435;
			   Stream s = pipe_stream();
			   Request &first = start_read(s.reader, 1);
			   put(s.writer, "x");
			   CHILD_REQUIRE(finish(first) == ok(1));
			   CHILD_REQUIRE(refuse({SYS_clone, clone3_number}, EAGAIN, true));
			   Request &read = start_read(log, 8192);
			   for (int i = 0; i < 3; ++i) {
				   Request &other = start_read(s.reader, 1);
				   put(s.writer, "x");
				   CHILD_REQUIRE(finish(other) == ok(1));
			   }
			   CHILD_REQUIRE(write(writer, "<7>the last of libsigevec", 25) == 25);
			   finish(read);
			   CHILD_REQUIRE(aio_return(&read.cb) > 0);
			   Request &next = start_read(log, 8192);
			   while (aio_cancel(log, &next.cb) == AIO_ALLDONE && next.error() == 0)
				   CHILD_REQUIRE(aio_read(&next.cb) == 0);
			   CHILD_REQUIRE(finish(next) == failed(ECANCELED));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_read_of_nothing_waits_if_read_does_and_is_cancelled, BETTER_THAN_GLIBC)
{
	const Watched w;
	for (int i = 0; i < 3; ++i) {
		Request &read = start_read(w.fd, 0);
		BOOST_TEST(aio_cancel(w.fd, &read.cb) == AIO_CANCELED);
		BOOST_TEST(finish(read) == failed(ECANCELED));
	}
	Request &read = start_read(w.fd, 0);
	w.happens();
	char c;
	BOOST_TEST((::read(w.fd, &c, 0) == -1 && errno == EINVAL));
	BOOST_TEST(finish(read) == failed(EINVAL));
	BOOST_TEST(finish(start_read(w.fd, 1)) == failed(EINVAL));
	BOOST_TEST(says_ready(w.fd, POLLIN));
}

BOOST_AUTO_TEST_CASE(a_read_of_nothing_is_what_read_says_at_once)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	std::vector<Fd> files;
	files.emplace_back(eventfd(0, EFD_CLOEXEC));
	files.emplace_back(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	files.emplace_back(signalfd(-1, &set, SFD_CLOEXEC));
	if (Fd u(int(syscall(SYS_userfaultfd, O_CLOEXEC))); u >= 0)
		files.push_back(std::move(u));
	if (Fd f(fanotify_init(FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY)); f >= 0)
		files.push_back(std::move(f));
	for (const Fd &f : files) {
		char c;
		const ssize_t n = read(f, &c, 0);
		BOOST_TEST(finish(start_read(f, 0)) == (n < 0 ? failed(errno) : ok(n)));
	}
}
