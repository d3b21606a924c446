/* SPDX-License-Identifier: MIT */
/* Part of <sigevec.hpp>: an event channel, which makes requests and resumes those who await them.
 */
#ifndef SIGEVEC_CHANNEL_HPP
#define SIGEVEC_CHANNEL_HPP 1

#include "sigevec/operation.hpp"
#include "sigevec/relay.hpp"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <utility>

namespace sigevec {

/*
 * An event channel. One thread at a time runs it and makes requests, unless the flags lack
 * EC_SINGLE: then any thread may make requests, and several may call run and run_once; a coroutine
 * goes on in whichever took its event.
 */
class channel {
public:
	explicit channel(unsigned flags = EC_CLOEXEC | EC_SINGLE | EC_BATCH) noexcept
	    : ec(ec_create(flags))
	{
		failure = ec < 0 ? errno : 0;
	}
	/* Not while it runs, nor between the making of a request and its await. */
	channel(channel &&other) noexcept { take_over(other); }
	channel &operator=(channel &&other) noexcept
	{
		if (this != &other) {
			close();
			take_over(other);
		}
		return *this;
	}
	~channel() { close(); }

	explicit operator bool() const noexcept { return ec >= 0; }
	/* Why there is no channel: the errno of ec_create. */
	int error() const noexcept { return failure; }
	/* The channel for the ec_* functions, and the descriptor for poll and epoll. */
	ec_t get() const noexcept { return ec; }
	/* Requests whose coroutines wait. */
	std::size_t outstanding() const noexcept { return pending.load(std::memory_order_relaxed); }

	/* --- requests: co_await them
	 * ------------------------------------------------------------ */

	auto recv(int fd, void *data, std::size_t size, int flags = 0) noexcept
	{
		return make([=](ec_t to, void *self) noexcept {
			return ev_recv(fd, data, size, flags, to, self);
		});
	}
	auto send(int fd, const void *data, std::size_t size, int flags = 0) noexcept
	{
		return make([=](ec_t to, void *self) noexcept {
			return ev_send(fd, data, size, flags, to, self);
		});
	}
	/* Anything with data() and size(), and arrays. With flags: pointer and size. */
	template <class Buffer>
	requires requires(Buffer &b) { std::data(b), std::size(b); }
	auto recv(int fd, Buffer &&buffer) noexcept
	{
		return recv(fd, std::data(buffer), bytes(buffer));
	}
	template <class Buffer>
	requires requires(Buffer &b) { std::data(b), std::size(b); }
	auto send(int fd, Buffer &&buffer) noexcept
	{
		return send(fd, std::data(buffer), bytes(buffer));
	}
	auto recvmsg(int fd, struct msghdr *message, int flags = 0) noexcept
	{
		return make([=](ec_t to, void *self) noexcept {
			return ev_recvmsg(fd, message, flags, to, self);
		});
	}
	auto sendmsg(int fd, const struct msghdr *message, int flags = 0) noexcept
	{
		return make([=](ec_t to, void *self) noexcept {
			return ev_sendmsg(fd, message, flags, to, self);
		});
	}
	/* The result is the new descriptor. flags: SOCK_CLOEXEC, SOCK_NONBLOCK. */
	auto accept(int fd, int flags = SOCK_CLOEXEC) noexcept
	{
		return make([=](ec_t to, void *self) noexcept {
			return ev_accept(fd, flags, to, self);
		});
	}
	/* The address is read when the request is awaited. */
	auto connect(int fd, const struct sockaddr *address, socklen_t length) noexcept
	{
		return make([=](ec_t to, void *self) noexcept {
			return ev_connect(fd, address, length, to, self);
		});
	}
	auto poll(int fd, short events) noexcept
	{
		return make([=](ec_t to, void *self) noexcept {
			return ev_poll(fd, events, to, self);
		});
	}
	file_request read(int fd, void *data, std::size_t size, off_t offset) noexcept
	{
		return {*this, aio_read, fd, data, size, offset};
	}
	file_request write(int fd, const void *data, std::size_t size, off_t offset) noexcept
	{
		return {*this, aio_write, fd, const_cast<void *>(data), size, offset};
	}
	file_request fsync(int fd) noexcept
	{
		return {*this, [](struct aiocb *cb) noexcept { return aio_fsync(O_SYNC, cb); },
			fd,    nullptr,
			0,     0};
	}
	/* Goes on in the thread that runs the channel, after what is in it now. From any thread. */
	auto schedule() noexcept
	{
		return make([](ec_t to, void *self) noexcept { return ec_post(to, 0, 0, self); });
	}

