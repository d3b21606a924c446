// SPDX-License-Identifier: MIT
// What the benchmarks share: clock, median, files, and requests of plain POSIX AIO. Nothing here
// knows libsigevec: the programs are ordinary users of <aio.h>, run once with the preload and once
// without.
#pragma once

#include <aio.h>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace bench {

constexpr std::size_t block = 4096;

[[noreturn]] inline void die(const char *what, int error)
{
	std::fprintf(stderr, "bench: %s: %s\n", what, std::strerror(error));
	std::exit(1);
}

inline void require(bool good, const char *what)
{
	if (!good)
		die(what, errno);
}

class Stopwatch {
public:
	double seconds() const
	{
		return std::chrono::duration<double>(Clock::now() - start).count();
	}

private:
	using Clock = std::chrono::steady_clock;
	Clock::time_point start = Clock::now();
};

inline double median(std::vector<double> values)
{
	auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
	std::nth_element(values.begin(), middle, values.end());
	return *middle;
}

// A cheap sequence of block numbers, different for every seed.
class Blocks {
public:
	Blocks(std::uint32_t seed, std::uint32_t blocks)
	    : state(seed * 2654435761u + 1), count(blocks)
	{
	}

	off_t next()
	{
		state = state * 1664525u + 1013904223u;
		return static_cast<off_t>((std::uint64_t{state} * count) >> 32) *
		       static_cast<off_t>(block);
	}

private:
	std::uint32_t state, count;
};

class File {
public:
	explicit File(int opened) : fd(opened) { require(fd >= 0, "open"); }
	File(File &&other) noexcept : fd(std::exchange(other.fd, -1)) {}
	File &operator=(File &&) = delete;
	~File()
	{
		if (fd >= 0)
			close(fd);
	}
	int get() const { return fd; }

private:
	int fd;
};

struct FreeBuffer {
	void operator()(char *p) const { std::free(p); }
};
using Buffer = std::unique_ptr<char[], FreeBuffer>;

inline Buffer buffer(std::size_t size)
{
	auto *p =
		static_cast<char *>(std::aligned_alloc(block, (size + block - 1) / block * block));
	require(p != nullptr, "aligned_alloc");
	std::memset(p, 'x', size);
	return Buffer(p);
}

inline aiocb request(const File &file, char *data, std::size_t size, off_t offset)
{
	aiocb cb{};
	cb.aio_fildes = file.get();
	cb.aio_buf = data;
	cb.aio_nbytes = size;
	cb.aio_offset = offset;
	cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	return cb;
}

inline void submit_read(aiocb &cb)
{
	require(aio_read(&cb) == 0, "aio_read");
}

inline void submit_write(aiocb &cb)
{
	require(aio_write(&cb) == 0, "aio_write");
}

// The result of a request that has ended: all its bytes, or the benchmark ends.
inline void take(aiocb &cb, std::size_t size)
{
	if (int error = aio_error(&cb))
		die("a request failed", error);
	if (aio_return(&cb) != static_cast<ssize_t>(size))
		die("a request transferred less than it should", 0);
}

inline void await(std::span<const aiocb *const> list)
{
	while (aio_suspend(list.data(), static_cast<int>(list.size()), nullptr) != 0)
		require(errno == EINTR, "aio_suspend");
}

inline void await(aiocb &cb, std::size_t size)
{
	const aiocb *one = &cb;
	while (aio_error(&cb) == EINPROGRESS)
		await({&one, 1});
	take(cb, size);
}

} // namespace bench
