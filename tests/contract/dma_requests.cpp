// SPDX-License-Identifier: MIT
//
// Asynchronous requests on regions: AIO_DMA_BUF, LIO_DMA_READ, LIO_DMA_WRITE, in every
// notification mode; what holds a piece, and for how long.
#define BOOST_TEST_MODULE dma_requests
#include "dma.hpp"

namespace {

/// With an associated socket, and with one that is not.
template <class Body> void associated_or_not(const Region &region, Body body)
{
	for_each_kind([&](const SocketKind &kind) {
		for (bool associated : {false, true})
			BOOST_TEST_CONTEXT((associated ? "associated" : "not associated"))
			{
				Pair s = make_pair(kind);
				if (associated)
					region.associate(s.a);
				body(s);
				if (associated)
					region.disassociate(s.a);
				BOOST_TEST(region.stat().used == 0u);
				BOOST_TEST(region.stat().requests == 0u);
			}
	});
}

} // namespace

// --------------------------------------------------------------------- sockets

BOOST_AUTO_TEST_CASE(a_receive_tells_the_address_of_a_new_piece)
{
	Region region(1 << 16);
	associated_or_not(region, [&](Pair &s) {
		Request &waits = on_region(s.a, region, 1000);
		BOOST_TEST_REQUIRE(aio_recv(&waits.cb, AIO_DMA_BUF) == 0);
		BOOST_TEST(waits.pending());
		BOOST_TEST_REQUIRE(send(s.b, "first", 5, 0) == 5);
		BOOST_TEST(received(waits, region) == "first");
		BOOST_TEST_REQUIRE(send(s.b, "second", 6, 0) == 6);
		BOOST_TEST(eventually([&] { return has_data(s.a); }));
		Request &there = on_region(s.a, region, 1000);
		BOOST_TEST_REQUIRE(aio_recvfrom(&there.cb, AIO_DMA_BUF, nullptr, 0) == 0);
		BOOST_TEST(received(there, region) == "second");
		Request &nothing = on_region(s.a, region, 1000);
		BOOST_TEST_REQUIRE(aio_recv(&nothing.cb, AIO_DMA_BUF | MSG_DONTWAIT) == 0);
		BOOST_TEST(finish(nothing) == failed(EAGAIN));
	});
}

BOOST_AUTO_TEST_CASE(a_waiting_receive_of_an_associated_socket_holds_no_piece)
{
	Region region(4096);
	Associated s(tcp4_kind, region);
	std::vector<Request *> requests;
	for (int i = 0; i < 20; ++i) {
		requests.push_back(&on_region(s, region, 4096));
		BOOST_TEST_REQUIRE(aio_recv(&requests.back()->cb, AIO_DMA_BUF) == 0);
	}
	BOOST_TEST(region.stat().used == 0u);
	BOOST_TEST(region.stat().requests == 20u);
	for (Request *request : requests) {
		s.peer_sends("x");
		BOOST_TEST(received(*request, region) == "x");
	}
}

