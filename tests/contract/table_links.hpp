// SPDX-License-Identifier: MIT
//
// Everything through which bytes or messages go from one end to another. A part of table.hpp.
#ifndef CONTRACT_TABLE_LINKS_HPP
#define CONTRACT_TABLE_LINKS_HPP

namespace contract {

/// A way to make two ends: what is put into `peer` comes out at `fd`, and for a duplex link the
/// other way as well.
struct Link {
	const char *name;
	std::function<World()> make;
	bool socket = false, duplex = false, packets = false, network = false;
};
inline World world_of(int fd, int peer)
{
	World world;
	world.fd.reset(fd);
	world.peer.reset(peer);
	return world;
}
inline World world_of(Stream stream)
{
	return world_of(stream.reader.release(), stream.writer.release());
}
inline World world_of(const SocketKind &kind)
{
	Pair pair = make_pair(kind);
	return world_of(pair.a.release(), pair.b.release());
}
inline World terminal(bool master, int min = 1, int time = 0)
{
	Stream s = pty_stream();
	termios attributes{};
	tcgetattr(s.reader, &attributes);
	attributes.c_cc[VMIN] = cc_t(min);
	attributes.c_cc[VTIME] = cc_t(time);
	tcsetattr(s.reader, TCSANOW, &attributes);
	return master ? world_of(s.writer.release(), s.reader.release()) : world_of(std::move(s));
}
inline World cooked_terminal()
{
	int master, slave;
	BOOST_TEST_REQUIRE(openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
	termios attributes{};
	tcgetattr(slave, &attributes);
	attributes.c_lflag &= ~tcflag_t(ECHO);
	tcsetattr(slave, TCSANOW, &attributes);
	return world_of(slave, master);
}
inline World packet_pipe()
{
	int ends[2];
	BOOST_TEST_REQUIRE(pipe2(ends, O_CLOEXEC | O_DIRECT) == 0);
	return world_of(ends[0], ends[1]);
}
/// One descriptor for both ends of a FIFO, and a second one of the same FIFO.
inline World fifo_both_ways()
{
	std::string const path = temp_name("/tmp");
	BOOST_TEST_REQUIRE(mkfifo(path.c_str(), 0600) == 0);
	World world = world_of(open(path.c_str(), O_RDWR | O_CLOEXEC),
			       open(path.c_str(), O_RDWR | O_CLOEXEC));
	unlink(path.c_str());
	return world;
}
inline World swapped(World world)
{
	std::swap(world.fd, world.peer);
	return world;
}

inline const std::vector<Link> &links()
{
	static const auto &all = *new std::vector<Link>{
		{"pipe", [] { return world_of(pipe_stream()); }},
		{"packet pipe", packet_pipe, false, false, true},
		{"FIFO", [] { return world_of(fifo_stream()); }},
		{"terminal", [] { return terminal(false); }, false, true},
		{"pty master", [] { return terminal(true); }, false, true},
		{"UNIX stream", [] { return world_of(unix_stream_kind); }, true, true},
		{"UNIX seqpacket", [] { return world_of(unix_packet_kind); }, true, true, true},
		{"UNIX datagram", [] { return world_of(unix_datagram_kind); }, true, true, true},
		{"TCP", [] { return world_of(tcp4_kind); }, true, true, false, true},
		{"UDP", [] { return world_of(udp4_kind); }, true, true, true, true},
	};
	return all;
}
inline const Link &link_named(std::string_view name)
{
	for (const Link &link : links())
		if (link.name == name)
			return link;
	abort();
}

} // namespace contract

#endif
