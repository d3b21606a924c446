// SPDX-License-Identifier: MIT
//
// Receiving into a region from a socket of every kind in every state, by everyone who can wait for
// it, compared with recv, recvfrom and recvmsg made by hand (table.hpp): what it comes to, and what
// is left in the socket once that is not associated any more.
#define BOOST_TEST_MODULE dma_table
#include "table.hpp"
#include "table_regions.hpp"

namespace contract {

const std::vector<Known> known_cells{
	{"TCP/SO_PEEK_OFF 1, data there/recv(100,PEEK|WAITALL)/unassociated*", "",
	 "a look at all, from an offset, ends with what is there (each look moves the offset)"},
};

} // namespace contract

namespace {

constexpr size_t most_control = 312; // (sio_recv(3))

std::vector<Op> ops_of_regions()
{
	std::vector<Op> out;
	for (int flags : {0, int(MSG_PEEK), int(MSG_WAITALL), int(MSG_DONTWAIT)})
		for (size_t n : {2, 100})
			out.push_back({Op::recv, n, flags});
	for (int flags : {int(MSG_ERRQUEUE), int(MSG_WAITALL | MSG_DONTWAIT),
			  int(MSG_WAITALL | MSG_PEEK), int(MSG_OOB), int(MSG_OOB | MSG_PEEK)})
		out.push_back({Op::recv, 100, flags});
	out.push_back({Op::recvfrom, 6, 0});
	for (int flags : {0, int(MSG_WAITALL), int(MSG_PEEK), int(MSG_ERRQUEUE)})
		for (size_t n : {6, 100}) {
			out.push_back({Op::recvmsg, n, flags});
			out.back().control = most_control;
		}
	return out;
}

/// (sio_recv(3)) SO_RCVLOWAT is not looked at: what is there is returned.
std::vector<Scene> scenes_of_regions(const Link &link)
{
	std::vector<Scene> out = scenes_of_reading(link);
	std::erase_if(out, [](const Scene &s) { return s.state.starts_with("SO_RCVLOWAT"); });
	return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(receives_into_regions_come_to_what_the_system_call_does)
{
	Table table(forms_of_regions());
	table.sample(4);
	for (const Link &link : links())
		if (link.socket)
			table.compare(scenes_of_regions(link), ops_of_regions());
}
BOOST_AUTO_TEST_CASE(receives_into_regions_end_when_the_socket_says)
{
	Table table(synchronous_form());
	table.sample(2);
	for (const Link &link : links())
		if (link.socket)
			table.compare(scenes_of_timed_reading(link), ops_of_regions());
}
