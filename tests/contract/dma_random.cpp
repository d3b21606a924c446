// SPDX-License-Identifier: MIT
//
// Threads and processes that do anything at random with four sockets of each kind and one
// region, and at the end every byte, every descriptor and every unit of the region is
// accounted for.
//
// The seed is printed; SIGEVEC_TEST_SEED gives it again. What threads do one after the other
// follows from it; how they get in each other's way does not, and nothing that is checked depends
// on that:
//
// * A stream's bytes all have the number of its socket: as many as were sent arrive, and no others.
//   A
//   datagram has a number of its own: it arrives once, whole.
// * A process that is killed may take with it what it was asking for just then (`asking'), no more.
// * With DMA_LATEST what is missing has been counted.
// * Descriptors that travel are all of one pipe: when nobody has one any more it says so.
#define BOOST_TEST_MODULE dma_random
#include "dma.hpp"

#include <random>
#include <shared_mutex>
#include <sys/mman.h>

namespace {

constexpr size_t region_size = 192 * 1024, other_size = 32 * 1024;
constexpr size_t piece = 1024; // what a call asks for, and the longest datagram
constexpr int of_each_kind = 4, kinds = 5, sockets = of_each_kind * kinds;
constexpr unsigned threads = 4, children = 3, most_datagrams = 1u << 15, most_under_way = 40;
constexpr SocketKind used[kinds] = {tcp4_kind, udp4_kind, unix_stream_kind, unix_datagram_kind,
				    unix_packet_kind};

/// What all processes know.
struct Ledger {
	struct Socket {
		std::atomic<uint64_t> sent, received; // bytes of a stream, datagrams of others
		std::atomic<uint32_t> next;           // number of a datagram
		std::atomic<uint8_t> came[most_datagrams];
	} socket[sockets];
	std::atomic<uint64_t>
		asking[children][sockets]; // calls and requests that have not been accounted for
	std::atomic<bool> stop, failed;
	char why[400];

	void fail(const char *text, int a = 0, int b = 0)
	{
		const int error = errno;
		if (!failed.exchange(true))
			snprintf(why, sizeof why, "%s (%d, %d), %s", text, a, b, strerror(error));
		stop = true;
	}
};
Ledger *ledger;

struct Head {
	uint32_t mark, socket, number, size;
};
constexpr uint32_t mark = 0x51e7ec01;

/// Who waits for data does so for a moment.
void limit_waiting(int fd)
{
	const struct timeval moment = {0, 2000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment);
}

struct Socket {
	SocketKind kind;
	unsigned flags; // of its association
	std::atomic<int> fd{-1};
	Fd peer;
	std::shared_mutex changing; // of fd and of the association
	std::mutex sending;         // datagrams leave in the order of their numbers
	bool stream() const { return kind.is_stream(); }
	bool ahead() const { return flags != 0; }
};

/// The world of a test, made before there are threads.
struct World {
	Region region{region_size}, other{other_size};
	Socket socket[sockets];
	Fd stuck, stuck_peer; // a stream that nobody reads
	Fd token_reader, token;
	std::vector<Fd> idle; // what has got the numbers that were used before
	std::shared_mutex forking;
	std::mutex idling;
};
World *world;

void account(int k, const char *p, size_t n)
{
	Ledger::Socket &s = ledger->socket[k];
	if (world->socket[k].stream()) {
		for (size_t i = 0; i < n; ++i)
			if (p[i] != char(k + 1))
				return ledger->fail("another byte than was sent", k, p[i]);
		s.received += n;
		return;
	}
	Head head;
	memcpy(&head, p, sizeof head);
	if (n < sizeof head || head.mark != mark || head.socket != uint32_t(k) || head.size != n ||
	    head.number >= most_datagrams)
		return ledger->fail("another datagram than was sent", k, int(n));
	for (size_t i = sizeof head; i < n; ++i)
		if (p[i] != char(head.number + i))
			return ledger->fail("a datagram with other bytes", k, int(i));
	if (s.came[head.number].exchange(1) != 0)
		return ledger->fail("a datagram that came twice", k, int(head.number));
	++s.received;
}

void close_all(msghdr *m)
{
	for (cmsghdr *c = CMSG_FIRSTHDR(m); c != nullptr; c = CMSG_NXTHDR(m, c))
		for (size_t at = CMSG_LEN(0);
		     c->cmsg_type == SCM_RIGHTS && at + sizeof(int) <= c->cmsg_len;
		     at += sizeof(int)) {
			int fd;
			memcpy(&fd, reinterpret_cast<char *>(c) + at, sizeof fd);
			if (close(fd) != 0)
				ledger->fail("a descriptor that is none", fd);
		}
}

void give_back(const void *p, size_t n)
{
	auto *const at = const_cast<void *>(p);
	if (sio_release(world->region, at, n) != 0 && sio_release(world->other, at, n) != 0)
		ledger->fail("a piece that is none", int(n));
}

/// One who does things at random, in a thread of its own or as a child.
class Actor {
public:
	Actor(unsigned seed, int child)
	    : random_(seed), child_(child),
	      ec_(ec_create(EC_CLOEXEC | unsigned(seed % 3 == 0   ? 0
						  : seed % 3 == 1 ? EC_SINGLE
								  : EC_SINGLE | EC_BATCH)))
	{
		if (ec_ < 0)
			ledger->fail("ec_create");
		ec_set_limit(ec_, 200);
	}

