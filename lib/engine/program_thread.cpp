// SPDX-License-Identifier: MIT
#include "engine/program_thread.hpp"

#include "base/event_count.hpp"
#include "base/memory_order.hpp"
#include "base/same_file.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "completion/completion.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "request/message.hpp"
#include "runtime/helper.hpp"
#include "runtime/table.hpp"
#include "runtime/thread.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>

namespace sigevec::program_thread {

namespace {

using helper::MessageType;
using helper::Post;

std::atomic<bool> running{false};
// Held while the thread is started; no request needs it in order to end.
Mutex starting;

Inbox<Post> inbox;
// Counts posts; slept on.
EventCount posts;

// Out of the helper's table into the program's.
table::Way way;

// The program's own number is used where it still is the file: it needs no place in the table.
void try_call(Request *r)
{
	int number = r->fd.load(mo::relaxed);
	bool same = same_file(table::own_thread(), number, table::thread_of_helper(), r->file) ==
		    Same::yes;
	int file = same ? number : way.fetch(r->file);
	r->result = file < 0              ? file
		    : r->op == Op::accept ? transfer::accept_briefly(file, r->call_flags)
					  : transfer::attempt(r, file);
	if (!same && file >= 0)
		sys::close(file);
	if (r->result >= 0 && r->message != nullptr && r->op == Op::recv)
		message::note_received(r->message);
	if (!helper::returned_from_program(r))
		completion::finish(r, r->result);
}

void *main(void *)
{
	for (;;) {
		EventCount::Key seen = posts.key();
		Post *p = inbox.take_all();
		if (p == nullptr)
			posts.sleep(seen, nullptr);
		while (p != nullptr) {
			// The request may have ended, and its post be another's, once it has been
			// given back.
			Post *next = p->next;
			auto *r = static_cast<Request *>(p->object);
			if (p->type == MessageType::call)
				try_call(r);
			else
				completion::finish(r, r->result);
			p = next;
		}
	}
}

} // namespace

bool ensure()
{
	if (running.load(mo::acquire))
		return true;
	if (helper::get() == nullptr)
		return false;
	Guard<Mutex> g(starting);
	if (running.load(mo::relaxed))
		return true;
	if (!way.set_up())
		return false;
	if (start_thread(main, nullptr, "sigevec-program") != 0) {
		way.close();
		return false;
	}
	running.store(true, mo::release);
	return true;
}

namespace {

void post(MessageType type, Request *r)
{
	r->post = {nullptr, type, r};
	inbox.push(&r->post);
	posts.notify(1);
}

} // namespace

bool give(Request *r, int file)
{
	if (!running.load(mo::acquire) || !way.announce(file))
		return false;
	r->file = file;
	post(MessageType::call, r);
	return true;
}

void end(Request *r, ssize_t result)
{
	r->result = result;
	post(MessageType::ended, r);
}

void after_fork()
{
	starting.reset();
	running.store(false, mo::relaxed);
	inbox.take_all();
	posts.reset();
	way.forget();
}

void close_in_child()
{
	if (running.load(mo::relaxed))
		way.close_in_child();
}

} // namespace sigevec::program_thread
