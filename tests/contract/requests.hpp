// SPDX-License-Identifier: MIT
//
// Requests that stay valid, how they end, and starting and finishing them.
#ifndef CONTRACT_REQUESTS_HPP
#define CONTRACT_REQUESTS_HPP

#include "checks.hpp"

#include <aio.h>
#include <fcntl.h>

#include <list>
#include <memory>
#include <mutex>
#include <ostream>

namespace contract {

/// How a request ended: what aio_error and aio_return say.
struct Outcome {
	int error;
	ssize_t result;
	bool operator==(const Outcome &) const = default;
};
inline Outcome ok(ssize_t result)
{
	return {0, result};
}
inline Outcome failed(int error)
{
	return {error, -1};
}
inline std::ostream &operator<<(std::ostream &out, const Outcome &o)
{
	const char *name = strerrorname_np(o.error);
	return out << "{"
		   << (o.error == 0 ? "success"
		       : name       ? name
				    : "unknown error")
		   << ", " << o.result << "}";
}

struct FreeMemory {
	void operator()(char *p) const { free(p); }
};

/// An aiocb with a buffer. Page aligned when it is large enough for O_DIRECT.
struct Request {
	aiocb cb;
	std::unique_ptr<char, FreeMemory> memory;
	size_t size = 0;

	Request(int fd, size_t bytes, off_t offset) : size(bytes)
	{
		const size_t room = bytes + (bytes == 0);
		memory.reset(static_cast<char *>(
			bytes >= 512 ? aligned_alloc(4096, (room + 4095) / 4096 * 4096)
				     : malloc(room)));
		memset(memory.get(), '?', room);
		memset(&cb, 0, sizeof cb);
		cb.aio_fildes = fd;
		cb.aio_buf = memory.get();
		cb.aio_nbytes = bytes;
		cb.aio_offset = offset;
		cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	}
	char *data() { return memory.get(); }
	std::string text() { return {data(), size}; }
	int error() const { return aio_error(&cb); }
	bool pending() const { return error() == EINPROGRESS; }
};

/// Requests live until the program ends, so that a failed check never leaves
/// the library with a pointer into a dead stack frame.
inline Request &keep(int fd, size_t bytes, off_t offset = 0)
{
	static std::mutex lock;
	static auto &kept = *new std::list<Request>;
	std::lock_guard guard(lock);
	return kept.emplace_back(fd, bytes, offset);
}
inline Request &reading(int fd, size_t bytes, off_t offset = 0)
{
	return keep(fd, bytes, offset);
}
inline Request &writing(int fd, std::string_view data, off_t offset = 0)
{
	Request &request = keep(fd, data.size(), offset);
	memcpy(request.data(), data.data(), data.size());
	return request;
}
inline Request &start_read(int fd, size_t bytes, off_t offset = 0)
{
	Request &request = reading(fd, bytes, offset);
	REQUIRE_ON_ANY_THREAD(aio_read(&request.cb) == 0);
	return request;
}
inline Request &start_write(int fd, std::string_view data, off_t offset = 0)
{
	Request &request = writing(fd, data, offset);
	REQUIRE_ON_ANY_THREAD(aio_write(&request.cb) == 0);
	return request;
}

/// Waits by asking aio_error only; {EINPROGRESS, -2} says that it hung.
inline Outcome finish(aiocb &cb)
{
	if (!eventually([&] { return aio_error(&cb) != EINPROGRESS; }))
		return {EINPROGRESS, -2};
	const int error = aio_error(&cb);
	return {error, aio_return(&cb)};
}
inline Outcome finish(Request &request)
{
	return finish(request.cb);
}

/// For errors that may be reported by the call or by the request.
inline Outcome finish_or_refused(int submitted, aiocb &cb)
{
	return submitted == 0 ? finish(cb) : failed(errno);
}

} // namespace contract

#endif
