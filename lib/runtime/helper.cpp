// SPDX-License-Identifier: MIT
#include "runtime/helper.hpp"

#include "base/memory_order.hpp"
#include "base/pool.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "runtime/thread.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <new>

namespace sigevec::helper {

namespace {

std::atomic<Helper *> current{nullptr};
Mutex starting;
// pidfd_getfd is refused in this process. Written with `starting' held.
bool needs_courier = false;
// Likewise: how a helper gets its table.
Files::Table table_by = Files::Table::left;
thread_local Helper *own __attribute__((tls_model("initial-exec"))) = nullptr;

// ---- start ----

void tell_start(Helper *h, uint32_t s)
{
	h->start.store(s, mo::release);
	futex_wake(h->start, INT_MAX);
}

void *driver_thread(void *p)
{
	auto *h = static_cast<Helper *>(p);
	enter_helper_thread(h);
	h->thread = thread_id();
	if (set_up_files(&h->files) && driver_ops.prepare(h->driver)) {
		tell_start(h, Helper::ready);
		driver_ops.run(h->driver);
	}
	tell_start(h, Helper::failed);
	return nullptr;
}

uint32_t wait_for_start(Helper *h)
{
	uint32_t s;
	while ((s = h->start.load(mo::acquire)) == Helper::starting)
		futex_wait(h->start, s, nullptr);
	return s;
}

bool start_driver(Helper *h)
{
	h->files.table = table_by;
	if (table_by != Files::Table::apart)
		return start_thread(driver_thread, h, "sigevec-driver") == 0;
	if (start_thread_apart(driver_thread, h, "sigevec-driver") == 0)
		return true;
	table_by = Files::Table::programs;
	return start_driver(h);
}

// nullptr: no memory or no thread. With `starting' held.
Helper *launch()
{
	void *m = malloc(sizeof(Helper));
	if (m == nullptr)
		return nullptr;
	auto *h = new (m) Helper{};
	h->driver = driver_ops.create(h);
	bool ok = h->driver != nullptr && (!needs_courier || make_courier(&h->files));
	if (ok && start_driver(h))
		return h;
	if (ok)
		discard_courier(&h->files);
	free(h->driver);
	free(h);
	return nullptr;
}

// With `starting' held. nullptr: it could not find its way.
Helper *wait_until_ready(Helper *h)
{
	for (;;) {
		bool ready = wait_for_start(h) == Helper::ready;
		leave_courier(&h->files);
		if (ready)
			return h;
		if (h->files.courier_tx >= 0)
			sys::close(h->files.courier_tx);
		bool table = h->files.table != table_by;
		bool no_way = !table && h->files.way == Files::Way::none;
		bool again = table || (!needs_courier && no_way);
		table_by = h->files.table;
		// Its thread touches it no more.
		free(h->driver);
		free(h);
		needs_courier = needs_courier || no_way;
		if (!again || (h = launch()) == nullptr)
			return nullptr;
	}
}

// Launched and not yet waited for. With `starting' held.
Helper *launched = nullptr;

} // namespace

Helper *get()
{
	Helper *h = current.load(mo::acquire);
	if (h != nullptr)
		return h;
	// The start takes milliseconds: no handler may leave the lock behind by a longjmp.
	BlockSignals blocked;
	Guard<Mutex> g(starting);
	h = current.load(mo::relaxed);
	if (h != nullptr)
		return h;
	h = launched != nullptr ? launched : launch();
	launched = nullptr;
	if (h != nullptr && (h = wait_until_ready(h)) != nullptr)
		current.store(h, mo::release);
	return h;
}

void begin()
{
	Guard<Mutex> g(starting);
	if (current.load(mo::relaxed) == nullptr && launched == nullptr)
		launched = launch();
}

Helper *running()
{
	return own != nullptr ? own : current.load(mo::acquire);
}

// ---- from the program's threads: with files ----

namespace {

// Whom a hand-over is for.
bool for_worker(MessageType type)
{
	return type == MessageType::job || type == MessageType::file_queue;
}

// 0; or -errno: nothing has been done.
int hand_over_once(Helper *h, HandOver *o)
{
	if (int e = send_along(&h->files, o); e != 0)
		return e;
	bool idle = for_worker(o->type) && h->jobs.push_to_idle(&o->post);
	if (!idle)
		post(h, &o->post);
	wait_for_answer(o);
	sent_along(&h->files, o);
	return 0;
}

// Those whose files have not been taken, alone: the others are the helper's.
void hand_over_rest(Helper *h, HandOver *o)
{
	for (unsigned i = 0; i < o->count; i++) {
		if (o->files[i] >= 0)
			continue;
		HandOver one{{},           o->type, o->objects + i, o->numbers + i,
			     o->files + i, 1,       o->thread};
		one.post = {nullptr, MessageType::hand_over, &one};
		if (int e = hand_over_once(h, &one); e != 0)
			o->files[i] = e;
		o->sent = o->sent || one.sent;
	}
}

} // namespace

// As hand_over_once().
int hand_over(MessageType type, void *const *objects, const int *numbers, int *files,
	      unsigned count)
{
	constexpr int attempts = 4;
	Helper *h = get();
	if (h == nullptr)
		return -EAGAIN;
	HandOver o{{}, type, objects, numbers, files, count, thread_id()};
	o.post = {nullptr, MessageType::hand_over, &o};
	BlockSignals blocked;
	if (int e = hand_over_once(h, &o); e != 0)
		return e;
	for (int i = 0; i < attempts && hand_over_again(&h->files, &o); i++)
		hand_over_rest(h, &o);
	return 0;
}

int refusal(int file)
{
	return file == -EBADF ? EBADF : EAGAIN;
}

int hold(int fd)
{
	void *nothing = nullptr;
	int file;
	int e = hand_over(MessageType::hold, &nothing, &fd, &file, 1);
	return e == 0 ? file : e;
}

// ---- from any thread: without ----

void post(Helper *h, Post *p)
{
	h->inbox.push(p);
	h->wakeup.call();
}

namespace {

// A number that is to be closed.
struct Closing : Pooled {
	Post post;
	int fd;
};

constinit Pool<Closing, 6, 1024, true> closings;

} // namespace

void close_inside(int fd)
{
	Helper *h = running();
	if (h == nullptr || fd < 0)
		return;
	if (own != nullptr || !h->private_table()) {
		sys::close(fd);
		return;
	}
	// Without memory for more than the reserve it stays open until the process ends.
	Closing *c = closings.take(closings.capacity);
	if (c == nullptr)
		return;
	c->fd = fd;
	c->post = {nullptr, MessageType::close, c};
	post(h, &c->post);
}

bool run_chore(Chore *c)
{
	Helper *h = running();
	if (h == nullptr)
		return false;
	if (own != nullptr) {
		c->run(c);
		return true;
	}
	c->post = {nullptr, MessageType::chore, c};
	post(h, &c->post);
	return true;
}

void close_posted(void *closing)
{
	auto *c = static_cast<Closing *>(closing);
	sys::close(c->fd);
	closings.give_back(c);
}

EventCount order_changes;

namespace {

// The driver is to look at what this flag says.
void set_for_driver(std::atomic<bool> Helper::*flag)
{
	Helper *h = running();
	if (h == nullptr)
		return;
	(h->*flag).store(true, mo::seq_cst);
	h->wakeup.call();
}

} // namespace

void look_at_streams()
{
	order_changes.notify(INT_MAX);
	if (driver_ops.on_thread()) {
		driver_ops.look_later();
		return;
	}
	set_for_driver(&Helper::look);
}

void look_at_syncs()
{
	order_changes.notify(INT_MAX);
	set_for_driver(&Helper::look_at_syncs);
}

void wake()
{
	if (Helper *h = running())
		h->wakeup.call();
}

void ask_for_worker(Helper *h)
{
	h->want_worker.store(true, mo::seq_cst);
	h->wakeup.call();
}

bool start_background(Post *p, void *context)
{
	Helper *h = running();
	if (h == nullptr)
		return false;
	*p = {nullptr, MessageType::background, context};
	post(h, p);
	return true;
}

uint32_t post_and_wait(MessageType type, void *object, Reply *reply)
{
	Helper *h = running();
	if (h == nullptr)
		return 0;
	// The reply is on the caller's stack: no handler may leave it by a longjmp meanwhile.
	BlockSignals blocked;
	reply->post = {nullptr, type, object};
	post(h, &reply->post);
	uint32_t a;
	while ((a = reply->answer.load(mo::acquire)) == 0)
		futex_wait(reply->answer, 0, nullptr);
	return a;
}

uint32_t ask(RegionReply *reply)
{
	return post_and_wait(MessageType::region, reply, reply);
}

uint32_t ask(RightsReply *reply)
{
	return post_and_wait(MessageType::rights, reply, reply);
}

bool run_inside(Errand *errand)
{
	Helper *h = get();
	if (h == nullptr)
		return false;
	if (own == nullptr && h->private_table())
		return post_and_wait(MessageType::errand, errand, errand) != 0;
	errand->run(errand);
	return true;
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
	// The parent's threads are not here, and their table is not, either.
	current.store(nullptr, mo::relaxed);
	launched = nullptr;
	starting.reset();
	order_changes.reset();
	own = nullptr;
	closings.after_fork();
}

void close_in_child()
{
	if (Helper *h = current.load(mo::relaxed); h != nullptr)
		helper::close_in_child(&h->files);
}

} // namespace sigevec::helper
