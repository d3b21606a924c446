// SPDX-License-Identifier: MIT
#include "engine/driver_impl.hpp"

#include "channel/bell.hpp"
#include "completion/completion.hpp"
#include "dma/zero_copy.hpp"
#include "engine/kaio.hpp"
#include "engine/transfer.hpp"
#include "engine/worker.hpp"
#include "request/stream.hpp"
#include "runtime/config.hpp"
#include "runtime/meter.hpp"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace sigevec::driver {

namespace {

// How long a waiting fsync may be overlooked if the program closes its end of the socket at the wrong moment.
constexpr int safety_ms = 100;

// How often a connect to a UNIX socket with a full backlog is tried.
constexpr int retry_ms = 2;

thread_local Driver *here __attribute__((tls_model("initial-exec"))) = nullptr;

} // namespace

// ---- what arrives ----

void Driver::take_packets()
{
	Packet p[helper::most_packets];
	int fds[helper::most_packets];
	while (unsigned n = helper::receive(helper_->driver_rx, p, fds, helper::most_packets, false))
		for (unsigned i = 0; i < n; i++)
			take(p[i], fds[i]);
}

void Driver::take(const Packet &p, int fd)
{
	switch (p.what) {
	case What::request:
		take_request(static_cast<Request *>(p.object), fd);
		break;
	case What::returned: {
		auto *r = static_cast<Request *>(p.object);
		Stream *s = streams_.find(r);
		s->busy = false;
		returned(s, r);
		step(s);
		break;
	}
	case What::cancel:
		cancel(static_cast<CancelReply *>(p.object));
		break;
	case What::look:
		look_ = true;
		break;
	case What::worker:
		worker::start(helper_);
		break;
	case What::bell:
		bell::arrived(static_cast<Channel *>(p.object), bell::Which::bell, helper_, fd);
		break;
	case What::wake:
		bell::arrived(static_cast<Channel *>(p.object), bell::Which::wake, helper_, fd);
		break;
	case What::ring: {
		auto *c = static_cast<Channel *>(p.object);
		if (c->rung.load(std::memory_order_acquire) == 1)
			bell::ring(c, bell::Which::bell);
		bell::ring(c, bell::Which::wake);
		channel::release(c);
		break;
	}
	case What::close:
		sys::close(static_cast<int>(reinterpret_cast<intptr_t>(p.object)));
		break;
	case What::region:
		answer(static_cast<RegionReply *>(p.object));
		break;
	case What::program:
		if (helper_->program_tx >= 0)
			sys::close(helper_->program_tx);
		helper_->program_tx = fd;
		break;
	case What::background:
		kaio::start_for_helper(helper_, p.object);
		break;
	default:
		break;
	}
}

void Driver::take_request(Request *r, int fd)
{
	if (r->on_stream()) {
		add_to_stream(r, fd);
		return;
	}
	r->file = fd;
	if (fd < 0) {
		completion::finish(r, -EMFILE); // the helper's table was full when the file arrived
		return;
	}
	if (r->is_sync())
		wait_for_others(r);
	else
		start_file(r);
}

void Driver::add_to_stream(Request *r, int fd)
{
	Stream *s = streams_.make(r, fd);
	if (s == nullptr || s->file < 0) {
		if (s != nullptr)
			close_stream(s);
		stream::leave(r->stream_word());
		completion::finish(r, s == nullptr ? -ENOMEM : -EMFILE);
		return;
	}
	if (r->front) {
		r->change(State::queued, State::running);
		push_front(s, r);
		stream::take_over_claim(s->word);
		look_ = true; // others may have been held back
	} else
		push_back(s, r);
	step(s);
}

void Driver::start_file(Request *r)
{
	// The ring passes every fsync to a thread of the kernel's; a worker does the same with less ado.
	bool by_ring = has_ring_ && (!r->is_sync() || config::force == config::Force::uring);
	if (by_ring && r->change(State::queued, State::in_ring))
		ring_.start(r, r->file);
	else
		helper::job_from_inside(helper_, r);
}

void Driver::wait_for_others(Request *r)
{
	r->next.store(waiting_syncs_, std::memory_order_relaxed);
	waiting_syncs_ = r;
	r->waits_for.fetch_sub(1, std::memory_order_acq_rel);
	run_free_syncs();
}

// ---- the ring ----

void Driver::answer(CancelReply *reply, int a)
{
	while (reply != nullptr) {
		CancelReply *next = reply->next;
		reply->give(1 + static_cast<uint32_t>(a));
		reply = next;
	}
}

void Driver::answer(RegionReply *reply)
{
	if (has_ring_ && reply->keep)
		ring_.keep(reply->region);
	else if (has_ring_)
		ring_.let_go(reply->region);
	reply->give(1);
}

void Driver::answer_request(Request *r, int a)
{
	if (r->cancel_reply != nullptr)
		answer(static_cast<CancelReply *>(r->cancel_reply), a);
	r->cancel_reply = nullptr;
}

void Driver::cancel(CancelReply *reply)
{
	Request *r = reply->request;
	uint64_t word = r->state.load(std::memory_order_acquire);
	auto now = static_cast<State>(word & 0xff);
	if (word >> 8 != reply->word >> 8 || (now != State::in_ring && now != State::running)) {
		answer(reply, AIO_ALLDONE);
		return;
	}
	if (now == State::running || r->done > 0) {
		answer(reply, AIO_NOTCANCELED);
		return;
	}
	reply->next = static_cast<CancelReply *>(r->cancel_reply);
	r->cancel_reply = reply;
	if (reply->next == nullptr)
		ring_.cancel(r);
}

