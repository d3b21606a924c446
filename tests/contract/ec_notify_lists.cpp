// SPDX-License-Identifier: MIT
//
// SIGEV_EC and lio_listio: events of the requests, and one of the list's own after them.
#define BOOST_TEST_MODULE ec_notify_lists
#include "channel.hpp"

#include <algorithm>

namespace {

int datum;

struct List {
	std::vector<aiocb *> blocks;
	Request &add(Request &request, int opcode)
	{
		request.cb.aio_lio_opcode = opcode;
		blocks.push_back(&request.cb);
		return request;
	}
	int submit(sigevent *event, int mode = LIO_NOWAIT)
	{
		return lio_listio(mode, blocks.data(), int(blocks.size()), event);
	}
};

void check_list_event(const event_data_t &event, Outcome expected)
{
	BOOST_TEST(event.ev_type == event_type_aio);
	BOOST_TEST(event.ev_un.ev_aio == nullptr);
	BOOST_TEST(outcome(event) == expected);
	BOOST_TEST(event.ev_data == &datum);
}

} // namespace

BOOST_AUTO_TEST_CASE(a_list_tells_its_end_once_after_the_last_of_its_requests)
{
	for_each_channel([](Channel &ec) {
		for_each_stream([&](Stream &s) {
			File file = disk_file();
			List list;
			for (int i = 0; i < 5; ++i) {
				list.add(reading(s.reader, 1), LIO_READ);
				list.add(writing(file.fd, "x", i), LIO_WRITE);
			}
			sigevent event = channel_event(ec, &datum);
			BOOST_TEST_REQUIRE(list.submit(&event) == 0);
			event = {}; // it has been copied
			hand_over(ec);
			put(s.writer, "1234");
			for (size_t i = 0; i < 8; i += 2)
				BOOST_TEST(finish(*list.blocks[i]) == ok(1));
			BOOST_TEST(found_empty(ec));
			put(s.writer, "5");
			check_list_event(next_event(ec), ok(0));
			for (aiocb *cb : list.blocks)
				BOOST_TEST(aio_error(cb) == 0);
			BOOST_TEST(found_empty(ec));
		});
	});
}

BOOST_AUTO_TEST_CASE(a_list_of_file_requests_tells_its_end)
{
	for_each_channel([](Channel &ec) {
		for_each_file_kind([&](FileKind const &kind) {
			for (int round = 0; round < 10; ++round) {
				File file = make_file(kind);
				List list;
				for (int i = 0; i < 8; ++i)
					list.add(writing(file.fd, pattern(4096), i * 4096),
						 LIO_WRITE);
				sigevent event = channel_event(ec, &datum);
				BOOST_TEST_REQUIRE(list.submit(&event) == 0);
				check_list_event(next_event(ec), ok(0));
				for (aiocb *cb : list.blocks)
					BOOST_TEST(aio_error(cb) == 0);
				for (aiocb *cb : list.blocks)
					BOOST_TEST(aio_return(cb) == 4096);
			}
			BOOST_TEST(found_empty(ec));
		});
	});
}

BOOST_AUTO_TEST_CASE(the_event_of_the_list_comes_after_those_of_its_requests)
{
	for_each_channel([](Channel &ec) {
		for (int round = 0; round < 20; ++round) {
			Stream s = unix_stream();
			File file = tmpfs_file();
			List list;
			for (int i = 0; i < 6; ++i) {
				list.add(tell(reading(s.reader, 1), ec), LIO_READ);
				list.add(tell(writing(file.fd, "x", i), ec), LIO_WRITE);
				list.add(tell(reading(-1, 1), ec), LIO_READ);
			}
			sigevent event = channel_event(ec, &datum);
			int const submitted = list.submit(&event);
			BOOST_TEST((submitted == 0 || errno == EIO));
			put(s.writer, "123456");
			std::vector<aiocb *> told;
			for (int i = 0; i < 18; ++i) {
				event_data_t const one = next_event(ec);
				aiocb *const cb = one.ev_un.ev_aio;
				BOOST_TEST_REQUIRE(cb != nullptr);
				BOOST_TEST(outcome(one) ==
					   (cb->aio_fildes == -1 ? failed(EBADF) : ok(1)));
				told.push_back(cb);
			}
			for (aiocb *cb : list.blocks)
				BOOST_TEST(std::count(told.begin(), told.end(), cb) == 1);
			check_list_event(next_event(ec), failed(EIO));
			BOOST_TEST(found_empty(ec));
		}
	});
}

BOOST_AUTO_TEST_CASE(a_list_with_a_failed_request_says_eio)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream(), broken = pipe_stream();
		broken.reader.reset();
		List list;
		list.add(reading(s.reader, 1), LIO_READ);
		list.add(writing(broken.writer, "x"), LIO_WRITE);
		sigevent event = channel_event(ec, &datum);
		BOOST_TEST_REQUIRE(list.submit(&event) == 0);
		BOOST_TEST(found_empty(ec));
		put(s.writer, "x");
		check_list_event(next_event(ec), failed(EIO));
		BOOST_TEST(finish(*list.blocks[0]) == ok(1));
		BOOST_TEST(finish(*list.blocks[1]) == failed(EPIPE));
	});
}