	void step()
	{
		const int k = any_socket();
		switch (random_() % (child_ < 0 ? 20 : 13)) {
		case 0:
		case 1:
			receive(k, 0);
			break;
		case 2:
			wait(k);
			break;
		case 3:
			receive(k, MSG_PEEK);
			break;
		case 4:
		case 5:
			receive_message(k);
			break;
		case 6:
			request(k);
			break;
		case 7:
			harvest(false);
			break;
		case 8:
			cancel();
			break;
		case 9:
			reserve();
			break;
		case 10:
			release();
			break;
		case 11:
			release_wrongly();
			break;
		case 12:
			send_what_is_stuck();
			break;
		case 13:
		case 14:
		case 15:
			send(k);
			break;
		case 16:
			event(k);
			break;
		case 17:
			take_events();
			break;
		case 18:
			ev_cancel(ec_, this);
			break;
		case 19:
			random_() % 3 == 0   ? use_another_number(k)
			: random_() % 2 != 0 ? associate_again(k)
					     : notify(k);
			break;
		}
	}
	/// Nothing of it is left.
	void end()
	{
		for (unsigned i = 0; i < slots_; ++i)
			cancel(i);
		while (std::any_of(cb_, cb_ + slots_, [](const Pending &p) { return p.k >= 0; }))
			harvest(true);
		while (!mine_.empty())
			release();
		ev_cancel(ec_, this);
		// Each has a last event.
		for (struct ec_stat s; ec_stat(ec_, &s) == 0 && s.outstanding + s.queued != 0;)
			take_events(-1);
		if (ec_destroy(ec_) != 0)
			ledger->fail("ec_destroy");
	}

private:
	static constexpr unsigned slots_ = 12;
	struct Pending {
		int k = -1, fd;
		struct aiocb cb;
		bool send = false, message = false;
	};

	int any_socket()
	{
		// What one process receives ahead no other one gets.
		for (int k;;)
			if (k = int(random_() % sockets); child_ < 0 || !world->socket[k].ahead())
				return k;
	}
	struct Asking {
		Asking(const Actor *a, int k)
		    : count(a->child_ < 0 ? nullptr : &ledger->asking[a->child_][k])
		{
			if (count != nullptr)
				++*count;
		}
		~Asking()
		{
			if (count != nullptr)
				--*count;
		}
		std::atomic<uint64_t> *count;
	};
	void asks(int k, int by) const
	{
		if (child_ >= 0)
			ledger->asking[child_][k] += uint64_t(by);
	}
	/// The number stays the socket's meanwhile.
	std::shared_lock<std::shared_mutex> hold(int k)
	{
		return child_ < 0 ? std::shared_lock(world->socket[k].changing)
				  : std::shared_lock<std::shared_mutex>();
	}
	static bool may_lie_ahead(int k)
	{
		const Socket &s = world->socket[k];
		return s.flags == unsigned(DMA_LATEST) || (s.ahead() && s.kind.domain != AF_UNIX);
	}
	size_t size_for(int k) { return world->socket[k].stream() ? 1 + random_() % piece : piece; }

