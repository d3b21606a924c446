// SPDX-License-Identifier: MIT
//
// What arrives at the driver: posts, offers of files, requests; and what it does with those that
// are in no stream.
#include "engine/driver_impl.hpp"

#include "base/memory_order.hpp"
#include "completion/completion.hpp"
#include "engine/alone.hpp"
#include "engine/held_files.hpp"
#include "engine/kaio.hpp"
#include "engine/rights.hpp"
#include "engine/to_helper.hpp"
#include "engine/worker.hpp"
#include "request/stream.hpp"
#include "runtime/config.hpp"

#include <cerrno>

namespace sigevec::driver {

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
	switch (p->type) {
	case MessageType::hand_over:
		take_hand_over(static_cast<helper::HandOver *>(p->object));
		break;
	case MessageType::request: {
		auto *r = static_cast<Request *>(p->object);
		held_files::arrived(r);
		take_request(r, r->file);
		break;
	}
	case MessageType::request_put:
		take_put(static_cast<Request *>(p->object));
		break;
	case MessageType::job_put:
		helper_->jobs.push(p);
		worker::add_if_needed(helper_);
		break;
	case MessageType::returned:
		take_returned(static_cast<Request *>(p->object));
		break;
	case MessageType::cancel:
		cancel(static_cast<CancelReply *>(p->object));
		break;
	case MessageType::unwanted:
		take_unwanted(static_cast<Request *>(p->object));
		break;
	case MessageType::region:
		answer(static_cast<RegionReply *>(p->object));
		break;
	case MessageType::rights:
		rights::helper_has(Rights::own());
		static_cast<helper::RightsReply *>(p->object)->give(1);
		break;
	case MessageType::errand: {
		auto *e = static_cast<helper::Errand *>(p->object);
		e->run(e);
		e->give(1);
		break;
	}
	case MessageType::background:
		kaio::start_for_helper(helper_, p->object);
		break;
	case MessageType::close:
		helper::close_posted(p->object);
		break;
	case MessageType::chore: {
		auto *c = static_cast<helper::Chore *>(p->object);
		c->run(c);
		break;
	}
	default:
		break;
	}
}

// Those whose file could not be taken are their submitter's.
void Driver::take_hand_over(helper::HandOver *o)
{
	helper::Taken t;
	helper::take(&helper_->files, o, &t);
	for (unsigned i = 0; i < t.count; i++) {
		auto *r = static_cast<Request *>(t.objects[i]);
		if (t.files[i] < 0 || t.type == MessageType::hold)
			continue;
		r->file = t.files[i];
		if (t.type == MessageType::request) {
			held_files::arrived(r);
			take_request(r, r->file);
		} else {
			// For a worker, where none is idle.
			r->post.type = t.type;
			if (t.type == MessageType::job)
				r->post.object = r;
			helper_->jobs.push(&r->post);
			worker::add_if_needed(helper_);
		}
	}
}

void Driver::take_put(Request *r)
{
	helper::take_put(helper_, r);
	held_files::arrived(r);
	if (r->file >= 0)
		take_request(r, r->file);
	else
		helper::end_without_file(r);
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
		alone::leave_stream(r->stream_word());
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
	if (end_behind(s, r))
		return;
	// It may have been cancelled on its way here.
	end_unwanted(s, r);
}

void Driver::take_unwanted(Request *r)
{
	// Acquire: what was asked for meanwhile. It is asked again after that.
	r->driver_notified.exchange(false, mo::acq_rel);
	if (r->stream != nullptr)
		end_unwanted(r->stream, r);
	requests::release(r);
}

// The ring passes every fsync to a thread of the kernel's; a worker does the same with less ado.
bool Driver::by_ring(const Request *file_request) const
{
	return has_ring() && (!file_request->is_sync() || config::force == config::Force::uring);
}

void Driver::start_file(Request *r)
{
	if (r->file < 0) {
		int error = r->file; // the helper's table is full
		held_files::let_go(r);
		completion::finish(r, error);
		return;
	}
	if (by_ring(r) && r->change(State::queued, State::in_ring))
		ring_.start(r, r->file);
	else
		helper::job_from_inside(helper_, r);
}

} // namespace sigevec::driver
