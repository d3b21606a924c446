// SPDX-License-Identifier: MIT
//
// Descriptors that come with what is received for a reader: they are his, or are closed, and nobody
// else has them.
#define BOOST_TEST_MODULE dma_descriptors
#include "dma.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <thread>

namespace {

size_t constexpr size = 1 << 20;

int descriptors()
{
	int n = 0;
	for (int fd = 0; fd < 1024; ++fd)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/// A datagram with both ends of a pipe.
void send_pipe(int s, std::string_view text)
{
	int ends[2];
	BOOST_TEST_REQUIRE(pipe(ends) == 0);
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof ends)];
	} control{};
	struct iovec v {
		const_cast<char *>(text.data()), text.size()
	};
	struct msghdr m {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	m.msg_control = &control;
	m.msg_controllen = sizeof control;
	control.header = {CMSG_LEN(sizeof ends), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.header), ends, sizeof ends);
	BOOST_TEST_REQUIRE(sendmsg(s, &m, 0) == ssize_t(text.size()));
	close(ends[0]);
	close(ends[1]);
}

/// The numbers of epoll instances, of which the program has none.
std::vector<int> epoll_instances()
{
	std::vector<int> found;
	for (const auto &entry : std::filesystem::directory_iterator("/proc/self/fd")) {
		std::error_code gone;
		if (std::filesystem::read_symlink(entry.path(), gone) == "anon_inode:[eventpoll]")
			found.push_back(std::stoi(entry.path().filename()));
	}
	return found;
}

} // namespace

BOOST_AUTO_TEST_CASE(
	descriptors_that_nobody_is_given_are_closed_and_those_that_are_are_as_asked_for)
{
	Region region(size);
	for (unsigned flags : {0u, unsigned(DMA_BUFSIZE(512)), unsigned(DMA_LATEST)})
		BOOST_TEST_CONTEXT(flags)
		{
			Pair s = make_pair(unix_datagram_kind);
			region.associate(s.a, flags);
			if (flags != 0) {
				// So that the library has started what it needs.
				BOOST_TEST_REQUIRE(send(s.b, "x", 1, 0) == 1);
				void *p;
				BOOST_TEST_REQUIRE(sio_recv(s.a, &p, 100, 0) == 1);
				region.release(p, 1);
			}
			const int before = descriptors();
			void *p = nullptr;
			for (std::string_view text : {"", "text"})
				for (int i = 0; i < 5; ++i) {
					send_pipe(s.b, text);
					const int n = sio_recv(s.a, &p, 100, 0);
					BOOST_TEST(n == int(text.size()));
					if (n > 0)
						region.release(p, size_t(n));
				}
			BOOST_TEST(eventually([&] { return descriptors() == before; }));
			for (int kept : {0, int(MSG_CMSG_CLOEXEC)}) {
				send_pipe(s.b, "text");
				const void *message = nullptr;
				BOOST_TEST_REQUIRE(sio_recvmsg(s.a, &message, sizeof(struct msghdr),
							       kept) == 4);
				auto *const m =
					static_cast<struct msghdr *>(const_cast<void *>(message));
				struct cmsghdr *const c = CMSG_FIRSTHDR(m);
				BOOST_TEST_REQUIRE(c != nullptr);
				for (int i = 0; i < 2; ++i) {
					int fd;
					memcpy(&fd, CMSG_DATA(c) + size_t(i) * sizeof fd,
					       sizeof fd);
					BOOST_TEST(fcntl(fd, F_GETFD) ==
						   (kept != 0 ? FD_CLOEXEC : 0));
					close(fd);
				}
				region.release(message, 4);
			}
			send_pipe(s.b, "left");
			region.disassociate(s.a);
			s.a.reset();
			BOOST_TEST(eventually([&] { return descriptors() == before - 1; }));
		}
}

namespace {

/// The ends of a pipe, one of which travels.
struct Token {
	Fd reader, writer;
	Token()
	{
		int ends[2];
		BOOST_TEST_REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
		reader.reset(ends[0]);
		writer.reset(ends[1]);
	}
	void travel(int s) const
	{
		union {
			struct cmsghdr header;
			char space[CMSG_SPACE(sizeof(int))];
		} control{};
		struct iovec v {
			const_cast<char *>("text"), 4
		};
		struct msghdr m {};
		m.msg_iov = &v;
		m.msg_iovlen = 1;
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		control.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		const int fd = writer;
		memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
		BOOST_TEST_REQUIRE(sendmsg(s, &m, 0) == 4);
	}
	/// Nobody has the other end any more.
	bool gone() const
	{
		struct pollfd p {
			reader, POLLIN, 0
		};
		return eventually(
			[&] { return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0; });
	}
};

constexpr SocketKind unix_kinds[] = {unix_stream_kind, unix_datagram_kind, unix_packet_kind};

/// Received into an event, or ahead, and unread.
template <class Body> void for_each_unread_descriptor(Body body)
{
	Region region(size);
	for (const SocketKind &kind : unix_kinds)
		for (unsigned flags : {0u, unsigned(DMA_LATEST)})
			for (bool often : {false, true}) {
				if (flags != 0 && kind.is_stream())
					continue;
				BOOST_TEST_CONTEXT(kind.name << ", flags " << flags
							     << ", multishot " << often)
				{
					Token token;
					Pair s = make_pair(kind);
					region.associate(s.a, flags);
					const ec_t ec = ec_create(EC_CLOEXEC);
					if (often || flags == 0)
						BOOST_TEST_REQUIRE(
							ev_recvmsg(
								s.a, nullptr,
								AIO_DMA_BUF | MSG_CMSG_CLOEXEC |
									(often ? EV_MULTISHOT : 0),
								ec, nullptr) == 0);
					token.travel(s.b);
					BOOST_TEST(eventually(
						[&] { return region.stat().used != 0; }));
					if (often || flags == 0)
						BOOST_TEST(becomes_readable(ec));
					token.writer.reset();
					body(token, ec, s, region);
					ec_destroy(ec);
					region.disassociate(s.a);
					BOOST_TEST(token.gone());
					BOOST_TEST(region.stat().used == 0u);
				}
			}
}

} // namespace

