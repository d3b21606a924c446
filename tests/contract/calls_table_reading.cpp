// SPDX-License-Identifier: MIT
//
// Reading and receiving from everything that has two ends, in every state, compared with the system
// call (table.hpp).
#define BOOST_TEST_MODULE calls_table_reading
#include "table.hpp"

namespace contract {

const std::vector<Known> known_cells{
	{"*/SO_RCVLOWAT 6*/*", "",
	 "(aio_send(3)) what is there ends a receive, also if it is less than SO_RCVLOWAT says"},
	{"terminal/empty, then the peer closes/*", "",
	 "a reader that is woken before the hang-up is complete finds the end, and EIO after it",
	 Known::at_times},
	{"TCP/own SHUT_WR/recv*(0)/*", "",
	 "the call is woken by what nobody is told of: the peer's kernel has taken note of the end",
	 Known::at_times},
};

} // namespace contract

BOOST_AUTO_TEST_CASE(reads_of_pipes_and_terminals)
{
	for (const char *name : {"pipe", "packet pipe", "FIFO", "terminal", "pty master"})
		table().compare(scenes_of_reading(link_named(name)), ops_of_reading());
}
BOOST_AUTO_TEST_CASE(reads_of_sockets)
{
	table().sample(2);
	for (const Link &link : links())
		if (link.socket)
			table().compare(scenes_of_reading(link), ops_of_reading());
}
BOOST_AUTO_TEST_CASE(receives_of_sockets)
{
	table().sample(4);
	for (const Link &link : links())
		if (link.socket)
			table().compare(scenes_of_reading(link), ops_of_receiving());
}
BOOST_AUTO_TEST_CASE(timed_reads_of_sockets)
{
	table().sample(1);
	for (const Link &link : links())
		if (link.socket)
			table().compare(scenes_of_timed_reading(link), ops_of_reading());
}
BOOST_AUTO_TEST_CASE(the_known_list_is_no_longer_than_it_has_to_be)
{
	check_known_cells();
}
