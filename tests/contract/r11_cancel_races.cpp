// SPDX-License-Identifier: MIT
//
// Rule 11, against requests that complete on their own at the same moment: whatever
// aio_cancel answers, the request and the data must agree with it.
#define BOOST_TEST_MODULE r11_cancel_races
#include "support.hpp"

namespace {

/// The answer, the final status and the status right after the call belong together.
void check_agreement(int answer, int status_then, const Outcome &end, ssize_t whole)
{
	switch (answer) {
	case AIO_CANCELED:
		BOOST_TEST_REQUIRE(status_then == ECANCELED);
		BOOST_TEST_REQUIRE(end == failed(ECANCELED));
		break;
	case AIO_ALLDONE:
		BOOST_TEST_REQUIRE(status_then == 0);
		BOOST_TEST_REQUIRE(end == ok(whole));
		break;
	default:
		BOOST_TEST_REQUIRE(answer == AIO_NOTCANCELED);
		BOOST_TEST_REQUIRE((status_then == EINPROGRESS || status_then == 0));
		BOOST_TEST_REQUIRE(end == ok(whole));
	}
}

/// Both threads reach the same point before either goes on.
class Meeting {
public:
	void wait()
	{
		const int turn = round_;
		if (++arrived_ == 2) {
			arrived_ = 0;
			++round_;
		} else {
			while (round_ == turn)
				sched_yield();
		}
	}

private:
	std::atomic<int> arrived_{0}, round_{0};
};

} // namespace

BOOST_AUTO_TEST_CASE(a_byte_goes_either_to_the_request_or_stays_in_the_stream)
{
	constexpr int rounds = 1000;
	for (StreamMaker make : {pipe_stream, unix_stream_default, tcp_stream, pty_stream}) {
		Stream s = make();
		BOOST_TEST_CONTEXT("stream: " << s.name)
		{
			Meeting meeting;
			std::thread writer([&] {
				for (int i = 0; i < rounds; ++i) {
					meeting.wait();
					if (write(s.writer, "x", 1) != 1)
						abort();
				}
			});
			Request &request = reading(s.reader, 1);
			int lost = 0;
			for (int i = 0; i < rounds; ++i) {
				request.data()[0] = '?';
				if (aio_read(&request.cb) != 0)
					abort();
				meeting.wait();
				const int answer = aio_cancel(s.reader, &request.cb);
				const Outcome end = finish(request);
				const bool consistent = answer == AIO_CANCELED
								? end == failed(ECANCELED)
								: end == ok(1);
				const bool untouched = end == ok(1) || request.text() == "?";
				if (end == failed(ECANCELED) && take(s.reader, 1) != "x")
					++lost;
				if (!consistent || !untouched)
					++lost;
			}
			writer.join();
			BOOST_TEST(lost == 0);
			BOOST_TEST(!has_data(s.reader));
		}
	}
}

BOOST_AUTO_TEST_CASE(a_cancelled_file_write_writes_nothing_and_any_other_writes_all)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		Fd look(open(file.path.c_str(), O_RDONLY));
		for (int i = 0; i < 300; ++i) {
			Request &request = start_write(file.fd, std::string(8192, 'w'), i * 8192);
			int const answer = aio_cancel(file.fd, &request.cb);
			int const status_then = request.error();
			Outcome const end = finish(request);
			check_agreement(answer, status_then, end, 8192);
			char byte = 0;
			ssize_t const got = pread(look, &byte, 1, i * 8192);
			BOOST_TEST_REQUIRE(
				(answer == AIO_CANCELED ? got <= 0 || byte == 0 : byte == 'w'));
		}
	});
}

BOOST_AUTO_TEST_CASE(a_cancelled_file_read_leaves_the_buffer_alone)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		put(Fd(open(file.path.c_str(), O_WRONLY)), std::string(256 * 4096, 'r'));
		std::vector<Request *> cancelled;
		for (int i = 0; i < 256; ++i) {
			Request &request = start_read(file.fd, 4096, i * 4096);
			int const answer = aio_cancel(file.fd, &request.cb);
			int const status_then = request.error();
			Outcome const end = finish(request);
			check_agreement(answer, status_then, end, 4096);
			if (answer == AIO_CANCELED)
				cancelled.push_back(&request);
			else
				BOOST_TEST((request.text() == std::string(4096, 'r')));
		}
		BOOST_TEST(finish(start_read(file.fd, 4096)) == ok(4096));
		for (Request *request : cancelled)
			BOOST_TEST((request->text() == std::string(4096, '?')));
	});
}

