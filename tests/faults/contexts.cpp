// SPDX-License-Identifier: MIT
//
// Scenarios: contexts as programs on libaio have them (lib/iocontext).
#ifdef __x86_64__
#include "scenarios.hpp"

#include "../../lib/iocontext/interface.h"

#include <linux/aio_abi.h>

namespace faults {

static constexpr unsigned n = 3;

static iocb reading(int fd, void *data, size_t size, unsigned i)
{
	iocb cb{};
	cb.aio_data = i;
	cb.aio_lio_opcode = IOCB_CMD_PREAD;
	cb.aio_fildes = unsigned(fd);
	cb.aio_buf = reinterpret_cast<uint64_t>(data);
	cb.aio_nbytes = size;
	return cb;
}

/// The kernel's result, as accepted() has it.
static bool taken(const char *what, long result, std::initializer_list<int> documented)
{
	errno = result < 0 ? int(-result) : 0;
	return accepted(what, result < 0 ? -1 : result, documented);
}

/// A cached read, one past the cache, and one of a pipe.
void io_context()
{
	alignas(4096) static char data[n][4096];
	int p[2];
	pipe(p);
	const int fd = file("context", O_RDWR, 4096, 1);
	const int direct = file("contextdirect", O_RDWR | O_DIRECT, 4096, 1);
	void *context = nullptr;
	stage("io_setup");
	if (taken("io_setup", sigevec_io_setup(16, &context), {EAGAIN, ENOMEM})) {
		iocb cb[n] = {reading(fd, data[0], 4096, 0), reading(direct, data[1], 4096, 1),
			      reading(p[0], data[2], 4, 2)};
		unsigned in = 0;
		bool pending[n] = {};
		for (unsigned i = 0; i < n; i++) {
			iocb *one = &cb[i];
			stage("io_submit");
			pending[i] = taken("io_submit", sigevec_io_submit(context, 1, &one),
					   {EAGAIN, shared->error});
			in += pending[i];
		}
		put(p[1], "pipe", 4);
		// A kernel that never tells of an end is none that programs on libaio run on.
		for (unsigned refusals = 0; in > 0 && refusals < 50;) {
			io_event e{};
			stage("io_getevents");
			const long r = sigevec_io_getevents(context, 1, 1, &e, nullptr, nullptr);
			if (r == -EINTR && shared->error == EINTR && !strict())
				continue;
			if (!taken("io_getevents", r, {shared->error}) || r == 0) {
				if (r == 0)
					wrong("io_getevents(1) gives none");
				refusals++;
				continue;
			}
			in--;
			if (e.data >= n || !pending[e.data]) {
				wrong("io_getevents gives an event of nobody's");
				continue;
			}
			pending[e.data] = false;
			const long size = e.data == 2 ? 4 : 4096;
			ended("a read of a context", e.res < 0 ? int(-e.res) : 0,
			      e.res < 0 ? -1 : long(e.res), size);
		}
		stage("io_destroy");
		if (long r = sigevec_io_destroy(context); r != 0)
			wrong("io_destroy fails with %s", strerrorname_np(int(-r)));
	}
	close_all({fd, direct, p[0], p[1]});
}

} // namespace faults

#endif
