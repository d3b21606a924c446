// SPDX-License-Identifier: MIT
//
// Rule 19: what is written into a vector or a message while a call reads it, as a process that
// shares the memory can do, in every order of its steps.
#define BOOST_TEST_MODULE stepped_vectors
#include "dma.hpp"

#include "stepping.hpp"

using namespace contract;

namespace {

/// A message as sio_recvmsg makes it: it lies in a region. text is what it says.
struct Shared {
	Region region{65536};
	char *const text = region.piece("public");
	iovec *const vector = reinterpret_cast<iovec *>(region.reserve(sizeof(iovec)));
	msghdr *const header = reinterpret_cast<msghdr *>(region.reserve(sizeof(msghdr)));
	void set_up() const
	{
		*vector = {text, 6};
		*header = {};
		header->msg_iov = vector;
		header->msg_iovlen = 1;
	}
};

char secret[] = "secret";
iovec of_secret[] = {{secret, 6}, {secret, 6}};

std::string sent(int s)
{
	char got[64];
	ssize_t const n = recv(s, got, sizeof got, MSG_DONTWAIT);
	return n > 0 && memmem(got, size_t(n), secret, 6) != nullptr ? "memory of no region is sent"
								     : "";
}

} // namespace

BOOST_AUTO_TEST_CASE(what_is_looked_at_in_a_message_that_lies_in_a_region_is_what_is_sent)
{
	static const Shared shared;
	static const Pair s = make_pair(unix_packet_kind);
	static ec_t ec;
	for (bool of_header : {false, true})
		for (bool event : {false, true}) {
			Race race;
			race.prepare = [] {
				ec = ec_create(0);
				shared.set_up();
			};
			race.first = [=] {
				if (event)
					ev_sendmsg(s.a, shared.header, AIO_DMA_BUF, ec, nullptr);
				else
					sio_sendmsg(s.a, shared.header, sizeof(msghdr), 0);
			};
			race.second = [=] {
				if (of_header)
					shared.header->msg_iov = of_secret;
				else
					*shared.vector = of_secret[0];
			};
			race.judge = [] {
				ec_destroy(ec);
				return sent(s.b);
			};
			in_every_order(race);
		}
}

// What a request is for is what its copy of the vector says.
BOOST_AUTO_TEST_CASE(a_vector_that_changes_during_the_call_is_one_or_the_other)
{
	static Pair s;
	static const std::string text = pattern(2000);
	static iovec v[2];
	static size_t filled;
	static ec_t ec;
	for (size_t before : {4, 1000}) {
		const size_t after = 1004 - before;
		Race race;
		race.prepare = [=] {
			ec = ec_create(0);
			s = make_pair(unix_stream_kind);
			v[0] = {const_cast<char *>(text.data()), before};
			v[1] = {const_cast<char *>(text.data()) + 1500, 4};
			set_nonblocking(s.a);
			char some[1000]{};
			filled = 0;
			for (ssize_t n; (n = send(s.a, some, sizeof some, 0)) > 0;)
				filled += size_t(n);
			set_nonblocking(s.a, false);
		};
		race.first = [] {
			msghdr m{};
			m.msg_iov = v;
			m.msg_iovlen = 2;
			ev_sendmsg(s.a, &m, 0, ec, nullptr);
		};
		race.second = [=] { v[0].iov_len = after; };
		race.judge = [=]() -> std::string {
			take(s.b, filled);
			event_data_t end{};
			if (take_events(ec, &end, 1) != 1)
				return "the send does not end";
			ec_destroy(ec);
			std::string const got =
				take(s.b, end.ev_result > 0 ? size_t(end.ev_result) : 0);
			if (has_data(s.b))
				return "there is more than it says";
			for (size_t n : {before, after})
				if (got == text.substr(0, n) + text.substr(1500, 4))
					return "";
			return "it is neither";
		};
		in_every_order(race);
	}
}
