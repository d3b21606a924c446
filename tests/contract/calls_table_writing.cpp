// SPDX-License-Identifier: MIT
//
// Writing and sending to everything that has two ends, in every state, compared with the system
// call (table.hpp).
#define BOOST_TEST_MODULE calls_table_writing
#include "table.hpp"

namespace contract {

const std::vector<Known> known_cells{
	{"UNIX stream/full, then a reset/*", "",
	 "whether the request has begun to wait before the reset", Known::at_times},
	{"UNIX stream/full, then the peer closes/*", "", "the same", Known::at_times},
	{"TCP/full*", "", "TCP makes room by itself", Known::at_times},
	{"pty master/room, O_NONBLOCK/*", "",
	 "how much a terminal takes depends on the kernel's thread", Known::at_times},
	{"terminal/room, O_NONBLOCK/*", "", "the same", Known::at_times},
	{"pty master/full*", "", "a terminal makes room by itself", Known::at_times},
	{"terminal/full*", "", "the same", Known::at_times},
};

} // namespace contract

BOOST_AUTO_TEST_CASE(writes_to_pipes_and_terminals)
{
	for (const char *name : {"pipe", "packet pipe", "FIFO", "terminal", "pty master"})
		table().compare(scenes_of_writing(link_named(name)), ops_of_writing());
}
BOOST_AUTO_TEST_CASE(writes_to_sockets)
{
	table().sample(3);
	for (const Link &link : links())
		if (link.socket)
			table().compare(scenes_of_writing(link), ops_of_writing());
}
BOOST_AUTO_TEST_CASE(sends_to_sockets)
{
	table().sample(10);
	for (const Link &link : links())
		if (link.socket)
			table().compare(scenes_of_writing(link), ops_of_sending());
}
BOOST_AUTO_TEST_CASE(timed_writes_to_sockets)
{
	table().sample(1);
	for (const char *name : {"UNIX stream", "UNIX seqpacket", "UNIX datagram", "TCP"})
		table().compare(scenes_of_timed_writing(link_named(name)), ops_of_writing());
}
BOOST_AUTO_TEST_CASE(the_known_list_is_no_longer_than_it_has_to_be)
{
	check_known_cells();
}
