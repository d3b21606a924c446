/* SPDX-License-Identifier: MIT */
/*
 * libsigevec for C++20, header only: an event channel that owns itself, requests to be awaited, two
 * coroutine types.
 *
 *	sigevec::detached serve(sigevec::channel &ch, int fd)
 *	{
 *		char buf[4096];
 *		for (;;) {
 *			sigevec::result r = co_await ch.recv(fd, buf);
 *			if (r.size() == 0 || !co_await ch.send(fd, buf, r.size()))
 *				break;
 *		}
 *		close(fd);
 *	}
 *
 * A request lives in the frame of the coroutine that awaits it; nothing is allocated for it. A
 * coroutine that is destroyed while it awaits a request takes the request back, but what the
 * request reads or writes must last until the channel has shown its end: cancel() and let the
 * coroutine end. A channel that is destroyed cancels what is outstanding; the coroutines do not go
 * on, and may be destroyed. Errors are results, no function throws; an exception that leaves a
 * detached coroutine ends the program. However many awaits end at once, and however deep tasks
 * await each other, the stack does not grow, with any compiler and any level of optimization.
 *
 * run and run_once pass over events that are no request's of theirs, whatever their data. A program
 * that has such ones (a timer, ec_post, an ev_ or aio_ call of its own) calls ec_next_events itself
 * and shows each event to dispatch, which says whether it was a request's.
 */
#ifndef SIGEVEC_HPP
#define SIGEVEC_HPP 1

#include <sigevec.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <mutex>
#include <optional>
#include <type_traits>
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

namespace detail {

/*
 * Who lets coroutines go on. One that ends, or that awaits a task, names the next one and returns
 * to the loop beneath it: a transfer that needs no stack, where the compiler's own needs its
 * optimizer.
 */
class relay {
public:
	/* Lets it go on, and then whom it names. */
	static void run(std::coroutine_handle<> coroutine) noexcept
	{
		relay loop;
		loop.outer = std::exchange(innermost, &loop);
		while (coroutine) {
			loop.running = coroutine.address();
			loop.next = nullptr;
			coroutine.resume();
			coroutine = loop.next;
		}
		innermost = loop.outer;
	}
	/* By `from', which is suspended and returns after this: `to' goes on. Nothing of either is
	 * touched afterwards. */
	static void pass(std::coroutine_handle<> from, std::coroutine_handle<> to) noexcept
	{
		if (innermost != nullptr && innermost->running == from.address()) {
			innermost->running = nullptr;
			innermost->next = to;
		} else
			run(to); /* it was not the loop that let `from' go on */
	}

private:
	relay() = default;

	static inline thread_local relay *innermost = nullptr;
	relay *outer = nullptr;
	void *running = nullptr;
	std::coroutine_handle<> next;
};

} // namespace detail

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

	template <class Start>
	bool begin(std::coroutine_handle<> coroutine, Start &&start) noexcept;
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
		return begin(coroutine, [this](ec_t ec, void *data) noexcept {
			cb()->aio_sigevent.sigev_ec = ec;
			cb()->aio_sigevent.sigev_value.sival_ptr = data;
			return start(cb());
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

template <class Start>
bool operation::begin(std::coroutine_handle<> coroutine, Start &&start) noexcept
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

/* --- coroutines -------------------------------------------------------------------------------
 */

/* A coroutine that runs at once and frees itself at its end; nobody waits for it. */
struct detached {
	struct promise_type {
		detached get_return_object() const noexcept { return {}; }
		std::suspend_never initial_suspend() const noexcept { return {}; }
		std::suspend_never final_suspend() const noexcept { return {}; }
		void return_void() const noexcept {}
		[[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
	};
};

template <class T> class task;

namespace detail {

struct promise_base {
	std::coroutine_handle<> waiter = std::noop_coroutine();
	std::exception_ptr thrown;

	struct at_end {
		bool await_ready() const noexcept { return false; }
		template <class Promise>
		void await_suspend(std::coroutine_handle<Promise> ended) const noexcept
		{
			relay::pass(ended, ended.promise().waiter);
		}
		void await_resume() const noexcept {}
	};
	std::suspend_always initial_suspend() const noexcept { return {}; }
	at_end final_suspend() const noexcept { return {}; }
	void unhandled_exception() noexcept { thrown = std::current_exception(); }
	void check() const
	{
		if (thrown)
			std::rethrow_exception(thrown);
	}
};

template <class T> struct promise : promise_base {
	std::optional<T> value;

	task<T> get_return_object() noexcept;
	template <class U> void return_value(U &&v) { value.emplace(std::forward<U>(v)); }
	T take()
	{
		check();
		return std::move(*value);
	}
};

template <> struct promise<void> : promise_base {
	task<void> get_return_object() noexcept;
	void return_void() const noexcept {}
	void take() const { check(); }
};

} // namespace detail

/* A coroutine that runs when it is awaited, once, and gives a value, or what it has thrown, to the
 * one that awaits it.
 */
template <class T = void> class [[nodiscard]] task {
public:
	using promise_type = detail::promise<T>;
	using handle = std::coroutine_handle<promise_type>;

	explicit task(handle coroutine) noexcept : frame(coroutine) {}
	task(task &&other) noexcept : frame(std::exchange(other.frame, nullptr)) {}
	task &operator=(task &&) = delete;
	~task()
	{
		if (frame)
			frame.destroy();
	}

	bool await_ready() const noexcept { return false; }
	void await_suspend(std::coroutine_handle<> coroutine) const noexcept
	{
		frame.promise().waiter = coroutine;
		detail::relay::pass(coroutine, frame);
	}
	T await_resume() const { return frame.promise().take(); }

private:
	handle frame;
};

namespace detail {

template <class T> task<T> promise<T>::get_return_object() noexcept
{
	return task<T>(std::coroutine_handle<promise>::from_promise(*this));
}

inline task<void> promise<void>::get_return_object() noexcept
{
	return task<void>(std::coroutine_handle<promise>::from_promise(*this));
}

} // namespace detail

/* Runs a task to its end with nobody waiting for it. */
inline detached spawn(task<> work)
{
	co_await std::move(work);
}

} // namespace sigevec

#endif
