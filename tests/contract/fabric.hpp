// SPDX-License-Identifier: MIT
//
// What the tests of fabric_open share: endpoints with their regions, and peers that are processes
// of their own.
//
// A peer is this program once more, told by its environment: a child of fork would have the
// library's and libfabric's state of its parent.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of dma.hpp.
#ifndef CONTRACT_FABRIC_HPP
#define CONTRACT_FABRIC_HPP

#include "dma.hpp"

#include <spawn.h>

extern char **environ;

namespace contract {

inline constexpr size_t region_size = 1 << 20;
inline constexpr size_t exported_size = 65536;
inline constexpr int longest = 16000;

/// libfabric's name for the way that the tests go: SIGEVEC_FABRIC_PROVIDER, or tcp.
inline const char *provider()
{
	const char *const name = getenv("SIGEVEC_FABRIC_PROVIDER");
	return name != nullptr ? name : "tcp";
}

/// The address here, for a provider that has such: shm's are names of another kind.
inline const char *node()
{
	const char *const name = getenv("SIGEVEC_FABRIC_NODE");
	if (name != nullptr)
		return name;
	return strcmp(provider(), "shm") == 0 ? nullptr : "127.0.0.1";
}

/// What a peer says of itself.
struct Card {
	sockaddr_storage name{};
	socklen_t length = sizeof name;
	dma_key_t key{}, read_only{};
	const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&name); }
};

class Endpoint {
public:
	explicit Endpoint(const Region &region, unsigned assoc_flags = 0,
			  const char *service = nullptr, const char *where = node())
	    : fd_(fabric_open(provider(), where, service, FABRIC_CLOEXEC)), region_(region)
	{
		if (fd_ < 0)
			BOOST_FAIL("fabric_open: " << strerror(errno));
		region.associate(fd_, assoc_flags);
		BOOST_TEST_REQUIRE(fabric_name(fd_, reinterpret_cast<sockaddr *>(&card_.name),
					       &card_.length) == 0);
	}
	operator int() const { return fd_; }
	const Card &card() const { return card_; }
	const Region &region() const { return region_; }
	void end() { fd_.reset(); }

	int send(const Card &to, std::string_view text, int flags = 0) const
	{
		char *const p = region_.piece(text);
		const int n = sio_sendto(fd_, p, text.size(), flags, to.get(), to.length);
		const int error = errno;
		region_.release(p, text.size());
		errno = error;
		return n;
	}
	/// Waits for it, but not for ever.
	std::string receive(Address *from = nullptr, int size = longest) const
	{
		pollfd p{fd_, POLLIN, 0};
		BOOST_TEST_REQUIRE(poll(&p, 1, 1000 * int(hang_limit.count())) == 1);
		const void *piece = nullptr;
		const int n = sio_recvfrom(fd_, &piece, size_t(size), MSG_DONTWAIT,
					   from != nullptr ? from->get() : nullptr,
					   from != nullptr ? from->length : 0);
		BOOST_TEST_REQUIRE(n > 0);
		std::string text(static_cast<const char *>(piece), size_t(n));
		region_.release(piece, size_t(n));
		return text;
	}
	bool readable(int ms = 0) const
	{
		pollfd p{fd_, POLLIN, 0};
		return poll(&p, 1, ms) == 1;
	}
	struct fabric_stat stat() const
	{
		struct fabric_stat s {};
		BOOST_TEST_REQUIRE(fabric_stat(fd_, &s) == 0);
		return s;
	}

private:
	Fd fd_;
	const Region &region_;
	Card card_;
};

inline Outcome next_outcome(ec_t ec)
{
	event_data_t event{};
	BOOST_TEST_REQUIRE(take_events(ec, &event, 1) == 1);
	return outcome(event);
}

// ---------------------------------------------------------------------- peers

inline void write_all(int fd, const void *p, size_t n)
{
	if (write(fd, p, n) != ssize_t(n))
		_exit(3);
}

/// A peer's life: tells of itself, then does what it is told by one character at a time.
///   e  echoes the next message     .  says what its memory begins with
///   r  withdraws its key           s  sleeps until it is killed
///   x  sends eight messages to whose card follows, and exits
inline void send_and_exit(int fd, dma_mem_t mem)
{
	Card to;
	if (read(0, &to, sizeof to) != ssize_t(sizeof to))
		_exit(5);
	for (char c = 'a'; c <= 'h'; ++c) {
		void *piece;
		if (sio_reserve(mem, &piece, longest) != 0)
			_exit(6);
		memset(piece, c, longest);
		if (sio_sendto(fd, piece, longest, 0, to.get(), to.length) != longest)
			_exit(7);
		sio_release(mem, piece, longest);
	}
	exit(0);
}

