// SPDX-License-Identifier: MIT
//
// The table of lib/dma/came.hpp, cell by cell: what comes of a receive, for each who may wait for
// it. A case for each row, a line for each cell, for every kind of socket where it can come, and
// both where it comes before it is asked for and while somebody waits.
#define BOOST_TEST_MODULE dma_cells
#include "dma.hpp"

#include <optional>
#include <poll.h>

namespace {

std::string name_of(int error)
{
	return error == 0 ? "end" : strerrorname_np(error);
}

/// What has come in a piece, which is released; of a message with how many descriptors.
std::string content(const Region &region, const void *piece, ssize_t n, bool message)
{
	if (piece == nullptr)
		return name_of(0);
	if (!message) {
		std::string text(static_cast<const char *>(piece), size_t(n));
		region.release(piece, size_t(n));
		return text;
	}
	msghdr m = *static_cast<const msghdr *>(piece);
	std::string text(static_cast<const char *>(m.msg_iov->iov_base), size_t(n));
	for (cmsghdr *c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_type == SCM_RIGHTS) {
			int fd;
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
			BOOST_TEST(close(fd) == 0);
			text += " and a descriptor";
		}
	region.release(piece, n == 0 ? sizeof(msghdr) : size_t(n));
	return text;
}

/// Who waits: asks, and says what has come.
class Taker {
public:
	explicit Taker(bool by_message) : message(by_message) {}
	virtual ~Taker() = default;
	virtual void ask(const Associated &s) = 0;
	/// It is asked, and nothing has come.
	virtual bool waits() = 0;
	virtual std::string told(const Associated &s) = 0;

protected:
	bool message;
};

class ByCall : public Taker {
public:
	explicit ByCall(int flags, bool by_message = false) : Taker(by_message), flags_(flags) {}
	void ask(const Associated &s) override
	{
		waiter_.emplace([this, &s] {
			n_ = message ? sio_recvmsg(s, const_cast<const void **>(&p_), 100, flags_)
				     : sio_recv(s, &p_, 100, flags_);
			return n_ < 0 ? -1 : 0;
		});
	}
	bool waits() override { return waiter_->asleep(); }
	std::string told(const Associated &s) override
	{
		BOOST_TEST_REQUIRE(waiter_->returns());
		return n_ < 0 ? name_of(waiter_->error()) : content(s.region, p_, n_, message);
	}

private:
	int flags_;
	std::optional<Waiter> waiter_;
	void *p_ = nullptr;
	ssize_t n_ = 0;
};

class ByRequest : public Taker {
public:
	explicit ByRequest(int flags, bool by_message = false) : Taker(by_message), flags_(flags) {}
	void ask(const Associated &s) override
	{
		request_ = &on_region(s, s.region, 100);
		BOOST_TEST_REQUIRE((message ? aio_recvmsg(&request_->cb, flags_)
					    : aio_recv(&request_->cb, flags_)) == 0);
	}
	bool waits() override { return aio_error(&request_->cb) == EINPROGRESS; }
	std::string told(const Associated &s) override
	{
		const Outcome end = finish(*request_);
		return end.error != 0 ? name_of(end.error)
				      : content(s.region, const_cast<void *>(request_->cb.aio_buf),
						end.result, message);
	}

private:
	int flags_;
	Request *request_ = nullptr;
};

/// A request with an event; armed: for every arrival.
class ByEvent : public Taker {
public:
	ByEvent(unsigned channel_flags, int flags, bool by_message = false)
	    : Taker(by_message), ec(channel_flags), flags_(flags)
	{
	}
	void ask(const Associated &s) override
	{
		BOOST_TEST_REQUIRE((message ? ev_recvmsg(s, nullptr, flags_, ec, nullptr)
					    : ev_recv(s, nullptr, 100, flags_, ec, nullptr)) == 0);
		hand_over(ec);
	}
	bool waits() override { return found_empty(ec); }
	std::string told(const Associated &s) override
	{
		const event_data_t e = next_event(ec);
		return e.ev_errno != 0
			       ? name_of(e.ev_errno)
			       : content(s.region, e.ev_un.ev_dma.buf, e.ev_result, message);
	}

private:
	Channel ec;
	int flags_;
};

/// A function, which says that something is there.
class ByFunction : public Taker {
public:
	ByFunction() : Taker(false) {}
	void ask(const Associated &s) override
	{
		BOOST_TEST_REQUIRE(
			async_io_notify(
				s,
				[](int, void *count) { ++*static_cast<std::atomic<int> *>(count); },
				&called_) == 0);
	}
	bool waits() override { return called_ == 0; }
	std::string told(const Associated &) override
	{
		BOOST_TEST_REQUIRE(eventually([&] { return called_ > 0; }));
		BOOST_TEST(called_ == 1);
		called_ = 0;
		return "called";
	}

private:
	std::atomic<int> called_{0};
};

// ------------------------------------------------------------------- the columns

enum Who { call, asker, request, event, armed, ring, function, latest_call, latest_armed };
constexpr const char *names[] = {"a call",
				 "a call that does not wait",
				 "a request",
				 "an event",
				 "armed",
				 "armed in a ring",
				 "a function",
				 "a call, DMA_LATEST",
				 "armed, DMA_LATEST"};
constexpr Who waiters[] = {call, request, event, armed, ring, function, latest_call, latest_armed};

bool is_latest(Who who)
{
	return who == latest_call || who == latest_armed;
}

std::unique_ptr<Taker> taker(Who who, bool message = false)
{
	constexpr int once = AIO_DMA_BUF, always = AIO_DMA_BUF | EV_MULTISHOT;
	switch (who) {
	case call:
	case latest_call:
		return std::make_unique<ByCall>(0, message);
	case asker:
		return std::make_unique<ByCall>(MSG_DONTWAIT, message);
	case request:
		return std::make_unique<ByRequest>(once, message);
	case function:
		return std::make_unique<ByFunction>();
	case event:
		return std::make_unique<ByEvent>(0, once, message);
	case armed:
	case latest_armed:
		return std::make_unique<ByEvent>(0, always, message);
	case ring:
		return std::make_unique<ByEvent>(EC_SINGLE, always, message);
	}
	abort();
}

// ---------------------------------------------------------------------- the rows

using Act = std::function<void(Associated &)>;

/// What comes, and of which sockets.
struct Row {
	std::vector<SocketKind> kinds;
	Act comes;
	bool message = false;
};

void check(const Row &row, Who who, const char *told, const SocketKind &kind, bool before)
{
	Region region(1 << 16);
	Associated s(kind, region, is_latest(who) ? DMA_LATEST : 0);
	const auto t = taker(who, row.message);
	if (before)
		row.comes(s);
	t->ask(s);
	if (!before) {
		BOOST_TEST(t->waits());
		row.comes(s);
	}
	BOOST_TEST(t->told(s) == told);
	// What a function is called for is still there.
	if (who == function) {
		const auto next = taker(asker, row.message);
		next->ask(s);
		BOOST_TEST(next->told(s) != "EAGAIN");
	}
	BOOST_TEST(eventually([&] { return region.stat().used == 0u; }));
}

/// A line of a row: what these are told, if it has come before they ask and if it comes while they
/// wait.
void cell(const Row &row, std::initializer_list<Who> who, const char *told)
{
	for (const SocketKind &kind : row.kinds)
		for (Who w : who)
			for (bool before : {true, false})
				if ((before || w != asker) &&
				    (!is_latest(w) || kind.type != SOCK_STREAM))
					BOOST_TEST_CONTEXT(kind.name << ", " << names[w]
								     << (before ? ", before" : ""))
					{
						check(row, w, told, kind, before);
					}
}

void shut(Associated &s)
{
	BOOST_TEST(shutdown(s, SHUT_RD) == 0);
}
void close_peer(Associated &s)
{
	s.s.b.reset();
}
void reset(Associated &s)
{
	const linger none{1, 0};
	setsockopt(s.s.b, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	s.s.b.reset();
}
/// The answer to a datagram to where nobody is any more.
void refuse(Associated &s)
{
	s.s.b.reset();
	BOOST_TEST(send(s, "x", 1, 0) == 1);
}
void send_descriptor(Associated &s)
{
	Message m({"data"});
	m.attach_descriptor(s.s.b);
	BOOST_TEST(sendmsg(s.s.b, &m.header, 0) == 4);
}

/// Each who can wait for a socket of that kind.
template <class Body> void for_each_waiter(const SocketKind &kind, Body body)
{
	for (Who who : waiters)
		if (!is_latest(who) || kind.type != SOCK_STREAM)
			BOOST_TEST_CONTEXT(kind.name << ", " << names[who])
			{
				body(who);
			}
}

} // namespace

BOOST_AUTO_TEST_CASE(data_is_told_of)
{
	const Row row{
		{unix_stream_kind, tcp4_kind, unix_packet_kind, unix_datagram_kind, udp4_kind},
		[](Associated &s) { s.peer_sends("data"); }};
	cell(row, {call, asker, request, event}, "data");
	cell(row, {armed, ring, latest_call, latest_armed}, "data");
	cell(row, {function}, "called");
}

BOOST_AUTO_TEST_CASE(data_with_a_descriptor_comes_with_it)
{
	const Row row{
		{unix_stream_kind, unix_packet_kind, unix_datagram_kind}, send_descriptor, true};
	cell(row, {call, asker, request, event}, "data and a descriptor");
	cell(row, {armed, ring, latest_call, latest_armed}, "data and a descriptor");
	cell(row, {function}, "called");
}

BOOST_AUTO_TEST_CASE(the_end_is_told_of_and_what_is_armed_ends_with_it)
{
	const Row row{{unix_stream_kind, tcp4_kind, unix_packet_kind}, close_peer};
	cell(row, {call, asker, request, event}, "end");
	cell(row, {armed, ring, latest_call, latest_armed}, "end");
	cell(row, {function}, "called");
	// A socket that is shut down has no end for who does not wait.
	const Row datagrams{{unix_datagram_kind, udp4_kind}, shut};
	cell(datagrams, {call, request, event}, "end");
	cell(datagrams, {armed, ring, latest_call, latest_armed}, "end");
	cell(datagrams, {asker}, "EAGAIN");
}

BOOST_AUTO_TEST_CASE(an_error_is_told_of_once_and_what_is_armed_ends_with_it)
{
	const Row streams{{tcp4_kind}, reset};
	cell(streams, {call, asker, request, event}, "ECONNRESET");
	cell(streams, {armed, ring}, "ECONNRESET");
	cell(streams, {function}, "called");
	const Row datagrams{{udp4_kind}, refuse};
	cell(datagrams, {call, asker, request, event}, "ECONNREFUSED");
	cell(datagrams, {armed, ring, latest_call, latest_armed}, "ECONNREFUSED");
	cell(datagrams, {function}, "called");
}

BOOST_AUTO_TEST_CASE(that_it_is_not_connected_is_told_of_but_calls_no_function)
{
	for (Who who : {call, asker, request, event, armed, ring}) {
		Region region(1 << 16);
		Associated s(tcp4_kind, region);
		region.disassociate(s);
		s.s.a = new_socket(tcp4_kind);
		region.associate(s);
		const auto t = taker(who);
		t->ask(s);
		BOOST_TEST_CONTEXT(names[who])
		{
			BOOST_TEST(t->told(s) == "ENOTCONN");
		}
	}
	Region region(1 << 16);
	Associated s(tcp4_kind, region);
	region.disassociate(s);
	const Fd listener = listening_socket(tcp4_kind);
	s.s.a = new_socket(tcp4_kind);
	region.associate(s);
	const auto t = taker(function);
	t->ask(s);
	Address there = address_of(listener);
	BOOST_TEST_REQUIRE(connect(s, there.get(), there.length) == 0);
	s.s.b = Fd(accept(listener, nullptr, nullptr));
	BOOST_TEST(t->waits());
	s.peer_sends("data");
	BOOST_TEST(t->told(s) == "called");
	BOOST_TEST(s.recv(100) == "data");
}

BOOST_AUTO_TEST_CASE(who_may_not_wait_for_what_has_not_come_does_not)
{
	constexpr int now = AIO_DMA_BUF | MSG_DONTWAIT;
	for (const SocketKind &kind : {unix_stream_kind, tcp4_kind, unix_packet_kind, udp4_kind}) {
		Region region(1 << 16);
		Associated s(kind, region);
		ByCall first(MSG_DONTWAIT), second(0);
		ByRequest third(now);
		ByEvent fourth(0, now), always(0, now | EV_MULTISHOT);
		for (Taker *t : std::initializer_list<Taker *>{&first, &third, &fourth}) {
			t->ask(s);
			BOOST_TEST(t->told(s) == "EAGAIN");
		}
		set_nonblocking(s);
		second.ask(s);
		BOOST_TEST(second.told(s) == "EAGAIN");
		always.ask(s);
		BOOST_TEST(always.waits());
		s.peer_sends("data");
		BOOST_TEST(always.told(s) == "data");
	}
}

BOOST_AUTO_TEST_CASE(without_room_all_but_calls_wait_for_it_and_nothing_is_lost)
{
	for (const SocketKind &kind : {unix_stream_kind, tcp4_kind, unix_packet_kind, udp4_kind})
		for_each_waiter(kind, [&](Who who) {
			Region region(1 << 14);
			Associated s(kind, region, is_latest(who) ? DMA_LATEST : 0);
			const auto pieces = region.fill();
			const auto t = taker(who);
			s.peer_sends("data");
			if (!is_latest(who))
				BOOST_TEST(eventually([&] { return has_data(s); }));
			t->ask(s);
			if (who == call)
				BOOST_TEST(t->told(s) == "ENOBUFS");
			else if (who == function)
				BOOST_TEST(t->told(s) == "called");
			else
				BOOST_TEST(t->waits());
			region.release(pieces);
			if (who == call || who == function) {
				const auto next = taker(call);
				next->ask(s);
				BOOST_TEST(next->told(s) == "data");
			} else {
				BOOST_TEST(t->told(s) == "data");
			}
		});
}

BOOST_AUTO_TEST_CASE(ends_and_errors_need_no_room)
{
	for (auto [kind, comes, told] : {std::tuple(tcp4_kind, &close_peer, "end"),
					 std::tuple(unix_packet_kind, &close_peer, "end"),
					 std::tuple(tcp4_kind, &reset, "ECONNRESET"),
					 std::tuple(udp4_kind, &refuse, "ECONNREFUSED")})
		for_each_waiter(kind, [&, comes = comes, told = told, kind = kind](Who who) {
			Region region(1 << 14);
			Associated s(kind, region, is_latest(who) ? DMA_LATEST : 0);
			const auto pieces = region.fill();
			const auto t = taker(who);
			comes(s);
			pollfd there{s, POLLIN, 0};
			BOOST_TEST((is_latest(who) || poll(&there, 1, 60000) == 1));
			t->ask(s);
			BOOST_TEST(t->told(s) == (who == function ? "called" : told));
			region.release(pieces);
		});
}

BOOST_AUTO_TEST_CASE(the_end_of_the_association_is_ecanceled_for_who_waits)
{
	for (const SocketKind &kind : {unix_stream_kind, tcp4_kind, unix_packet_kind, udp4_kind})
		for_each_waiter(kind, [&](Who who) {
			Region region(1 << 16);
			Associated s(kind, region, is_latest(who) ? DMA_LATEST : 0);
			const auto t = taker(who);
			t->ask(s);
			BOOST_TEST(t->waits());
			region.disassociate(s);
			if (who != function)
				BOOST_TEST(t->told(s) == "ECANCELED");
			// What comes later is the program's own affair.
			s.peer_sends("data");
			char text[10];
			BOOST_TEST(recv(s, text, sizeof text, 0) == 4);
			BOOST_TEST((who != function || t->waits()));
			BOOST_TEST(region.stat().used == 0u);
		});
}
