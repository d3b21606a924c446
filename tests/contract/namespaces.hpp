// SPDX-License-Identifier: MIT
//
// Two network namespaces of the test's own, joined by a pair of virtual Ethernet devices.
//
// Include it once, after defining BOOST_TEST_MODULE.
#ifndef CONTRACT_NAMESPACES_HPP
#define CONTRACT_NAMESPACES_HPP

#include "support.hpp"

#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <string>
#include <sys/wait.h>

namespace contract {

inline void write_file(const char *path, const std::string &text)
{
	Fd file(open(path, O_WRONLY | O_CLOEXEC));
	if (file < 0 || write(file, text.data(), text.size()) != ssize_t(text.size()))
		skip_program("no right to make user namespaces");
}
inline int network_of(const std::string &process)
{
	return open(("/proc/" + process + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC);
}
inline bool run(const std::string &commands)
{
	return system(("exec 2>/dev/null; " + commands).c_str()) == 0;
}

/// Two namespaces, `here` and `there`. Sockets belong to the one in which their thread is when it
/// makes them.
class Networks {
public:
	Networks()
	{
		become_root();
		if (unshare(CLONE_NEWNET) != 0)
			skip_program("no right to make network namespaces");
		here_ = Fd(network_of("self"));
		if (!run("ip link add v0 type veth peer name v1 && ip addr add 10.77.0.1/24 dev v0 "
			 "&&"
			 "ip -6 addr add fd77::1/64 dev v0 nodad && ip link set v0 up && ip link "
			 "set lo up"))
			skip_program("no virtual Ethernet devices, or no program ip (iproute2)");
		move_device();
		const In other(there_);
		BOOST_TEST_REQUIRE(run("ip addr add 10.77.0.2/24 dev v1 && ip -6 addr add "
				       "fd77::2/64 dev v1 nodad &&"
				       "ip link set v1 up && ip link set lo up"));
	}
	int here() const { return here_; }
	int there() const { return there_; }

	/// Puts the calling thread into a namespace for a while.
	class In {
	public:
		explicit In(int network) : before_(network_of("thread-self")) { enter(network); }
		~In() { enter(before_); }
		In(const In &) = delete;

	private:
		static void enter(int network)
		{
			BOOST_TEST_REQUIRE(setns(network, CLONE_NEWNET) == 0);
		}
		Fd before_;
	};

private:
	static void become_root()
	{
		if (geteuid() == 0)
			return;
		std::string const user = std::to_string(geteuid()),
				  group = std::to_string(getegid());
		if (unshare(CLONE_NEWUSER) != 0)
			skip_program("no right to make user namespaces");
		write_file("/proc/self/setgroups", "deny");
		write_file("/proc/self/uid_map", "0 " + user + " 1");
		write_file("/proc/self/gid_map", "0 " + group + " 1");
	}
	/// v1 goes to a second namespace, that of a child for as long as this takes.
	void move_device()
	{
		int ready[2];
		BOOST_TEST_REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
		const pid_t child = fork();
		if (child == 0) {
			const char ok = unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
			if (write(ready[1], &ok, 1) == 1)
				pause();
			_exit(0);
		}
		char ok = 'n';
		BOOST_TEST_REQUIRE(read(ready[0], &ok, 1) == 1);
		close(ready[0]);
		close(ready[1]);
		there_ = Fd(network_of(std::to_string(child)));
		const bool moved = run("ip link set v1 netns " + std::to_string(child));
		kill(child, SIGKILL);
		waitpid(child, nullptr, 0);
		BOOST_TEST_REQUIRE((ok == 'y' && moved && there_ >= 0));
	}
	Fd here_{-1}, there_{-1};
};

/// Made before anything else: the library's threads are to be where the program is.
inline const Networks &networks()
{
	static auto &made = *new Networks;
	return made;
}

} // namespace contract

#endif