	/* --- running
	 * ------------------------------------------------------------
	 */

	/* Waits for events and lets their coroutines go on. The value is the number of events;
	 * EINTR after a signal handler. */
	result run_once() noexcept
	{
		for (;;) {
			result r = take(nullptr);
			if (r.value != 0)
				return r;
		}
	}
	/* The same, and 0 when the time has passed. */
	result run_once(std::chrono::nanoseconds limit) noexcept
	{
		const auto start = std::chrono::steady_clock::now();
		for (auto left = limit;;) {
			auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
			struct timespec t = {};
			t.tv_sec = static_cast<time_t>(seconds.count());
			t.tv_nsec = static_cast<long>((left - seconds).count());
			result r = take(&t);
			if (r.value != 0)
				return r;
			left = limit - (std::chrono::steady_clock::now() - start);
			if (left.count() <= 0)
				return r;
		}
	}
	/* Until stop, or until no coroutine waits any more. */
	result run() noexcept
	{
		const unsigned before = stops.load();
		channel *const outer = std::exchange(running_here, this);
		result r = {0, 0};
		runs++;
		while (outstanding() != 0 && stops.load() == before) {
			r = take(nullptr);
			if (!r && r.error != EINTR)
				break;
			r = {0, 0};
		}
		running_here = outer;
		if (--runs != 0)
			wake(); /* the next one leaves for the same reason */
		return r;
	}
	/* Lets all who are in run return, soon. From any thread. Where nobody is it does nothing: a
	 * later run is not stopped. */
	void stop() noexcept
	{
		stops++;
		if (runs.load() != 0 && running_here != this)
			wake();
	}
	/* Lets the coroutine of an event go on; false: it is no request's. */
	bool dispatch(const event_data_t &event) noexcept
	{
		if (event.ev_type == ::event_type_user && event.ev_data == &waking) {
			if (runs.load() != 0)
				wake(); /* it was meant for who is in run */
			return true;
		}
		return go_on(event);
	}

private:
	friend class operation;

	template <class Start> request<Start> make(Start start) noexcept { return {*this, start}; }
	template <class Buffer> static std::size_t bytes(Buffer &buffer) noexcept
	{
		return std::size(buffer) * sizeof *std::data(buffer);
	}
	/* The value is the number of events but for those of wake(): 0 after one of them. */
	result take(const struct timespec *limit) noexcept
	{
		event_data_t events[64];
		int n = ec_next_events(ec, events, 64, limit), woken = 0;
		if (n < 0)
			return {-1, errno};
		for (int i = 0; i < n; i++)
			if (events[i].ev_type == ::event_type_user && events[i].ev_data == &waking)
				woken++;
			else
				go_on(events[i]);
		return {n - woken, 0};
	}
	bool go_on(const event_data_t &event) noexcept
	{
		operation *ended = remove(event.ev_data);
		if (ended == nullptr)
			return false;
		ended->outcome = {event.ev_result, event.ev_errno};
		detail::relay::run(ended->waiter);
		return true;
	}
	/* Where the channel is full, that is no reason to sleep on. */
	void wake() noexcept
	{
		if (ec_post(ec, 0, 0, &waking) == 0 || errno != EAGAIN)
			return;
		struct ec_stat now;
		if (ec_stat(ec, &now) != 0 || ec_set_limit(ec, now.limit + 1) != 0)
			return;
		ec_post(ec, 0, 0, &waking);
		ec_set_limit(ec, now.limit);
	}
	void close() noexcept
	{
		if (ec >= 0)
			ec_destroy(ec);
		for_each(operations, [](operation *o) noexcept { o->listed = false; });
		operations = nullptr;
		pending = 0;
	}
	void take_over(channel &other) noexcept
	{
		ec = std::exchange(other.ec, -1);
		failure = std::exchange(other.failure, EBADF);
		pending = other.pending.exchange(0);
		operations = std::exchange(other.operations, nullptr);
		for_each(operations, [this](operation *o) noexcept { o->owner = this; });
	}

