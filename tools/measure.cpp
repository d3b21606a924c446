// SPDX-License-Identifier: MIT
#include "measure.hpp"

#include "tool.hpp"

#include <aio.h>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace tool {

namespace {

struct Functions {
	int (*read)(struct aiocb *);
	int (*write)(struct aiocb *);
	int (*error)(const struct aiocb *);
	int (*suspend)(const struct aiocb *const *, int, const struct timespec *);
	ssize_t (*result)(struct aiocb *);
};

template <class F> bool find(void *where, F &f, const char *name)
{
	f = reinterpret_cast<F>(dlsym(where, name));
	return f != nullptr;
}

bool find_all(void *where, Functions &f)
{
	return find(where, f.read, "aio_read") && find(where, f.write, "aio_write") &&
	       find(where, f.error, "aio_error") && find(where, f.suspend, "aio_suspend") &&
	       find(where, f.result, "aio_return");
}

// This program is linked with the library, so its own calls go there; libc is asked for its
// functions by name. They were in librt before glibc 2.34.
bool functions_of(bool glibc, Functions &f)
{
	if (!glibc)
		return find_all(RTLD_DEFAULT, f);
	for (const char *name : {"libc.so.6", "librt.so.1"})
		if (void *libc = dlopen(name, RTLD_NOW | RTLD_LOCAL);
		    libc != nullptr && find_all(libc, f))
			return true;
	return false;
}

class Load {
public:
	Load(const Work &w, const Place &p, const Functions &f, int fd)
	    : work_(w), place_(p), f_(f), fd_(fd)
	{
	}

	// Operations per second, or -errno.
	double run(double seconds)
	{
		Blocks blocks;
		if (int e = blocks.make(place_, work_.depth); e != 0)
			return -e;
		requests_.resize(work_.depth);
		for (unsigned i = 0; i < work_.depth; i++) {
			requests_[i].aio_fildes = fd_;
			requests_[i].aio_buf = blocks.at(i);
			requests_[i].aio_nbytes = place_.block;
			list_.push_back(&requests_[i]);
		}
		double begin = time_of(CLOCK_MONOTONIC);
		uint64_t done = pump(begin + seconds);
		return error_ != 0 ? -error_
				   : static_cast<double>(done) / (time_of(CLOCK_MONOTONIC) - begin);
	}

private:
	bool submit(struct aiocb &cb)
	{
		cb.aio_offset = offsets_.next(place_);
		if ((work_.write ? f_.write : f_.read)(&cb) == 0)
			return true;
		error_ = errno;
		return false;
	}

	bool take(struct aiocb &cb)
	{
		ssize_t n = f_.result(&cb);
		if (n != static_cast<ssize_t>(place_.block))
			error_ = n < 0 && f_.error(&cb) > 0 ? f_.error(&cb) : EIO;
		return error_ == 0;
	}

	// Until the time, and then until the last one has ended.
	uint64_t pump(double end)
	{
		uint64_t done = 0;
		unsigned flying = 0;
		for (auto &cb : requests_)
			flying += submit(cb) ? 1 : 0;
		while (flying > 0) {
			f_.suspend(list_.data(), static_cast<int>(list_.size()), nullptr);
			for (unsigned i = 0; i < requests_.size(); i++) {
				if (list_[i] == nullptr || f_.error(&requests_[i]) == EINPROGRESS)
					continue;
				bool good = take(requests_[i]);
				done += good ? 1 : 0;
				if (!good || time_of(CLOCK_MONOTONIC) >= end ||
				    !submit(requests_[i])) {
					list_[i] = nullptr;
					flying--;
				}
			}
		}
		return done;
	}

	const Work &work_;
	const Place &place_;
	const Functions &f_;
	int fd_, error_ = 0;
	Offsets offsets_;
	std::vector<struct aiocb> requests_;
	std::vector<const struct aiocb *> list_;
};

// In the child: what run() says.
double work(const Work &w, const Side &s, const Place &p, double seconds)
{
	if (s.engine.empty())
		unsetenv("SIGEVEC_ENGINE");
	else
		setenv("SIGEVEC_ENGINE", s.engine.c_str(), 1);
	int fd = open(p.path.c_str(),
		      (w.write ? O_RDWR : O_RDONLY) | O_CLOEXEC | (w.direct ? O_DIRECT : 0));
	if (fd < 0)
		return -errno;
	if (s.libaio)
		return run_libaio(w, s, p, seconds, fd);
	Functions f;
	return functions_of(s.original, f) ? Load(w, p, f, fd).run(seconds) : -ENOSYS;
}

} // namespace

off_t Offsets::next(const Place &p)
{
	// xorshift64
	random_ ^= random_ << 13;
	random_ ^= random_ >> 7;
	random_ ^= random_ << 17;
	return static_cast<off_t>(random_ % (p.size / p.block) * p.block);
}

Blocks::~Blocks()
{
	free(memory_);
}

int Blocks::make(const Place &p, unsigned count)
{
	block_ = p.block;
	void *memory = nullptr;
	int e = posix_memalign(&memory, 4096, block_ * count);
	if (e != 0)
		return e;
	memory_ = static_cast<char *>(memset(memory, 1, block_ * count));
	return 0;
}

Outcome measure(const Work &w, const Side &s, const Place &p, double seconds)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return {0, strerror(errno)};
	pid_t child = fork();
	if (child == 0) {
		double rate = work(w, s, p, seconds);
		_exit(write(ends[1], &rate, sizeof rate) == sizeof rate ? 0 : 1);
	}
	close(ends[1]);
	double rate = -EIO;
	// What does not end in time is stuck.
	struct pollfd answer = {ends[0], POLLIN, 0};
	int ready = child > 0 ? poll(&answer, 1, static_cast<int>(seconds * 10000) + 30000) : -1;
	if (ready <= 0)
		rate = -ETIMEDOUT;
	else if (read(ends[0], &rate, sizeof rate) != sizeof rate)
		rate = -EIO;
	close(ends[0]);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, nullptr, 0);
	}
	if (rate <= 0)
		return {0, strerror(static_cast<int>(-rate))};
	return {rate, ""};
}

} // namespace tool
