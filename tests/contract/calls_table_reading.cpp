// SPDX-License-Identifier: MIT
//
// Reading and receiving from everything that has two ends, in every state, compared with the system call (table.hpp).
#define BOOST_TEST_MODULE calls_table_reading
#include "table.hpp"

namespace contract {

std::vector<Known> const known_cells{
    {"*/SO_RCVTIMEO 30 ms, empty/read*", "", "aio_read ends when SO_RCVTIMEO has passed"},
    {"*/SO_RCVLOWAT 6*/*", "", "the call waits for as much as SO_RCVLOWAT says"},
    {"UNIX seqpacket/*WAITALL*", "", "MSG_WAITALL means nothing on messages"},
    {"UNIX datagram/*WAITALL*", "inline kaio threads refused", "the same"},
    {"UDP/*WAITALL*", "inline kaio threads refused", "the same"},
    {"TCP/*PEEK|WAITALL*", "", "it is enough that all is there, or that no more comes"},
    {"TCP/*WAITALL*", "", "MSG_WAITALL ends at an error, at the end, at the urgent mark; cancelled it gives its part"},
    {"UNIX stream/*WAITALL*", "", "the same"},
    {"UNIX datagram/*own SHUT_RD/*", "inline kaio threads refused", "a receive of messages ends with 0 after SHUT_RD"},
    {"UDP/*own SHUT_RD/*", "inline kaio threads refused", "the same"},
    {"TCP/*/recv*(0)/*", "", "a receive of nothing leaves the error where it is", Known::at_times},
    {"terminal/empty, then the peer closes/read*", "", "a terminal hung up under a read: EIO"},
};

}  // namespace contract

BOOST_AUTO_TEST_CASE(reads_of_pipes_and_terminals) {
    for (char const* name : {"pipe", "packet pipe", "FIFO", "terminal", "pty master"})
        table().compare(scenes_of_reading(link_named(name)), ops_of_reading());
}
BOOST_AUTO_TEST_CASE(reads_of_sockets) {
    table().sample(2);
    for (Link const& link : links())
        if (link.socket) table().compare(scenes_of_reading(link), ops_of_reading());
}
BOOST_AUTO_TEST_CASE(receives_of_sockets) {
    table().sample(4);
    for (Link const& link : links())
        if (link.socket) table().compare(scenes_of_reading(link), ops_of_receiving());
}
BOOST_AUTO_TEST_CASE(timed_reads_of_sockets) {
    table().sample(1);
    for (Link const& link : links())
        if (link.socket) table().compare(scenes_of_timed_reading(link), ops_of_reading());
}
BOOST_AUTO_TEST_CASE(the_known_list_is_no_longer_than_it_has_to_be) { check_known_cells(); }
