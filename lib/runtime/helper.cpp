// SPDX-License-Identifier: MIT
#include "runtime/helper.hpp"

#include "config.h"
#include "engine/driver.hpp"
#include "engine/worker.hpp"
#include "runtime/config.hpp"
#include "runtime/standby.hpp"
#include "runtime/stats.hpp"
#include "runtime/sync.hpp"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/close_range.h>
#include <cstdlib>
#include <new>
#include <sys/socket.h>
#include <utility>

namespace sigevec::helper {

namespace {

std::atomic<Helper *> current{nullptr};
Mutex starting;
thread_local Helper *own __attribute__((tls_model("initial-exec"))) = nullptr;

#ifdef SIGEVEC_SANITIZER
constexpr unsigned first_closed = 3; // reports go to standard error
#else
constexpr unsigned first_closed = 0; // not even standard error: whoever reads its other end waits for the last close
#endif

bool close_between(unsigned first, unsigned last, unsigned flags)
{
	return first > last || syscall(SYS_close_range, first, last, flags) == 0;
}

// Leaves a table of this thread's own (and of the threads it starts) with nothing but the helper's ends.
bool make_private_table(const Helper &h)
{
	int keep[] = {h.driver_tx, h.worker_tx, h.driver_rx, h.worker_rx};
	for (int i = 0; i < 4; i++)
		for (int j = i + 1; j < 4; j++)
			if (keep[i] < keep[j])
				std::swap(keep[i], keep[j]);
	// From the highest down. What lies above is not even copied.
	if (!close_between(static_cast<unsigned>(keep[0]) + 1, ~0u, CLOSE_RANGE_UNSHARE))
		return false;
	for (int i = 0; i < 4; i++) {
		unsigned first = i == 3 ? first_closed : static_cast<unsigned>(keep[i + 1]) + 1;
		if (keep[i] > 0)
			close_between(first, static_cast<unsigned>(keep[i]) - 1, 0);
	}
	return true;
}

void *driver_thread(void *p)
{
	auto *h = static_cast<Helper *>(p);
	enter_helper_thread(h);
	h->private_table = make_private_table(*h);
	h->inner_driver_tx = h->driver_tx;
	h->inner_worker_tx = h->worker_tx;
	standby::set_up(h);
	driver::run(h->driver);
	return nullptr;
}

uint64_t cookie_of(int fd)
{
	uint64_t c = 0;
	socklen_t n = sizeof c;
	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &c, &n) == 0 ? c : 0;
}

bool make_ends(int *tx, int *rx, uint64_t *cookie)
{
	int v[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, v) != 0)
		return false;
	*tx = v[0];
	*rx = v[1];
	*cookie = cookie_of(v[0]);
	return true;
}

void close_ends(int a, int b)
{
	if (a >= 0)
		sys::close(a);
	if (b >= 0)
		sys::close(b);
}

Helper *discard(Helper *h)
{
	close_ends(h->driver_tx, h->driver_rx);
	close_ends(h->worker_tx, h->worker_rx);
	free(h->driver);
	free(h);
	return nullptr;
}

Helper *start()
{
	void *m = malloc(sizeof(Helper));
	if (m == nullptr)
		return nullptr;
	auto *h = new (m) Helper{};
	h->driver_tx = h->driver_rx = h->worker_tx = h->worker_rx = -1;
	h->driver = driver::create(h);
	if (h->driver == nullptr || !make_ends(&h->driver_tx, &h->driver_rx, &h->driver_cookie) ||
	    !make_ends(&h->worker_tx, &h->worker_rx, &h->worker_cookie) ||
	    start_thread(driver_thread, h, "sigevec-driver") != 0)
		return discard(h);
	while (h->ready.load(std::memory_order_acquire) == 0)
		futex_wait(h->ready, 0, nullptr);
	if (h->private_table)
		close_ends(h->driver_rx, h->worker_rx);
	return h;
}

bool intact(const Helper *h, bool driver)
{
	return driver ? cookie_of(h->driver_tx) == h->driver_cookie : cookie_of(h->worker_tx) == h->worker_cookie;
}

// What a sender wrote before it sent is seen by the receiver. The socket sees to that in the kernel; this says it in the
// language's terms: each send is a release, each receipt an acquire of all sends before it.
std::atomic<uint32_t> sends{0};

enum class Sent { yes, no, lost };

