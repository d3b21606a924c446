// SPDX-License-Identifier: MIT
//
// What the tests of socket requests share: sockets of every kind, messages, and the ways
// in which a request can be made: the aio_* and the ev_* calls do the same work, so most
// cases are written once and run for each way.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of channel.hpp.
#ifndef CONTRACT_SOCKET_CALLS_HPP
#define CONTRACT_SOCKET_CALLS_HPP

#include "channel.hpp"

#include <netinet/tcp.h>
#include <sys/un.h>

namespace contract {

// -------------------------------------------------------------------- sockets

struct SocketKind {
	const char *name;
	int domain, type;
	bool is_stream() const { return type == SOCK_STREAM; }
};
inline constexpr SocketKind unix_stream_kind{"UNIX stream", AF_UNIX, SOCK_STREAM};
inline constexpr SocketKind unix_packet_kind{"UNIX seqpacket", AF_UNIX, SOCK_SEQPACKET};
inline constexpr SocketKind unix_datagram_kind{"UNIX datagram", AF_UNIX, SOCK_DGRAM};
inline constexpr SocketKind tcp4_kind{"TCP over IPv4", AF_INET, SOCK_STREAM};
inline constexpr SocketKind tcp6_kind{"TCP over IPv6", AF_INET6, SOCK_STREAM};
inline constexpr SocketKind udp4_kind{"UDP over IPv4", AF_INET, SOCK_DGRAM};
inline constexpr SocketKind udp6_kind{"UDP over IPv6", AF_INET6, SOCK_DGRAM};

struct Address {
	sockaddr_storage storage{};
	socklen_t length = sizeof storage;
	sockaddr *get() { return reinterpret_cast<sockaddr *>(&storage); }
	bool operator==(const Address &other) const
	{
		return length == other.length && memcmp(&storage, &other.storage, length) == 0;
	}
};
/// To bind to: a free port of the loopback, or a free abstract UNIX name.
inline Address any_address(int domain)
{
	Address address;
	address.storage.ss_family = sa_family_t(domain);
	address.length = domain == AF_INET    ? socklen_t(sizeof(sockaddr_in))
			 : domain == AF_INET6 ? socklen_t(sizeof(sockaddr_in6))
					      : socklen_t(sizeof(sa_family_t));
	if (domain == AF_INET)
		reinterpret_cast<sockaddr_in *>(&address.storage)->sin_addr.s_addr =
			htonl(INADDR_LOOPBACK);
	if (domain == AF_INET6)
		reinterpret_cast<sockaddr_in6 *>(&address.storage)->sin6_addr = in6addr_loopback;
	return address;
}
inline Address address_of(int s)
{
	Address address;
	BOOST_TEST_REQUIRE(getsockname(s, address.get(), &address.length) == 0);
	return address;
}
inline bool usable(const SocketKind &kind)
{
	Fd probe(socket(kind.domain, kind.type | SOCK_CLOEXEC, 0));
	Address address = any_address(kind.domain);
	if (probe >= 0 && bind(probe, address.get(), address.length) == 0)
		return true;
	BOOST_TEST_MESSAGE("skipped: no " << kind.name << " here");
	return false;
}
inline Fd new_socket(const SocketKind &kind)
{
	Fd s(socket(kind.domain, kind.type | SOCK_CLOEXEC, 0));
	BOOST_TEST_REQUIRE(s >= 0);
	if (kind.domain != AF_UNIX && kind.is_stream())
		for (int option : {SO_SNDBUF, SO_RCVBUF}) { // a size that the kernel will not adapt
			const int bytes = 65536;
			setsockopt(s, SOL_SOCKET, option, &bytes, sizeof bytes);
		}
	return s;
}
inline Fd bound_socket(const SocketKind &kind)
{
	Fd s = new_socket(kind);
	Address address = any_address(kind.domain);
	BOOST_TEST_REQUIRE(bind(s, address.get(), address.length) == 0);
	return s;
}
inline Fd listening_socket(const SocketKind &kind, int backlog = 128)
{
	Fd s = bound_socket(kind);
	BOOST_TEST_REQUIRE(listen(s, backlog) == 0);
	return s;
}
inline Fd connected_to(const SocketKind &kind, int listener)
{
	Fd s = new_socket(kind);
	Address address = address_of(listener);
	BOOST_TEST_REQUIRE(connect(s, address.get(), address.length) == 0);
	return s;
}

/// Two sockets, connected with each other.
struct Pair {
	Fd a, b;
};
inline Pair make_pair(const SocketKind &kind)
{
	int ends[2];
	if (kind.domain == AF_UNIX) {
		BOOST_TEST_REQUIRE(socketpair(AF_UNIX, kind.type | SOCK_CLOEXEC, 0, ends) == 0);
		return {Fd(ends[0]), Fd(ends[1])};
	}
	if (kind.is_stream()) {
		Fd listener = listening_socket(kind), client = connected_to(kind, listener);
		Fd server(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
		BOOST_TEST_REQUIRE(server >= 0);
		return {std::move(server), std::move(client)};
	}
	Pair pair{bound_socket(kind), bound_socket(kind)};
	Address a = address_of(pair.a), b = address_of(pair.b);
	BOOST_TEST_REQUIRE(connect(pair.a, b.get(), b.length) == 0);
	BOOST_TEST_REQUIRE(connect(pair.b, a.get(), a.length) == 0);
	return pair;
}

// ------------------------------------------------------------------- messages

/// A msghdr with its pieces and control data. It lives until the program ends.
struct Message {
	msghdr header{};
	std::vector<std::string> parts;
	std::vector<iovec> vector;
	alignas(cmsghdr) std::array<char, 1024> control{};
	Address address;

	explicit Message(std::vector<std::string> pieces) : parts(std::move(pieces))
	{
		for (std::string &part : parts)
			vector.push_back({part.data(), part.size()});
		header.msg_iov = vector.data();
		header.msg_iovlen = vector.size();
	}
	Message(const Message &) = delete;
	std::string text() const
	{
		std::string all;
		for (const std::string &part : parts)
			all += part;
		return all;
	}
	/// Control data to send.
	void attach(int type, const void *data, size_t size)
	{
		auto *const item = reinterpret_cast<cmsghdr *>(control.data());
		*item = {CMSG_LEN(size), SOL_SOCKET, type};
		memcpy(CMSG_DATA(item), data, size);
		header.msg_control = control.data();
		header.msg_controllen = CMSG_SPACE(size);
	}
	void attach_descriptor(int fd) { attach(SCM_RIGHTS, &fd, sizeof fd); }
	/// Room for control data to receive.
	void make_room(size_t size)
	{
		header.msg_control = control.data();
		header.msg_controllen = size;
	}
	void ask_for_address()
	{
		header.msg_name = &address.storage;
		header.msg_namelen = sizeof address.storage;
	}
	/// The control data of that type, or nullptr; for msg_controllen, the program's copy is
	/// looked at.
	const void *received(int type, int level = SOL_SOCKET)
	{
		msghdr view = header;
		view.msg_control = control.data();
		for (cmsghdr *item = CMSG_FIRSTHDR(&view); item != nullptr;
		     item = CMSG_NXTHDR(&view, item))
			if (item->cmsg_level == level && item->cmsg_type == type)
				return CMSG_DATA(item);
		return nullptr;
	}
	int received_descriptor()
	{
		int fd = -1;
		if (const void *data = received(SCM_RIGHTS))
			memcpy(&fd, data, sizeof fd);
		return fd;
	}
	/// What the call has copied may change; the places of results may not.
	void spoil_what_was_copied()
	{
		for (iovec &part : vector)
			part = {as_data(16), SIZE_MAX / 2};
		header.msg_iov = static_cast<iovec *>(as_data(24));
		header.msg_iovlen = 77;
		header.msg_name = header.msg_control = as_data(32);
	}
};
inline Message &message(std::vector<std::string> pieces)
{
	static auto &kept = *new std::deque<Message>;
	return kept.emplace_back(std::move(pieces));
}
inline Message &room_for(std::vector<size_t> sizes)
{
	std::vector<std::string> pieces;
	for (size_t size : sizes)
		pieces.emplace_back(size, '?');
	return message(std::move(pieces));
}

// ----------------------------------------------------------------------- ways

/// One way of making a request and of learning its end.
class Way {
public:
	struct Kind {
		const char *name;
		bool one_call;
		int notify;     // of an aiocb
		unsigned flags; // of the channel
	};
	static constexpr Kind kinds[] = {
		{"aio_*, SIGEV_NONE", false, SIGEV_NONE, 0},
		{"aio_*, SIGEV_EC", false, SIGEV_EC, 0},
		{"ev_*, flags 0", true, 0, 0},
		{"ev_*, EC_SINGLE", true, 0, EC_SINGLE},
		{"ev_*, EC_SINGLE|EC_BATCH", true, 0, EC_SINGLE | EC_BATCH}};

	/// A request under way. It lives until the program ends.
	struct Pending {
		Request request;
		bool ended = false;
		event_data_t event{};
		std::string text() { return request.text(); }
		char *data() { return request.data(); }
	};

	explicit Way(const Kind &kind) : kind_(kind), ec_(kind.flags) {}
	/// Whether its channel may have an io_uring of its own.
	bool has_ring() const { return (kind_.flags & EC_SINGLE) != 0; }

	Pending &send(int s, std::string_view data, int flags = 0)
	{
		Pending &p = keep_out(s, data);
		return start(
			p, [&](aiocb *cb) { return aio_send(cb, flags); },
			[&] { return ev_send(s, p.data(), data.size(), flags, ec_, &p); });
	}
	Pending &recv(int s, size_t bytes, int flags = 0)
	{
		Pending &p = keep(s, bytes);
		return start(
			p, [&](aiocb *cb) { return aio_recv(cb, flags); },
			[&] { return ev_recv(s, p.data(), bytes, flags, ec_, &p); });
	}
	Pending &sendto(int s, std::string_view data, const sockaddr *to, socklen_t length,
			int flags = 0)
	{
		Pending &p = keep_out(s, data);
		return start(
			p, [&](aiocb *cb) { return aio_sendto(cb, flags, to, length); },
			[&] {
				return ev_sendto(s, p.data(), data.size(), flags, to, length, ec_,
						 &p);
			});
	}
	Pending &recvfrom(int s, size_t bytes, sockaddr *from, socklen_t length, int flags = 0)
	{
		Pending &p = keep(s, bytes);
		return start(
			p, [&](aiocb *cb) { return aio_recvfrom(cb, flags, from, length); },
			[&] {
				return ev_recvfrom(s, p.data(), bytes, flags, from, length, ec_,
						   &p);
			});
	}
	Pending &sendmsg(int s, Message &m, int flags = 0)
	{
		Pending &p = keep(s, 0);
		p.request.cb.aio_msg = &m.header;
		return start(
			p, [&](aiocb *cb) { return aio_sendmsg(cb, flags); },
			[&] { return ev_sendmsg(s, &m.header, flags, ec_, &p); });
	}
	Pending &recvmsg(int s, Message &m, int flags = 0)
	{
		Pending &p = keep(s, 0);
		p.request.cb.aio_msg = &m.header;
		return start(
			p, [&](aiocb *cb) { return aio_recvmsg(cb, flags); },
			[&] { return ev_recvmsg(s, &m.header, flags, ec_, &p); });
	}
	Pending &accept(int s, int flags = SOCK_CLOEXEC)
	{
		Pending &p = keep(s, 0);
		return start(
			p, [&](aiocb *cb) { return aio_accept(cb, flags); },
			[&] { return ev_accept(s, flags, ec_, &p); });
	}
	Pending &connect(int s, const sockaddr *to, socklen_t length)
	{
		Pending &p = keep(s, 0);
		return start(
			p, [&](aiocb *cb) { return aio_connect(cb, to, length); },
			[&] { return ev_connect(s, to, length, ec_, &p); });
	}

	/// A channel for one thread: its one-call requests are in order with each other, not with
	/// those made elsewhere.
	bool single() const { return kind_.one_call && (kind_.flags & EC_SINGLE) != 0; }
	/// Before the test waits for something that only the requests cause.
	void go() { hand_over(ec_); }
	/// The other end's work, done by a thread of its own while this one reads its channel as a
	/// program's loop does.
	std::string take(int fd, size_t bytes)
	{
		std::string got;
		meanwhile([&] { got = contract::take(fd, bytes); });
		return got;
	}
	void put(int fd, std::string_view data)
	{
		bool whole = false;
		meanwhile([&] {
			whole = write(fd, data.data(), data.size()) == ssize_t(data.size());
		});
		BOOST_TEST_REQUIRE(whole);
	}
	/// {EINPROGRESS, -2} says that it hung.
	Outcome finish(Pending &p)
	{
		if (!kind_.one_call)
			return contract::finish(p.request);
		while (!p.ended)
			if (!collect(until_it_hangs))
				return {EINPROGRESS, -2};
		return outcome(p.event);
	}
	bool pending(Pending &p)
	{
		if (!kind_.one_call)
			return p.request.pending();
		while (collect(at_once)) {
		}
		return !p.ended;
	}
	/// True when the request was cancelled, or is said to be.
	bool cancel(Pending &p)
	{
		if (kind_.one_call)
			return ev_cancel(ec_, &p) == 0;
		return aio_cancel(p.request.cb.aio_fildes, &p.request.cb) == AIO_CANCELED;
	}

private:
	template <class Work> void meanwhile(Work work)
	{
		std::atomic<bool> done{false};
		std::thread other([&] {
			work();
			done = true;
		});
		while (!done) {
			const timespec moment{0, 200000};
			if (kind_.one_call)
				collect(moment);
			else
				sched_yield();
		}
		other.join();
	}
	Pending &keep(int fd, size_t bytes)
	{
		static auto &kept = *new std::deque<Pending>;
		kept.push_back(Pending{Request(fd, bytes, 0)});
		return kept.back();
	}
	Pending &keep_out(int fd, std::string_view data)
	{
		Pending &p = keep(fd, data.size());
		memcpy(p.data(), data.data(), data.size());
		return p;
	}
	template <class ByAio, class ByEv> Pending &start(Pending &p, ByAio by_aio, ByEv by_ev)
	{
		if (kind_.notify == SIGEV_EC)
			tell(p.request, ec_, &p);
		const int result = kind_.one_call ? by_ev() : by_aio(&p.request.cb);
		BOOST_TEST_REQUIRE(result == 0);
		return p;
	}
	bool collect(const timespec &timeout)
	{
		event_data_t event;
		if (take_events(ec_, &event, 1, timeout) != 1)
			return false;
		auto *const p = static_cast<Pending *>(event.ev_data);
		BOOST_TEST_REQUIRE(p != nullptr);
		BOOST_TEST(!p->ended);
		BOOST_TEST(event.ev_type == event_type_net);
		BOOST_TEST(event.ev_un.ev_fd == p->request.cb.aio_fildes);
		p->event = event;
		p->ended = true;
		return true;
	}

	Kind kind_;
	Channel ec_;
};

/// Runs `body` with a fresh way of every kind.
template <class Body> void for_each_way(Body body)
{
	for (const Way::Kind &kind : Way::kinds)
		BOOST_TEST_CONTEXT("way: " << kind.name)
		{
			Way way(kind);
			body(way);
		}
}
/// Runs `body` with every way and a fresh pair of every usable one of the kinds.
template <class Body> void for_each_way_and_pair(const std::vector<SocketKind> &kinds, Body body)
{
	for (const SocketKind &kind : kinds)
		if (usable(kind))
			BOOST_TEST_CONTEXT("sockets: " << kind.name)
			{
				for_each_way([&](Way &way) {
					Pair pair = make_pair(kind);
					body(way, pair);
				});
			}
}
inline const std::vector<SocketKind> stream_socket_kinds{unix_stream_kind, tcp4_kind, tcp6_kind};
inline const std::vector<SocketKind> packet_socket_kinds{unix_packet_kind, unix_datagram_kind,
							 udp4_kind, udp6_kind};
inline const std::vector<SocketKind> datagram_socket_kinds{unix_datagram_kind, udp4_kind,
							   udp6_kind};
inline const std::vector<SocketKind> every_socket_kind{
	unix_stream_kind, unix_packet_kind, unix_datagram_kind, tcp4_kind,
	tcp6_kind,        udp4_kind,        udp6_kind};

} // namespace contract

#endif
