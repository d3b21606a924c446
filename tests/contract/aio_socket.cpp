// SPDX-License-Identifier: MIT
//
// The aio_* socket calls: arguments, every kind of notification, lists, waiting and
// cancelling as POSIX AIO has them. (socket_*.cpp: what they do with the socket.)
#define BOOST_TEST_MODULE aio_socket
#include "socket_calls.hpp"

#include <algorithm>

namespace {

using Start = std::function<int(aiocb *)>;

/// Everything that one request of each call needs, with what ends it.
struct Operation {
	const char *name;
	bool waits;
	Pair s = make_pair(unix_stream_kind);
	Fd listener = listening_socket(unix_stream_kind), client = new_socket(unix_stream_kind);
	Address to = address_of(listener);
	Message &out = message({"ab"}), &in = room_for({2});
	Request &request = reading(s.a, 2);
	Start start;
	std::function<void()> end = [] {};
	ssize_t result = 2;

	Operation(const char *call, bool has_to_wait) : name(call), waits(has_to_wait) {}
};

using MakeOperation = std::unique_ptr<Operation> (*)(bool);

std::unique_ptr<Operation> receiving(const char *name, bool waits, Start start)
{
	auto op = std::make_unique<Operation>(name, waits);
	op->start = std::move(start);
	op->request.cb.aio_msg = &op->in.header;
	op->end = [s = int(op->s.b)] { put(s, "xy"); };
	if (!waits)
		op->end(), op->end = [] {};
	return op;
}
std::unique_ptr<Operation> sending(const char *name, bool waits, Start start)
{
	auto op = std::make_unique<Operation>(name, waits);
	op->start = std::move(start);
	op->request.cb.aio_msg = &op->out.header;
	if (waits) {
		const size_t before = fill(op->s.a);
		op->end = [s = int(op->s.b), before] { take(s, before); };
	}
	return op;
}
constexpr MakeOperation operations[] = {
	[](bool waits) {
		return receiving("aio_recv", waits, [](aiocb *cb) { return aio_recv(cb, 0); });
	},
	[](bool waits) {
		return receiving("aio_recvfrom", waits,
				 [](aiocb *cb) { return aio_recvfrom(cb, 0, nullptr, 0); });
	},
	[](bool waits) {
		return receiving("aio_recvmsg", waits,
				 [](aiocb *cb) { return aio_recvmsg(cb, 0); });
	},
	[](bool waits) {
		return sending("aio_send", waits, [](aiocb *cb) { return aio_send(cb, 0); });
	},
	[](bool waits) {
		return sending("aio_sendto", waits,
			       [](aiocb *cb) { return aio_sendto(cb, 0, nullptr, 0); });
	},
	[](bool waits) {
		return sending("aio_sendmsg", waits, [](aiocb *cb) { return aio_sendmsg(cb, 0); });
	},
	[](bool waits) {
		auto op = std::make_unique<Operation>("aio_accept", waits);
		op->request.cb.aio_fildes = op->listener;
		op->start = [](aiocb *cb) { return aio_accept(cb, SOCK_CLOEXEC); };
		op->result = -1; // some descriptor
		op->end = [o = op.get()] { connect(o->client, o->to.get(), o->to.length); };
		if (!waits)
			op->end(), op->end = [] {};
		return op;
	},
	[](bool) {
		auto op = std::make_unique<Operation>("aio_connect", false);
		op->request.cb.aio_fildes = op->client;
		op->start = [o = op.get()](aiocb *cb) {
			return aio_connect(cb, o->to.get(), o->to.length);
		};
		op->result = 0;
		return op;
	},
};

/// Runs `body` with every call, the request still to be started, once at once and once having to
/// wait.
template <class Body> void for_each_operation(Body body)
{
	for (bool waits : {false, true})
		for (MakeOperation make : operations) {
			std::unique_ptr<Operation> op = make(waits);
			BOOST_TEST_CONTEXT(op->name << (op->waits ? ", has to wait" : ""))
			{
				body(*op);
			}
		}
}
void check_end(Operation &op)
{
	const Outcome end = finish(op.request);
	BOOST_TEST(end.error == 0);
	if (op.result >= 0)
		BOOST_TEST(end.result == op.result);
	else
		const Fd accepted(int(end.result));
}
void start(Operation &op)
{
	BOOST_TEST_REQUIRE(op.start(&op.request.cb) == 0);
}

} // namespace

// --------------------------------------------------------------- notification

BOOST_AUTO_TEST_CASE(without_notification_the_status_says_all)
{
	for_each_operation([](Operation &op) {
		start(op);
		if (op.waits)
			BOOST_TEST(op.request.pending());
		op.end();
		check_end(op);
	});
}