void Driver::file_from_ring(Request *r, ssize_t n)
{
	bool cancelled = was_cancelled(r, n);
	auto *reply = static_cast<CancelReply *>(r->cancel_reply);
	r->cancel_reply = nullptr;
	// Only the plain call says that a file has ended, or that it has no offset.
	bool doubtful = n == -ESPIPE || (n == 0 && r->is_read() && r->done == 0);
	if (!cancelled && (doubtful || n == -EAGAIN || n == -EINTR || n == -ECANCELED || transfer::advance(r, n))) {
		// A worker finishes what the ring could not, or only in part.
		r->set(State::running);
		if (reply != nullptr)
			answer(reply, AIO_NOTCANCELED);
		helper::job_from_inside(helper_, r);
		return;
	}
	sys::close(r->file);
	meter::done_by(r, meter::By::uring);
	completion::finish(r, cancelled ? -ECANCELED : transfer::total(r, n));
	if (reply != nullptr)
		answer(reply, cancelled ? AIO_CANCELED : AIO_ALLDONE);
}

// What the ring says of a cancellation. When it was found, its own completion tells how it ended.
void Driver::cancellation_from_ring(Request *r, ssize_t result)
{
	if (result >= 0 || r->get_state() != State::in_ring || r->cancel_reply == nullptr)
		return;
	// A file's transfer is under way: a thread of the kernel's is at it, or the file's own driver, where the ring does not find it.
	// On a stream, -EALREADY: a thread of the kernel's is at it, or it is just being woken; a read may well wait again after that.
	// -ENOENT: not found where it waits, for the same reason. Asked once more, it is found, or has ended.
	// A connect, too: the kernel's thread has been interrupted, and is about to say so.
	bool may_be_found = r->is_read() || r->op == Op::connect;
	if (!r->on_stream() || (result == -EALREADY && !may_be_found))
		answer_request(r, AIO_NOTCANCELED);
	else
		ring_.cancel(r);
}

void Driver::from_ring(const Ring::Completion &c)
{
	switch (c.what) {
	case Ring::What::request:
		if (c.request->on_stream())
			stream_from_ring(c.request, c.result);
		else
			file_from_ring(c.request, c.result);
		break;
	case Ring::What::cancellation:
		cancellation_from_ring(c.request, c.result);
		break;
	case Ring::What::packets:
		take_packets();
		break;
	}
}

// ---- the loop ----

void Driver::run_free_syncs()
{
	Request *r = waiting_syncs_;
	waiting_syncs_ = nullptr;
	while (r != nullptr) {
		Request *next = r->next.load(std::memory_order_relaxed);
		if (r->waits_for.load(std::memory_order_acquire) != 0) {
			r->next.store(waiting_syncs_, std::memory_order_relaxed);
			waiting_syncs_ = r;
		} else if (r->get_state() == State::cancelled) {
			sys::close(r->file);
			requests::release(r);
		} else
			start_file(r);
		r = next;
	}
}

// Streams and fsyncs that somebody else may have changed.
void Driver::look()
{
	look_ = false;
	run_free_syncs();
	streams_.each([this](Stream *s) {
		// If it stands first, its stream may be waiting for it in vain.
		Request *first = s->first;
		while (Request *r = take_cancelled(s)) {
			stream::leave(s->word);
			requests::release(r);
		}
		if (s->first != first || (s->first != nullptr && s->armed && may_be_stopped(s->first)))
			s->armed = false;
		if (!s->busy && !s->armed)
			step(s);
	});
}

// How long to wait, in milliseconds; what is to be tried again then is looked at.
int Driver::patience()
{
	if (retry_)
		look_ = true;
	bool watch = worker::watch(helper_);
	int ms = retry_ ? retry_ms : watch || waiting_syncs_ != nullptr ? safety_ms : -1;
	retry_ = false;
	return ms;
}

void Driver::wait_with_ring()
{
	Ring::Completion c;
	ring_.wait(patience());
	while (ring_.next(&c))
		from_ring(c);
}

void Driver::wait_with_epoll()
{
	struct epoll_event v[64];
	int n = epoll_wait(epoll_, v, 64, patience());
	for (int i = 0; i < n; i++) {
		auto *s = static_cast<Stream *>(v[i].data.ptr);
		if (s == nullptr)
			take_packets();
		else if (!s->closed && s->armed) {
			s->armed = false;
			step(s);
		}
	}
}

void Driver::run()
{
	bool wanted = config::force == config::Force::automatic || config::force == config::Force::uring;
	has_ring_ = wanted && ring_.open(config::limits.ring.load(std::memory_order_relaxed), helper_->driver_rx);
	helper_->has_ring = has_ring_;
	if (!has_ring_) {
		dma::zero_copy::without_ring();
		epoll_ = epoll_create1(EPOLL_CLOEXEC);
		struct epoll_event e = {};
		e.events = EPOLLIN;
		epoll_ctl(epoll_, EPOLL_CTL_ADD, helper_->driver_rx, &e);
	}
	helper_->ready.store(1, std::memory_order_release);
	futex_wake(helper_->ready, 1);
	for (;;) {
		while (look_)
			look();
		run_free_syncs();
		streams_.sweep();
		if (has_ring_)
			wait_with_ring();
		else
			wait_with_epoll();
	}
}

void *create(helper::Helper *h)
{
	void *m = malloc(sizeof(Driver));
	return m == nullptr ? nullptr : new (m) Driver(h);
}

void run(void *driver)
{
	here = static_cast<Driver *>(driver);
	here->run();
}

bool on_driver_thread()
{
	return here != nullptr;
}

void look_later()
{
	here->look_later();
}

void ask_for_worker()
{
	if (here != nullptr)
		worker::start(helper::own_helper());
	else
		helper::ask_for_worker();
}

} // namespace sigevec::driver