BOOST_AUTO_TEST_CASE(descriptors_of_what_nobody_reads_are_closed)
{
	for_each_unread_descriptor([](Token &, ec_t, Pair &, Region &) {});
}

BOOST_AUTO_TEST_CASE(descriptors_that_nobody_has_been_given_are_in_no_child)
{
	for_each_unread_descriptor([](Token &token, ec_t ec, Pair &s, Region &region) {
		pid_t const child = spawn_child([] { pause(); });
		ec_destroy(ec);
		region.disassociate(s.a);
		s.a.reset();
		BOOST_TEST(token.gone());
		kill(child, SIGKILL);
		wait_for(child);
		s = make_pair(unix_stream_kind);
		region.associate(s.a);
	});
}

BOOST_AUTO_TEST_CASE(a_number_that_the_program_has_closed_is_not_closed_again)
{
	int before = 0;
	std::vector<Fd> own;
	for_each_unread_descriptor([&](Token &token, ec_t, Pair &, Region &) {
		// What has come is the other end of the pipe.
		struct stat pipe {
		}, other{};
		BOOST_TEST_REQUIRE(fstat(token.reader, &pipe) == 0);
		for (int fd = 3; fd < 1024; ++fd) {
			if (fd == token.reader || fstat(fd, &other) != 0 ||
			    other.st_ino != pipe.st_ino)
				continue;
			Fd mine(memfd_create("mine", MFD_CLOEXEC));
			BOOST_TEST_REQUIRE(dup3(mine, fd, O_CLOEXEC) == fd);
			own.emplace_back(fd);
		}
		BOOST_TEST(token.gone());
		++before;
	});
	BOOST_TEST(int(own.size()) == before);
	for (const Fd &fd : own)
		BOOST_TEST((fcntl(fd, F_GETFD) == FD_CLOEXEC));
}

BOOST_AUTO_TEST_CASE(
	a_descriptor_of_an_event_is_closed_on_exec_until_that_is_read_and_then_as_asked_for)
{
	Region region(size);
	for (const SocketKind &kind : unix_kinds)
		for (unsigned flags : {0u, unsigned(DMA_LATEST)})
			for (int kept : {0, int(MSG_CMSG_CLOEXEC)}) {
				if (flags != 0 && kind.is_stream())
					continue;
				BOOST_TEST_CONTEXT(kind.name << ", flags " << flags << ", kept "
							     << kept)
				{
					Token token;
					Associated s(kind, region, flags);
					Channel ec;
					BOOST_TEST_REQUIRE(
						ev_recvmsg(s, nullptr,
							   AIO_DMA_BUF | EV_MULTISHOT | kept, ec,
							   nullptr) == 0);
					token.travel(s.s.b);
					BOOST_TEST(becomes_readable(ec));
					int closed_on_exec = 0, open = 0;
					for (int fd = 3; fd < 1024; ++fd)
						if (const int f = fcntl(fd, F_GETFD); f >= 0)
							++(f == FD_CLOEXEC ? closed_on_exec : open);
					const event_data_t event = next_event(ec);
					auto *const m = static_cast<struct msghdr *>(
						event.ev_un.ev_dma.buf);
					BOOST_TEST_REQUIRE(m != nullptr);
					BOOST_TEST_REQUIRE(CMSG_FIRSTHDR(m) != nullptr);
					int fd;
					memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(m)), sizeof fd);
					BOOST_TEST(fcntl(fd, F_GETFD) ==
						   (kept != 0 ? FD_CLOEXEC : 0));
					int more = 0;
					for (int i = 3; i < 1024; ++i)
						more += fcntl(i, F_GETFD) == 0;
					BOOST_TEST(more == open + (kept == 0));
					close(fd);
					region.release(m, 4);
				}
			}
}

// It is made anew by the thread that waits with it, which an arrival wakes, or by whoever finds it
// closed.
BOOST_AUTO_TEST_CASE(what_is_waited_with_may_be_closed_while_a_thread_asks_to_be_told)
{
	int constexpr rounds = 100;
	std::atomic<int> told{0};
	const auto count = [](int, void *p) { ++*static_cast<std::atomic<int> *>(p); };
	Region region(size);
	std::vector<std::unique_ptr<Associated>> sockets;
	for (int i = 0; i <= rounds; ++i)
		sockets.push_back(std::make_unique<Associated>(unix_stream_kind, region));
	BOOST_TEST(async_io_notify(*sockets[0], count, &told) == 0);
	for (int i = 0; i < rounds; ++i) {
		std::vector<int> const instances = epoll_instances();
		std::atomic<int> ready{0};
		const auto together = [&] {
			for (++ready; ready != 2;)
				;
		};
		std::thread closing([&] {
			together();
			for (int fd : instances)
				close(fd);
			send(sockets[size_t(i)]->s.b, "x", 1, MSG_NOSIGNAL);
		});
		together();
		BOOST_TEST(async_io_notify(*sockets[i + 1], count, &told) == 0);
		closing.join();
	}
	sockets[rounds]->peer_sends("x");
	BOOST_TEST(eventually([&] { return told == rounds + 1; }), "told " << told);
}
