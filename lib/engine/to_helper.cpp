// SPDX-License-Identifier: MIT
#include "engine/to_helper.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/shortage.hpp"
#include "base/syscalls.hpp"
#include "completion/completion.hpp"
#include "engine/alone.hpp"
#include "engine/held_files.hpp"
#include "engine/transfer.hpp"
#include "engine/worker.hpp"
#include "request/stream.hpp"
#include "runtime/copies.hpp"

#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace sigevec::helper {

namespace {

thread_local Plug *plugged __attribute__((tls_model("initial-exec"))) = nullptr;

// False: r's file is to be handed over. Who takes it looks whether it is r's, and of one without an
// inode that cannot be seen. A file queue's has to be there when the call returns: those behind it
// are compared with it.
bool put(Helper *h, MessageType type, Request *r)
{
	bool apart = r->kind == Kind::anonymous || r->kind == Kind::pool ||
		     type == MessageType::file_queue;
	int place = apart ? -1 : h->files.mailbox.put(r->fd.load(mo::relaxed));
	if (place < 0)
		return false;
	r->file = place;
	bool request = type == MessageType::request;
	r->post = {nullptr, request ? MessageType::request_put : MessageType::job_put, r};
	return true;
}

bool put_and_post(MessageType type, Request *r)
{
	Helper *h = get();
	if (h == nullptr || !put(h, type, r))
		return false;
	BlockSignals blocked;
	if (type == MessageType::request || !h->jobs.push_to_idle(&r->post))
		post(h, &r->post);
	return true;
}

// 0 or -errno.
int hand_over_one(MessageType type, Request *r, int *taken = nullptr)
{
	if (put_and_post(type, r))
		return 0;
	void *object = r;
	int number = r->fd.load(mo::relaxed), file;
	if (int e = hand_over(type, &object, &number, &file, 1); e != 0)
		return e;
	if (file < 0)
		return -refusal(file);
	if (taken != nullptr)
		*taken = file;
	return 0;
}

// It was accepted, and the driver never gets it.
void end_unsent(Request *r, int error)
{
	if (r->on_stream())
		alone::leave_stream(r->stream_word());
	if (r->front && stream::give_up_claim(r->stream_word()))
		look_at_streams();
	// Bytes that are out cannot be taken back: it ends short.
	completion::finish(r, r->front && r->done > 0 ? static_cast<ssize_t>(r->done) : -error);
}

// Whether a file is the one that r was submitted on. Nobody is asked who may not answer: a server.
bool is_of(const Request *r, int file)
{
	struct statx x;
	return sys::statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &x) != 0 ||
	       (x.stx_ino == r->ino.load(mo::relaxed) &&
		makedev(x.stx_dev_major, x.stx_dev_minor) == r->dev.load(mo::relaxed));
}

// What the mailbox does not give any more, of a program that has locked itself in meanwhile: the
// number may still be the file's.
int take_again(const Helper *h, const Request *r)
{
	int file = helper::take_by_number(&h->files, r->fd.load(mo::relaxed));
	Descriptor d;
	if (file < 0 || (transfer::describe(file, &d) && transfer::is_file_of(r, d)))
		return file;
	copies::close(file);
	return -EAGAIN;
}

} // namespace

void take_put(Helper *h, Request *r)
{
	int file = h->files.mailbox.take(r->file);
	if (file < 0)
		file = take_again(h, r);
	if (file >= 0 && !is_of(r, file)) {
		copies::close(file);
		file = -EBADF;
	}
	r->file = file >= 0 || file == -EBADF ? file : -EAGAIN;
}

void end_without_file(Request *r)
{
	int error = refusal(r->file);
	held_files::let_go(r);
	if (r->change(State::queued, State::running))
		end_unsent(r, error);
	else
		requests::release(r);
}

namespace {

// As many as can be, in their order: what stands behind one that waits for its answer goes with it.
unsigned put_first(Request *const *requests, unsigned count)
{
	Helper *h = get();
	unsigned n = 0;
	while (h != nullptr && n < count && put(h, MessageType::request, requests[n]))
		h->inbox.push(&requests[n++]->post);
	if (n != 0)
		h->wakeup.call();
	return n;
}

void end_refused(Request *r, int error)
{
	if (error != EAGAIN || alone::submit(r) != 0)
		end_unsent(r, error);
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
	unsigned first = put_first(requests_, count_), n = count_ - first;
	for (unsigned i = 0; i < n; i++) {
		objects[i] = requests_[first + i];
		numbers[i] = requests_[first + i]->fd.load(mo::relaxed);
	}
	int error = n == 0 ? 0 : -hand_over(MessageType::request, objects, numbers, files, n);
	for (unsigned i = 0; i < n; i++)
		if (error != 0 || files[i] < 0)
			end_refused(requests_[first + i], error != 0 ? error : refusal(files[i]));
	count_ = 0;
}

bool collecting()
{
	return plugged != nullptr;
}

int to_driver(Request *r)
{
	if (plugged != nullptr && get() != nullptr) {
		plugged->add(r);
		return 0;
	}
	return hand_over_one(MessageType::request, r);
}

int to_worker(MessageType type, Request *r, int *file)
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
	r->file = copy >= 0 ? copy : -shortage(errno, EMFILE);
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
