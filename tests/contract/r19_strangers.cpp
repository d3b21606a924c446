// SPDX-License-Identifier: MIT
//
// Rules 19 and 20 for what a channel and its sources keep in the kernel: a child of clone, in which
// no handler of the library's runs, finds no memory and no descriptor there by which its parent
// could be misled; files of the program's that get the numbers, with every mark a peer could give
// them, are not touched; and what waits goes on when the program has closed everything it does not
// know.
#define BOOST_TEST_MODULE r19_strangers
#include "channel.hpp"
#include "refusal.hpp"

#include <dirent.h>
#include <grp.h>
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

namespace {

constexpr int first_number = 3, last_number = 1100;
constexpr const char *bytes = "12345678";

pid_t clone_without_handlers()
{
	return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

/// Shared memory of a kind that this process could write to.
int count_mappings(const char *kind)
{
	FILE *const maps = fopen("/proc/self/maps", "re");
	char line[512];
	int count = 0;
	while (fgets(line, sizeof line, maps) != nullptr)
		count += strstr(line, kind) != nullptr && strstr(line, "rw-s") != nullptr;
	fclose(maps);
	return count;
}

std::vector<int> open_numbers()
{
	std::vector<int> all;
	for (int fd = first_number; fd < last_number; ++fd)
		if (fcntl(fd, F_GETFD) >= 0)
			all.push_back(fd);
	return all;
}

std::vector<int> without(std::vector<int> all, const std::vector<int> &some)
{
	all.erase(std::remove_if(all.begin(), all.end(),
				 [&](int fd) {
					 return std::find(some.begin(), some.end(), fd) !=
						some.end();
				 }),
		  all.end());
	return all;
}

int queue_of_messages()
{
	mq_attr attributes{};
	attributes.mq_maxmsg = 2;
	attributes.mq_msgsize = 8;
	char name[32];
	snprintf(name, sizeof name, "/strangers-%d", getpid());
	const int queue = mq_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600, &attributes);
	mq_unlink(name);
	return queue;
}

/// A channel with something of each kind that waits in it.
struct Scene {
	ec_t ec = -1;
	int connection[2], polled[2], queue = -1;
	std::vector<int> before, of_library;
	char byte = 0;
	bool start(unsigned flags)
	{
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		pthread_sigmask(SIG_BLOCK, &set, nullptr);
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, connection) != 0 ||
		    pipe2(polled, O_CLOEXEC) != 0)
			return false;
		queue = queue_of_messages();
		before = open_numbers();
		ec = ec_create(flags | EC_CLOEXEC);
		sigevent by_event{};
		by_event.sigev_notify = SIGEV_EC;
		by_event.sigev_ec = ec;
		by_event.sigev_value.sival_ptr = &queue;
		const bool started = ec >= 0 && ev_signal(&set, ec, &before) == 0 &&
				     mq_notify(queue, &by_event) == 0 &&
				     ev_recv(connection[0], &byte, 1, 0, ec, &byte) == 0 &&
				     ev_poll(polled[0], POLLIN, ec, polled) == 0 &&
				     ec_submit(ec) >= 0;
		of_library = without(without(open_numbers(), before), {ec});
		return started;
	}
	/// Causes each, and takes what comes: 0, or a digit for each that has not come.
	int finish()
	{
		if (mq_send(queue, "m", 1, 0) != 0 || raise(SIGUSR2) != 0 ||
		    write(connection[1], "x", 1) != 1 || write(polled[1], "x", 1) != 1)
			return 20;
		int left = 15;
		event_data_t event;
		while (left != 0 && take_events(ec, &event, 1) == 1) {
			if (event.ev_errno != 0)
				return 21;
			left &= ~(event.ev_data == &queue    ? 1
				  : event.ev_data == &before ? 2
				  : event.ev_data == &byte   ? 4
							     : 8);
		}
		return left == 0 && byte == 'x' ? 0 : 30 + left;
	}
};

