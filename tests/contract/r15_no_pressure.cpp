// SPDX-License-Identifier: MIT
//
// Rule 15: a program that only waits is not waiting for a device. The kernel's own account of that
// is io.pressure of a control group, which has nobody in it but a child that waits.
#define BOOST_TEST_MODULE r15_no_pressure
#include "source_objects.hpp"

#include <sys/utsname.h>

namespace {

/// A control group of version 2, gone at the end.
class Group {
public:
	Group()
	{
		std::ifstream mounts("/proc/self/mounts");
		for (std::string device, folder, type, rest;
		     mounts >> device >> folder >> type && std::getline(mounts, rest);)
			if (type == "cgroup2")
				path_ = folder + "/sigevec-test-" + std::to_string(getpid());
		if (path_.empty() || mkdir(path_.c_str(), 0700) != 0)
			skip_program("no control group can be made here");
		if (!std::ifstream(path_ + "/io.pressure")) {
			rmdir(path_.c_str());
			skip_program("the kernel keeps no account of pressure");
		}
	}
	~Group()
	{
		// The last one to leave does so a moment after it has been waited for.
		BOOST_TEST(eventually([&] { return rmdir(path_.c_str()) == 0 || errno != EBUSY; }));
	}
	/// This process from now on.
	bool enter() const
	{
		return bool(std::ofstream(path_ + "/cgroup.procs") << getpid() << std::flush);
	}
	/// Microseconds in which somebody waited for a device.
	long waited() const
	{
		std::ifstream pressure(path_ + "/io.pressure");
		std::string line;
		std::getline(pressure, line);
		return atol(line.c_str() + line.find("total=") + 6);
	}

private:
	std::string path_;
};

/// `begin' starts to wait, in a child that has the library's threads for itself, and does not end
/// it; then the child does nothing, or waits itself.
template <class Begin> void check_waits_idly(Begin begin)
{
	constexpr long milliseconds = 300;
	Group group;
	int begun[2];
	BOOST_TEST_REQUIRE(pipe(begun) == 0);
	const pid_t child = fork();
	if (child == 0) {
		if (!group.enter())
			_exit(1);
		std::thread([&] {
			usleep(100000); // what begins may wait for a device once
			if (write(begun[1], "x", 1) != 1)
				_exit(1);
		}).detach();
		begin();
		for (;;)
			pause();
	}
	close(begun[1]);
	char byte;
	BOOST_TEST(read(begun[0], &byte, 1) == 1);
	const long before = group.waited();
	usleep(milliseconds * 1000);
	const long waited = group.waited() - before;
	kill(child, SIGKILL);
	wait_for(child);
	close(begun[0]);
	BOOST_TEST(waited < milliseconds * 1000 / 2, waited << " us of " << milliseconds << " ms");
}

/// Sleeping in a ring of one's own can be told apart since Linux 6.15.
bool rings_can_be_told_apart()
{
	utsname u{};
	int major = 0, minor = 0;
	uname(&u);
	sscanf(u.release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 15);
}

} // namespace

BOOST_AUTO_TEST_CASE(requests_that_wait_are_no_pressure)
{
	check_waits_idly([] {
		Stream s = unix_stream();
		start_read(s.reader, 1);
		for (;;)
			pause();
	});
}

BOOST_AUTO_TEST_CASE(readers_of_a_channel_are_no_pressure)
{
	for_each_channel_kind([](unsigned flags) {
		if ((flags & EC_SINGLE) != 0 && !rings_can_be_told_apart())
			return;
		check_waits_idly([&] {
			Channel ec(flags);
			Stream s = unix_stream();
			char buffer[8];
			ev_recv(s.reader, buffer, sizeof buffer, 0, ec, nullptr);
			event_data_t event;
			for (;;)
				take_events(ec, &event, 1);
		});
	});
}

BOOST_AUTO_TEST_CASE(waits_for_semaphores_are_no_pressure)
{
	check_waits_idly([] {
		Channel ec;
		Semaphore s;
		ev_sem_wait(s, nullptr, ec, nullptr);
		for (;;)
			pause();
	});
}
