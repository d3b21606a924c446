// SPDX-License-Identifier: MIT
#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "completion/completion.hpp"
#include "dma/zero_copy.hpp"
#include "engine/driver_impl.hpp"
#include "engine/held_files.hpp"
#include "engine/kaio.hpp"
#include "engine/rights.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "engine/worker.hpp"
#include "request/meter.hpp"
#include "request/stream.hpp"
#include "runtime/config.hpp"
#include "runtime/copies.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace sigevec::driver {

namespace {

// How often workers that may be stuck are looked at.
constexpr int watch_ms = 100;

constexpr uint64_t longest_sleep = 1 << 30;

// How often a carrier is interrupted that is to stop.
constexpr int retry_ms = 2;

thread_local Driver *here __attribute__((tls_model("initial-exec"))) = nullptr;

} // namespace

// ---- what arrives ----

void Driver::take_posts()
{
	if (helper_->look.exchange(false, mo::seq_cst))
		look_ = true;
	helper_->look_at_syncs.store(false, mo::seq_cst);
	if (helper_->want_worker.exchange(false, mo::seq_cst))
		worker::start(helper_);
	for (Post *p = helper_->inbox.take_all(); p != nullptr;) {
		// What it is part of may be gone once it has been taken.
		Post *next = p->next;
		take(p);
		p = next;
	}
}

void Driver::take(Post *p)
{
	switch (p->what) {
	case What::offer:
		take_offer(static_cast<helper::Offer *>(p->object));
		break;
	case What::request: {
		auto *r = static_cast<Request *>(p->object);
		take_request(r, r->file);
		break;
	}
	case What::returned:
		take_returned(static_cast<Request *>(p->object));
		break;
	case What::cancel:
		cancel(static_cast<CancelReply *>(p->object));
		break;
	case What::unwanted:
		take_unwanted(static_cast<Request *>(p->object));
		break;
	case What::region:
		answer(static_cast<RegionReply *>(p->object));
		break;
	case What::rights:
		rights::helper_has(Rights::own());
		static_cast<helper::RightsReply *>(p->object)->give(1);
		break;
	case What::errand: {
		auto *e = static_cast<helper::Errand *>(p->object);
		e->run(e);
		e->give(1);
		break;
	}
	case What::background:
		kaio::start_for_helper(helper_, p->object);
		break;
	case What::close:
		helper::close_posted(p->object);
		break;
	case What::chore: {
		auto *c = static_cast<helper::Chore *>(p->object);
		c->run(c);
		break;
	}
	default:
		break;
	}
}

// Those whose file could not be taken are their submitter's.
void Driver::take_offer(helper::Offer *o)
{
	helper::Taken t;
	helper::take(&helper_->files, o, &t);
	for (unsigned i = 0; i < t.count; i++) {
		auto *r = static_cast<Request *>(t.objects[i]);
		if (t.files[i] < 0 || t.what == What::hold)
			continue;
		r->file = t.files[i];
		if (t.what == What::request)
			take_request(r, r->file);
		else {
			// For a worker, where none is idle.
			r->post.what = t.what;
			if (t.what == What::job)
				r->post.object = r;
			helper_->jobs.push(&r->post);
			worker::add_if_needed(helper_);
		}
	}
}

void Driver::take_returned(Request *r)
{
	Stream *s = r->stream;
	s->busy = false;
	returned(s, r);
	step(s);
}

void Driver::take_request(Request *r, int fd)
{
	if (r->on_stream()) {
		add_to_stream(r, fd);
		return;
	}
	r->file = fd;
	// Those before it count it down also if it cannot be carried out.
	if (r->is_sync())
		wait_for_others(r);
	else
		start_file(r);
}

void Driver::add_to_stream(Request *r, int fd)
{
	Stream *s = streams_.make(r, fd);
	if (s == nullptr) {
		stream::leave(r->stream_word());
		completion::finish(r, -ENOMEM);
		return;
	}
	if (r->front) {
		r->change(State::queued, State::running);
		push_front(s, r);
		stream::take_over_claim(s->word);
		look_ = true; // others may have been held back
	} else
		push_back(s, r);
	// It may have been cancelled on its way here.
	end_unwanted(s, r);
}