BOOST_AUTO_TEST_CASE(a_signal_carries_code_and_value)
{
	static std::atomic<int> count, code, value, unfinished;
	static std::atomic<aiocb *> watched;
	SignalHandler handler(
		SIGUSR1,
		+[](int, siginfo_t *info, void *) {
			code = info->si_code;
			value = info->si_value.sival_int;
			unfinished = aio_error(watched) == EINPROGRESS;
			++count;
		},
		SA_RESTART);
	for_each_operation([](Operation &op) {
		count = 0;
		watched = &op.request.cb;
		op.request.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
		op.request.cb.aio_sigevent.sigev_signo = SIGUSR1;
		op.request.cb.aio_sigevent.sigev_value.sival_int = 4711;
		start(op);
		if (op.waits)
			BOOST_TEST(count == 0);
		op.end();
		BOOST_TEST(eventually([] { return count == 1; }));
		BOOST_TEST(code == SI_ASYNCIO);
		BOOST_TEST(value == 4711);
		BOOST_TEST(unfinished == 0);
		check_end(op);
		BOOST_TEST(count == 1);
	});
}

BOOST_AUTO_TEST_CASE(a_thread_runs_the_function_with_the_value)
{
	static std::atomic<int> count, unfinished;
	for_each_operation([](Operation &op) {
		count = 0;
		op.request.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
		op.request.cb.aio_sigevent.sigev_notify_function = [](sigval v) {
			unfinished = static_cast<Request *>(v.sival_ptr)->pending();
			++count;
		};
		op.request.cb.aio_sigevent.sigev_value.sival_ptr = &op.request;
		start(op);
		if (op.waits)
			BOOST_TEST(count == 0);
		op.end();
		BOOST_TEST(eventually([] { return count == 1; }));
		BOOST_TEST(unfinished == 0);
		check_end(op);
		BOOST_TEST(count == 1);
	});
}

BOOST_AUTO_TEST_CASE(a_channel_gets_an_event)
{
	for_each_channel([](Channel &ec) {
		for_each_operation([&](Operation &op) {
			tell(op.request, ec, &op);
			start(op);
			hand_over(ec);
			if (op.waits)
				BOOST_TEST(found_empty(ec));
			op.end();
			event_data_t const event = next_event(ec);
			BOOST_TEST(!op.request.pending());
			BOOST_TEST(event.ev_type == event_type_aio);
			BOOST_TEST(event.ev_un.ev_aio == &op.request.cb);
			BOOST_TEST(event.ev_data == &op);
			BOOST_TEST(outcome(event) == finish(op.request));
			check_end(op);
			BOOST_TEST(found_empty(ec));
		});
	});
}

BOOST_AUTO_TEST_CASE(failed_requests_notify_too)
{
	static std::atomic<int> count;
	for (MakeOperation make : operations)
		for (int notify : {int{SIGEV_THREAD}, int{SIGEV_EC}}) {
			std::unique_ptr<Operation> op = make(false);
			BOOST_TEST_CONTEXT(op->name << ", sigev_notify " << notify)
			{
				Channel ec;
				count = 0;
				if (notify == SIGEV_EC)
					tell(op->request, ec);
				op->request.cb.aio_sigevent.sigev_notify = notify;
				if (notify == SIGEV_THREAD)
					op->request.cb.aio_sigevent.sigev_notify_function =
						[](sigval) { ++count; };
				op->request.cb.aio_fildes = -1;
				start(*op);
				BOOST_TEST(finish(op->request) == failed(EBADF));
				if (notify == SIGEV_EC)
					BOOST_TEST(outcome(next_event(ec)) == failed(EBADF));
				else
					BOOST_TEST(eventually([] { return count == 1; }));
			}
		}
}

// ------------------------------------------------------- as POSIX AIO does it

BOOST_AUTO_TEST_CASE(offset_and_priority_are_not_looked_at)
{
	for_each_operation([](Operation &op) {
		op.request.cb.aio_offset = -5;
		op.request.cb.aio_reqprio = 1000;
		start(op);
		op.end();
		check_end(op);
	});
}

BOOST_AUTO_TEST_CASE(the_aiocb_is_read_once_at_the_call)
{
	for_each_operation([](Operation &op) {
		start(op);
		op.request.cb.aio_fildes = -1;
		op.request.cb.aio_buf = nullptr;
		op.request.cb.aio_nbytes = 77;
		op.request.cb.aio_msg = nullptr;
		op.request.cb.aio_sigevent.sigev_notify = 99;
		op.end();
		check_end(op);
	});
}

