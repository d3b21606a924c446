// SPDX-License-Identifier: MIT
//
// Accepting, connecting, and ev_poll with every bit on everything, in every state, compared with
// the system call (table.hpp).
#define BOOST_TEST_MODULE calls_table_connections
#include "table.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace contract {

const std::vector<Known> known_cells{};

} // namespace contract

namespace {

// ------------------------------------------------------------------- accepting

World listening(const SocketKind &kind, int backlog = 8)
{
	World world;
	world.fd = listening_socket(kind, backlog);
	world.to = address_of(world.fd);
	return world;
}
/// A connection to the listener, with a greeting in it.
Act arrive(const SocketKind &kind, bool stays = true)
{
	return [kind, stays](World &w) {
		Fd client = new_socket(kind);
		if (connect(client, w.to.get(), w.to.length) != 0)
			return;
		if (write(client, "hi", 2) < 0)
			return;
		if (stays)
			w.more.push_back(std::move(client));
	};
}
std::vector<Scene> scenes_of_accepting()
{
	std::vector<Scene> out;
	for (const SocketKind &kind : {unix_stream_kind, unix_packet_kind, tcp4_kind, tcp6_kind}) {
		if (!usable(kind))
			continue;
		std::string const name = std::string(kind.name) + " listener";
		const Step one{"a connection comes", arrive(kind)},
			other{"another comes", arrive(kind)};
		const auto with = [kind](Act prepare) {
			return [kind, prepare] {
				World world = listening(kind);
				prepare(world);
				return world;
			};
		};
		out.push_back({name, "empty", with(nothing()), {one, other}});
		out.push_back({name, "one there", with(arrive(kind)), {other}});
		out.push_back({name, "two there", with(both(arrive(kind), arrive(kind)))});
		out.push_back({name, "one there, its other end closed", with(arrive(kind, false))});
		out.push_back({name, "O_NONBLOCK, empty", with(nonblocking), {one}});
		out.push_back({name,
			       "O_NONBLOCK, one there",
			       with(both(arrive(kind), nonblocking)),
			       {other}});
		out.push_back({name,
			       "SO_RCVTIMEO 100 s, empty",
			       with([](World &w) { set_time(w.fd, SO_RCVTIMEO, 100000); }),
			       {one}});
		out.push_back({name, "shut down for reading", with(shut_own(SHUT_RD))});
		out.push_back({name, "shut down for writing", with(shut_own(SHUT_WR)), {one}});
		out.push_back({name,
			       "empty, then shut down",
			       with(nothing()),
			       {{"shutdown", shut_own(SHUT_RDWR)}}});
		out.push_back({name, "one there, shut down",
			       with(both(arrive(kind), shut_own(SHUT_RDWR)))});
		out.push_back({name, "not listening",
			       [kind] { return world_of(bound_socket(kind).release(), -1); }});
		out.push_back({name, "connected", [kind] { return world_of(kind); }});
	}
	out.push_back(
		{"UDP", "bound", [] { return world_of(bound_socket(udp4_kind).release(), -1); }});
	out.push_back({"UNIX datagram", "bound",
		       [] { return world_of(bound_socket(unix_datagram_kind).release(), -1); }});
	return out;
}
std::vector<Op> ops_of_accepting()
{
	std::vector<Op> out;
	for (int flags :
	     {0, int(SOCK_NONBLOCK), int(SOCK_CLOEXEC), int(SOCK_NONBLOCK | SOCK_CLOEXEC), 0x40})
		out.push_back({Op::accept, 0, flags});
	return out;
}

// ------------------------------------------------------------------ connecting

std::string connected_look(World &w)
{
	std::string out;
	Address peer;
	out += getpeername(w.fd, peer.get(), &peer.length) == 0
		       ? "; connected"
		       : "; not connected: " + error_name(errno);
	pollfd p{w.fd, POLLIN | POLLOUT | POLLRDHUP, 0};
	poll(&p, 1, 0);
	int error = 0;
	socklen_t length = sizeof error;
	getsockopt(w.fd, SOL_SOCKET, SO_ERROR, &error, &length);
	out += " " + poll_bits(p.revents) + " " + error_name(error);
	if (w.third >= 0)
		out += "; in the queue: " + connections_left(w.third);
	return out;
}
World to_connect(const SocketKind &kind, int backlog = 8)
{
	World world;
	world.fd = new_socket(kind);
	if (kind.type == SOCK_DGRAM)
		world.third = bound_socket(kind);
	else
		world.third = listening_socket(kind, backlog);
	world.to = address_of(world.third);
	if (kind.type == SOCK_DGRAM)
		world.more.push_back(std::move(world.third));
	world.look = connected_look;
	return world;
}
void nobody_there(World &w)
{
	w.third.reset();
	w.more.clear();
}
Act address_cut(int length)
{
	return [length](World &w) { w.to.length = socklen_t(length); };
}
void no_family(World &w)
{
	w.to.storage.ss_family = AF_UNSPEC;
}
void other_family(World &w)
{
	w.to.storage.ss_family = w.to.storage.ss_family == AF_INET ? AF_UNIX : AF_INET;
}
void connect_before(World &w)
{
	if (connect(w.fd, w.to.get(), w.to.length) != 0)
		return;
}
/// Fills the listener's queue: further connections have to wait.
void fill_queue(World &w)
{
	for (int i = 0; i < 64; ++i) {
		Fd client = new_socket(unix_stream_kind);
		set_nonblocking(client);
		if (connect(client, w.to.get(), w.to.length) != 0)
			return;
		w.more.push_back(std::move(client));
	}
}
void take_one(World &w)
{
	const Fd one(accept(w.third, nullptr, nullptr));
}
std::vector<Scene> scenes_of_connecting()
{
	std::vector<Scene> out;
	for (const SocketKind &kind : {unix_stream_kind, unix_packet_kind, unix_datagram_kind,
				       tcp4_kind, tcp6_kind, udp4_kind}) {
		if (!usable(kind))
			continue;
		const auto with = [kind](Act prepare) {
			return [kind, prepare] {
				World world = to_connect(kind);
				prepare(world);
				return world;
			};
		};
		std::string const name = std::string(kind.name) + " to connect";
		out.push_back({name, "somebody listens", with(nothing())});
		out.push_back({name, "O_NONBLOCK, somebody listens", with(nonblocking)});
		out.push_back({name, "nobody listens", with(nobody_there)});
		out.push_back({name, "connected before", with(connect_before)});
		out.push_back({name, "connected before, then AF_UNSPEC",
			       with(both(connect_before, no_family))});
		out.push_back({name, "AF_UNSPEC", with(no_family)});
		out.push_back({name, "another family", with(other_family)});
		out.push_back({name, "address of 1 byte", with(address_cut(1))});
		out.push_back({name, "address of 2 bytes", with(address_cut(2))});
		out.push_back({name, "address of 8 bytes", with(address_cut(8))});
		out.push_back({name, "no address", with(address_cut(0))});
		out.push_back({name, "shut down", with(shut_own(SHUT_RDWR))});
		out.push_back({name, "refused before", with([](World &w) {
				       Address const there = w.to;
				       reinterpret_cast<sockaddr_in *>(&w.to.storage)->sin_port =
					       htons(1);
				       connect_before(w);
				       w.to = there;
			       })});
		out.push_back({name, "itself listens", with([](World &w) { listen(w.fd, 1); })});
	}
	const auto full = [](Act more) {
		return [more] {
			World world = to_connect(unix_stream_kind, 0);
			fill_queue(world);
			more(world);
			return world;
		};
	};
	const Step one{"one is accepted", take_one},
		gone{"the listener closes", [](World &w) { w.third.reset(); }};
	out.push_back({"UNIX stream to connect",
		       "full queue, then one is accepted",
		       full(nothing()),
		       {one}});
	out.push_back({"UNIX stream to connect",
		       "full queue, then the listener closes",
		       full(nothing()),
		       {gone}});
	out.push_back(
		{"UNIX stream to connect", "full queue, O_NONBLOCK", full(nonblocking), {one}});
	out.push_back({"UNIX stream to connect",
		       "full queue, SO_SNDTIMEO 100 s",
		       full([](World &w) { set_time(w.fd, SO_SNDTIMEO, 100000); }),
		       {one}});
	out.push_back({"pipe to connect", "no socket", [] {
			       World world = world_of(pipe_stream());
			       world.to = any_address(AF_INET);
			       return world;
		       }});
	out.push_back({"no descriptor to connect", "-1", [] {
			       World world;
			       world.number = 100000;
			       world.to = any_address(AF_INET);
			       return world;
		       }});
	return out;
}

// --------------------------------------------------------------------- polling

std::vector<Op> ops_of_polling(bool all = true)
{
	std::vector<Op> out;
	for (int events :
	     {0, POLLIN, POLLPRI, POLLOUT, POLLRDHUP, POLLIN | POLLOUT | POLLRDHUP | POLLPRI,
	      POLLRDNORM, POLLRDBAND, POLLWRBAND, POLLMSG}) {
		if (events == POLLRDNORM && !all)
			break; // the rest are bands
		Op op{Op::poll};
		op.events = short(events);
		out.push_back(op);
	}
	return out;
}
/// The bits of STREAMS are the same everywhere; three kinds are enough.
bool knows_bands(const Link &link)
{
	std::string_view const name = link.name;
	return name == "TCP" || name == "UNIX stream" || name == "UDP";
}
std::vector<Scene> scenes_of_polling()
{
	std::vector<Scene> out;
	const auto plain = [&](const char *kind, const char *state, std::function<World()> make) {
		out.push_back({kind, state, [make] {
				       World world = make();
				       world.look = [](World &) { return std::string(); };
				       return world;
			       }});
	};
	plain("file", "disk", [] {
		World world;
		world.remove.push_back(temp_name(disk_directory()));
		world.fd.reset(open(world.remove[0].c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
		return world;
	});
	plain("directory", "root", [] { return world_of(open("/", O_RDONLY | O_CLOEXEC), -1); });
	plain("directory", "O_PATH", [] { return world_of(open("/", O_PATH | O_CLOEXEC), -1); });
	plain("device", "null", [] { return world_of(open("/dev/null", O_RDWR | O_CLOEXEC), -1); });
	plain("memfd", "empty", [] { return world_of(memfd_create("poll", MFD_CLOEXEC), -1); });
	plain("eventfd", "0", [] { return world_of(eventfd(0, EFD_CLOEXEC), -1); });
	plain("eventfd", "5", [] { return world_of(eventfd(5, EFD_CLOEXEC), -1); });
	plain("epoll", "empty", [] { return world_of(epoll_create1(EPOLL_CLOEXEC), -1); });
	plain("no descriptor", "never opened", [] {
		World world;
		world.number = 100000;
		return world;
	});
	plain("TCP", "not connected", [] { return world_of(new_socket(tcp4_kind).release(), -1); });
	plain("UNIX stream", "not connected",
	      [] { return world_of(new_socket(unix_stream_kind).release(), -1); });
	plain("TCP", "connected, both shut down", [] {
		World world = world_of(tcp4_kind);
		shutdown(world.fd, SHUT_RDWR);
		shutdown(world.peer, SHUT_RDWR);
		becomes(world.fd, POLLHUP);
		return world;
	});
	return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(accepting)
{
	table().compare(scenes_of_accepting(), ops_of_accepting());
}
BOOST_AUTO_TEST_CASE(connecting)
{
	table().compare(scenes_of_connecting(), {{Op::connect}});
}
BOOST_AUTO_TEST_CASE(polling_of_anything)
{
	table().compare(scenes_of_polling(), ops_of_polling());
}
BOOST_AUTO_TEST_CASE(polling_for_data)
{
	table().sample(8);
	for (const Link &link : links())
		table().compare(scenes_of_reading(link), ops_of_polling(knows_bands(link)));
}
BOOST_AUTO_TEST_CASE(polling_for_room)
{
	table().sample(8);
	// Terminals are emptied by the kernel, and what is seen during a close is not always what
	// is seen after it.
	for (const Link &link : links())
		if (std::string_view(link.name) != "terminal" &&
		    std::string_view(link.name) != "pty master")
			for (const Scene &scene : scenes_of_writing(link))
				if (!scene.state.ends_with("closes") &&
				    !scene.state.ends_with("reset"))
					for (const Op &op : ops_of_polling(knows_bands(link)))
						table().compare(scene, op);
}
BOOST_AUTO_TEST_CASE(polling_of_listeners)
{
	table().sample(4);
	table().compare(scenes_of_accepting(), ops_of_polling());
}
BOOST_AUTO_TEST_CASE(the_known_list_is_no_longer_than_it_has_to_be)
{
	check_known_cells();
}
