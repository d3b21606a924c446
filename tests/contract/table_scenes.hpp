// SPDX-License-Identifier: MIT
//
// Scenes of everything through which bytes or messages go from one end to another. A part of
// table.hpp.
#ifndef CONTRACT_TABLE_SCENES_HPP
#define CONTRACT_TABLE_SCENES_HPP

namespace contract {

// ---------------------------------------------------------------------- steps

inline void put_quietly(World &w, std::string_view data)
{
	for (size_t n; !data.empty(); data.remove_prefix(n)) {
		const ssize_t r = write(w.peer, data.data(), data.size());
		if (r < 0 && errno == EINTR)
			n = 0;
		else if (r <= 0)
			return;
		else
			n = size_t(r);
		w.put += n;
	}
}
inline bool becomes(int fd, short events, int limit = 500)
{
	pollfd p{fd, events, 0};
	return poll(&p, 1, limit) == 1;
}
inline Act put_in(std::string data)
{
	return [data](World &w) { put_quietly(w, data); };
}
inline Act send_in(std::string data, int flags)
{
	return [data, flags](World &w) { send(w.peer, data.data(), data.size(), flags); };
}
/// The same, before the call: it is there.
inline void there(World &w, std::string_view data)
{
	put_quietly(w, data);
	let_arrive(w, 0);
	for (int n = 0, i = 0; i < 400 && ioctl(w.fd, FIONREAD, &n) == 0 && n == 0; ++i)
		usleep(i < 20 ? 20 : 500);
}
inline void close_peer(World &w)
{
	w.peer.reset();
}
inline Act shut_peer(int how)
{
	return [how](World &w) { shutdown(w.peer, how); };
}
inline Act shut_own(int how)
{
	return [how](World &w) { shutdown(w.subject(), how); };
}
inline void reset_by_peer(World &w)
{
	const linger none{1, 0};
	setsockopt(w.peer, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	w.peer.reset();
}
/// Something unread makes a close a reset, on UNIX sockets as well.
inline void close_unread(World &w)
{
	if (write(w.fd, "u", 1) == 1)
		becomes(w.peer, POLLIN);
	w.peer.reset();
}
inline void set_time(int fd, int option, int milliseconds)
{
	const timeval limit{milliseconds / 1000, milliseconds % 1000 * 1000};
	setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit);
}
inline Act nothing()
{
	return [](World &) {};
}
inline Act both(Act first, Act second)
{
	return [first, second](World &w) {
		first(w);
		second(w);
	};
}
/// An ICMP error for a datagram of the connected socket's own.
inline void refuse_datagram(World &w)
{
	w.peer.reset();
	send(w.fd, "x", 1, 0);
}

inline Scene scene(const Link &link, std::string state, Act prepare, std::vector<Step> steps = {})
{
	return {link.name, std::move(state),
		[make = link.make, prepare] {
			World world = make();
			prepare(world);
			return world;
		},
		std::move(steps)};
}

// --------------------------------------------------------------- to be read from

inline void add_reading_of_any(std::vector<Scene> &out, const Link &link)
{
	const Step data{"data comes", put_in("abc\n")};
	const Step more{"more comes", put_in("defgh\n")};
	out.push_back(scene(link, "empty", nothing(), {data, more}));
	out.push_back(scene(link, "data there", [](World &w) { there(w, "abc\n"); }, {more}));
	out.push_back(scene(link, "two pieces there", [](World &w) {
		there(w, "abc\n");
		there(w, "defgh\n");
	}));
	out.push_back(scene(link, "peer closed", close_peer));
	out.push_back(scene(link, "data there, peer closed", [](World &w) {
		there(w, "abc\n");
		w.peer.reset();
	}));
	out.push_back(scene(link, "empty, then the peer closes", nothing(),
			    {{"the peer closes", close_peer}}));
	out.push_back(scene(link, "part there, then the peer closes",
			    [](World &w) { there(w, "abc\n"); },
			    {{"the peer closes", close_peer}}));
	out.push_back(
		scene(link, "O_NONBLOCK, empty", [](World &w) { set_nonblocking(w.fd); }, {data}));
	out.push_back(scene(link, "O_NONBLOCK, data there",
			    [](World &w) {
				    there(w, "abc\n");
				    set_nonblocking(w.fd);
			    },
			    {more}));
}
inline void add_reading_of_sockets(std::vector<Scene> &out, const Link &link)
{
	const Step data{"data comes", put_in("abc\n")};
	out.push_back(scene(link, "peer shut down writing", shut_peer(SHUT_WR)));
	out.push_back(scene(link, "data there, peer shut down writing", [](World &w) {
		there(w, "abc\n");
		shutdown(w.peer, SHUT_WR);
	}));
	out.push_back(scene(link, "empty, then the peer shuts down writing", nothing(),
			    {{"shutdown", shut_peer(SHUT_WR)}}));
	out.push_back(scene(link, "own SHUT_RD", shut_own(SHUT_RD), {data}));
	out.push_back(scene(link, "data there, own SHUT_RD", [](World &w) {
		there(w, "abc\n");
		shutdown(w.fd, SHUT_RD);
	}));
	out.push_back(scene(link, "empty, then own SHUT_RD", nothing(),
			    {{"shutdown", shut_own(SHUT_RD)}}));
	out.push_back(scene(link, "part there, then own SHUT_RD",
			    [](World &w) { there(w, "abc\n"); },
			    {{"shutdown", shut_own(SHUT_RD)}}));
	out.push_back(scene(link, "own SHUT_WR", shut_own(SHUT_WR), {data}));
	out.push_back(scene(link, "closed with data unread", close_unread));
	out.push_back(scene(link, "empty, then closed with data unread", nothing(),
			    {{"close", close_unread}}));
	out.push_back(scene(link, "SO_RCVTIMEO 30 ms, data there", [](World &w) {
		set_time(w.fd, SO_RCVTIMEO, 30);
		there(w, "abc\n");
	}));
	out.push_back(scene(link, "SO_RCVTIMEO 100 s, empty",
			    [](World &w) { set_time(w.fd, SO_RCVTIMEO, 100000); }, {data}));
	out.push_back(scene(link, "SO_RCVTIMEO 100 s, O_NONBLOCK, empty",
			    [](World &w) {
				    set_time(w.fd, SO_RCVTIMEO, 100000);
				    set_nonblocking(w.fd);
			    },
			    {data}));
	out.push_back(scene(link, "SO_PEEK_OFF 1, data there", [](World &w) {
		int const one = 1;
		setsockopt(w.fd, SOL_SOCKET, SO_PEEK_OFF, &one, sizeof one);
		there(w, "abcdef\n");
	}));
}
inline void add_reading_of_packets(std::vector<Scene> &out, const Link &link)
{
	out.push_back(scene(link, "empty message there",
			    [](World &w) {
				    send(w.peer, "", 0, 0);
				    becomes(w.fd, POLLIN);
			    },
			    {{"a message comes", put_in("abc\n")}}));
	out.push_back(
		scene(link, "empty, then an empty message", nothing(),
		      {{"an empty message", send_in("", 0)}, {"a message", put_in("abc\n")}}));
}
inline void add_reading_of_streams(std::vector<Scene> &out, const Link &link)
{
	const auto low_water = [](World &w) {
		int const bytes = 6;
		setsockopt(w.fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
	};
	out.push_back(scene(link, "SO_RCVLOWAT 6, empty", low_water,
			    {{"4 come", put_in("abc\n")}, {"6 more come", put_in("defgh\n")}}));
	out.push_back(scene(link, "SO_RCVLOWAT 6, 4 there",
			    [low_water](World &w) {
				    low_water(w);
				    there(w, "abc\n");
			    },
			    {{"6 more come", put_in("defgh\n")}}));
	out.push_back(scene(link, "urgent byte there",
			    [](World &w) {
				    send(w.peer, "ab!", 3, MSG_OOB);
				    becomes(w.fd, POLLIN | POLLPRI);
			    },
			    {{"more comes", put_in("defgh\n")}}));
	out.push_back(scene(link, "data, urgent byte, data", [](World &w) {
		there(w, "abc\n");
		send(w.peer, "!", 1, MSG_OOB);
		send(w.peer, "yz", 2, 0);
		becomes(w.fd, POLLIN | POLLPRI);
	}));
	out.push_back(
		scene(link, "empty, then an urgent byte", nothing(),
		      {{"an urgent byte", send_in("!", MSG_OOB)}, {"data", put_in("abc\n")}}));
	out.push_back(scene(link, "SO_OOBINLINE, urgent byte there", [](World &w) {
		int const on = 1;
		setsockopt(w.fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
		send(w.peer, "ab!", 3, MSG_OOB);
		becomes(w.fd, POLLIN | POLLPRI);
	}));
}
inline void add_reading_of_networks(std::vector<Scene> &out, const Link &link)
{
	const Act fail = link.packets ? Act(refuse_datagram) : Act(reset_by_peer);
	out.push_back(scene(link, "error pending", [fail](World &w) {
		fail(w);
		becomes(w.fd, POLLERR);
	}));
	out.push_back(scene(link, "data there, error pending", [fail](World &w) {
		there(w, "abc\n");
		fail(w);
		becomes(w.fd, POLLERR);
	}));
	out.push_back(scene(link, "empty, then an error", nothing(), {{"an error", fail}}));
	out.push_back(scene(link, "part there, then an error", [](World &w) { there(w, "abc\n"); },
			    {{"an error", fail}}));
}
inline std::vector<Scene> scenes_of_reading(const Link &link)
{
	std::vector<Scene> out;
	add_reading_of_any(out, link);
	if (link.socket)
		add_reading_of_sockets(out, link);
	if (link.socket && link.packets)
		add_reading_of_packets(out, link);
	if (link.socket && !link.packets)
		add_reading_of_streams(out, link);
	if (link.network)
		add_reading_of_networks(out, link);
	return out;
}
/// A time limit of the socket's own ends the call: each cell takes that long.
inline std::vector<Scene> scenes_of_timed_reading(const Link &link)
{
	std::vector<Scene> out{scene(link, "SO_RCVTIMEO 30 ms, empty",
				     [](World &w) { set_time(w.fd, SO_RCVTIMEO, 30); })};
	out[0].ends_by_itself = true;
	return out;
}

inline std::vector<Op> ops_of_reading()
{
	std::vector<Op> out;
	for (size_t n : {0, 2, 100})
		out.push_back({Op::read, n});
	for (size_t n : {3, 100})
		out.push_back({Op::readv, n});
	return out;
}
inline std::vector<Op> ops_of_receiving()
{
	std::vector<Op> out;
	for (int flags : {0, int(MSG_PEEK), int(MSG_WAITALL), int(MSG_PEEK | MSG_TRUNC)})
		for (size_t n : {2, 100})
			out.push_back({Op::recv, n, flags});
	for (int flags : {int(MSG_DONTWAIT), int(MSG_TRUNC), int(MSG_ERRQUEUE),
			  int(MSG_WAITALL | MSG_DONTWAIT), int(MSG_WAITALL | MSG_PEEK)})
		out.push_back({Op::recv, 100, flags});
	for (int flags : {0, int(MSG_WAITALL), int(MSG_TRUNC), int(MSG_OOB | MSG_PEEK)})
		out.push_back({Op::recvmsg, 6, flags});
	for (int flags : {0, int(MSG_DONTWAIT)})
		out.push_back({Op::recv, 0, flags});
	out.push_back({Op::recv, 2, MSG_OOB});
	out.push_back({Op::recvfrom, 6, 0});
	out.push_back({Op::recvmsg, 100, MSG_ERRQUEUE});
	out.push_back({Op::recvmsg, 0, 0});
	return out;
}

// -------------------------------------------------------------- to be written to

/// Fills the way to the peer until not one byte more fits.
inline void stuff(World &w)
{
	w.stuffed += fill_up(w.fd);
}
inline void set_quietly_nonblocking(int fd, bool on)
{
	const int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}
/// The peer reads all that was on the way and all that the call sends.
inline void drain_peer(World &w)
{
	std::vector<char> piece(65536);
	size_t total = w.got.size();
	for (int ends = 0;
	     total < w.stuffed + w.payload && ends < 300 && becomes(w.peer, POLLIN, 300);) {
		set_quietly_nonblocking(w.peer, true); // it is readable for an urgent byte, too
		const ssize_t n = read(w.peer, piece.data(), piece.size());
		const int error = errno;
		set_quietly_nonblocking(w.peer, false);
		if (n < 0 && error != EAGAIN)
			break;
		if (n <= 0)
			++ends, usleep(1000); // of a socket shut down for reading, into which data
					      // still comes
		w.got.append(piece.data(), size_t(std::max(n, ssize_t{0})));
		total = w.got.size();
	}
}
inline void nonblocking(World &w)
{
	set_nonblocking(w.fd);
}

inline Scene sending_scene(const Link &link, std::string state, Act prepare,
			   std::vector<Step> steps = {})
{
	Scene out = scene(link, std::move(state), nothing(), std::move(steps));
	out.kind += link.duplex ? "" : ", to be written to";
	out.make = [make = link.make, duplex = link.duplex, prepare] {
		World world = duplex ? make() : swapped(make());
		prepare(world);
		return world;
	};
	return out;
}
inline void add_writing_to_any(std::vector<Scene> &out, const Link &link)
{
	const Step drained{"drained", drain_peer};
	out.push_back(sending_scene(link, "room", [](World &w) { w.stuffed = 0; }, {drained}));
	out.push_back(sending_scene(link, "room, O_NONBLOCK", nonblocking, {drained}));
	out.push_back(sending_scene(link, "peer closed", close_peer));
	if (std::string_view(link.name) == "UDP")
		return;
	out.push_back(sending_scene(link, "full", stuff, {drained}));
	out.push_back(sending_scene(link, "full, O_NONBLOCK", both(stuff, nonblocking), {drained}));
	out.push_back(sending_scene(link, "full, then the peer closes", stuff,
				    {{"the peer closes", close_peer}}));
}
inline void add_writing_to_sockets(std::vector<Scene> &out, const Link &link)
{
	const Step drained{"drained", drain_peer};
	out.push_back(sending_scene(link, "own SHUT_WR", shut_own(SHUT_WR)));
	out.push_back(sending_scene(link, "own SHUT_RD", shut_own(SHUT_RD), {drained}));
	out.push_back(sending_scene(link, "peer shut down reading", shut_peer(SHUT_RD), {drained}));
	out.push_back(sending_scene(link, "peer shut down writing", shut_peer(SHUT_WR), {drained}));
	out.push_back(sending_scene(link, "closed with data unread", close_unread));
	if (link.network) {
		const Act fail = link.packets ? Act(refuse_datagram) : Act(reset_by_peer);
		out.push_back(sending_scene(link, "error pending", [fail](World &w) {
			fail(w);
			becomes(w.fd, POLLERR);
		}));
	}
	if (link.packets && link.network)
		return;
	out.push_back(sending_scene(link, "full, then own SHUT_WR", stuff,
				    {{"shutdown", shut_own(SHUT_WR)}}));
	out.push_back(sending_scene(link, "full, then the peer shuts down reading", stuff,
				    {{"shutdown", shut_peer(SHUT_RD)}}));
	out.push_back(sending_scene(link, "full, then a reset", stuff, {{"reset", reset_by_peer}}));
	out.push_back(sending_scene(link, "full, SO_SNDTIMEO 100 s",
				    [](World &w) {
					    stuff(w);
					    set_time(w.fd, SO_SNDTIMEO, 100000);
				    },
				    {drained}));
}
inline std::vector<Scene> scenes_of_writing(const Link &link)
{
	std::vector<Scene> out;
	add_writing_to_any(out, link);
	if (link.socket)
		add_writing_to_sockets(out, link);
	return out;
}
inline std::vector<Scene> scenes_of_timed_writing(const Link &link)
{
	std::vector<Scene> out{sending_scene(link, "full, SO_SNDTIMEO 30 ms", [](World &w) {
		stuff(w);
		set_time(w.fd, SO_SNDTIMEO, 30);
	})};
	out[0].ends_by_itself = true;
	return out;
}
inline std::vector<Op> ops_of_writing()
{
	std::vector<Op> out;
	for (size_t n : {0, 1, 5, 300000})
		out.push_back({Op::write, n});
	for (size_t n : {5, 300000})
		out.push_back({Op::writev, n});
	return out;
}
inline std::vector<Op> ops_of_sending()
{
	std::vector<Op> out;
	for (int flags : {0, int(MSG_DONTWAIT), int(MSG_OOB), int(MSG_NOSIGNAL), int(MSG_EOR),
			  int(MSG_ERRQUEUE), int(MSG_PEEK | MSG_WAITALL), int(MSG_TRUNC)})
		out.push_back({Op::send, 5, flags});
	for (int flags : {0, int(MSG_DONTWAIT), int(MSG_WAITALL)})
		out.push_back({Op::send, 0, flags});
	for (int flags : {0, int(MSG_NOSIGNAL)})
		out.push_back({Op::send, 300000, flags});
	for (Op::Type type : {Op::sendto, Op::sendmsg})
		out.push_back({type, 6, 0});
	out.push_back({Op::sendmsg, 0, 0});
	return out;
}

} // namespace contract

#endif