[[noreturn]] inline void be_a_peer(const char *service)
{
	dma_mem_t mem;
	void *piece;
	Card card;
	const int fd = fabric_open(provider(), node(), *service != 0 ? service : nullptr, 0);
	if (fd < 0 || dma_alloc(&mem, region_size, 0) != 0 ||
	    dma_assoc(fd, mem, region_size, 0) != 0 ||
	    fabric_name(fd, reinterpret_cast<sockaddr *>(&card.name), &card.length) != 0 ||
	    sio_reserve(mem, &piece, exported_size) != 0)
		_exit(1);
	memset(piece, 'k', exported_size);
	if (dma_export(mem, fd, piece, exported_size, DMA_READ | DMA_WRITE, &card.key) != 0 ||
	    dma_export(mem, fd, piece, exported_size, DMA_READ, &card.read_only) != 0)
		_exit(2);
	write_all(1, &card, sizeof card);
	for (char order; read(0, &order, 1) == 1;) {
		sockaddr_storage from{};
		const void *message;
		int n;
		switch (order) {
		case 'e':
			n = sio_recvfrom(fd, &message, longest, 0,
					 reinterpret_cast<sockaddr *>(&from), sizeof from);
			if (n < 0 ||
			    sio_sendto(fd, message, size_t(n), 0,
				       reinterpret_cast<sockaddr *>(&from), card.length) != n)
				_exit(4);
			sio_release(mem, const_cast<void *>(message), size_t(n));
			continue;
		case '.':
			write_all(1, piece, 1);
			continue;
		case 'r':
			order = dma_revoke(fd, &card.key) == 0 ? 'y' : 'n';
			write_all(1, &order, 1);
			continue;
		case 'x':
			send_and_exit(fd, mem);
			continue;
		default:
			pause();
		}
	}
	_exit(0);
}

/// What a test does before its first endpoint, unless it is a peer.
inline void (*before_all)() = nullptr;

struct PerhapsAPeer {
	PerhapsAPeer()
	{
		// Each endpoint of ofi_rxm's has 64 MiB of buffers otherwise, which take time.
		setenv("FI_OFI_RXM_MSG_RX_SIZE", "64", 0);
		if (const char *service = getenv("SIGEVEC_FABRIC_PEER"))
			be_a_peer(service);
		if (before_all != nullptr)
			before_all();
#ifdef __SANITIZE_THREAD__
		skip_program("libfabric is not built with the sanitizer");
#endif
		const Fd fd(fabric_open(provider(), node(), nullptr, FABRIC_CLOEXEC));
		if (fd < 0 && errno == ENODEV)
			skip_program(
				("libfabric has no such endpoint here: " + std::string(provider()))
					.c_str());
	}
};
BOOST_TEST_GLOBAL_FIXTURE(PerhapsAPeer);

/// This program in a process of its own, by its environment: what is written to `orders' it reads
/// from 0, and what it writes to 1 comes out of `answers'.
inline pid_t start_again(std::string name, Fd &orders, Fd &answers)
{
	int in[2], out[2];
	BOOST_TEST_REQUIRE(pipe2(in, O_CLOEXEC) == 0);
	BOOST_TEST_REQUIRE(pipe2(out, O_CLOEXEC) == 0);
	orders.reset(in[1]);
	answers.reset(out[0]);
	const Fd theirs_in(in[0]), theirs_out(out[1]);
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, theirs_in, 0);
	posix_spawn_file_actions_adddup2(&actions, theirs_out, 1);
	char *const arguments[] = {name.data(), nullptr};
	pid_t pid = -1;
	BOOST_TEST_REQUIRE(
		posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, arguments, environ) == 0);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

class PeerProcess {
public:
	explicit PeerProcess(const std::string &service = "", const char *node = nullptr)
	{
		setenv("SIGEVEC_FABRIC_PEER", service.c_str(), 1);
		if (node != nullptr)
			setenv("SIGEVEC_FABRIC_NODE", node, 1);
		pid_ = start_again("peer", orders_, answers_);
		unsetenv("SIGEVEC_FABRIC_PEER");
		if (node != nullptr)
			unsetenv("SIGEVEC_FABRIC_NODE");
		hear(&card_, sizeof card_);
	}
	~PeerProcess() { kill(); }
	PeerProcess(const PeerProcess &) = delete;
	void kill()
	{
		if (pid_ <= 0)
			return;
		::kill(pid_, SIGKILL);
		waitpid(pid_, nullptr, 0);
		pid_ = -1;
	}
	/// SIGSTOP: returns when it stands still.
	void signal(int number) const
	{
		::kill(pid_, number);
		int status;
		if (number == SIGSTOP)
			BOOST_TEST_REQUIRE(waitpid(pid_, &status, WUNTRACED) == pid_);
	}
	void order(char what) const { BOOST_TEST_REQUIRE(write(orders_, &what, 1) == 1); }
	void order(char what, const Card &card) const
	{
		order(what);
		BOOST_TEST_REQUIRE(write(orders_, &card, sizeof card) == ssize_t(sizeof card));
	}
	char answer() const
	{
		char c = 0;
		hear(&c, 1);
		return c;
	}
	const Card &card() const { return card_; }
	pid_t pid() const { return pid_; }

private:
	void hear(void *p, size_t n) const
	{
		pollfd ready{answers_, POLLIN, 0};
		BOOST_TEST_REQUIRE(poll(&ready, 1, 1000 * int(hang_limit.count())) == 1);
		BOOST_TEST_REQUIRE(read(answers_, p, n) == ssize_t(n));
	}
	pid_t pid_ = -1;
	Fd orders_, answers_;
	Card card_;
};

} // namespace contract

#endif