	void receive(int k, int flags)
	{
		const auto held = hold(k);
		const Asking asking(this, k);
		void *p = nullptr;
		const int n = sio_recv(world->socket[k].fd, &p, size_for(k), flags | MSG_DONTWAIT);
		if (flags == MSG_PEEK && may_lie_ahead(k)) {
			if (n >= 0 || errno != EOPNOTSUPP)
				ledger->fail("a look at what may lie ahead", k, n);
		} else if (n < 0)
			check_error(k);
		else {
			if (n > 0 && flags == 0)
				account(k, static_cast<char *>(p), size_t(n));
			if (n > 0)
				give_back(p, size_t(n));
		}
	}
	/// Whatever becomes of the number and of the association meanwhile.
	void wait(int k)
	{
		const Asking asking(this, k);
		void *p = nullptr;
		const int n = sio_recv(world->socket[k].fd, &p, size_for(k), 0);
		if (n < 0)
			check_error(k);
		if (n <= 0)
			return;
		account(k, static_cast<char *>(p), size_t(n));
		give_back(p, size_t(n));
	}
	void receive_message(int k)
	{
		const auto held = hold(k);
		const Asking asking(this, k);
		const void *p = nullptr;
		const int n = sio_recvmsg(world->socket[k].fd, &p, piece,
					  MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0)
			check_error(k);
		else if (p != nullptr)
			take_message(k, p, size_t(n));
	}
	void take_message(int k, const void *p, size_t n)
	{
		auto *const m = static_cast<msghdr *>(const_cast<void *>(p));
		if (n > 0)
			account(k, static_cast<char *>(m->msg_iov->iov_base), n);
		close_all(m);
		give_back(p, n);
	}
	void check_error(int k)
	{
		// ENOBUFS: the region is full; EINVAL: another thread has just ended the
		// association.
		if (errno != EAGAIN && errno != ENOBUFS && errno != EINVAL && errno != ECANCELED)
			ledger->fail("an error that nothing has caused", k);
	}

	void request(int k)
	{
		Pending &p = cb_[random_() % slots_];
		if (p.k >= 0)
			return;
		const auto held = hold(k);
		p.fd = world->socket[k].fd;
		p.cb = {};
		p.cb.aio_fildes = p.fd;
		p.cb.aio_dma_buf = world->region;
		p.cb.aio_nbytes = size_for(k);
		p.send = false;
		p.message = random_() % 2 != 0;
		p.k = k;
		asks(k, 1);
		if ((p.message ? aio_recvmsg(&p.cb, AIO_DMA_BUF) : aio_recv(&p.cb, AIO_DMA_BUF)) ==
		    0)
			return;
		p.k = -1;
		asks(k, -1);
		check_error(k);
	}
	void send_what_is_stuck()
	{
		Pending &p = cb_[random_() % slots_];
		if (p.k >= 0 || mine_.empty())
			return;
		p.fd = world->stuck;
		p.cb = {};
		p.cb.aio_fildes = p.fd;
		p.cb.aio_dma_buf = world->region;
		p.cb.aio_buf = mine_.back().first;
		p.cb.aio_nbytes = mine_.back().second;
		p.send = true;
		if (aio_send(&p.cb, AIO_DMA_BUF) == 0)
			p.k = 0;
	}
	void cancel(unsigned i)
	{
		if (cb_[i].k >= 0)
			aio_cancel(cb_[i].fd, &cb_[i].cb);
	}
	void cancel() { cancel(random_() % slots_); }
	/// Of those that have ended; or waits for one.
	void harvest(bool wait)
	{
		const struct aiocb *list[slots_] = {};
		for (unsigned i = 0; i < slots_; ++i)
			if (cb_[i].k >= 0)
				list[i] = &cb_[i].cb;
		// A send that has begun ends when somebody reads.
		char rest[4096];
		const timespec moment{0, 1000000};
		while (wait && recv(world->stuck_peer, rest, sizeof rest, MSG_DONTWAIT) > 0) {
		}
		if (wait && aio_suspend(list, int(slots_), &moment) != 0 && errno != EAGAIN)
			ledger->fail("aio_suspend");
		for (Pending &p : cb_) {
			if (p.k < 0 || aio_error(&p.cb) == EINPROGRESS)
				continue;
			const ssize_t n = aio_return(&p.cb);
			auto *const at = const_cast<void *>(p.cb.aio_buf);
			if (!p.send) {
				errno = aio_error(&p.cb);
				if (n < 0 && errno != ECANCELED && errno != EBUSY)
					ledger->fail("a request has failed",
						     p.k); // EBUSY: it is armed
				if (n >= 0 && at != nullptr && p.message)
					take_message(p.k, at, size_t(n));
				if (n > 0 && !p.message) {
					account(p.k, static_cast<char *>(at), size_t(n));
					give_back(at, size_t(n));
				}
				asks(p.k, -1);
			}
			p.k = -1;
		}
	}