void Driver::take_unwanted(Request *r)
{
	// Acquire: what was asked for meanwhile. It is asked again after that.
	r->driver_told.exchange(false, mo::acq_rel);
	if (r->stream != nullptr)
		end_unwanted(r->stream, r);
	requests::release(r);
}

void Driver::start_file(Request *r)
{
	if (r->file < 0) {
		completion::finish(r, r->file); // the helper's table is full
		return;
	}
	// The ring passes every fsync to a thread of the kernel's; a worker does the same with less
	// ado.
	bool by_ring = has_ring_ && (!r->is_sync() || config::force == config::Force::uring);
	if (by_ring && r->change(State::queued, State::in_ring))
		ring_.start(r, r->file);
	else
		helper::job_from_inside(helper_, r);
}

void Driver::wait_for_others(Request *r)
{
	r->next.store(waiting_syncs_, mo::relaxed);
	waiting_syncs_ = r;
	r->waits_for.fetch_sub(1, mo::acq_rel);
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
	uint64_t word = r->state.load(mo::acquire);
	auto now = static_cast<State>(word & 0xff);
	bool same = word >> 8 == reply->word >> 8;
	if (same && (now == State::queued || now == State::trying)) {
		answer(reply, CancelReply::look_again); // it waits in another way now
		return;
	}
	if (!same || (now != State::in_ring && now != State::running)) {
		answer(reply, AIO_ALLDONE);
		return;
	}
	if (r->has_begun() && now == State::in_ring && stop_waiting(r, reply))
		return;
	if (now == State::running || r->has_begun()) {
		answer(reply, AIO_NOTCANCELED);
		return;
	}
	reply->next = static_cast<CancelReply *>(r->cancel_reply);
	r->cancel_reply = reply;
	if (reply->next == nullptr)
		stop(r);
}

// A receive that waits with a part ends with that.
bool Driver::stop_waiting(Request *r, CancelReply *reply)
{
	Stream *s = r->stream;
	if (!r->on_stream() || !r->is_read() || s->first != r || !s->armed)
		return false;
	s->armed = false;
	end_first(s, static_cast<ssize_t>(r->done));
	answer(reply, AIO_ALLDONE);
	step(s);
	return true;
}

void Driver::file_from_ring(Request *r, ssize_t n)
{
	bool cancelled = was_cancelled(r, n);
	auto *reply = static_cast<CancelReply *>(r->cancel_reply);
	r->cancel_reply = nullptr;
	// Only the plain call says that a file has ended, or that it has no offset; and a worker,
	// what is to be done about O_DIRECT.
	bool doubtful = n == -ESPIPE || n == -EOPNOTSUPP ||
			(n == -EINVAL && transfer::submitted_buffered(r)) ||
			(n == 0 && r->is_read() && r->done == 0);
	if (!cancelled && (doubtful || n == -EAGAIN || n == -EINTR || n == -ECANCELED ||
			   transfer::advance(r, n))) {
		// A worker finishes what the ring could not, or only in part.
		r->set(State::running);
		if (reply != nullptr)
			answer(reply, AIO_NOTCANCELED);
		helper::job_from_inside(helper_, r);
		return;
	}
	held_files::let_go(r);
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
	// A file's transfer is under way: a thread of the kernel's is at it, or the file's own
	// driver, where the ring does not find it. On a stream, -EALREADY: a thread of the kernel's
	// is at it, and has been interrupted, or it is just being woken, and may well wait again
	// after that. -ENOENT: not found where it waits, for the same reason. Asked once more, it
	// is found, or has ended.
	if (!r->on_stream())
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
	case Ring::What::readiness:
		take_ready(0);
		break;
	case Ring::What::wakeup:
		break;
	}
}

// ---- the loop ----

void Driver::run_free_syncs()
{
	Request *r = waiting_syncs_;
	waiting_syncs_ = nullptr;
	while (r != nullptr) {
		Request *next = r->next.load(mo::relaxed);
		if (r->waits_for.load(mo::acquire) != 0) {
			r->next.store(waiting_syncs_, mo::relaxed);
			waiting_syncs_ = r;
		} else if (r->get_state() == State::cancelled) {
			copies::close(r->file);
			requests::release(r);
		} else
			start_file(r);
		r = next;
	}
}

