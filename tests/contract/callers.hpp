// SPDX-License-Identifier: MIT
//
// What the tests of rule 18 share: folders with sockets in them, and threads that differ from the
// rest of the process.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of socket_calls.hpp.
#ifndef CONTRACT_CALLERS_HPP
#define CONTRACT_CALLERS_HPP

#include "socket_calls.hpp"

#include <sched.h>
#include <sys/fsuid.h>

namespace contract {

/// A name for a UNIX socket, in the folder that the caller is in unless it begins with a slash.
inline Address unix_name(const std::string &path)
{
	Address address;
	auto *const a = reinterpret_cast<sockaddr_un *>(&address.storage);
	a->sun_family = AF_UNIX;
	BOOST_TEST_REQUIRE(path.size() < sizeof a->sun_path);
	memcpy(a->sun_path, path.c_str(), path.size() + 1);
	address.length = socklen_t(offsetof(sockaddr_un, sun_path) + path.size() + 1);
	return address;
}

/// A new folder, which everybody may enter.
class Folder {
public:
	Folder() : path_(temp_name("/tmp"))
	{
		BOOST_TEST_REQUIRE(
			(mkdir(path_.c_str(), 0755) == 0 && chmod(path_.c_str(), 0755) == 0));
	}
	Folder(const Folder &) = delete;
	~Folder()
	{
		for (const std::string &name : names_)
			unlink(name.c_str());
		rmdir(path_.c_str());
	}
	const std::string &path() const { return path_; }
	std::string in(const char *name) const { return path_ + "/" + name; }
	/// A socket that is bound to a name in here; it never waits.
	Fd socket_at(const char *name, const SocketKind &kind, int backlog = 16)
	{
		Fd s = new_socket(kind);
		const Address address = unix_name(in(name));
		names_.push_back(in(name));
		BOOST_TEST_REQUIRE(bind(s, const_cast<Address &>(address).get(), address.length) ==
				   0);
		if (kind.type != SOCK_DGRAM)
			BOOST_TEST_REQUIRE(listen(s, backlog) == 0);
		set_nonblocking(s);
		return s;
	}

private:
	std::string path_;
	std::vector<std::string> names_;
};

/// Goes into a folder, and back at the end.
class Inside {
public:
	explicit Inside(const std::string &path)
	    : before_(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC))
	{
		go(path);
	}
	explicit Inside(const Folder &folder) : Inside(folder.path()) {}
	~Inside() { BOOST_TEST(fchdir(before_) == 0); }
	void go(const std::string &path) { BOOST_TEST_REQUIRE(chdir(path.c_str()) == 0); }
	void go(const Folder &folder) { go(folder.path()); }

private:
	Fd before_;
};

inline bool was_connected_to(int listener)
{
	const Fd s(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
	return s >= 0;
}
/// How many datagrams of one byte, this one, are there. All there is is taken.
inline int received(int s, char what)
{
	int n = 0;
	for (char c; recv(s, &c, 1, MSG_DONTWAIT) >= 0;)
		n += c == what;
	return n;
}

/// Connects to it until no more connections fit.
inline std::vector<Fd> fill_backlog(const SocketKind &kind, Address to)
{
	std::vector<Fd> clients;
	for (;;) {
		Fd client = new_socket(kind);
		set_nonblocking(client);
		if (connect(client, to.get(), to.length) != 0)
			break;
		clients.push_back(std::move(client));
	}
	BOOST_TEST_REQUIRE(errno == EAGAIN);
	return clients;
}
/// Sends until no more fits; returns how many did.
inline int fill_receiver(int s, Address to)
{
	int n = 0;
	while (sendto(s, "f", 1, MSG_DONTWAIT, to.get(), to.length) == 1)
		n++;
	BOOST_TEST_REQUIRE(errno == EAGAIN);
	return n;
}
/// Takes datagrams away to make room, all of one byte.
inline void make_room(int s, int datagrams)
{
	char byte;
	while (datagrams-- > 0)
		BOOST_TEST_REQUIRE(recv(s, &byte, 1, MSG_DONTWAIT) == 1);
}

/// A thread that has made a request before has a helper whose rights, folder and root are the
/// process's.
inline void make_a_request()
{
	Stream stream = pipe_stream();
	Request &request = start_read(stream.reader, 1);
	put(stream.writer, "x");
	BOOST_TEST(finish(request) == ok(1));
}

inline constexpr uid_t nobody = 65534;

/// The calling thread gives up root's rights, in one of the ways that there are. False: not here.
struct Fall {
	const char *name;
	bool (*fall)();
};
inline bool lose_all()
{
	return syscall(SYS_setresgid, nobody, nobody, nobody) == 0 &&
	       syscall(SYS_setresuid, nobody, nobody, nobody) == 0;
}
inline bool put_by()
{
	return syscall(SYS_setresgid, -1, nobody, -1) == 0 &&
	       syscall(SYS_setresuid, -1, nobody, -1) == 0;
}
inline bool of_file_system()
{
	setfsgid(nobody);
	setfsuid(nobody);
	return setfsuid(nobody) == int(nobody);
}
inline constexpr Fall falls[] = {
	{"setresuid", lose_all}, {"effective user", put_by}, {"setfsuid", of_file_system}};

/// Runs `body` in threads that have fallen, once for each way.
template <class Body> void for_each_fall(Body body)
{
	for (const Fall &f : falls)
		BOOST_TEST_CONTEXT("fall: " << f.name)
		{
			in_thread([&] {
				BOOST_TEST_REQUIRE(f.fall());
				body();
			});
		}
}

inline bool is_root()
{
	if (geteuid() == 0)
		return true;
	BOOST_TEST_MESSAGE("skipped: not root");
	return false;
}

} // namespace contract

#endif