	void reserve()
	{
		void *p = nullptr;
		const size_t n = 1 + random_() % 6000;
		if (mine_.size() > 20)
			return;
		if (sio_reserve(world->region, &p, n) != 0) {
			if (errno != ENOBUFS)
				ledger->fail("sio_reserve", int(n));
			return;
		}
		memset(p, tag(p), n);
		mine_.emplace_back(static_cast<char *>(p), n);
	}
	char tag(const void *p) const
	{
		return char(reinterpret_cast<uintptr_t>(p) / 128 + uintptr_t(getpid()) +
			    reinterpret_cast<uintptr_t>(this) / 64);
	}
	void release()
	{
		if (mine_.empty())
			return;
		std::swap(mine_[random_() % mine_.size()], mine_.back());
		const auto [p, n] = mine_.back();
		mine_.pop_back();
		for (size_t i = 0; i < n; ++i)
			if (p[i] != tag(p))
				return ledger->fail("a piece that somebody else has written",
						    int(i), int(n));
		if (sio_release(world->region, p, n) != 0)
			ledger->fail("sio_release", int(n));
	}
	void release_wrongly()
	{
		if (mine_.empty())
			return;
		const auto [p, n] = mine_.back();
		if (sio_release(world->region, p, n + 1) == 0 ||
		    sio_release(world->region, p + 1, n) == 0 ||
		    sio_release(world->other, p, n) == 0)
			ledger->fail("released wrongly");
	}

	void send(int k)
	{
		Socket &s = world->socket[k];
		std::lock_guard const one(s.sending);
		Ledger::Socket &l = ledger->socket[k];
		char text[piece];
		size_t n = sizeof(Head) + random_() % (piece - sizeof(Head));
		if (s.stream())
			memset(text, k + 1, n);
		else {
			// So few that a UDP socket has room for them.
			if (l.next >= most_datagrams - 1 || l.sent - l.received >= most_under_way)
				return;
			const Head head{mark, uint32_t(k), l.next, uint32_t(n)};
			memcpy(text, &head, sizeof head);
			for (size_t i = sizeof head; i < n; ++i)
				text[i] = char(head.number + i);
		}
		const ssize_t done = send_it(s, text, n);
		if (done < 0)
			return;
		if (s.stream())
			l.sent += uint64_t(done);
		else {
			++l.next;
			++l.sent;
		}
	}
	ssize_t send_it(Socket &s, char *text, size_t n)
	{
		const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
		void *p = nullptr;
		if (random_() % 2 != 0 && sio_reserve(world->region, &p, n) == 0) {
			memcpy(p, text, n);
			const int done = sio_send(s.peer, p, n, flags);
			give_back(p, n);
			return done;
		}
		if (s.kind.domain != AF_UNIX || random_() % 3 != 0)
			return ::send(s.peer, text, n, flags);
		union {
			cmsghdr header;
			char space[CMSG_SPACE(sizeof(int))];
		} control{};
		iovec v{text, n};
		msghdr m{};
		m.msg_iov = &v;
		m.msg_iovlen = 1;
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		control.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		const int fd = world->token;
		memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
		return sendmsg(s.peer, &m, flags);
	}

	void event(int k)
	{
		const auto held = hold(k);
		const int often = random_() % 2 != 0 ? EV_MULTISHOT : 0;
		if (ev_recv(world->socket[k].fd, nullptr, size_for(k), AIO_DMA_BUF | often, ec_,
			    this) != 0 &&
		    errno != EAGAIN && errno != EINVAL)
			ledger->fail("ev_recv", k);
	}
	void take_events(int wait = 0)
	{
		event_data_t v[16];
		const timespec none{0, 0};
		const int count =
			ec_next_events(ec_, v, wait != 0 ? 1 : 16, wait != 0 ? nullptr : &none);
		if (count < 0 && errno != EINTR)
			ledger->fail("ec_next_events");
		for (int i = 0; i < count; ++i) {
			if (v[i].ev_type != event_type_dma || v[i].ev_result <= 0)
				continue;
			auto *const p = static_cast<char *>(v[i].ev_un.ev_dma.buf);
			// Which socket it was the data says: its number may be another one's now.
			Head head;
			memcpy(&head, p, sizeof head);
			const bool packet =
				size_t(v[i].ev_result) >= sizeof head && head.mark == mark;
			const int k = packet ? int(head.socket) : p[0] - 1;
			if (k < 0 || k >= sockets)
				return ledger->fail("an event with bytes that nobody has sent", k);
			account(k, p, size_t(v[i].ev_result));
			give_back(p, size_t(v[i].ev_result));
		}
	}
	void notify(int k)
	{
		const auto held = hold(k);
		static std::atomic<int> calls;
		if (async_io_notify(
			    world->socket[k].fd,
			    [](int, void *n) { ++*static_cast<std::atomic<int> *>(n); },
			    &calls) != 0 &&
		    errno != EBUSY && errno != ENOTSUP)
			ledger->fail("async_io_notify", k);
	}