Sent send(int tx, const Packet &p, int fd)
{
	struct iovec v = {const_cast<Packet *>(&p), sizeof p};
	alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
	struct msghdr m = {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	sends.fetch_add(1, std::memory_order_release);
	for (;;) {
		if (sys::sendmsg(tx, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return Sent::yes;
		// The queue is full, or too many descriptors of this user are on their way: the helper is at work on both.
		if (errno == EAGAIN || errno == ETOOMANYREFS || errno == ENOBUFS)
			sched_yield();
		else if (errno != EINTR)
			return errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN ? Sent::lost : Sent::no;
	}
}

// With errno kept: callers may be in a signal handler, or report an errno of their own.
bool tell_driver(What what, void *object)
{
	int saved = errno;
	Packet p{what, 0, object};
	bool sent;
	if (own != nullptr)
		sent = send(own->inner_driver_tx, p, -1) == Sent::yes;
	else {
		Helper *h = current.load(std::memory_order_acquire);
		sent = h != nullptr && cookie_of(h->driver_tx) == h->driver_cookie && send(h->driver_tx, p, -1) == Sent::yes;
	}
	errno = saved;
	return sent;
}

} // namespace

Helper *get()
{
	Helper *h = current.load(std::memory_order_acquire);
	if (h != nullptr)
		return h;
	Guard<Mutex> g(starting);
	h = current.load(std::memory_order_relaxed);
	if (h == nullptr && (h = start()) != nullptr)
		current.store(h, std::memory_order_release);
	return h;
}

namespace {

// For a submission: the helper whose ends are still the ones that were made.
Helper *usable(bool driver)
{
	Helper *h = get();
	if (h == nullptr || own != nullptr || intact(h, driver))
		return h;
	Guard<Mutex> g(starting);
	Helper *now = current.load(std::memory_order_relaxed);
	if (now == h) {
		stats::count(stats::helper_restarts);
		now = start();
		current.store(now, std::memory_order_release);
	}
	return now;
}

bool hand_over(bool driver, const Packet &p, int fd)
{
	Helper *h = usable(driver);
	if (h == nullptr) {
		errno = EAGAIN;
		return false;
	}
	if (!driver)
		h->jobs.fetch_add(1, std::memory_order_seq_cst);
	int tx = driver ? h->driver_tx : h->worker_tx;
	if (send(tx, p, fd) == Sent::yes) {
		if (!driver)
			worker::add_if_needed(h);
		return true;
	}
	if (!driver)
		h->jobs.fetch_sub(1, std::memory_order_relaxed);
	if (errno != EBADF)
		errno = EAGAIN;
	return false;
}

} // namespace

bool to_driver(Request *r)
{
	return hand_over(true, {What::request, 0, r}, r->fd.load(std::memory_order_relaxed));
}

bool to_worker(What what, void *object, const Request *r)
{
	Packet p{what, 0, object};
	Helper *h = current.load(std::memory_order_acquire);
	if (h != nullptr && own == nullptr && standby::offer(h, p, r))
		return true;
	return hand_over(false, p, r->fd.load(std::memory_order_relaxed));
}

void job_from_inside(Helper *h, Request *r)
{
	h->jobs.fetch_add(1, std::memory_order_seq_cst);
	send(h->inner_worker_tx, {What::job, 0, r}, -1);
	worker::add_if_needed(h);
}

void returned_from_inside(Helper *h, Request *r)
{
	send(h->inner_driver_tx, {What::returned, 0, r}, -1);
}

void request_from_inside(Helper *h, Request *r, int fd)
{
	send(h->inner_driver_tx, {What::request, 0, r}, fd);
}

bool returned_from_program(Request *r)
{
	return tell_driver(What::returned, r);
}

bool copy_to_driver(What what, void *object, int fd)
{
	return hand_over(true, {what, 0, object}, fd);
}

void close_inside(Helper *h, int fd)
{
	// The table of a helper that is no more in use goes with its threads.
	if (h == (own != nullptr ? own : current.load(std::memory_order_acquire)))
		tell_driver(What::close, reinterpret_cast<void *>(static_cast<intptr_t>(fd)));
}

void ask_to_ring(Channel *c)
{
	tell_driver(What::ring, c);
}

bool to_program(Helper *h, What what, Request *r, int fd)
{
	return h->program_tx >= 0 && send(h->program_tx, {what, 0, r}, fd) == Sent::yes;
}

void look_at_streams()
{
	if (driver::on_driver_thread())
		driver::look_later();
	else
		tell_driver(What::look, nullptr);
}

void ask_for_worker()
{
	tell_driver(What::worker, nullptr);
}

bool start_background(void *context)
{
	return tell_driver(What::background, context);
}

bool ask_to_cancel(CancelReply *reply)
{
	return tell_driver(What::cancel, reply);
}

bool on_helper_thread()
{
	return own != nullptr;
}

void enter_helper_thread(Helper *h)
{
	own = h;
}

Helper *own_helper()
{
	return own;
}

bool receive(int rx, Packet *p, int *fd, bool wait)
{
	struct iovec v = {p, sizeof *p};
	alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct msghdr m = {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	m.msg_control = control;
	m.msg_controllen = sizeof control;
	ssize_t n = sys::recvmsg(rx, &m, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	if (n != static_cast<ssize_t>(sizeof *p)) {
		if (n >= 0)
			errno = 0;
		return false;
	}
	sends.load(std::memory_order_acquire);
	*fd = -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c != nullptr && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof *fd);
	return true;
}

void after_fork()
{
	// The parent's threads are not here. Their sockets are, if the program has not closed them.
	Helper *h = current.exchange(nullptr, std::memory_order_relaxed);
	starting.reset();
	own = nullptr;
	if (h == nullptr)
		return;
	for (auto [fd, cookie] : {std::pair{h->driver_tx, h->driver_cookie}, std::pair{h->worker_tx, h->worker_cookie}})
		if (cookie_of(fd) == cookie)
			sys::close(fd);
}

} // namespace sigevec::helper