BOOST_AUTO_TEST_CASE(aio_suspend_waits_for_socket_requests)
{
	for_each_operation([](Operation &op) {
		start(op);
		std::thread ender([&] { op.end(); });
		aiocb const *list[] = {nullptr, &op.request.cb};
		BOOST_TEST(aio_suspend(list, 2, nullptr) == 0);
		BOOST_TEST(!op.request.pending());
		ender.join();
		check_end(op);
	});
}

BOOST_AUTO_TEST_CASE(a_request_outlives_its_thread)
{
	for_each_operation([](Operation &op) {
		in_thread([&] { op.start(&op.request.cb); });
		if (op.waits)
			BOOST_TEST(op.request.pending());
		op.end();
		check_end(op);
	});
}

BOOST_AUTO_TEST_CASE(aio_cancel_of_a_descriptor_ends_all_that_waits)
{
	Pair s = make_pair(unix_stream_kind);
	std::vector<Request *> requests;
	for (int i = 0; i < 6; ++i) {
		requests.push_back(&reading(s.a, 1));
		requests.back()->cb.aio_msg = &room_for({1}).header;
		const int started = i % 3 == 0   ? aio_recv(&requests.back()->cb, 0)
				    : i % 3 == 1 ? aio_recvmsg(&requests.back()->cb, 0)
						 : aio_read(&requests.back()->cb);
		BOOST_TEST_REQUIRE(started == 0);
	}
	BOOST_TEST(aio_cancel(s.a, nullptr) == AIO_CANCELED);
	for (Request *request : requests)
		BOOST_TEST(finish(*request) == failed(ECANCELED));
	BOOST_TEST(aio_cancel(s.a, nullptr) == AIO_ALLDONE);
}

BOOST_AUTO_TEST_CASE(a_send_that_has_begun_is_not_cancelled)
{
	for (const SocketKind &kind : stream_socket_kinds) {
		if (!usable(kind))
			continue;
		Pair s = make_pair(kind);
		std::string const data = pattern(1500000);
		Request &request = writing(s.a, data);
		BOOST_TEST_REQUIRE(aio_send(&request.cb, 0) == 0);
		BOOST_TEST(eventually([&] { return has_data(s.b); }));
		BOOST_TEST(aio_cancel(s.a, &request.cb) == AIO_NOTCANCELED);
		BOOST_TEST((take(s.b, data.size()) == data));
		BOOST_TEST(finish(request) == ok(ssize_t(data.size())));
	}
}

// ------------------------------------------------------------------ arguments

BOOST_AUTO_TEST_CASE(arguments_that_cannot_be_are_refused_at_the_call)
{
	Pair s = make_pair(unix_stream_kind);
	Address to = any_address(AF_INET);
	Request &r = reading(s.a, 1);
	Message &m = message({"x"});
	r.cb.aio_msg = &m.header;
	CHECK_FAILS(aio_send(nullptr, 0), EINVAL);
	CHECK_FAILS(aio_recv(nullptr, 0), EINVAL);
	CHECK_FAILS(aio_sendto(nullptr, 0, nullptr, 0), EINVAL);
	CHECK_FAILS(aio_recvfrom(nullptr, 0, nullptr, 0), EINVAL);
	CHECK_FAILS(aio_sendmsg(nullptr, 0), EINVAL);
	CHECK_FAILS(aio_recvmsg(nullptr, 0), EINVAL);
	CHECK_FAILS(aio_accept(nullptr, 0), EINVAL);
	CHECK_FAILS(aio_connect(nullptr, to.get(), to.length), EINVAL);
	CHECK_FAILS(aio_accept(&r.cb, EV_MULTISHOT), EINVAL);
	CHECK_FAILS(aio_accept(&r.cb, 0x10000), EINVAL);
	CHECK_FAILS(aio_connect(&r.cb, nullptr, 16), EFAULT);
	const socklen_t too_long = sizeof(sockaddr_storage) + 1;
	std::array<char, too_long> address{};
	auto *const where = reinterpret_cast<sockaddr *>(address.data());
	CHECK_FAILS(aio_sendto(&r.cb, 0, where, too_long), EINVAL);
	CHECK_FAILS(aio_connect(&r.cb, where, too_long), EINVAL);
	r.cb.aio_nbytes = size_t(SSIZE_MAX) + 1;
	CHECK_FAILS(aio_send(&r.cb, 0), EINVAL);
	CHECK_FAILS(aio_recv(&r.cb, 0), EINVAL);
	r.cb.aio_msg = nullptr;
	CHECK_FAILS(aio_sendmsg(&r.cb, 0), EINVAL);
	CHECK_FAILS(aio_recvmsg(&r.cb, 0), EINVAL);
	Message &many = message(std::vector<std::string>(1025));
	Message &long_one = message({"x", "y"});
	for (iovec &part : long_one.vector)
		part.iov_len = SSIZE_MAX;
	Message &nowhere = message({"x"});
	nowhere.header.msg_iov = nullptr;
	for (const auto &[bad, error] :
	     {std::pair{&many, EMSGSIZE}, {&long_one, EINVAL}, {&nowhere, EFAULT}}) {
		r.cb.aio_msg = &bad->header;
		CHECK_FAILS(aio_sendmsg(&r.cb, 0), error);
		CHECK_FAILS(aio_recvmsg(&r.cb, 0), error);
	}
	BOOST_TEST(!has_data(s.b));
}

