// SPDX-License-Identifier: MIT
//
// engine/known_sockets.hpp: whatever a number is by now is what is found, never what it was.
#define BOOST_TEST_MODULE known_sockets
#include "engine/known_sockets.hpp"

#include "base/socket_option.hpp"

#include <boost/test/unit_test.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

using namespace sigevec;

namespace {

Descriptor described(int fd)
{
	struct stat s {};
	BOOST_TEST_REQUIRE(fstat(fd, &s) == 0);
	Descriptor d{};
	d.fd = fd;
	d.kind = S_ISSOCK(s.st_mode) ? Kind::socket : Kind::file;
	d.dev = s.st_dev;
	d.ino = s.st_ino;
	return d;
}

/// As a call does it. Whether it was known.
bool call(int fd, Descriptor *found)
{
	uint64_t cookie = 0;
	if (known_sockets::find(fd, found, &cookie))
		return true;
	if (cookie != 0)
		known_sockets::remember(described(fd), cookie);
	return false;
}

void require_itself(int fd)
{
	Descriptor found{};
	BOOST_TEST_REQUIRE(call(fd, &found));
	BOOST_TEST(found.fd == fd);
	BOOST_TEST((found.kind == Kind::socket));
	BOOST_TEST(found.dev == described(fd).dev);
	BOOST_TEST(found.ino == described(fd).ino);
}

int make()
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	BOOST_TEST_REQUIRE(fd >= 0);
	return fd;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_socket_is_known_from_its_third_call_on)
{
	const int fd = make();
	Descriptor found{};
	BOOST_TEST(!call(fd, &found));
	BOOST_TEST(!call(fd, &found));
	require_itself(fd);
	close(fd);
}

BOOST_AUTO_TEST_CASE(a_number_that_is_another_socket_now_is_that_one)
{
	const int a = make(), b = make();
	for (int fd : {a, b}) {
		Descriptor found{};
		while (!call(fd, &found))
			;
	}
	BOOST_TEST_REQUIRE(dup2(b, a) == a);
	require_itself(a);
	BOOST_TEST(described(a).ino == described(b).ino);
	// A new one has a cookie of its own.
	close(a);
	const int c = make();
	BOOST_TEST_REQUIRE(c == a);
	Descriptor found{};
	BOOST_TEST(!call(c, &found));
	close(b);
	close(c);
}

BOOST_AUTO_TEST_CASE(what_is_no_socket_is_never_known)
{
	int ends[2];
	BOOST_TEST_REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
	const int folder = open("/", O_RDONLY | O_CLOEXEC), path = open("/", O_PATH | O_CLOEXEC);
	for (int fd : {ends[0], ends[1], folder, path, 100000, -1})
		for (int i = 0; i < 3; i++) {
			Descriptor found{};
			uint64_t cookie = 1;
			errno = 0;
			BOOST_TEST(!known_sockets::find(fd, &found, &cookie));
			BOOST_TEST(cookie == 0u);
			BOOST_TEST(errno == 0);
		}
	for (int fd : {ends[0], ends[1], folder, path})
		close(fd);
}

// Described was another file than the one whose cookie it is.
BOOST_AUTO_TEST_CASE(what_has_become_another_meanwhile_is_not_remembered)
{
	const int a = make(), b = make();
	Descriptor found{};
	call(a, &found);
	uint64_t cookie = 0;
	BOOST_TEST(!known_sockets::find(a, &found, &cookie));
	BOOST_TEST_REQUIRE(cookie == socket_cookie(a));
	known_sockets::remember(described(b), cookie);
	BOOST_TEST(!known_sockets::find(a, &found, &cookie));
	close(a);
	close(b);
}

// Places are shared; nobody is taken for who had the place before.
BOOST_AUTO_TEST_CASE(many_sockets_are_each_themselves)
{
	std::vector<int> all;
	for (int i = 0; i < 400; i++)
		all.push_back(make());
	for (int round = 0; round < 4; round++)
		for (int fd : all) {
			Descriptor found{};
			if (call(fd, &found))
				BOOST_TEST_REQUIRE(found.ino == described(fd).ino);
		}
	for (int fd : all)
		close(fd);
}