BOOST_AUTO_TEST_CASE(a_message_is_made_in_the_region)
{
	Region region(1 << 16);
	for (bool associated : {false, true}) {
		Fd from = bound_socket(udp4_kind), to = bound_socket(udp4_kind);
		const Address sender = address_of(from);
		Address where = address_of(to);
		if (associated)
			region.associate(to);
		Request &request = on_region(to, region, 100);
		BOOST_TEST_REQUIRE(aio_recvmsg(&request.cb, AIO_DMA_BUF) == 0);
		BOOST_TEST_REQUIRE(sendto(from, "payload", 7, 0, where.get(), where.length) == 7);
		BOOST_TEST(finish(request) == ok(7));
		auto *const m = static_cast<const msghdr *>(
			const_cast<const void *>(const_cast<void *>(request.cb.aio_buf)));
		BOOST_TEST_REQUIRE(m != nullptr);
		BOOST_TEST((m->msg_namelen == sizeof(sockaddr_in) &&
			    memcmp(m->msg_name, &sender.storage, sizeof(sockaddr_in)) == 0));
		BOOST_TEST(std::string(static_cast<char *>(m->msg_iov->iov_base),
				       m->msg_iov->iov_len) == "payload");
		region.release(m, 7);
		if (associated)
			region.disassociate(to);
	}
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(a_send_takes_a_piece_or_a_part_of_one)
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Pair s = make_pair(kind);
		char *const p = region.piece("0123456789");
		Request &whole = on_region(s.a, region, 10, p);
		BOOST_TEST_REQUIRE(aio_send(&whole.cb, AIO_DMA_BUF) == 0);
		BOOST_TEST(finish(whole) == ok(10));
		BOOST_TEST(contract::take(s.b, 10) == "0123456789");
		Request &part = on_region(s.a, region, 3, p + 4);
		BOOST_TEST_REQUIRE(aio_sendto(&part.cb, AIO_DMA_BUF, nullptr, 0) == 0);
		BOOST_TEST(finish(part) == ok(3));
		BOOST_TEST(contract::take(s.b, 3) == "456");
		Request &message = on_region(s.a, region, 0);
		iovec parts[] = {{p + 8, 2}, {p, 2}};
		msghdr m{};
		m.msg_iov = parts;
		m.msg_iovlen = 2;
		message.cb.aio_msg = &m;
		BOOST_TEST_REQUIRE(aio_sendmsg(&message.cb, AIO_DMA_BUF) == 0);
		BOOST_TEST(finish(message) == ok(4));
		BOOST_TEST(contract::take(s.b, 4) == "8901");
		region.release(p, 10);
	});
	BOOST_TEST(region.stat().used == 0u);
	BOOST_TEST(region.stat().sent == 17u * 6);
}

BOOST_AUTO_TEST_CASE(a_piece_under_a_send_is_used_again_only_after_its_end)
{
	Region region(1 << 18);
	Pair s = make_pair(unix_stream_kind);
	const size_t before = fill(s.a);
	std::string const text = pattern(100000);
	char *const p = region.piece(text);
	Request &request = on_region(s.a, region, text.size(), p);
	BOOST_TEST_REQUIRE(aio_send(&request.cb, AIO_DMA_BUF) == 0);
	CHECK_FAILS(dma_free(region, region.size()), EBUSY);
	region.release(p, text.size());
	CHECK_FAILS(sio_release(region, p, text.size()), EINVAL);
	BOOST_TEST(region.stat().used >= text.size());
	for (auto [q, n] : region.fill()) {
		BOOST_TEST((static_cast<char *>(q) + n <= p ||
			    static_cast<char *>(q) >= p + text.size()));
		memset(q, '!', n);
	}
	contract::take(s.b, before);
	BOOST_TEST((contract::take(s.b, text.size()) == text));
	BOOST_TEST(finish(request) == ok(ssize_t(text.size())));
	void *q;
	BOOST_TEST(sio_reserve(region, &q, text.size()) == 0);
	BOOST_TEST(q == p);
}

BOOST_AUTO_TEST_CASE(sends_without_a_copy_are_counted_as_the_kernel_says)
{
	Region region(1 << 20);
	Pair s = make_pair(tcp4_kind);
	constexpr size_t size = 100000;
	constexpr int sends = 200;
	std::thread reader([&] { contract::take(s.b, size * sends); });
	for (int i = 0; i < sends; ++i) {
		char *const p = region.piece(pattern(size));
		Request &request = on_region(s.a, region, size, p);
		BOOST_TEST_REQUIRE(aio_send(&request.cb, AIO_DMA_BUF) == 0);
		region.release(p, size);
		BOOST_TEST(finish(request) == ok(size));
	}
	reader.join();
	BOOST_TEST(eventually([&] {
		return region.stat().sends_zero_copy + region.stat().sends_copied >= sends;
	}));
	BOOST_TEST(
		eventually([&] { return region.stat().used == 0 && region.stat().requests == 0; }));
	BOOST_TEST(region.stat().sent == size * sends);
	BOOST_TEST_MESSAGE("without a copy " << region.stat().sends_zero_copy << ", copied "
					     << region.stat().sends_copied);
}