	void associate_again(int k)
	{
		Socket &s = world->socket[k];
		if (s.ahead())
			return; // what lies ahead would be lost
		std::unique_lock const alone(s.changing);
		if (dma_disassoc(s.fd, world->region, region_size) != 0 ||
		    dma_assoc(s.fd, world->region, region_size, s.flags) != 0)
			ledger->fail("dma_assoc", k);
	}
	/// The number is another socket's from now on, which is not associated.
	void use_another_number(int k)
	{
		Socket &s = world->socket[k];
		if (s.ahead())
			return;
		std::unique_lock const alone(s.changing);
		std::lock_guard const g(world->idling);
		if (world->idle.size() > 100)
			return;
		const int fresh = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);
		Fd strange(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
		limit_waiting(strange);
		const int number = s.fd;
		if (fresh < 0 || strange < 0 || dup3(strange, number, O_CLOEXEC) != number)
			return ledger->fail("dup3", k);
		world->idle.emplace_back(number);
		s.fd = fresh;
		void *p;
		if (sio_recv(number, &p, piece, MSG_DONTWAIT) >= 0 || errno != EINVAL)
			ledger->fail("a number that was another socket's", k);
		if (dma_assoc(fresh, world->region, region_size, s.flags) != 0)
			ledger->fail("dma_assoc", k);
	}

