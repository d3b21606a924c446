// SPDX-License-Identifier: MIT
//
// SIGEV_EC: the end of a POSIX request is an event of a channel.
// (ec_notify_lists.cpp: lists.)
#define BOOST_TEST_MODULE ec_notify
#include "channel.hpp"

#include <sys/eventfd.h>

namespace {

int datum; // what sigev_value points to

int start_fsync(aiocb *cb)
{
	return aio_fsync(O_SYNC, cb);
}
using Start = int (*)(aiocb *);

/// The event of `request`, with its status published before; and no other event.
void check_event(ec_t ec, Request &request, Outcome expected)
{
	const event_data_t event = next_event(ec);
	const Outcome status{aio_error(&request.cb),
			     aio_return(&request.cb)}; // at once: status first, then the event
	BOOST_TEST(status == expected);
	BOOST_TEST(event.ev_type == event_type_aio);
	BOOST_TEST(event.ev_un.ev_aio == &request.cb);
	BOOST_TEST(outcome(event) == expected);
	BOOST_TEST(event.ev_data == &datum);
	BOOST_TEST(found_empty(ec));
}
void check_request(ec_t ec, Request &request, Start start, Outcome expected)
{
	BOOST_TEST_REQUIRE(start(&tell(request, ec, &datum).cb) == 0);
	check_event(ec, request, expected);
}

/// A request that reads into, or writes from, two pieces.
struct Vector {
	Request &whole;
	std::array<iovec, 2> parts;
	explicit Vector(Request &request) : whole(request)
	{
		const size_t half = request.size / 2;
		parts = {iovec{request.data(), half},
			 iovec{request.data() + half, request.size - half}};
		request.cb.aio_iov = parts.data();
		request.cb.aio_iovcnt = parts.size();
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(a_file_request_tells_its_end)
{
	for_each_channel([](Channel &ec) {
		for_each_file_kind([&](FileKind const &kind) {
			File file = make_file(kind);
			check_request(ec, writing(file.fd, pattern(8192)), aio_write, ok(8192));
			check_request(ec, keep(file.fd, 0), start_fsync, ok(0));
			Request &in = reading(file.fd, 8192);
			check_request(ec, in, aio_read, ok(8192));
			BOOST_TEST((in.text() == pattern(8192)));
			check_request(ec, reading(file.fd, 4096, 8192), aio_read, ok(0));
		});
	});
}

BOOST_AUTO_TEST_CASE(a_stream_request_tells_its_end_when_it_need_not_wait)
{
	for_each_channel([](Channel &ec) {
		for_each_stream([&](Stream &s) {
			check_request(ec, writing(s.writer, "abc"), aio_write, ok(3));
			Request &in = reading(s.reader, 3);
			check_request(ec, in, aio_read, ok(3));
			BOOST_TEST(in.text() == "abc");
		});
	});
}

BOOST_AUTO_TEST_CASE(a_stream_request_tells_its_end_when_it_has_to_wait)
{
	for_each_channel([](Channel &ec) {
		for_each_stream([&](Stream &s) {
			Request &in = tell(reading(s.reader, 3), ec, &datum);
			BOOST_TEST_REQUIRE(aio_read(&in.cb) == 0);
			BOOST_TEST(found_empty(ec));
			BOOST_TEST(in.pending());
			put(s.writer, "abc");
			check_event(ec, in, ok(3));
			size_t const before = fill(s.writer);
			Request &out = tell(writing(s.writer, pattern(100000)), ec, &datum);
			BOOST_TEST_REQUIRE(aio_write(&out.cb) == 0);
			BOOST_TEST(found_empty(ec));
			BOOST_TEST(take(s.reader, before).size() == before);
			BOOST_TEST((take(s.reader, 100000) == pattern(100000)));
			check_event(ec, out, ok(100000));
		});
	});
}

BOOST_AUTO_TEST_CASE(vectors_tell_their_end)
{
	for_each_channel([](Channel &ec) {
		File file = disk_file();
		Stream s = unix_stream();
		Vector to_file(writing(file.fd, "together")), from_file(reading(file.fd, 8));
		check_request(ec, to_file.whole, aio_writev, ok(8));
		check_request(ec, from_file.whole, aio_readv, ok(8));
		BOOST_TEST(from_file.whole.text() == "together");
		Vector in(reading(s.reader, 8)), out(writing(s.writer, "together"));
		BOOST_TEST_REQUIRE(aio_readv(&tell(in.whole, ec, &datum).cb) == 0);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST_REQUIRE(aio_writev(&out.whole.cb) ==
				   0); // the other end's is the only event
		check_event(ec, in.whole, ok(8));
		BOOST_TEST(finish(out.whole) == ok(8));
		BOOST_TEST(in.whole.text() == "together");
	});
}

BOOST_AUTO_TEST_CASE(a_failed_request_tells_its_error)
{
	for_each_channel([](Channel &ec) {
		Stream p = pipe_stream(), broken = pipe_stream();
		check_request(ec, reading(-1, 1), aio_read, failed(EBADF));
		check_request(ec, writing(100000, "x"), aio_write, failed(EBADF));
		check_request(ec, reading(p.writer, 1), aio_read, failed(EBADF));
		check_request(ec, writing(p.reader, "x"), aio_write, failed(EBADF));
		broken.reader.reset();
		check_request(ec, writing(broken.writer, "x"), aio_write, failed(EPIPE));
		Request &nowhere = reading(p.reader, 1);
		nowhere.cb.aio_buf = as_data(16);
		put(p.writer, "x");
		check_request(ec, nowhere, aio_read, failed(EFAULT));
		Stream empty = pipe_stream();
		set_nonblocking(empty.reader);
		check_request(ec, reading(empty.reader, 1), aio_read, failed(EAGAIN));
	});
}

BOOST_AUTO_TEST_CASE(a_call_that_fails_tells_nothing)
{
	for_each_channel([](Channel &ec) {
		Request &priority = tell(reading(0, 1), ec), &offset = tell(reading(0, 1, -1), ec);
		Request &sync = tell(keep(-1, 0), ec);
		priority.cb.aio_reqprio = 99;
		BOOST_TEST(aio_read(&priority.cb) == -1);
		BOOST_TEST(errno == EINVAL);
		BOOST_TEST(aio_write(&offset.cb) == -1);
		BOOST_TEST(errno == EINVAL);
		BOOST_TEST(aio_fsync(O_SYNC, &sync.cb) == -1);
		BOOST_TEST(errno == EBADF);
		BOOST_TEST(aio_fsync(12345, &sync.cb) == -1);
		BOOST_TEST(errno == EINVAL);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(numbers(ec).outstanding == 0u);
	});
}

BOOST_AUTO_TEST_CASE(end_of_file_is_an_event_with_nothing_read)
{
	for_each_channel([](Channel &ec) {
		for (StreamMaker make :
		     {pipe_stream, fifo_stream, unix_stream_default, tcp_stream}) {
			Stream s = make();
			Request &in = tell(reading(s.reader, 1), ec, &datum);
			BOOST_TEST_REQUIRE(aio_read(&in.cb) == 0);
			BOOST_TEST(found_empty(ec));
			s.writer.reset();
			check_event(ec, in, ok(0));
		}
	});
}

BOOST_AUTO_TEST_CASE(a_cancelled_request_tells_it)
{
	for_each_channel([](Channel &ec) {
		for_each_stream([&](Stream &s) {
			Request &in = tell(reading(s.reader, 1), ec, &datum);
			BOOST_TEST_REQUIRE(aio_read(&in.cb) == 0);
			BOOST_TEST(found_empty(ec));
			BOOST_TEST(aio_cancel(s.reader, &in.cb) == AIO_CANCELED);
			check_event(ec, in, failed(ECANCELED));
			for (int i = 0; i < 3; ++i)
				BOOST_TEST_REQUIRE(aio_read(&tell(reading(s.reader, 1), ec).cb) ==
						   0);
			BOOST_TEST(aio_cancel(s.reader, nullptr) == AIO_CANCELED);
			for (int i = 0; i < 3; ++i)
				BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
			BOOST_TEST(found_empty(ec));
		});
	});
}

BOOST_AUTO_TEST_CASE(what_is_no_channel_is_refused_with_ebadf_and_nothing_is_done)
{
	Stream s = unix_stream();
	Fd event(eventfd(0, EFD_CLOEXEC));
	File file = disk_file();
	put(s.writer, "data");
	const ec_t gone = Channel().release();
	BOOST_TEST(ec_destroy(gone) == 0);
	for (int no_channel : {-1, INT_MAX, int(event), int(file.fd), int(gone)}) {
		auto check = [&](Request &request, Start start) {
			BOOST_TEST(start(&tell(request, no_channel).cb) == -1);
			BOOST_TEST(errno == EBADF);
		};
		check(reading(s.reader, 4), aio_read);
		check(writing(s.writer, "more"), aio_write);
		check(writing(file.fd, "more"), aio_write);
		check(keep(file.fd, 0), start_fsync);
		check(Vector(reading(s.reader, 4)).whole, aio_readv);
		check(Vector(writing(file.fd, "more")).whole, aio_writev);
		sigevent list_end = channel_event(no_channel);
		Request &listed = writing(file.fd, "more");
		listed.cb.aio_lio_opcode = LIO_WRITE;
		aiocb *list[] = {&listed.cb};
		BOOST_TEST(lio_listio(LIO_NOWAIT, list, 1, &list_end) == -1);
		BOOST_TEST(errno == EBADF);
	}
	BOOST_TEST(file.content() == "");
	BOOST_TEST(take(s.reader, 4) == "data");
	BOOST_TEST(!has_data(s.reader));
}

BOOST_AUTO_TEST_CASE(the_status_is_there_before_the_event)
{
	constexpr size_t count = 3000;
	for_each_channel([&](Channel &ec) {
		File file = tmpfs_file();
		Stream s = unix_stream();
		std::vector<Request *> requests;
		for (size_t i = 0; i < count; ++i)
			requests.push_back(&tell(i % 3 == 0 ? reading(s.reader, 1)
							    : writing(file.fd, "x", off_t(i)),
						 ec));
		std::thread feeder([&] {
			for (size_t i = 0; i < count / 3; ++i)
				if (write(s.writer, "y", 1) != 1)
					return;
		});
		size_t unfinished = 0, wrong = 0, seen = 0;
		auto look = [&](event_data_t const &event) {
			aiocb *const cb = event.ev_un.ev_aio;
			unfinished += aio_error(cb) == EINPROGRESS;
			wrong += Outcome{aio_error(cb), aio_return(cb)} != outcome(event) ||
				 outcome(event) != ok(1);
			++seen;
		};
		event_data_t event;
		for (size_t i = 0; i < count; ++i) {
			BOOST_TEST_REQUIRE((i % 3 == 0 ? aio_read : aio_write)(&requests[i]->cb) ==
					   0);
			while (ec_next_events(ec, &event, 1, &at_once) == 1)
				look(event);
		}
		while (seen < count && take_events(ec, &event, 1) == 1)
			look(event);
		feeder.join();
		BOOST_TEST(seen == count);
		BOOST_TEST(unfinished == 0u);
		BOOST_TEST(wrong == 0u);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(an_event_keeps_what_it_tells_although_the_aiocb_is_used_again)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		Request &request = reading(s.reader, 8);
		for (uintptr_t i = 1; i <= 8; ++i) {
			request.cb.aio_nbytes = i;
			tell(request, ec, as_data(i));
			put(s.writer, std::string(i, 'x'));
			BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
			hand_over(ec);
			BOOST_TEST(finish(request) == ok(ssize_t(i)));
		}
		memset(&request.cb, 0xaa, sizeof request.cb);
		for (uintptr_t i = 1; i <= 8; ++i) {
			event_data_t const event = next_event(ec);
			BOOST_TEST(event.ev_un.ev_aio == &request.cb);
			BOOST_TEST(outcome(event) == ok(ssize_t(i)));
			BOOST_TEST(as_number(event.ev_data) == i);
		}
	});
}

BOOST_AUTO_TEST_CASE(the_notification_is_read_once_at_the_call)
{
	for_each_channel([](Channel &ec) {
		Channel other;
		Stream s = unix_stream();
		Request &request = tell(reading(s.reader, 1), ec, &datum);
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
		tell(request, other, nullptr);
		put(s.writer, "x");
		check_event(ec, request, ok(1));
		BOOST_TEST(found_empty(other));
	});
}

BOOST_AUTO_TEST_CASE(requests_of_one_stream_tell_different_channels)
{
	std::vector<Channel> channels;
	for (const ChannelKind &kind : channel_kinds)
		channels.emplace_back(kind.flags);
	Stream s = unix_stream();
	std::vector<Request *> requests;
	for (int i = 0; i < 9; ++i) {
		requests.push_back(&tell(reading(s.reader, 1), channels[size_t(i % 3)], &datum));
		BOOST_TEST_REQUIRE(aio_read(&requests.back()->cb) == 0);
	}
	for (Channel &ec : channels)
		hand_over(ec);
	put(s.writer, "abcdefghi");
	for (size_t i = 0; i < 9; ++i) {
		const event_data_t event = next_event(channels[i % 3]);
		BOOST_TEST(outcome(event) == ok(1));
		BOOST_TEST(requests[i]->text() == std::string(1, "abcdefghi"[i]));
	}
	for (Channel &ec : channels)
		BOOST_TEST(found_empty(ec));
}

BOOST_AUTO_TEST_CASE(a_channel_can_be_asked_by_many_threads_at_once)
{
	constexpr int threads = 4, each = 500;
	Channel ec;
	std::vector<Stream> streams;
	for (int i = 0; i < threads; ++i)
		streams.push_back(unix_stream());
	std::vector<std::thread> askers;
	std::atomic<int> refused{0};
	for (int i = 0; i < threads; ++i)
		askers.emplace_back([&, i] {
			for (int n = 0; n < each; ++n) {
				Request &request = tell(reading(streams[size_t(i)].reader, 1), ec,
							as_data(uintptr_t(i)));
				refused += aio_read(&request.cb) != 0;
				refused += write(streams[size_t(i)].writer, "x", 1) != 1;
			}
		});
	std::array<int, threads> got{};
	for (int i = 0; i < threads * each; ++i) {
		const event_data_t event = next_event(ec);
		if (outcome(event) == ok(1))
			++got[as_number(event.ev_data) % threads];
	}
	for (std::thread &asker : askers)
		asker.join();
	BOOST_TEST(refused == 0);
	for (int count : got)
		BOOST_TEST(count == each);
	BOOST_TEST(found_empty(ec));
}
