// SPDX-License-Identifier: MIT
//
// base/owned_fd.hpp, own_number.hpp, same_file.hpp, by_descriptor.hpp: whose a number is, and which
// file.
#define BOOST_TEST_MODULE descriptors
#include "base/by_descriptor.hpp"
#include "base/own_number.hpp"
#include "base/owned_fd.hpp"
#include "base/same_file.hpp"
#include "base/thread_id.hpp"

#include <boost/test/unit_test.hpp>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using sigevec::OwnedFd, sigevec::Same;

namespace {

bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

int new_file()
{
	int fd = memfd_create("descriptors", MFD_CLOEXEC);
	BOOST_TEST_REQUIRE(fd >= 0);
	return fd;
}

Same same_here(int a, int b)
{
	pid_t self = sigevec::thread_id();
	return sigevec::same_file(self, a, self, b);
}

} // namespace

BOOST_AUTO_TEST_CASE(an_owned_descriptor_is_closed_once_unless_it_is_released_and_errno_stays)
{
	int fd = new_file(), kept;
	{
		OwnedFd owned(fd);
		errno = ENOTTY;
		BOOST_TEST(owned.get() == fd);
	}
	BOOST_TEST(errno == ENOTTY);
	BOOST_TEST(!is_open(fd));
	{
		OwnedFd owned(new_file()), none(-1);
		kept = owned.release();
		BOOST_TEST(owned.get() == -1);
	}
	BOOST_TEST(is_open(kept));
	close(kept);
}

BOOST_AUTO_TEST_CASE(own_numbers_leave_the_low_ones_to_the_program)
{
	int low = new_file();
	int own = sigevec::own_number(low);
	BOOST_TEST(own > 2);
	BOOST_TEST(own > low);
	BOOST_TEST(!is_open(low));
	BOOST_TEST((fcntl(own, F_GETFD) & FD_CLOEXEC) != 0);
	close(own);
	errno = EMFILE;
	BOOST_TEST(sigevec::own_number(-1) == -1);
	BOOST_TEST(errno == EMFILE);
}

BOOST_AUTO_TEST_CASE(a_full_table_leaves_what_there_is_where_it_is)
{
	pid_t child = fork();
	if (child == 0) {
		// The numbers that would be taken are in use.
		struct rlimit few {
			20, 20
		};
		int fd = memfd_create("few", 0);
		while (dup(fd) >= 0 && fd < 100)
			if (fcntl(fd, F_GETFD) < 0 || dup(fd) >= 30)
				break;
		setrlimit(RLIMIT_NOFILE, &few);
		int own = sigevec::own_number(fd);
		_exit(own >= 0 && fcntl(own, F_GETFD) >= 0 ? 0 : 1);
	}
	int status = -1;
	BOOST_TEST(waitpid(child, &status, 0) == child);
	BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(an_open_file_is_known_whatever_its_number_and_table)
{
	if (!sigevec::can_compare()) {
		BOOST_TEST_MESSAGE("the kernel does not compare files here");
		return;
	}
	OwnedFd file(new_file()), again(dup(file)), other(new_file());
	std::string path = "/proc/self/fd/" + std::to_string(file.get());
	OwnedFd reopened(open(path.c_str(), O_RDWR | O_CLOEXEC));
	BOOST_TEST((same_here(file, file) == Same::yes));
	BOOST_TEST((same_here(file, again) == Same::yes));
	BOOST_TEST((same_here(file, other) == Same::no));
	BOOST_TEST((same_here(file, reopened) == Same::no)); // an inode is not an open file
	BOOST_TEST((same_here(file, 900) == Same::unknown));

	std::atomic<pid_t> thread{0};
	std::atomic<bool> end{false};
	std::thread apart([&] {
		BOOST_REQUIRE(unshare(CLONE_FILES) == 0);
		BOOST_REQUIRE(dup2(other, again) == again);
		thread = sigevec::ask_thread_id();
		while (!end)
			std::this_thread::yield();
	});
	while (thread == 0)
		std::this_thread::yield();
	pid_t self = sigevec::thread_id();
	BOOST_TEST((sigevec::same_table(self, thread) == Same::no));
	BOOST_TEST((sigevec::same_table(self, self) == Same::yes));
	BOOST_TEST((sigevec::same_file(self, file, thread, file) == Same::yes));
	BOOST_TEST((sigevec::same_file(self, again, thread, again) == Same::no));
	BOOST_TEST((sigevec::same_file(self, other, thread, again) == Same::yes));
	end = true;
	apart.join();
}

BOOST_AUTO_TEST_CASE(a_place_is_made_once_for_each_number_whoever_asks_first)
{
	static sigevec::ByDescriptor<int> table;
	BOOST_TEST(table.find(5) == nullptr);
	BOOST_TEST(table.find(-1) == nullptr);
	BOOST_TEST(table.make(-1) == nullptr);
	BOOST_TEST(table.make(1 << 30) == nullptr);
	std::vector<std::thread> threads;
	std::vector<sigevec::ByDescriptor<int>::Place *> places(4);
	for (auto &place : places)
		threads.emplace_back([&place] { place = table.make(70000); });
	for (std::thread &t : threads)
		t.join();
	for (auto *place : places)
		BOOST_TEST((place != nullptr && place == table.find(70000)));
	int something;
	table.find(70000)->store(&something);
	int found = 0;
	table.each([&](auto &place) { found += place.load() == &something; });
	BOOST_TEST(found == 1);
}
