// SPDX-License-Identifier: MIT
//
// Time that is nobody's fault: on a loaded machine everything waits.
#ifdef __x86_64__
#include "inject.hpp"

#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sstream>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace faults {

std::vector<std::string> names_in(const std::string &folder)
{
	std::vector<std::string> v;
	std::error_code none;
	for (const auto &entry : std::filesystem::directory_iterator(folder, none))
		v.push_back(entry.path().filename());
	return v;
}

std::string line_of(const std::string &path)
{
	std::ifstream file(path);
	std::string line;
	std::getline(file, line);
	return line;
}

double busy(const std::string &task)
{
	double ran = 0, waited = 0;
	std::istringstream(line_of(task + "/schedstat")) >> ran >> waited;
	return (ran + waited) / 1e9;
}

double all_busy(const std::string &process)
{
	double sum = 0;
	const std::string tasks = "/proc/" + process + "/task/";
	for (const std::string &t : names_in(tasks)) {
		sum += busy(tasks + t);
		std::istringstream children(line_of(tasks + t + "/children"));
		for (std::string c; children >> c;)
			sum += all_busy(c);
	}
	return sum;
}

bool network_works()
{
	sockaddr_in a{};
	socklen_t size = sizeof a;
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	const int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	auto *const address = reinterpret_cast<sockaddr *>(&a);
	bool good = bind(s, address, size) == 0 && getsockname(s, address, &size) == 0;
	cpu_set_t all;
	CPU_ZERO(&all);
	sched_getaffinity(0, sizeof all, &all);
	for (unsigned i = 0; i < CPU_SETSIZE && good; i++) {
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		if (!CPU_ISSET(i, &all) || sched_setaffinity(0, sizeof one, &one) != 0)
			continue;
		char c = 0;
		pollfd p{s, POLLIN, 0};
		good = sendto(s, &c, 1, 0, address, size) == 1 && poll(&p, 1, 1000) == 1 &&
		       recv(s, &c, 1, 0) == 1;
	}
	sched_setaffinity(0, sizeof all, &all);
	close(s);
	return good;
}

double softirqs_busy()
{
	static const std::vector<std::string> threads = [] {
		std::vector<std::string> v;
		for (const std::string &p : names_in("/proc"))
			if (line_of("/proc/" + p + "/comm").starts_with("ksoftirqd/"))
				v.push_back("/proc/" + p);
		return v;
	}();
	double sum = 0;
	for (const std::string &t : threads)
		sum += busy(t);
	return sum;
}

} // namespace faults

#endif