/// The program's own files at numbers that the library had. Of pipes, because a pipe's bytes are
/// gone once they are read.
bool plant(const std::vector<int> &numbers)
{
	for (int fd : numbers) {
		int ends[2];
		if (pipe(ends) != 0 || write(ends[1], bytes, 8) != 8)
			return false;
		const int writer = fcntl(ends[1], F_DUPFD, last_number),
			  reader = fcntl(ends[0], F_DUPFD, last_number);
		if (writer < 0 || dup2(reader, fd) != fd)
			return false;
		// A mark that was chosen for the library's own files; anybody may set it, and send
		// the file.
		if (fcntl(fd, F_SETSIG, 61) != 0)
			return false;
		for (int end : {ends[0], ends[1]})
			if (std::find(numbers.begin(), numbers.end(), end) == numbers.end())
				close(end);
	}
	return true;
}
bool untouched(const std::vector<int> &numbers)
{
	for (int fd : numbers) {
		int left = -1;
		if (ioctl(fd, FIONREAD, &left) != 0 || left != 8 || fcntl(fd, F_GETSIG) != 61)
			return false;
	}
	return true;
}

/// Whatever can be asked of a descriptor that could change what it is to its parent.
void misuse(int fd)
{
	struct {
		uint32_t usecs;
		uint16_t budget;
		uint8_t prefer, pad;
	} parameters{1, 2, 0, 0};
	ioctl(fd, _IOW(0x8A, 0x01, decltype(parameters)), &parameters);
	fcntl(fd, F_SETSIG, SIGUSR1);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	sigset_t others;
	sigemptyset(&others);
	sigaddset(&others, SIGUSR1);
	signalfd(fd, &others, 0);
	char data[256];
	for (ssize_t n = 1; n > 0;)
		n = read(fd, data, sizeof data);
	recv(fd, data, sizeof data, MSG_DONTWAIT);
	uint64_t one = 1;
	if (write(fd, &one, sizeof one) < 0)
		shutdown(fd, SHUT_RDWR);
}

void become_nobody()
{
	if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setresgid(65534, 65534, 65534) != 0 ||
			       setresuid(65534, 65534, 65534) != 0))
		_exit(99);
}

} // namespace

BOOST_AUTO_TEST_CASE(no_child_has_the_memory_of_a_ring_of_its_parents)
{
	Scene scene;
	Stream waiting = unix_stream();
	Request &request = start_read(waiting.reader, 1);
	sem_t posted;
	BOOST_TEST_REQUIRE(sem_init(&posted, 0, 0) == 0);
	BOOST_TEST_REQUIRE(scene.start(EC_SINGLE));
	BOOST_TEST_REQUIRE(ev_sem_wait(&posted, nullptr, scene.ec, &posted) == 0);
	for (pid_t (*make)() : {+[] { return fork(); }, clone_without_handlers}) {
		const pid_t child = make();
		if (child == 0)
			_exit(count_mappings("io_uring") + count_mappings("[aio]"));
		int status = -1;
		BOOST_TEST(waitpid(child, &status, 0) == child);
		BOOST_TEST(status == 0);
	}
	put(waiting.writer, "x");
	BOOST_TEST(finish(request) == ok(1));
	BOOST_TEST(ec_destroy(scene.ec) == 0);
	sem_destroy(&posted);
}

BOOST_AUTO_TEST_CASE(
	what_a_child_does_to_the_descriptors_of_a_channel_changes_nothing_for_its_parent)
{
	for_each_channel_kind([](unsigned flags) {
		for (pid_t (*make)() : {+[] { return fork(); }, clone_without_handlers})
			BOOST_TEST(in_child_process([=] {
					   Scene scene;
					   if (!scene.start(flags))
						   return 1;
					   pid_t const child = make();
					   if (child == 0) {
						   become_nobody();
						   misuse(scene.ec);
						   for (int fd : scene.of_library)
							   misuse(fd);
						   _exit(0);
					   }
					   int status = 0;
					   if (waitpid(child, &status, 0) != child || status != 0)
						   return 2;
					   return scene.finish();
				   }) == 0);
	});
}

