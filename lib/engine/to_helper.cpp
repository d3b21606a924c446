// SPDX-License-Identifier: MIT
#include "engine/to_helper.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "completion/completion.hpp"
#include "engine/alone.hpp"
#include "engine/worker.hpp"
#include "request/stream.hpp"

#include <cerrno>
#include <climits>
#include <fcntl.h>

namespace sigevec::helper {

namespace {

thread_local Plug *plugged __attribute__((tls_model("initial-exec"))) = nullptr;

bool hand_over_one(MessageType type, Request *r, int *taken = nullptr)
{
	void *object = r;
	int number = r->fd.load(mo::relaxed), file;
	if (!hand_over(type, &object, &number, &file, 1))
		return false;
	if (file < 0)
		errno = refusal(file);
	else if (taken != nullptr)
		*taken = file;
	return file >= 0;
}

// It was accepted, and the driver never gets it.
void end_unsent(Request *r, int error)
{
	if (error == EAGAIN && alone::submit(r))
		return;
	if (r->on_stream())
		alone::leave_stream(r->stream_word());
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
	if (count_ == most_handed_over)
		flush();
	requests_[count_++] = r;
}

void Plug::flush()
{
	void *objects[most_handed_over];
	int numbers[most_handed_over], files[most_handed_over];
	for (unsigned i = 0; i < count_; i++) {
		objects[i] = requests_[i];
		numbers[i] = requests_[i]->fd.load(mo::relaxed);
	}
	int error = count_ == 0 || hand_over(MessageType::request, objects, numbers, files, count_)
			    ? 0
			    : errno;
	for (unsigned i = 0; i < count_; i++)
		if (error != 0 || files[i] < 0)
			end_unsent(requests_[i], error != 0 ? error : refusal(files[i]));
	count_ = 0;
}

bool collecting()
{
	return plugged != nullptr;
}

bool to_driver(Request *r, int *file)
{
	if (plugged != nullptr && get() != nullptr) {
		plugged->add(r);
		return true;
	}
	return hand_over_one(MessageType::request, r, file);
}

bool to_worker(MessageType type, Request *r, int *file)
{
	return hand_over_one(type, r, file);
}

void job_from_inside(Helper *h, Request *r)
{
	r->post = {nullptr, MessageType::job, r};
	h->jobs.push(&r->post);
	worker::add_if_needed(h);
}

void returned_from_inside(Helper *h, Request *r)
{
	r->post = {nullptr, MessageType::returned, r};
	post(h, &r->post);
}

void request_from_inside(Helper *h, Request *r, int fd)
{
	int copy = sys::duplicate(fd, h->private_table() ? 0 : 3);
	r->file = copy >= 0 ? copy : -EMFILE;
	r->post = {nullptr, MessageType::request, r};
	post(h, &r->post);
}

void let_go(Request *r)
{
	order_changes.notify(INT_MAX);
	Helper *h = running();
	if (h == nullptr || r->driver_notified.exchange(true, mo::acq_rel)) {
		requests::release(r);
		return;
	}
	r->unwanted_post = {nullptr, MessageType::unwanted, r};
	h->inbox.push(&r->unwanted_post);
}

bool returned_from_program(Request *r)
{
	Helper *h = running();
	if (h == nullptr)
		return false;
	returned_from_inside(h, r);
	return true;
}

uint32_t ask(CancelReply *reply)
{
	return post_and_wait(MessageType::cancel, reply, reply);
}

} // namespace sigevec::helper