// r is with a thread that has not come back since it was interrupted.
void Driver::stop_again(Request *r)
{
	if (r->has_begun())
		answer_request(r, AIO_NOTCANCELED);
	else
		stop(r);
}

// Streams and fsyncs that somebody else may have changed.
void Driver::look()
{
	look_ = false;
	run_free_syncs();
	streams_.each([this](Stream *s) {
		if (s->busy && s->first != nullptr && s->first->is_by_thread() &&
		    s->first->cancel_reply != nullptr)
			stop_again(s->first);
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
	int ms = retry_ ? retry_ms : watch ? watch_ms : -1;
	retry_ = false;
	if (next_look_ != 0) {
		uint64_t now = monotonic_ns();
		uint64_t rest = now < next_look_ ? (next_look_ - now + 999999) / 1000000 : 0;
		if (ms < 0 || rest < static_cast<uint64_t>(ms))
			ms = static_cast<int>(rest < longest_sleep ? rest : longest_sleep);
	}
	return ms;
}

// Before it sleeps. True: nobody has anything for it, and who has later wakes it
// (runtime/wakeup.hpp).
bool Driver::nothing_new()
{
	helper_->wakeup.will_sleep();
	return helper_->inbox.empty() && !helper_->look.load(mo::seq_cst) &&
	       !helper_->look_at_syncs.load(mo::seq_cst) && !helper_->want_worker.load(mo::seq_cst);
}

void Driver::wait_with_ring(int ms)
{
	ring_.wait(ms);
	helper_->wakeup.does_not_sleep();
	if (ring_.lost())
		leave_ring();
	take_from_ring();
}

void Driver::take_from_ring()
{
	Ring::Completion c;
	while (ring_.next(&c))
		from_ring(c);
}

// A filter that came later refuses the ring. What is in it goes on by readiness and by workers.
void Driver::leave_ring()
{
	if (!wait_by_epoll())
		return; // no descriptor: tried again, as the ring is
	has_ring_ = false;
	helper_->has_ring.store(false, mo::relaxed);
	dma::zero_copy::without_ring();
	ring_.leave();
	look_ = true;
}

void Driver::wait_with_epoll(int ms)
{
	// A ring that was left tells nobody when it has given something up.
	constexpr int moment = 5;
	bool left = ring_.outstanding();
	take_ready(left && (ms < 0 || ms > moment) ? moment : ms);
	if (left)
		take_from_ring();
}

bool Driver::prepare()
{
	rights::helper_has(Rights::own());
	helper_->wakeup.set_up();
	bool wanted =
		config::force == config::Force::automatic || config::force == config::Force::uring;
	has_ring_ = wanted && ring_.open(config::limits.ring.load(mo::relaxed), &helper_->wakeup);
	helper_->has_ring.store(has_ring_, mo::relaxed);
	if (has_ring_)
		return true;
	dma::zero_copy::without_ring();
	return wait_by_epoll();
}

// From now on what wakes the driver is in its epoll instance.
bool Driver::wait_by_epoll()
{
	int woken = helper_->wakeup.by_signal();
	struct epoll_event e = {};
	e.events = EPOLLIN;
	return has_epoll() && epoll_ctl(epoll_, EPOLL_CTL_ADD, woken, &e) == 0;
}

void Driver::run()
{
	for (;;) {
		take_posts();
		while (look_)
			look();
		look_by_clock();
		run_free_syncs();
		streams_.sweep();
		int ms = patience();
		if (!nothing_new())
			ms = 0;
		if (has_ring_)
			wait_with_ring(ms);
		else
			wait_with_epoll(ms);
	}
}

void *create(helper::Helper *h)
{
	void *m = malloc(sizeof(Driver));
	return m == nullptr ? nullptr : new (m) Driver(h);
}

bool prepare(void *driver)
{
	here = static_cast<Driver *>(driver);
	return here->prepare();
}

void run(void *driver)
{
	static_cast<Driver *>(driver)->run();
}

bool on_driver_thread()
{
	return here != nullptr;
}

void look_later()
{
	here->look_later();
}

} // namespace sigevec::driver