BOOST_AUTO_TEST_CASE(cancelling_all_of_many_file_requests_accounts_for_each)
{
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		Fd look(open(file.path.c_str(), O_RDONLY));
		for (int round = 0; round < 10; ++round) {
			std::vector<Request *> writes;
			off_t const base = off_t(round) << 20;
			for (int i = 0; i < 64; ++i)
				writes.push_back(&start_write(file.fd, std::string(4096, 'w'),
							      base + i * 4096));
			int const answer = aio_cancel(file.fd, nullptr);
			std::vector<int> status;
			for (Request *request : writes)
				status.push_back(request->error());
			int cancelled = 0, done = 0;
			for (int i = 0; i < 64; ++i) {
				Outcome const end = finish(*writes[i]);
				BOOST_TEST_REQUIRE((end == ok(4096) || end == failed(ECANCELED)),
						   "ended with " << end);
				BOOST_TEST_REQUIRE(
					(status[i] == end.error || status[i] == EINPROGRESS));
				++(end.error == 0 ? done : cancelled);
				char byte = 0;
				ssize_t const got = pread(look, &byte, 1, base + i * 4096);
				BOOST_TEST_REQUIRE((got == 1 && byte == 'w') == (end.error == 0));
			}
			if (answer == AIO_ALLDONE)
				BOOST_TEST(cancelled == 0);
			if (answer == AIO_CANCELED)
				BOOST_TEST(cancelled > 0);
			if (answer == AIO_NOTCANCELED)
				BOOST_TEST(done > 0);
		}
	});
}

BOOST_AUTO_TEST_CASE(two_threads_that_cancel_the_same_requests_share_the_answers, BETTER_THAN_GLIBC)
{
	Stream s = unix_stream();
	Meeting meeting;
	for (int round = 0; round < 300; ++round) {
		Request &request = start_read(s.reader, 1);
		int mine = -2, theirs = -2;
		std::thread other([&] {
			meeting.wait();
			theirs = aio_cancel(s.reader, &request.cb);
		});
		meeting.wait();
		mine = aio_cancel(s.reader, &request.cb);
		other.join();
		BOOST_TEST_REQUIRE(finish(request) == failed(ECANCELED));
		BOOST_TEST_REQUIRE((mine == AIO_CANCELED || theirs == AIO_CANCELED));
		for (int answer : {mine, theirs})
			BOOST_TEST_REQUIRE((answer == AIO_CANCELED || answer == AIO_ALLDONE));
	}
}

BOOST_AUTO_TEST_CASE(requests_submitted_while_others_are_cancelled_are_not_lost, BETTER_THAN_GLIBC)
{
	Stream s = unix_stream();
	std::atomic<bool> stop{false};
	std::thread canceller([&] {
		while (!stop)
			aio_cancel(s.reader, nullptr);
	});
	int arrived = 0;
	for (int i = 0; i < 3000; ++i) {
		Request &request = start_read(s.reader, 1);
		const bool sent = i % 3 == 0;
		if (sent)
			put(s.writer, "x");
		const Outcome end = finish(request);
		BOOST_CHECK((end == ok(1) || end == failed(ECANCELED)));
		if (sent)
			arrived += end == ok(1) || take(s.reader, 1) == "x";
	}
	stop = true;
	canceller.join();
	BOOST_TEST(arrived == 1000);
}

// The moment between the status and whatever else belongs to the end is nobody's business.
BOOST_AUTO_TEST_CASE(what_the_status_says_has_ended_is_all_done_for_the_descriptor_too)
{
	File file = disk_file(), end = disk_file(O_APPEND);
	Stream s = pipe_stream();
	int untruthful = 0;
	for (int i = 0; i < 3000; ++i) {
		struct {
			int fd;
			aiocb cb;
		} tried[] = {{file.fd, {}}, {end.fd, {}}, {s.reader, {}}};
		char byte = 'x';
		for (auto &t : tried) {
			const int fd = t.fd;
			aiocb &cb = t.cb;
			cb.aio_fildes = fd;
			cb.aio_buf = &byte;
			cb.aio_nbytes = 1;
			cb.aio_sigevent.sigev_notify = SIGEV_NONE;
			BOOST_TEST_REQUIRE((fd == s.reader ? aio_read(&cb) : aio_write(&cb)) == 0);
			if (fd == s.reader)
				put(s.writer, "y");
			BOOST_TEST_REQUIRE(
				eventually([&] { return aio_error(&cb) != EINPROGRESS; }));
			untruthful += aio_cancel(fd, nullptr) != AIO_ALLDONE;
		}
	}
	BOOST_TEST(untruthful == 0);
}