BOOST_AUTO_TEST_CASE(what_waits_in_a_channel_goes_on_when_all_else_is_closed)
{
	for_each_channel_kind([](unsigned flags) {
		for (bool used_again : {false, true})
			BOOST_TEST(in_child_process([=] {
					   Scene scene;
					   if (!scene.start(flags))
						   return 1;
					   for (int fd : scene.of_library)
						   close(fd);
					   if (used_again && !plant(scene.of_library))
						   return 2;
					   int const end = scene.finish();
					   if (end != 0)
						   return end;
					   if (used_again && !untouched(scene.of_library))
						   return 3;
					   return ec_destroy(scene.ec) != 0                    ? 4
						  : used_again && !untouched(scene.of_library) ? 5
											       : 0;
				   }) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_channel_works_where_calls_are_refused_that_have_a_like)
{
	for_each_channel_kind([](unsigned flags) {
		for (unsigned call : {SYS_recvfrom, SYS_epoll_pwait, SYS_ppoll})
			BOOST_TEST(
				in_child_process([=] {
					Scene scene;
					if (!refuse({call}, EPERM))
						return 1;
					if (!scene.start(flags))
						return 2;
					int const end = scene.finish();
					return end != 0 ? end : ec_destroy(scene.ec) != 0 ? 3 : 0;
				}) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_marked_file_is_not_taken_for_what_a_closed_channel_had)
{
	for_each_channel_kind([](unsigned flags) {
		BOOST_TEST(in_child_process([=] {
				   Scene scene;
				   if (!scene.start(flags))
					   return 1;
				   std::vector<int> numbers = scene.of_library;
				   numbers.push_back(scene.ec);
				   for (int fd : numbers)
					   close(fd);
				   if (!plant(numbers))
					   return 2;
				   if (write(scene.connection[1], "x", 1) != 1 ||
				       mq_send(scene.queue, "m", 1, 0) != 0 || raise(SIGUSR2) != 0)
					   return 3;
				   event_data_t event;
				   timespec const moment{0, 1000000};
				   while (ec_next_events(scene.ec, &event, 1, &moment) > 0)
					   continue;
				   if (ec_post(scene.ec, 1, 0, nullptr) != -1 || errno != EBADF)
					   return 4;
				   ec_destroy(scene.ec);
				   return untouched(numbers) ? 0 : 5;
			   }) == 0);
	});
}

BOOST_AUTO_TEST_CASE(a_poll_whose_ring_was_closed_goes_on_at_its_file_and_at_no_other)
{
	for (bool used_again : {false, true})
		BOOST_TEST(in_child_process([=] {
				   Scene scene;
				   if (!scene.start(EC_SINGLE))
					   return 1;
				   for (int fd : scene.of_library)
					   close(fd);
				   int other[2];
				   if (pipe(other) != 0 || write(other[1], "x", 1) != 1)
					   return 2;
				   signal(SIGPIPE, SIG_IGN);
				   if (used_again && dup2(other[0], scene.polled[0]) < 0)
					   return 3;
				   event_data_t event{};
				   timespec const moment{0, 20000000};
				   // The kernel interrupts the owner of a ring that it takes down.
				   int taken = take_events(scene.ec, &event, 1, moment);
				   if (taken > 0 && event.ev_errno == 0)
					   return 4; // told of another file
				   // The ring held the file; who holds it now, if anybody, sees
				   // this.
				   if (taken == 0 && write(scene.polled[1], "x", 1) != 1 &&
				       !used_again)
					   return 5;
				   if (taken == 0)
					   taken = take_events(scene.ec, &event, 1);
				   if (taken != 1 || event.ev_data != scene.polled)
					   return 6;
				   return event.ev_errno == 0 && event.ev_result == POLLIN ? 0
					  : used_again && event.ev_errno == ECANCELED      ? 0
											   : 7;
			   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_signal_is_told_as_signalfd_tells_it)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGRTMIN + 1);
	pthread_sigmask(SIG_BLOCK, &set, nullptr);
	Channel ec;
	BOOST_TEST_REQUIRE(ev_signal(&set, ec, nullptr) == 0);
	union sigval value {
	};
	value.sival_ptr = as_data(4711);
	BOOST_TEST_REQUIRE(sigqueue(getpid(), SIGRTMIN + 1, value) == 0);
	event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_un.ev_sig.sigev_value.sival_ptr == as_data(4711));
	BOOST_TEST(event.ev_un.ev_sig.sigev_code == SI_QUEUE);
	BOOST_TEST(event.ev_un.ev_sig.sigev_pid == getpid());
	BOOST_TEST(event.ev_un.ev_sig.sigev_status == 0);
	const pid_t child = fork();
	if (child == 0)
		_exit(7);
	event = next_event(ec);
	BOOST_TEST(event.ev_un.ev_sig.sigev_code == CLD_EXITED);
	BOOST_TEST(event.ev_un.ev_sig.sigev_pid == child);
	BOOST_TEST(event.ev_un.ev_sig.sigev_status == 7);
	BOOST_TEST(event.ev_un.ev_sig.sigev_value.sival_ptr == nullptr);
	int status;
	waitpid(child, &status, 0);
}
