// SPDX-License-Identifier: MIT
//
// One of dma_random's threads or processes: what it may do, and what it must write down for it.
#ifndef CONTRACT_DMA_RANDOM_ACTOR_HPP
#define CONTRACT_DMA_RANDOM_ACTOR_HPP

#include "dma_random_world.hpp"

#include <random>

namespace contract::chance {

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
		// association; EINTR: the process was stopped, and went on (signal(7), of sockets
		// with a limit of time).
		if (errno != EAGAIN && errno != ENOBUFS && errno != EINVAL && errno != ECANCELED &&
		    errno != EINTR)
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

} // namespace contract::chance

#endif