BOOST_AUTO_TEST_CASE(impossible_requests_are_refused_at_the_call)
{
	Region region(4096), other(4096);
	Pair s = make_pair(unix_stream_kind);
	char *const p = region.reserve(1000);
	static char own[100];
	auto send = [&](void *buf, size_t n, dma_mem_t mem) {
		Request &request = keep(s.a, 0);
		request.cb.aio_buf = buf;
		request.cb.aio_nbytes = n;
		request.cb.aio_dma_buf = mem;
		return aio_send(&request.cb, AIO_DMA_BUF);
	};
	CHECK_FAILS(send(own, 10, region), EFAULT);
	CHECK_FAILS(send(p, 10, other), EINVAL);
	CHECK_FAILS(send(p, 10, nullptr), EINVAL);
	CHECK_FAILS(send(p, 1001, region), EINVAL);
	CHECK_FAILS(send(p + 1024, 10, region), EINVAL);
	BOOST_TEST(!has_data(s.b));
	CHECK_FAILS(aio_recv(&on_region(s.a, region, 0).cb, AIO_DMA_BUF), EINVAL);
	CHECK_FAILS(aio_recv(&on_region(s.a, region, 4097).cb, AIO_DMA_BUF), EINVAL);
	CHECK_FAILS(aio_recv(&on_region(s.a, region, 4096).cb, AIO_DMA_BUF), ENOBUFS);
	region.release(p, 1000);
	BOOST_TEST(region.stat().requests == 0u);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(what_waits_is_cancelled_and_leaves_no_piece_behind)
{
	Region region(1 << 16);
	associated_or_not(region, [&](Pair &s) {
		Request &request = on_region(s.a, region, 1000);
		BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
		BOOST_TEST(aio_cancel(s.a, &request.cb) == AIO_CANCELED);
		BOOST_TEST(finish(request) == failed(ECANCELED));
		Request &next = on_region(s.a, region, 1000);
		BOOST_TEST_REQUIRE(aio_recv(&next.cb, AIO_DMA_BUF) == 0);
		BOOST_TEST_REQUIRE(send(s.b, "next", 4, 0) == 4);
		BOOST_TEST(received(next, region) == "next");
	});
}

BOOST_AUTO_TEST_CASE(disassociation_ends_what_waits)
{
	Region region(1 << 16);
	Pair s = make_pair(tcp4_kind);
	region.associate(s.a);
	Request &request = on_region(s.a, region, 1000);
	BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
	region.disassociate(s.a);
	BOOST_TEST(finish(request) == failed(ECANCELED));
	BOOST_TEST(region.stat().requests == 0u);
}

BOOST_AUTO_TEST_CASE(what_waits_holds_its_socket_whatever_becomes_of_the_number)
{
	Region region(1 << 16);
	for_each_kind([&](const SocketKind &kind) {
		Pair s = make_pair(kind), other = make_pair(kind);
		region.associate(s.a);
		Request &request = on_region(s.a, region, 100);
		BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
		int const number = s.a;
		BOOST_TEST_REQUIRE(dup2(other.a, number) == number);
		BOOST_TEST_REQUIRE(dma_assoc(number, region, region.size(), 0) == 0);
		BOOST_TEST_REQUIRE(send(other.b, "other", 5, 0) == 5);
		void *p;
		BOOST_TEST_REQUIRE(sio_recv(number, &p, 100, 0) == 5);
		region.release(p, 5);
		BOOST_TEST(request.pending());
		BOOST_TEST_REQUIRE(send(s.b, "mine", 4, MSG_NOSIGNAL) == 4);
		BOOST_TEST(received(request, region) == "mine");
		region.disassociate(number);
	});
	BOOST_TEST(region.stat().sockets == 0u);
}

BOOST_AUTO_TEST_CASE(what_has_ended_or_been_cancelled_lets_go_of_its_socket)
{
	Region region(1 << 16);
	for (bool cancelled : {false, true}) {
		Pair s = make_pair(tcp4_kind);
		region.associate(s.a);
		Request &request = on_region(s.a, region, 100);
		BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
		if (cancelled)
			BOOST_TEST(aio_cancel(s.a, &request.cb) == AIO_CANCELED);
		s.a.reset();
		if (!cancelled)
			BOOST_TEST_REQUIRE(send(s.b, "x", 1, MSG_NOSIGNAL) == 1);
		BOOST_TEST(finish(request) == (cancelled ? failed(ECANCELED) : Outcome{0, 1}));
		if (!cancelled)
			region.release(const_cast<void *>(request.cb.aio_buf), 1);
		char byte;
		BOOST_TEST(recv(s.b, &byte, 1, 0) == 0);
	}
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(reception_goes_on_by_itself_once_there_is_room)
{
	Region region(4096);
	Associated s(tcp4_kind, region);
	auto pieces = region.fill();
	Request &request = on_region(s, region, 1000);
	BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
	s.peer_sends("kept");
	usleep(5000);
	BOOST_TEST(request.pending());
	region.release(pieces.back().first, pieces.back().second);
	pieces.pop_back();
	BOOST_TEST(received(request, region) == "kept");
	BOOST_TEST(region.stat().rearms >= 1u);
	region.release(pieces);
}

BOOST_AUTO_TEST_CASE(the_end_of_a_stream_is_zero_and_no_piece)
{
	Region region(1 << 16);
	for (bool associated : {false, true}) {
		Pair s = make_pair(tcp4_kind);
		if (associated)
			region.associate(s.a);
		Request &request = on_region(s.a, region, 1000);
		BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
		s.b.reset();
		BOOST_TEST(received(request, region) == "");
		if (associated)
			region.disassociate(s.a);
	}
	BOOST_TEST(region.stat().used == 0u);
}

// ---------------------------------------------------------------- notification

BOOST_AUTO_TEST_CASE(a_signal_comes_after_the_address)
{
	static std::atomic<int> signals, wrong;
	static std::atomic<Request *> watched;
	SignalHandler handler(
		SIGUSR1, +[](int, siginfo_t *, void *) {
			if (aio_error(&watched.load()->cb) != 0 ||
			    watched.load()->cb.aio_buf == nullptr)
				++wrong;
			++signals;
		});
	Region region(1 << 16);
	associated_or_not(region, [&](Pair &s) {
		signals = 0;
		Request &request = on_region(s.a, region, 100);
		watched = &request;
		request.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
		request.cb.aio_sigevent.sigev_signo = SIGUSR1;
		BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
		BOOST_TEST_REQUIRE(send(s.b, "x", 1, 0) == 1);
		BOOST_TEST(eventually([] { return signals == 1; }));
		BOOST_TEST(received(request, region) == "x");
	});
	BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(a_thread_finds_the_address)
{
	static std::atomic<Request *> told;
	Region region(1 << 16);
	associated_or_not(region, [&](Pair &s) {
		told = nullptr;
		Request &request = on_region(s.a, region, 100);
		request.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
		request.cb.aio_sigevent.sigev_notify_function = [](sigval v) {
			told = static_cast<Request *>(v.sival_ptr);
		};
		request.cb.aio_sigevent.sigev_notify_attributes = nullptr;
		request.cb.aio_sigevent.sigev_value.sival_ptr = &request;
		BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
		BOOST_TEST_REQUIRE(send(s.b, "x", 1, 0) == 1);
		BOOST_TEST(eventually([&] { return told == &request; }));
		BOOST_TEST(received(request, region) == "x");
	});
}

BOOST_AUTO_TEST_CASE(a_channel_gets_an_event_with_the_request)
{
	Region region(1 << 16);
	for_each_channel([&](Channel &ec) {
		associated_or_not(region, [&](Pair &s) {
			Request &request = tell(on_region(s.a, region, 100), ec, &s);
			BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
			BOOST_TEST_REQUIRE(send(s.b, "x", 1, 0) == 1);
			event_data_t const event = next_event(ec);
			BOOST_TEST(event.ev_type == event_type_aio);
			BOOST_TEST(event.ev_un.ev_aio == &request.cb);
			BOOST_TEST(event.ev_data == &s);
			BOOST_TEST(received(request, region) == "x");
		});
	});
}

// ----------------------------------------------------------------------- files

BOOST_AUTO_TEST_CASE(files_are_read_into_pieces_and_written_from_them)
{
	for_each_file_kind([&](const FileKind &kind) {
		Region region(1 << 18);
		File file = make_file(kind);
		std::string const text = pattern(65536);
		char *const p = region.piece(text);
		Request &write = on_region(file.fd, region, text.size(), p);
		write.cb.aio_lio_opcode = LIO_DMA_WRITE;
		aiocb *list[] = {&write.cb};
		BOOST_TEST_REQUIRE(lio_listio(LIO_WAIT, list, 1, nullptr) == 0);
		BOOST_TEST(finish(write) == ok(ssize_t(text.size())));
		BOOST_TEST((file.content() == text));
		region.release(p, text.size());
		Request &read = on_region(file.fd, region, 8192, nullptr, 4096);
		read.cb.aio_lio_opcode = LIO_DMA_READ;
		list[0] = &read.cb;
		BOOST_TEST_REQUIRE(lio_listio(LIO_WAIT, list, 1, nullptr) == 0);
		BOOST_TEST((received(read, region) == text.substr(4096, 8192)));
		Request &end = on_region(file.fd, region, 4096, nullptr, 65536);
		end.cb.aio_lio_opcode = LIO_DMA_READ;
		list[0] = &end.cb;
		BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list, 1, nullptr) == 0);
		BOOST_TEST(received(end, region) == "");
		BOOST_TEST(region.stat().used == 0u);
	});
}

BOOST_AUTO_TEST_CASE(a_list_mixes_regions_sockets_and_files)
{
	Region region(1 << 18);
	Pair s = make_pair(tcp4_kind);
	Associated a(udp4_kind, region);
	File file = disk_file();
	a.peer_sends("datagram");
	Request &from_file = on_region(file.fd, region, 4096, region.piece("to the file"));
	from_file.cb.aio_nbytes = 11;
	from_file.cb.aio_lio_opcode = LIO_DMA_WRITE;
	Request &to_socket = on_region(s.a, region, 4, region.piece("data"));
	to_socket.cb.aio_lio_opcode = LIO_DMA_WRITE;
	Request &from_socket = on_region(a, region, 100);
	from_socket.cb.aio_lio_opcode = LIO_DMA_READ;
	aiocb *list[] = {&from_file.cb, &to_socket.cb, nullptr, &from_socket.cb};
	BOOST_TEST(lio_listio(LIO_WAIT, list, 4, nullptr) == 0);
	BOOST_TEST(file.content() == "to the file");
	BOOST_TEST(contract::take(s.b, 4) == "data");
	BOOST_TEST(received(from_socket, region) == "datagram");
	Request &bad = on_region(file.fd, region, 4096);
	bad.cb.aio_dma_buf = nullptr;
	bad.cb.aio_lio_opcode = LIO_DMA_READ;
	aiocb *wrong[] = {&bad.cb};
	CHECK_FAILS(lio_listio(LIO_WAIT, wrong, 1, nullptr), EIO);
	BOOST_TEST(aio_error(&bad.cb) == EINVAL);
}

BOOST_AUTO_TEST_CASE(lazy_memory_is_locked_while_a_request_is_outstanding)
{
	Region region(1 << 16, DMA_LAZY);
	auto locked = [] {
		std::ifstream in("/proc/self/status");
		for (std::string line; std::getline(in, line);)
			if (line.rfind("VmLck:", 0) == 0)
				return atol(line.c_str() + 6);
		return -1L;
	};
	const long before = locked();
	Pair s = make_pair(tcp4_kind);
	Request &request = on_region(s.a, region, 1000);
	BOOST_TEST_REQUIRE(aio_recv(&request.cb, AIO_DMA_BUF) == 0);
	BOOST_TEST(locked() == before + 64);
	BOOST_TEST_REQUIRE(send(s.b, "x", 1, 0) == 1);
	BOOST_TEST(received(request, region) == "x");
	BOOST_TEST(eventually([&] { return locked() == before; }));
}
