// SPDX-License-Identifier: MIT
//
// A program on libaio: so many requests in flight, by the kernel's own calls or by those of
// libsigevec_aio.
#include "measure.hpp"
#include "tool.hpp"

#include <cerrno>
#include <ctime>
#include <dlfcn.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace tool {

namespace {

// As libaio's: -errno is returned.
struct Functions {
	int (*setup)(int, void **);
	int (*submit)(void *, long, struct iocb **);
	int (*getevents)(void *, long, long, struct io_event *, struct timespec *);
};

int result_of(long r)
{
	return static_cast<int>(r < 0 ? -errno : r);
}

int kernels_setup(int nr, void **context)
{
	return result_of(syscall(SYS_io_setup, nr, context));
}

int kernels_submit(void *context, long nr, struct iocb **list)
{
	return result_of(syscall(SYS_io_submit, context, nr, list));
}

int kernels_getevents(void *context, long least, long most, struct io_event *events,
		      struct timespec *limit)
{
	return result_of(syscall(SYS_io_getevents, context, least, most, events, limit));
}

template <class F> bool find(void *where, F &f, const char *name)
{
	f = reinterpret_cast<F>(dlsym(where, name));
	return f != nullptr;
}

bool functions_of(bool original, Functions &f)
{
	if (original) {
		f = {kernels_setup, kernels_submit, kernels_getevents};
		return true;
	}
	void *library = dlopen(libaio_library_path().c_str(), RTLD_NOW | RTLD_LOCAL);
	return library != nullptr && find(library, f.setup, "io_setup") &&
	       find(library, f.submit, "io_submit") && find(library, f.getevents, "io_getevents");
}

class Load {
public:
	Load(const Work &w, const Place &p, const Functions &f, int fd)
	    : work_(w), place_(p), f_(f), fd_(fd), requests_(w.depth)
	{
	}

	double run(double seconds)
	{
		Blocks blocks;
		if (int e = blocks.make(place_, work_.depth); e != 0)
			return -e;
		if (int e = f_.setup(static_cast<int>(work_.depth), &context_); e < 0)
			return e;
		std::vector<struct iocb *> list;
		for (unsigned i = 0; i < work_.depth; i++) {
			requests_[i].aio_lio_opcode = static_cast<uint16_t>(
				work_.write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD);
			requests_[i].aio_fildes = static_cast<uint32_t>(fd_);
			requests_[i].aio_buf = reinterpret_cast<uint64_t>(blocks.at(i));
			requests_[i].aio_nbytes = place_.block;
			list.push_back(&requests_[i]);
		}
		double begin = time_of(CLOCK_MONOTONIC);
		uint64_t done = pump(list, begin + seconds);
		return error_ != 0 ? -error_
				   : static_cast<double>(done) / (time_of(CLOCK_MONOTONIC) - begin);
	}

private:
	// How many of the list are in flight, all but after an error.
	unsigned submit(std::vector<struct iocb *> &list)
	{
		for (struct iocb *i : list)
			i->aio_offset = offsets_.next(place_);
		for (size_t n = 0; n < list.size();) {
			int e = f_.submit(context_, static_cast<long>(list.size() - n),
					  list.data() + n);
			if (e <= 0) {
				error_ = e < 0 ? -e : EAGAIN;
				return static_cast<unsigned>(n);
			}
			n += static_cast<unsigned>(e);
		}
		return static_cast<unsigned>(list.size());
	}

	// Until the time, and then until the last one has ended.
	uint64_t pump(std::vector<struct iocb *> &list, double end)
	{
		std::vector<struct io_event> events(work_.depth);
		uint64_t done = 0;
		for (unsigned flying = submit(list); flying > 0;) {
			int n = f_.getevents(context_, 1, work_.depth, events.data(), nullptr);
			if (n < 0) {
				error_ = -n;
				break;
			}
			list.clear();
			for (int i = 0; i < n; i++) {
				auto &e = events[static_cast<unsigned>(i)];
				if (e.res == static_cast<int64_t>(place_.block))
					done++;
				else
					error_ = e.res < 0 ? static_cast<int>(-e.res) : EIO;
				list.push_back(reinterpret_cast<struct iocb *>(e.obj));
			}
			flying -= static_cast<unsigned>(n);
			if (error_ == 0 && time_of(CLOCK_MONOTONIC) < end)
				flying += submit(list);
		}
		return done;
	}

	const Work &work_;
	const Place &place_;
	const Functions &f_;
	int fd_, error_ = 0;
	void *context_ = nullptr;
	Offsets offsets_;
	std::vector<struct iocb> requests_;
};

} // namespace

double run_libaio(const Work &w, const Side &s, const Place &p, double seconds, int fd)
{
	Functions f;
	return functions_of(s.original, f) ? Load(w, p, f, fd).run(seconds) : -ENOSYS;
}

} // namespace tool
