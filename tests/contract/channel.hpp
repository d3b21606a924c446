// SPDX-License-Identifier: MIT
//
// What the tests of event channels share: channels that end themselves, events, and
// the things that cause events.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of support.hpp.
#ifndef CONTRACT_CHANNEL_HPP
#define CONTRACT_CHANNEL_HPP

#include "support.hpp"

#include <sigevec.h>

#include <climits>
#include <deque>
#include <sys/epoll.h>

namespace contract {

/// The call returns -1 with that errno.
#define CHECK_FAILS(call, error)                                                                   \
	do {                                                                                       \
		BOOST_TEST((call) == -1);                                                          \
		BOOST_TEST(errno == int{error});                                                   \
	} while (0)

// ------------------------------------------------------------------- channels

class Channel {
public:
	explicit Channel(unsigned flags = 0) : ec_(ec_create(flags | EC_CLOEXEC))
	{
		BOOST_TEST_REQUIRE(ec_ >= 0);
	}
	Channel(Channel &&other) noexcept : ec_(other.release()) {}
	~Channel()
	{
		if (ec_ >= 0)
			ec_destroy(ec_);
	}
	operator ec_t() const { return ec_; }
	ec_t release() { return std::exchange(ec_, -1); }

private:
	ec_t ec_;
};

struct ChannelKind {
	const char *name;
	unsigned flags;
};
inline constexpr ChannelKind channel_kinds[] = {
	{"flags 0", 0}, {"EC_SINGLE", EC_SINGLE}, {"EC_SINGLE|EC_BATCH", EC_SINGLE | EC_BATCH}};

/// Runs `body` with the flags of every kind of channel.
template <class Body> void for_each_channel_kind(Body body)
{
	for (const ChannelKind &kind : channel_kinds)
		BOOST_TEST_CONTEXT("channel: " << kind.name)
		{
			body(kind.flags);
		}
}
/// Runs `body` with a fresh channel of every kind.
template <class Body> void for_each_channel(Body body, unsigned more_flags = 0)
{
	for_each_channel_kind([&](unsigned flags) {
		Channel ec(flags | more_flags);
		body(ec);
	});
}

/// What EC_BATCH has kept reaches the kernel; nothing on other channels.
inline void hand_over(ec_t ec)
{
	BOOST_TEST_REQUIRE(ec_submit(ec) >= 0);
}

// --------------------------------------------------------------------- events

inline constexpr timespec at_once{0, 0};
inline constexpr timespec until_it_hangs{hang_limit.count(), 0};

inline Outcome outcome(const event_data_t &event)
{
	return {event.ev_errno, event.ev_result};
}

/// What a read comes to where no handler runs. Who waits in the kernel is told EINTR when the
/// process has been stopped and continued, too (ec_next_event(3)), which anybody may do to a test.
template <class Read> int read_through_stops(Read read)
{
	int result;
	do
		result = read();
	while (result < 0 && errno == EINTR);
	return result;
}
/// epoll_wait is told so, too.
inline int wait_through_stops(int epoll, epoll_event *events, int max, int milliseconds)
{
	return read_through_stops([&] { return epoll_wait(epoll, events, max, milliseconds); });
}
/// Takes up to `max` events, waiting for the first; fewer than one says that it hung. For any
/// thread.
inline int take_events(ec_t ec, event_data_t *events, unsigned max,
		       const timespec &timeout = until_it_hangs)
{
	return read_through_stops([&] { return ec_next_events(ec, events, max, &timeout); });
}
inline event_data_t next_event(ec_t ec)
{
	event_data_t event{};
	BOOST_TEST_REQUIRE(take_events(ec, &event, 1) == 1);
	return event;
}
/// True when a read finds nothing. An event that it finds is lost.
inline bool found_empty(ec_t ec)
{
	event_data_t event;
	return take_events(ec, &event, 1, at_once) == 0;
}
inline bool is_readable(ec_t ec)
{
	return has_data(ec);
}
inline bool becomes_readable(ec_t ec)
{
	pollfd ready{ec, POLLIN, 0};
	return poll(&ready, 1, 1000 * int(hang_limit.count())) == 1 &&
	       (ready.revents & POLLIN) != 0;
}
/// Takes all there is, down to a read that finds nothing; returns how many.
inline int drain(ec_t ec)
{
	std::array<event_data_t, 16> events;
	int total = 0;
	for (int count; (count = take_events(ec, events.data(), events.size(), at_once)) > 0;)
		total += count;
	return total;
}

inline void *as_data(uintptr_t value)
{
	return reinterpret_cast<void *>(value);
}
inline uintptr_t as_number(void *data)
{
	return reinterpret_cast<uintptr_t>(data);
}

/// Posts, again while the channel is at its limit. For any thread; false when the channel is gone.
inline bool post(ec_t ec, uintptr_t value)
{
	for (;;) {
		if (ec_post(ec, ssize_t(value), 0, as_data(value)) == 0)
			return true;
		if (errno != EAGAIN)
			return false;
		sched_yield();
	}
}

inline struct ec_stat numbers(ec_t ec)
{
	struct ec_stat s {};
	BOOST_TEST_REQUIRE(ec_stat(ec, &s) == 0);
	return s;
}

/// The request tells its end to the channel.
inline Request &tell(Request &request, ec_t ec, void *data = nullptr)
{
	request.cb.aio_sigevent.sigev_notify = SIGEV_EC;
	request.cb.aio_sigevent.sigev_ec = ec;
	request.cb.aio_sigevent.sigev_value.sival_ptr = data;
	return request;
}
inline sigevent channel_event(ec_t ec, void *data = nullptr)
{
	sigevent event{};
	event.sigev_notify = SIGEV_EC;
	event.sigev_ec = ec;
	event.sigev_value.sival_ptr = data;
	return event;
}

// ----------------------------------------------------------- causes of events

/// Causes one event at a time: first prepare(), which leaves the channel empty, then fire().
class Source {
public:
	enum Kind { posted, one_call, request };
	Source(ec_t ec, Kind kind) : ec_(ec), kind_(kind), stream_(unix_stream()) {}
	void prepare()
	{
		if (kind_ == posted)
			return;
		Request &next = tell(reading(stream_.reader, 1), ec_);
		if (kind_ == request)
			BOOST_TEST_REQUIRE(aio_read(&next.cb) == 0);
		else
			BOOST_TEST_REQUIRE(
				ev_recv(stream_.reader, next.data(), 1, 0, ec_, nullptr) == 0);
		hand_over(ec_);
	}
	/// On any thread: without Boost's checks, which are for one thread.
	void fire()
	{
		if (kind_ == posted ? ec_post(ec_, 1, 0, nullptr) != 0
				    : write(stream_.writer, "x", 1) != 1)
			abort();
	}

private:
	ec_t ec_;
	Kind kind_;
	Stream stream_;
};

/// Runs `body` with every kind of channel and every cause of events.
template <class Body> void for_each_channel_and_source(Body body)
{
	constexpr std::pair<const char *, Source::Kind> kinds[] = {{"ec_post", Source::posted},
								   {"ev_recv", Source::one_call},
								   {"aio_read", Source::request}};
	for (const auto &[name, kind] : kinds) {
		BOOST_TEST_CONTEXT("events of " << name)
		{
			for_each_channel([&, kind = kind](Channel &ec) {
				Source source(ec, kind);
				body(ec, source);
			});
		}
	}
}

// ------------------------------------------------------------ no such channel

/// The calls that do not say EBADF although `ec` is no channel; empty when all do. For children
/// too.
inline std::string calls_without_ebadf(ec_t ec)
{
	std::string wrong;
	auto check = [&](const char *name, auto call) {
		errno = 0;
		if (call() != -1 || errno != EBADF)
			wrong += std::string(name) + " ";
	};
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
		return "socketpair";
	const Fd s(ends[0]), other(ends[1]);
	static char byte[1];
	static iovec part{byte, 1};
	static msghdr message{};
	message.msg_iov = &part;
	message.msg_iovlen = 1;
	sockaddr_in address{};
	address.sin_family = AF_INET;
	auto *const where = reinterpret_cast<sockaddr *>(&address);
	event_data_t event;
	struct ec_stat stat;
	check("ec_to_fd", [&] { return ec_to_fd(ec); });
	check("ec_next_event", [&] { return ec_next_event(ec, &event); });
	check("ec_next_events", [&] { return ec_next_events(ec, &event, 1, &at_once); });
	check("ec_submit", [&] { return ec_submit(ec); });
	check("ec_post", [&] { return ec_post(ec, 0, 0, nullptr); });
	check("ec_set_limit", [&] { return ec_set_limit(ec, 10); });
	check("ec_stat", [&] { return ec_stat(ec, &stat); });
	check("ev_send", [&] { return ev_send(s, byte, 1, 0, ec, nullptr); });
	check("ev_sendto",
	      [&] { return ev_sendto(s, byte, 1, 0, where, sizeof address, ec, nullptr); });
	check("ev_sendmsg", [&] { return ev_sendmsg(s, &message, 0, ec, nullptr); });
	check("ev_recv", [&] { return ev_recv(s, byte, 1, 0, ec, nullptr); });
	check("ev_recvfrom", [&] { return ev_recvfrom(s, byte, 1, 0, nullptr, 0, ec, nullptr); });
	check("ev_recvmsg", [&] { return ev_recvmsg(s, &message, 0, ec, nullptr); });
	check("ev_accept", [&] { return ev_accept(s, 0, ec, nullptr); });
	check("ev_connect", [&] { return ev_connect(s, where, sizeof address, ec, nullptr); });
	check("ev_poll", [&] { return ev_poll(s, POLLIN, ec, nullptr); });
	check("ev_cancel", [&] { return ev_cancel(ec, nullptr); });
	Request &request = tell(reading(s, 1), ec);
	check("aio_read", [&] { return aio_read(&request.cb); });
	check("aio_recv", [&] { return aio_recv(&request.cb, 0); });
	if (has_data(other))
		wrong += "(something was sent) ";
	check("ec_destroy", [&] { return ec_destroy(ec); });
	return wrong;
}

/// How many descriptors this process has open.
inline int open_descriptors()
{
	int count = 0;
	for (int fd = 0; fd < 70000; ++fd) {
		if (fcntl(fd, F_GETFD) != -1)
			++count;
	}
	return count;
}

} // namespace contract

#endif