// ---------------------------------------------------------------------- lists

BOOST_AUTO_TEST_CASE(a_list_carries_socket_requests_beside_the_others)
{
	for (int mode : {LIO_WAIT, LIO_NOWAIT}) {
		Pair s = make_pair(unix_stream_kind), t = make_pair(tcp4_kind);
		File file = disk_file();
		Channel ec;
		Request &send = writing(s.a, "abc"), &recv = reading(s.b, 3),
			&sendmsg = keep(t.a, 0), &recvmsg = keep(t.b, 0);
		Request &write = writing(file.fd, "file"), &read = reading(t.a, 2);
		Message &out = message({"d", "ef"}), &in = room_for({2, 1});
		sendmsg.cb.aio_msg = &out.header;
		recvmsg.cb.aio_msg = &in.header;
		put(t.b, "tt");
		const std::pair<Request *, int> parts[] = {
			{&recv, LIO_RECV},       {&recvmsg, LIO_RECVMSG}, {&send, LIO_SEND},
			{&sendmsg, LIO_SENDMSG}, {&write, LIO_WRITE},     {&read, LIO_READ}};
		std::vector<aiocb *> list;
		for (const auto &[request, opcode] : parts) {
			request->cb.aio_lio_opcode = opcode;
			list.push_back(&request->cb);
		}
		sigevent end = channel_event(ec);
		BOOST_TEST(lio_listio(mode, list.data(), int(list.size()), &end) == 0);
		if (mode == LIO_NOWAIT)
			BOOST_TEST(outcome(next_event(ec)) == ok(0));
		for (aiocb *cb : list)
			BOOST_TEST(aio_error(cb) == 0);
		for (Request *request : {&send, &recv, &sendmsg, &recvmsg})
			BOOST_TEST(finish(*request) == ok(3));
		BOOST_TEST(recv.text() == "abc");
		BOOST_TEST(in.text() == "def");
		BOOST_TEST(read.text() == "tt");
		BOOST_TEST(file.content() == "file");
	}
}

BOOST_AUTO_TEST_CASE(socket_requests_of_a_list_wait_where_reads_would_not)
{
	Pair s = make_pair(unix_stream_kind);
	set_nonblocking(s.a);
	Request &recv = reading(s.a, 1), &recvmsg = keep(s.a, 0);
	recv.cb.aio_lio_opcode = LIO_RECV;
	recvmsg.cb.aio_lio_opcode = LIO_RECVMSG;
	recvmsg.cb.aio_msg = &room_for({1}).header;
	aiocb *list[] = {&recv.cb, &recvmsg.cb};
	BOOST_TEST(lio_listio(LIO_NOWAIT, list, 2, nullptr) == 0);
	BOOST_TEST(recv.pending());
	put(s.b, "x");
	BOOST_TEST(finish(recv) == ok(1));
	BOOST_TEST(recvmsg.pending());
	put(s.b, "y");
	BOOST_TEST(finish(recvmsg) == ok(1));
}

BOOST_AUTO_TEST_CASE(a_failed_socket_request_fails_its_list)
{
	Pair s = make_pair(unix_stream_kind);
	s.b.reset();
	File file = disk_file();
	Request &epipe = writing(s.a, "x"), &no_message = keep(s.a, 0),
		&no_socket = writing(file.fd, "x");
	const std::pair<Request *, int> parts[] = {
		{&epipe, LIO_SEND}, {&no_message, LIO_SENDMSG}, {&no_socket, LIO_SEND}};
	for (const auto &[request, opcode] : parts) {
		request->cb.aio_lio_opcode = opcode;
		aiocb *list[] = {&request->cb};
		BOOST_TEST(lio_listio(LIO_WAIT, list, 1, nullptr) == -1);
		BOOST_TEST(errno == EIO);
	}
	BOOST_TEST(finish(epipe) == failed(EPIPE));
	BOOST_TEST(finish(no_message) == failed(EINVAL));
	BOOST_TEST(finish(no_socket) == failed(ENOTSOCK));
}
