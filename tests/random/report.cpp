// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace calls {

thread_local unsigned this_thread;

Report &report()
{
	static void *const shared = mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		abort();
	return *static_cast<Report *>(shared);
}

void empty_report()
{
	Report &all = report();
	all.failed = false;
	all.fault[0] = 0;
	for (auto &used : all.used)
		used = 0;
	for (auto &lines : all.lines)
		lines[0] = 0;
}

void say(const char *format, ...)
{
	Report &all = report();
	const size_t used = all.used[this_thread];
	va_list values;
	va_start(values, format);
	const int n = vsnprintf(all.lines[this_thread] + used, Report::room - used, format, values);
	va_end(values);
	if (n > 0 && used + size_t(n) + 2 < Report::room) {
		all.lines[this_thread][used + size_t(n)] = '\n';
		all.lines[this_thread][used + size_t(n) + 1] = 0;
		all.used[this_thread] = used + size_t(n) + 1;
	}
}

void fault(const char *format, ...)
{
	Report &all = report();
	while (all.failed.exchange(true)) // another thread's counts, and ends the process
		pause();
	va_list values;
	va_start(values, format);
	vsnprintf(all.fault, sizeof all.fault, format, values);
	va_end(values);
	_exit(1);
}

} // namespace calls
