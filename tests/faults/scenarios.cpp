// SPDX-License-Identifier: MIT
//
// The list of scenarios, and what several of them do.
#ifdef __x86_64__
#include "scenarios.hpp"

namespace faults {

void check(const char *what, const void *data, const void *expected, size_t n)
{
	if (memcmp(data, expected, n) != 0)
		wrong("%s: a success, but other data", what);
}

const Scenario scenarios[] = {
#define SCENARIO(name) {#name, name},
#include "list.hpp"
#undef SCENARIO
};
const unsigned scenario_count = sizeof scenarios / sizeof *scenarios;

void suspend(const aiocb *cb)
{
	const aiocb *const list[] = {cb};
	stage("aio_suspend");
	while (aio_error(cb) == EINPROGRESS) {
		if (aio_suspend(list, 1, nullptr) == 0)
			continue;
		const int e = errno;
		if (!(e == EINTR && shared->error == EINTR && !strict())) {
			wrong("aio_suspend fails with %s", strerrorname_np(e));
			poll_end(cb);
		}
	}
}

std::string link_of(int fd)
{
	return "/proc/self/fd/" + std::to_string(fd);
}

} // namespace faults

#endif