	std::mt19937 random_;
	int child_; // which; or -1
	ec_t ec_;
	Pending cb_[slots_];
	std::vector<std::pair<char *, size_t>> mine_;
};

// --------------------------------------------------------------------- a test

void make_world()
{
	void *const m = mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	BOOST_TEST_REQUIRE(m != MAP_FAILED);
	ledger = new (m) Ledger{};
	world = new World;
	int ends[2];
	BOOST_TEST_REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
	world->token_reader.reset(ends[0]);
	world->token.reset(ends[1]);
	Pair stuck = make_pair(unix_stream_kind);
	world->stuck = std::move(stuck.a);
	world->stuck_peer = std::move(stuck.b);
	for (int k = 0; k < sockets; ++k) {
		Socket &s = world->socket[k];
		const int place = k % of_each_kind;
		s.kind = used[k / of_each_kind];
		s.flags = place == 2                  ? unsigned(DMA_BUFSIZE(piece))
			  : place == 3 && !s.stream() ? unsigned(DMA_LATEST)
						      : 0u;
		Pair pair = make_pair(s.kind);
		s.fd = pair.a.release();
		limit_waiting(s.fd);
		s.peer = std::move(pair.b);
		world->region.associate(s.fd, s.flags);
		if (place == 1)
			world->other.associate(s.fd);
	}
}

void run_child(int which, unsigned seed)
{
	Actor actor(seed, which);
	while (!ledger->stop)
		actor.step();
	actor.end();
	_exit(ledger->failed);
}

pid_t start_child(int which, unsigned seed, uint64_t *lost)
{
	// What the last one asked for has gone with it.
	for (int k = 0; k < sockets; ++k)
		lost[k] += ledger->asking[which][k].exchange(0);
	std::unique_lock const alone(world->forking);
	const pid_t child = fork();
	if (child == 0) {
		signal(SIGALRM, SIG_DFL);
		alarm(case_limit);
		run_child(which, seed);
	}
	return child;
}

/// Reads what is left; `allowed' may be missing.
void drain(int k, uint64_t allowed)
{
	Socket &s = world->socket[k];
	Ledger::Socket &l = ledger->socket[k];
	if (s.kind.type != SOCK_DGRAM)
		shutdown(s.peer, SHUT_WR);
	bool ended = false;
	const auto complete = [&] {
		for (int n = 1; n > 0 && !ended;) {
			void const *p = nullptr;
			n = sio_recvmsg(s.fd, &p, piece, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
			ended = n == 0;
			if (n > 0)
				account(k,
					static_cast<char *>(
						static_cast<msghdr *>(const_cast<void *>(p))
							->msg_iov->iov_base),
					size_t(n));
			if (n >= 0 && p != nullptr) {
				close_all(static_cast<msghdr *>(const_cast<void *>(p)));
				give_back(p, size_t(n));
			}
		}
		// A stream or connection says itself when that was all.
		return s.kind.type != SOCK_DGRAM ? ended : l.received + allowed >= l.sent;
	};
	BOOST_TEST_CONTEXT("socket " << k << ", " << s.kind.name)
	{
		BOOST_TEST(eventually(complete));
		BOOST_TEST(l.received <= l.sent);
		BOOST_TEST(l.received + allowed * (s.stream() ? piece : 1) >= l.sent);
	}
}

void run(unsigned seed)
{
	make_world();
	uint64_t lost[sockets] = {};
	pid_t child[children];
	for (unsigned i = 0; i < children; ++i)
		child[i] = start_child(int(i), seed * 100 + i, lost);
	std::vector<std::thread> actors;
	for (unsigned i = 0; i < threads; ++i)
		actors.emplace_back([seed, i] {
			Actor actor(seed * 100 + 50 + i, -1);
			for (int step = 0; step < 4000 && !ledger->stop; ++step) {
				std::shared_lock const nobody_forks(world->forking);
				actor.step();
			}
			actor.end();
		});
	std::mt19937 random(seed);
	for (int deaths = 0; deaths < 20 && !ledger->stop; ++deaths) {
		usleep(random() % 20000);
		const unsigned i = random() % children;
		kill(child[i], SIGKILL);
		wait_for(child[i]);
		child[i] = start_child(int(i), random(), lost);
	}
	for (std::thread &t : actors)
		t.join();
	ledger->stop = true;
	// One of them has no time to end well.
	kill(child[0], SIGKILL);
	for (unsigned i = 0; i < children; ++i) {
		const int status = wait_for(child[i]);
		if (i != 0)
			BOOST_TEST(status == 0);
	}
	for (int k = 0; k < sockets; ++k)
		lost[k] += ledger->asking[0][k];
	if (ledger->failed)
		BOOST_FAIL(ledger->why);

	for (int k = 0; k < sockets; ++k)
		drain(k, lost[k] + (world->socket[k].flags == unsigned(DMA_LATEST)
					    ? world->region.stat().dropped
					    : 0));
	if (ledger->failed)
		BOOST_FAIL(ledger->why);
	uint64_t missing = 0;
	for (int k = 0; k < sockets; ++k)
		if (world->socket[k].flags == unsigned(DMA_LATEST))
			missing += ledger->socket[k].sent - ledger->socket[k].received;
	BOOST_TEST(missing == world->region.stat().dropped);

	for (int k = 0; k < sockets; ++k)
		BOOST_TEST_MESSAGE(k << ": " << ledger->socket[k].sent << " sent, "
				     << ledger->socket[k].received << " received, may be lost "
				     << lost[k]);
	for (Socket &s : world->socket)
		close(s.fd.exchange(-1));
	world->idle.clear();
	world->stuck.reset();
	world->stuck_peer.reset();
	for (Socket &s : world->socket)
		s.peer.reset();
	// Closed sockets count no more when there is room to be made, and the dead hold nothing.
	for (Region *r : {&world->region, &world->other}) {
		const auto all = r->fill();
		r->release(all);
		BOOST_TEST(r->stat().used == 0u);
		BOOST_TEST(r->stat().requests == 0u);
		BOOST_TEST(eventually([&] { return dma_free(*r, r->size()) == 0; }));
	}
	world->token.reset();
	pollfd token{world->token_reader, POLLIN, 0};
	BOOST_TEST(eventually(
		[&] { return poll(&token, 1, 0) == 1 && (token.revents & POLLHUP) != 0; }));
	munmap(ledger, sizeof *ledger);
	delete world;
}

} // namespace

BOOST_AUTO_TEST_CASE(
	whatever_threads_and_processes_do_every_byte_descriptor_and_unit_is_accounted_for)
{
	const char *const given = getenv("SIGEVEC_TEST_SEED");
	const unsigned seed = given != nullptr ? unsigned(strtoul(given, nullptr, 10))
					       : std::random_device{}() % 1000000;
	printf("SIGEVEC_TEST_SEED=%u\n", seed);
	fflush(stdout);
	run(seed);
}
