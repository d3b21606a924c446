/* SPDX-License-Identifier: MIT */
/* Part of <sigevec.hpp>: what can be awaited, a request on its way, and what it comes to. */
#ifndef SIGEVEC_OPERATION_HPP
#define SIGEVEC_OPERATION_HPP 1

#include <sigevec.h>

#include <atomic>
#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <utility>

namespace sigevec {

/* What a request has come to: the value of the call that it stands for, or an error. */
struct result {
	ssize_t value = -1;
	int error = 0; /* an errno */

	explicit operator bool() const noexcept { return error == 0; }
	ssize_t operator*() const noexcept { return value; }
	std::size_t size() const noexcept
	{
		return value < 0 ? 0 : static_cast<std::size_t>(value);
	}
};

class channel;

/* A request on its way. What is known of it to the channel is the address behind its own: no other
 * object begins there. */
class operation {
public:
	operation(const operation &) = delete;
	operation &operator=(const operation &) = delete;

	bool await_ready() const noexcept { return false; }
	result await_resume() const noexcept { return outcome; }

protected:
	explicit operation(channel &ch) noexcept : owner(&ch) {}
	inline ~operation();

	template <class Start> bool begin(std::coroutine_handle<> coroutine, Start start) noexcept;
	void *key() noexcept { return reinterpret_cast<char *>(this) + 1; }

	channel *owner;

private:
	friend class channel;
	std::coroutine_handle<> waiter;
	result outcome;
	operation *below[2] = {}; /* in the owner's tree */
	std::atomic<bool> listed = false;
};

/* What a channel's functions return, to be awaited once. Start: int (ec_t, void *data), an ev_*
 * call. */
template <class Start> class [[nodiscard]] request : public operation {
public:
	request(channel &ch, Start call) noexcept : operation(ch), start(call) {}
	bool await_suspend(std::coroutine_handle<> coroutine) noexcept
	{
		return begin(coroutine, start);
	}
	/* Ends the request with ECANCELED if that is still possible; its coroutine goes on in
	 * either case. 0, or an errno. */
	int cancel() noexcept;

private:
	Start start;
};

/* The same for a file: one of aio_read, aio_write and their like. */
class [[nodiscard]] file_request : public operation {
public:
	file_request(channel &ch, int (*call)(struct aiocb *), int fd, void *data, std::size_t size,
		     off_t offset) noexcept
	    : operation(ch), start(call)
	{
		cb()->aio_fildes = fd;
		cb()->aio_buf = data;
		cb()->aio_nbytes = size;
		cb()->aio_offset = offset;
		cb()->aio_sigevent.sigev_notify = SIGEV_EC;
	}
	bool await_suspend(std::coroutine_handle<> coroutine) noexcept
	{
		return begin(coroutine, [call = start, cb = cb()](ec_t ec, void *data) noexcept {
			cb->aio_sigevent.sigev_ec = ec;
			cb->aio_sigevent.sigev_value.sival_ptr = data;
			return call(cb);
		});
	}
	int cancel() noexcept { return aio_cancel(cb()->aio_fildes, cb()) < 0 ? errno : 0; }

private:
	struct aiocb *cb() noexcept { return reinterpret_cast<struct aiocb *>(memory); }

	int (*start)(struct aiocb *);
	/* Not a member of its own type: libc's has an array of no elements, which -pedantic would
	 * find here. */
	alignas(struct aiocb) std::byte memory[sizeof(struct aiocb)] = {};
};

} // namespace sigevec

/* There is what needs the channel. */
#include "sigevec/channel.hpp"

#endif
