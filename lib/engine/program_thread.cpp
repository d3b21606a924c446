// SPDX-License-Identifier: MIT
#include "engine/program_thread.hpp"

#include "base/event_count.hpp"
#include "base/memory_order.hpp"
#include "base/same_file.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "completion/completion.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "request/message.hpp"
#include "request/stats_detail.hpp"
#include "runtime/helper.hpp"
#include "runtime/table.hpp"
#include "runtime/thread.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <new>
#include <sys/socket.h>
#include <unistd.h>

namespace sigevec::program_thread {

namespace {

using helper::MessageType;
using helper::Post;

// One of these threads.
struct Thread : TableThread {
	explicit constexpr Thread(const TableThread &ways) : TableThread(ways) {}
	std::atomic<uint32_t> id{0}; // the kernel's, once it runs
	Inbox<Post> inbox;
	// Counts posts; slept on.
	EventCount posts;
	// Out of the helper's table into this one's.
	table::Way way;
	// Requests that need it. Of the program's own thread they are not counted: it stays.
	std::atomic<uint32_t> users{0};
	Thread *next = nullptr;
};

void close_there(TableThread *t, Request *r);

constinit Thread program{TableThread{[](TableThread *) {}, [](TableThread *) {}, close_there}};
std::atomic<bool> running{false};
// Held while a thread is started, found or given up; no request needs it in order to end.
Mutex starting;
// Those of threads that have left the program's table; and what is not in use: never freed, for
// who has just let go of one may still wake it.
Thread *others = nullptr, *unused = nullptr;

ssize_t attempt(Request *r, int file)
{
	return r->op == Op::accept ? transfer::accept_briefly(file, r->call_flags)
	       : r->op == Op::read ? transfer::one_moment(r, file)
				   : transfer::attempt(r, file);
}

// Before the request can be cancelled again: the event of its end is the last one.
void tell_connection(Request *r)
{
	Request *connection = r->connection;
	r->connection = nullptr;
	const helper::Helper *h = helper::running();
	stats_detail::done_by(connection,
			      h != nullptr ? h->driver_is() : stats_detail::By::threads);
	completion::finish(connection, r->result);
}

// The program's own number is used where it still is the file: it needs no place in the table.
void try_call(Thread *t, Request *r)
{
	int number = r->fd.load(mo::relaxed);
	bool same = same_file(thread_id(), number, table::thread_of_helper(), r->file) == Same::yes;
	int file = same ? number : t->way.fetch(r->file);
	r->result = file >= 0 ? attempt(r, file) : file;
	if (!same && file >= 0)
		sys::close(file);
	if (r->result >= 0 && r->message != nullptr && r->op == Op::recv)
		message::note_received(r->message);
	if (r->result >= 0 && r->connection != nullptr)
		tell_connection(r);
	if (!helper::returned_from_program(r))
		completion::finish(r, r->result);
}

void serve(Thread *t, Post *p)
{
	while (p != nullptr) {
		// The request may have ended, and its post be another's, once it has been given
		// back.
		Post *next = p->next;
		auto *r = static_cast<Request *>(p->object);
		if (p->type == MessageType::call)
			try_call(t, r);
		else if (p->type == MessageType::ended)
			completion::finish(r, r->result);
		else {
			requests::close_received(r);
			requests::release(r);
		}
		p = next;
	}
}

// Whether nobody needs the thread any more; then nobody finds it.
bool leaves(Thread *t)
{
	if (t == &program || t->users.load(mo::acquire) != 0)
		return false;
	Guard<Mutex> g(starting);
	if (t->users.load(mo::acquire) != 0 || !t->inbox.empty())
		return false;
	Thread **at = &others;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	return true;
}

void put_aside(Thread *t)
{
	t->way.close();
	t->id.store(0, mo::relaxed);
	Guard<Mutex> g(starting);
	t->next = unused;
	unused = t;
}

void *main(void *p)
{
	auto *t = static_cast<Thread *>(p);
	t->id.store(static_cast<uint32_t>(thread_id()), mo::release);
	futex_wake(t->id, 1);
	for (;;) {
		EventCount::Key seen = t->posts.key();
		if (Post *first = t->inbox.take_all(); first != nullptr)
			serve(t, first);
		else if (leaves(t))
			break;
		else
			t->posts.sleep(seen, nullptr);
	}
	put_aside(t);
	return nullptr;
}

// With `starting' held.
bool start(Thread *t)
{
	// The table may be full. What is still under its own number needs no way out of the
	// helper's, and a pidfd is looked for again when it is needed.
	t->way.set_up();
	if (start_thread(main, t, "sigevec-program") != 0) {
		t->way.close();
		return false;
	}
	while (t->id.load(mo::acquire) == 0)
		futex_wait(t->id, 0, nullptr);
	return true;
}

Thread *of_program()
{
	if (running.load(mo::acquire))
		return &program;
	Guard<Mutex> g(starting);
	if (!running.load(mo::relaxed) && start(&program))
		running.store(true, mo::release);
	return running.load(mo::relaxed) ? &program : nullptr;
}

void let_go(TableThread *tt)
{
	auto *t = static_cast<Thread *>(tt);
	if (t->users.fetch_sub(1, mo::acq_rel) == 1)
		t->posts.notify(1);
}

void join(TableThread *tt)
{
	static_cast<Thread *>(tt)->users.fetch_add(1, mo::relaxed);
}

Thread *find(pid_t caller)
{
	for (Thread *t = others; t != nullptr; t = t->next)
		if (same_table(caller, static_cast<pid_t>(t->id.load(mo::relaxed))) == Same::yes)
			return t;
	return nullptr;
}

Thread *make()
{
	Thread *t = unused;
	if (void *m = t == nullptr ? malloc(sizeof(Thread)) : nullptr; m != nullptr)
		t = new (m) Thread(TableThread{let_go, join, close_there});
	else if (t != nullptr)
		unused = t->next;
	if (t == nullptr)
		return nullptr;
	bool started = start(t);
	Thread *&list = started ? others : unused;
	t->next = list;
	list = t;
	return started ? t : nullptr;
}

// Of a thread that has a table of its own.
Thread *of_other(pid_t caller)
{
	Guard<Mutex> g(starting);
	Thread *t = find(caller);
	if (t == nullptr)
		t = make();
	if (t != nullptr)
		join(t);
	return t;
}

// The program's table is that of its thread here, or before there is one, of the first thread.
bool has_left_the_programs(pid_t caller)
{
	bool known = running.load(mo::acquire);
	return same_table(caller, known ? static_cast<pid_t>(program.id.load(mo::relaxed))
					: getpid()) == Same::no;
}

} // namespace

bool take(Request *r)
{
	if (helper::get() == nullptr)
		return false;
	pid_t caller = thread_id();
	r->in_program = has_left_the_programs(caller) ? of_other(caller) : of_program();
	return r->in_program != nullptr;
}

namespace {

void post(TableThread *tt, MessageType type, Request *r)
{
	auto *t = static_cast<Thread *>(tt);
	r->post = {nullptr, type, r};
	t->inbox.push(&r->post);
	t->posts.notify(1);
}

void close_there(TableThread *t, Request *r)
{
	post(t, MessageType::unread, r);
}

} // namespace

void give(Request *r, int file)
{
	r->file = file;
	post(r->in_program, MessageType::call, r);
}

void end(TableThread *t, Request *r, ssize_t result)
{
	r->result = result;
	post(t, MessageType::ended, r);
}

void after_fork()
{
	starting.reset();
	running.store(false, mo::relaxed);
	program.id.store(0, mo::relaxed);
	program.inbox.take_all();
	program.posts.reset();
	program.way.forget();
	others = unused = nullptr;
}

// What there is in other tables is closed by exec alone: nobody knows here which it is, and it is
// of no use.
void close_in_child()
{
	if (running.load(mo::relaxed))
		program.way.close_in_child();
}

} // namespace sigevec::program_thread