BOOST_AUTO_TEST_CASE(a_list_whose_request_was_cancelled_says_eio)
{
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		List list;
		Request &in = list.add(tell(reading(s.reader, 1), ec), LIO_READ);
		sigevent event = channel_event(ec, &datum);
		BOOST_TEST_REQUIRE(list.submit(&event) == 0);
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(aio_cancel(s.reader, &in.cb) == AIO_CANCELED);
		BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
		check_list_event(next_event(ec), failed(EIO));
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(an_empty_list_tells_its_end_at_once)
{
	for_each_channel([](Channel &ec) {
		sigevent event = channel_event(ec, &datum);
		aiocb *nothing[] = {nullptr, nullptr};
		BOOST_TEST(lio_listio(LIO_NOWAIT, nothing, 0, &event) == 0);
		check_list_event(next_event(ec), ok(0));
		BOOST_TEST(lio_listio(LIO_NOWAIT, nothing, 2, &event) == 0);
		check_list_event(next_event(ec), ok(0));
		List list;
		list.add(reading(-1, 1), LIO_NOP);
		BOOST_TEST(list.submit(&event) == 0);
		check_list_event(next_event(ec), ok(0));
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(a_list_that_is_waited_for_tells_the_ends_of_its_requests_only)
{
	for_each_channel([](Channel &ec) {
		File file = disk_file();
		Stream s = unix_stream();
		put(s.writer, "x");
		List list;
		list.add(tell(writing(file.fd, "x"), ec), LIO_WRITE);
		list.add(tell(reading(s.reader, 1), ec), LIO_READ);
		sigevent event = channel_event(ec, &datum);
		BOOST_TEST(list.submit(&event, LIO_WAIT) == 0);
		for (aiocb *cb : list.blocks)
			BOOST_TEST(finish(*cb) == ok(1));
		for (int i = 0; i < 2; ++i)
			BOOST_TEST(next_event(ec).ev_un.ev_aio != nullptr);
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(the_list_and_its_requests_may_tell_different_channels_and_kinds)
{
	static std::atomic<int> calls;
	calls = 0;
	for_each_channel([](Channel &ec) {
		Channel other;
		Stream s = unix_stream();
		List list;
		list.add(tell(reading(s.reader, 1), other), LIO_READ);
		Request &by_thread = list.add(reading(s.reader, 1), LIO_READ);
		by_thread.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
		by_thread.cb.aio_sigevent.sigev_notify_function = [](sigval) { ++calls; };
		list.add(reading(s.reader, 1), LIO_READ);
		sigevent event = channel_event(ec, &datum);
		int const before = calls;
		BOOST_TEST_REQUIRE(list.submit(&event) == 0);
		hand_over(ec);
		put(s.writer, "123");
		check_list_event(next_event(ec), ok(0));
		BOOST_TEST(outcome(next_event(other)) == ok(1));
		BOOST_TEST(eventually([&] { return calls == before + 1; }));
		BOOST_TEST(found_empty(ec));
		BOOST_TEST(found_empty(other));
	});
}

BOOST_AUTO_TEST_CASE(the_requests_of_a_list_tell_their_ends_while_the_list_tells_a_thread)
{
	static std::atomic<int> calls;
	calls = 0;
	for_each_channel([](Channel &ec) {
		Stream s = unix_stream();
		List list;
		for (int i = 0; i < 4; ++i)
			list.add(tell(reading(s.reader, 1), ec), LIO_READ);
		sigevent event{};
		event.sigev_notify = SIGEV_THREAD;
		event.sigev_notify_function = [](sigval) { ++calls; };
		int const before = calls;
		BOOST_TEST_REQUIRE(list.submit(&event) == 0);
		hand_over(ec);
		put(s.writer, "1234");
		std::vector<aiocb *> told;
		for (int i = 0; i < 4; ++i)
			told.push_back(next_event(ec).ev_un.ev_aio);
		for (aiocb *cb : list.blocks)
			BOOST_TEST(std::count(told.begin(), told.end(), cb) == 1);
		BOOST_TEST(eventually([&] { return calls == before + 1; }));
		BOOST_TEST(found_empty(ec));
	});
}

BOOST_AUTO_TEST_CASE(lists_of_several_threads_each_tell_once)
{
	constexpr int threads = 4, each = 100;
	Channel ec;
	File file = tmpfs_file();
	std::vector<std::thread> askers;
	std::atomic<int> refused{0};
	for (int t = 0; t < threads; ++t)
		askers.emplace_back([&] {
			for (int n = 0; n < each; ++n) {
				List list;
				for (int i = 0; i < 3; ++i)
					list.add(writing(file.fd, "x", i), LIO_WRITE);
				sigevent event = channel_event(ec, &datum);
				refused += list.submit(&event) != 0;
			}
		});
	for (int i = 0; i < threads * each; ++i)
		check_list_event(next_event(ec), ok(0));
	for (std::thread &asker : askers)
		asker.join();
	BOOST_TEST(refused == 0);
	BOOST_TEST(found_empty(ec));
}

// Its elements may have served before, successfully: that is not to be seen any more.
BOOST_AUTO_TEST_CASE(a_list_that_is_refused_leaves_no_element_looking_successful)
{
	File file = tmpfs_file();
	for (bool full : {false, true}) {
		Channel ec;
		if (full) {
			BOOST_REQUIRE(ec_set_limit(ec, 1) == 0);
			BOOST_REQUIRE(ec_post(ec, 0, 0, nullptr) == 0);
		}
		List list;
		for (int i = 0; i < 3; ++i)
			list.add(writing(file.fd, "x", i), LIO_WRITE);
		BOOST_REQUIRE(list.submit(nullptr) == 0);
		for (aiocb *cb : list.blocks)
			BOOST_TEST(finish(*cb) == ok(1));
		sigevent event = channel_event(ec, &datum);
		if (!full)
			event.sigev_ec = -1;
		BOOST_TEST(list.submit(&event) == -1);
		const int error = errno;
		BOOST_TEST(error == (full ? EAGAIN : EBADF));
		for (aiocb *cb : list.blocks)
			BOOST_TEST(aio_error(cb) == error);
	}
}