	/*
	 * The requests whose coroutines wait: only what is found here is one of ours. A tree by the
	 * bits of their mixed addresses: on the way to a node, and at it, these bits are its own.
	 */
	static std::uint64_t mixed(const void *key) noexcept
	{
		return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(key)) *
		       0x9e3779b97f4a7c15u;
	}
	operation **find(const void *key) noexcept
	{
		operation **at = &operations;
		for (std::uint64_t bits = mixed(key); *at != nullptr && (*at)->key() != key;
		     bits <<= 1)
			at = &(*at)->below[bits >> 63];
		return at;
	}
	void add(operation *o) noexcept
	{
		std::lock_guard<std::mutex> locked(mutex);
		o->below[0] = o->below[1] = nullptr;
		o->listed = true;
		*find(o->key()) = o;
		pending.fetch_add(1, std::memory_order_relaxed);
	}
	operation *remove(const void *key) noexcept
	{
		std::lock_guard<std::mutex> locked(mutex);
		operation **at = find(key), *o = *at;
		if (o == nullptr)
			return nullptr;
		operation **leaf = at; /* the last one of a way down from it takes its place */
		while ((*leaf)->below[0] != nullptr || (*leaf)->below[1] != nullptr)
			leaf = &(*leaf)->below[(*leaf)->below[0] == nullptr];
		operation *instead = std::exchange(*leaf, nullptr);
		if (instead != o) {
			instead->below[0] = o->below[0];
			instead->below[1] = o->below[1];
			*at = instead;
		}
		o->listed = false;
		pending.fetch_sub(1, std::memory_order_relaxed);
		return o;
	}
	template <class F> static void for_each(operation *o, F f) noexcept
	{
		while (o != nullptr) {
			operation *next = o->below[1];
			for_each(o->below[0], f);
			f(o);
			o = next;
		}
	}

	static inline thread_local channel *running_here = nullptr; /* innermost */
	static inline char waking = 0; /* its address: an event that only wakes */
	ec_t ec;
	int failure = 0;
	std::mutex mutex;
	operation *operations = nullptr;
	std::atomic<std::size_t> pending = 0;
	std::atomic<unsigned> stops = 0; /* how often */
	std::atomic<unsigned> runs = 0;  /* who are in run */
};

/* start: a copy, so that all that is read of the coroutine's frame is read before add(): who
 * resumes the coroutine has that lock after it, which a race detector sees. */
template <class Start>
bool operation::begin(std::coroutine_handle<> coroutine, Start start) noexcept
{
	channel *ch = owner;

	waiter = coroutine;
	ch->add(this);
	if (start(ch->get(), key()) == 0)
		return true; /* another thread may have resumed the coroutine by now: nothing of it
			      * is touched any more
			      */
	outcome = {-1, errno};
	ch->remove(key());
	return false;
}

inline operation::~operation()
{
	if (!listed)
		return;
	ev_cancel(owner->get(), key());
	owner->remove(key());
}

template <class Start> int request<Start>::cancel() noexcept
{
	return ev_cancel(owner->get(), key()) == 0 ? 0 : errno;
}

} // namespace sigevec

#endif
