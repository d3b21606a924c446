// SPDX-License-Identifier: MIT
#include "runtime/helper.hpp"

#include "config.h"
#include "completion/completion.hpp"
#include "engine/driver.hpp"
#include "engine/worker.hpp"
#include "request/stream.hpp"
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
thread_local Plug *plugged __attribute__((tls_model("initial-exec"))) = nullptr;

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

Sent send(int tx, const Packet &p, int fd)
{
	return send(tx, &p, fd >= 0 ? &fd : nullptr, 1);
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

// It was accepted, and the driver never gets it.
void end_unsent(Request *r, int error)
{
	if (r->on_stream())
		stream::leave(r->stream_word());
	if (r->front && stream::give_up_claim(r->stream_word()))
		look_at_streams();
	// Bytes that are out cannot be taken back: it ends short.
	completion::finish(r, r->front && r->done > 0 ? static_cast<ssize_t>(r->done) : -error);
}

} // namespace

Plug::Plug()
{
	plugged = this;
}

Plug::~Plug()
{
	plugged = nullptr;
	flush();
}

void Plug::forget()
{
	if (plugged != nullptr)
		plugged->count_ = 0;
}

void Plug::add(Request *r)
{
	if (count_ == most_packets)
		flush();
	requests_[count_++] = r;
}

void Plug::flush()
{
	Packet p[most_packets];
	int fds[most_packets];
	for (unsigned i = 0; i < count_; i++) {
		p[i] = {What::request, 0, requests_[i]};
		fds[i] = requests_[i]->fd.load(std::memory_order_relaxed);
	}
	Helper *h = count_ > 1 ? usable(true) : nullptr;
	bool together = h != nullptr && send(h->driver_tx, p, fds, count_) == Sent::yes;
	// One by one: a descriptor that another thread has just closed is one request's error.
	for (unsigned i = 0; i < count_ && !together; i++)
		if (!hand_over(true, p[i], fds[i]))
			end_unsent(requests_[i], errno);
	count_ = 0;
}

bool to_driver(Request *r)
{
	if (plugged != nullptr && usable(true) != nullptr) {
		plugged->add(r);
		return true;
	}
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

namespace {

uint32_t tell_and_wait(What what, void *object, const Reply &reply)
{
	// The reply is on the caller's stack: no handler may leave it by a longjmp meanwhile.
	BlockSignals blocked;
	if (!tell_driver(what, object))
		return 0;
	uint32_t a;
	while ((a = reply.answer.load(std::memory_order_acquire)) == 0)
		futex_wait(reply.answer, 0, nullptr);
	return a;
}

} // namespace

uint32_t ask(CancelReply *reply)
{
	return tell_and_wait(What::cancel, reply, *reply);
}

uint32_t ask(RegionReply *reply)
{
	return tell_and_wait(What::region, reply, *reply);
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

void after_fork()
{
	// The parent's threads are not here. Their sockets are, if the program has not closed them.
	Helper *h = current.exchange(nullptr, std::memory_order_relaxed);
	starting.reset();
	own = nullptr;
	Plug::forget();
	if (h == nullptr)
		return;
	for (auto [fd, cookie] : {std::pair{h->driver_tx, h->driver_cookie}, std::pair{h->worker_tx, h->worker_cookie}})
		if (cookie_of(fd) == cookie)
			sys::close(fd);
}

} // namespace sigevec::helper
