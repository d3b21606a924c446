// SPDX-License-Identifier: MIT
//
// io_context_t: its ring, the operations that are outstanding, and the events that are put into it.
#include "iocontext/context.hpp"

#include "base/memory_order.hpp"
#include "iocontext/context_table.hpp"
#include "iocontext/user_memory.hpp"
#include "runtime/config.hpp"

#include <cerrno>
#include <sys/mman.h>

namespace sigevec::io {

namespace {

constinit Pool<Context, 4, 4096> pool;
constinit Pool<Operation, 8, config::most_requests / 256> operation_pool;

uint32_t unread(const Context *c, const Ring *r)
{
	uint32_t head = r->head.load(mo::acquire) % c->size;
	return (c->tail.load(mo::relaxed) + c->size - head) % c->size;
}

// ---- ends ----

// False: there is no room, which only a program brings about that has put the head back.
bool put_event(Context *c, Ring *r, const Operation *o)
{
	if (unread(c, r) == c->size - 1)
		return false;
	uint32_t tail = c->tail.load(mo::relaxed);
	r->events[tail] = {o->data, o->object.load(mo::relaxed), o->result, 0};
	uint32_t next = (tail + 1) % c->size;
	c->tail.store(next, mo::release);
	// Release: with the event, for who reads the ring itself.
	r->tail.store(next, mo::release);
	return true;
}

// The program is ending: drain.
std::atomic<bool> draining{false};

void not_of_file(Context *c, Operation *o)
{
	// Nobody sleeps there but at the program's end. seq_cst, as in drain().
	if (o->of_file && c->of_files.fetch_sub(1, mo::seq_cst) == 1 && draining.load(mo::seq_cst))
		futex_wake(c->of_files, INT_MAX);
	o->of_file = false;
}

// Whoever ends the context waits for the last one.
void one_less_outstanding(Context *c)
{
	if (c->outstanding.fetch_sub(1, mo::seq_cst) == 1 && c->dead.load(mo::seq_cst))
		futex_wake(c->outstanding, INT_MAX);
}

void finished(Context *c, Operation *o)
{
	EventSignal *signal = o->signal;
	c->buffered.fetch_sub(o->buffered, mo::acq_rel);
	o->buffered = false;
	o->context.store(nullptr, mo::release);
	operation_pool.give_back(o);
	if (signal != nullptr)
		signal_eventfd(signal);
	one_less_outstanding(c);
}

// By one thread at a time. How many uses of the context have ended with it.
uint32_t deliver_all(Context *c)
{
	for (Operation *o = c->ended.take_all(), *next; o != nullptr; o = next) {
		next = o->next;
		c->late.push(o);
	}
	Ring *r = c->ring.load(mo::relaxed);
	uint32_t n = 0;
	while (Operation *o = c->late.first()) {
		// Of a dead context nobody reads the events.
		if (!c->dead.load(mo::acquire) && !put_event(c, r, o))
			break;
		c->late.pop();
		finished(c, o);
		n++;
	}
	c->has_late.store(!c->late.empty(), mo::relaxed);
	return n;
}

} // namespace

void deliver(Context *c)
{
	do {
		if (c->delivering.exchange(true, mo::seq_cst))
			return;
		uint32_t n = deliver_all(c);
		if (n != 0)
			c->sleepers.wake();
		c->delivering.store(false, mo::seq_cst);
		for (; n != 0; n--)
			release(c);
	} while (!c->ended.empty());
}

int create(unsigned nr, void **ring)
{
	uint32_t events;
	if (int e = events_for(nr, &events); e != 0)
		return e;
	Views views = map_ring(events);
	Ring *r = views.own;
	if (r == nullptr)
		return -ENOMEM;
	BlockSignals blocked;
	Guard<Mutex> g(changing);
	Table *t = roomy_table();
	Context *c = t != nullptr ? pool.take(pool.capacity) : nullptr;
	if (c == nullptr) {
		unmap(views);
		return t == nullptr ? -ENOMEM : -EAGAIN;
	}
	// Whose address it was has been moved, and not been seen since.
	take_out(t, views.of_program);
	r->id = c->index;
	c->bytes = views.bytes;
	c->size = r->size;
	c->tail.store(0, mo::relaxed);
	c->dead.store(false, mo::relaxed);
	c->group.reset();
	c->users.store(1, mo::relaxed);
	c->ring.store(r, mo::release);
	c->address.store(views.of_program, mo::release);
	put(t, c);
	*ring = views.of_program;
	return 0;
}

namespace {

// From 0 nobody comes back: then it has been unmapped, or is about to be.
bool use(Context *c)
{
	uint32_t n = c->users.load(mo::relaxed);
	do {
		if (n == 0)
			return false;
	} while (!c->users.compare_exchange_weak(n, n + 1, mo::acq_rel));
	return true;
}

Context *at_address(const void *address)
{
	Table *t = table.load(mo::acquire);
	std::atomic<Context *> *place = t != nullptr ? find(t, address) : nullptr;
	Context *c = place != nullptr ? place->load(mo::acquire) : nullptr;
	if (c == nullptr || c == &removed || !use(c))
		return nullptr;
	// It may have become another one meanwhile.
	if (c->address.load(mo::acquire) == address && !c->dead.load(mo::acquire))
		return c;
	release(c);
	return nullptr;
}

// The program may have moved its view of the ring there.
bool note_move(Context *c, void *address)
{
	BlockSignals blocked;
	Guard<Mutex> g(changing);
	if (c->dead.load(mo::seq_cst) || !is_view(c->ring.load(mo::relaxed), c->bytes, address))
		return false;
	Table *t = roomy_table();
	if (t == nullptr)
		return false;
	take_out(t, c->address.load(mo::relaxed));
	c->address.store(address, mo::release);
	put(t, c);
	return true;
}

// As the kernel, by the number that the ring says it has.
Context *moved_to(void *address)
{
	auto *r = static_cast<Ring *>(address);
	auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
	if (pool.size() == 0 || reinterpret_cast<uintptr_t>(r) % page != 0 ||
	    !readable(r, sizeof *r) || r->magic != aio_ring_magic || r->id >= pool.size())
		return nullptr;
	Context *c = pool.at(r->id);
	if (!use(c))
		return nullptr;
	if (note_move(c, address))
		return c;
	release(c);
	return nullptr;
}

} // namespace

Context *acquire(void *address)
{
	if (address == nullptr)
		return nullptr;
	Context *c = at_address(address);
	return c != nullptr ? c : moved_to(address);
}

void release(Context *c)
{
	if (c->users.fetch_sub(1, mo::acq_rel) != 1)
		return;
	void *address = c->address.exchange(nullptr, mo::acq_rel);
	// The program may have other memory there by now.
	if (address != nullptr && is_view(c->ring.load(mo::relaxed), c->bytes, address))
		munmap(address, c->bytes);
	munmap(c->ring.exchange(nullptr, mo::acq_rel), c->bytes);
	c->signals.close_all();
	pool.give_back(c);
}

bool remove(Context *c)
{
	BlockSignals blocked;
	Guard<Mutex> g(changing);
	if (c->dead.exchange(true, mo::seq_cst))
		return false;
	take_out(table.load(mo::relaxed), c->address.load(mo::relaxed));
	return true;
}

Operation *reserve(Context *c)
{
	// Whoever removes the context looks at what is outstanding after that.
	uint32_t taken = c->outstanding.fetch_add(1, mo::seq_cst);
	bool room = !c->dead.load(mo::seq_cst) &&
		    taken + unread(c, c->ring.load(mo::relaxed)) < c->size - 1;
	Operation *o = room ? operation_pool.take(operation_pool.capacity) : nullptr;
	if (o == nullptr) {
		one_less_outstanding(c);
		return nullptr;
	}
	o->signal = nullptr;
	o->poll = o->of_file = o->buffered = false;
	o->place = {};
	c->users.fetch_add(1, mo::relaxed);
	o->context.store(c, mo::release);
	return o;
}

void give_up(Operation *o)
{
	Context *c = o->context.load(mo::relaxed);
	not_of_file(c, o);
	if (o->signal != nullptr)
		drop(o->signal);
	o->signal = nullptr;
	finished(c, o);
	release(c);
}

void note_buffered(Operation *o)
{
	o->buffered = true;
	o->context.load(mo::relaxed)->buffered.fetch_add(1, mo::acq_rel);
}

void carry_out(Operation *o)
{
	Context *c = o->context.load(mo::relaxed);
	if (o->of_file || draining.load(mo::seq_cst))
		return;
	o->of_file = true;
	c->of_files.fetch_add(1, mo::acq_rel);
}

void drain()
{
	draining.store(true, mo::seq_cst);
	for (uint32_t i = 0; i < pool.size(); i++) {
		Context *c = pool.at(i);
		while (uint32_t n = c->of_files.load(mo::seq_cst))
			futex_wait(c->of_files, n, nullptr);
	}
}

void ended(Operation *o, ssize_t result)
{
	Context *c = o->context.load(mo::relaxed);
	o->result = result;
	not_of_file(c, o);
	// The operation's use of the context may end with another thread's delivery.
	c->users.fetch_add(1, mo::relaxed);
	c->ended.push(o);
	deliver(c);
	release(c);
}

namespace {

bool has_unread(const Context *c)
{
	const Ring *r = c->ring.load(mo::relaxed);
	// None: the call was interrupted by a handler that has forked, and this is the child.
	return r != nullptr && unread(c, r) != 0;
}

} // namespace

int take(Context *c, struct io_event *events, long most)
{
	if (!has_unread(c) || most <= 0)
		return 0;
	BlockSignals blocked;
	return take_blocked(c, events, most);
}

int take_blocked(Context *c, struct io_event *events, long most)
{
	if (!has_unread(c) || most <= 0)
		return 0;
	Ring *r = c->ring.load(mo::relaxed);
	int n = 0;
	{
		Guard<Mutex> g(c->readers);
		uint32_t head = r->head.load(mo::relaxed) % c->size;
		uint32_t tail = c->tail.load(mo::acquire);
		uint32_t there = (tail + c->size - head) % c->size;
		long count =
			there < static_cast<unsigned long>(most) ? static_cast<long>(there) : most;
		if (count == 0)
			return 0;
		if (!writable(events, static_cast<size_t>(count) * sizeof *events))
			return -EFAULT;
		for (; n < count; n++, head = (head + 1) % c->size)
			events[n] = r->events[head];
		// Release: the places may be written again.
		r->head.store(head, mo::release);
	}
	if (c->has_late.load(mo::relaxed))
		deliver(c);
	return n;
}

uint32_t operations()
{
	return operation_pool.size();
}

Operation *operation_at(uint32_t index)
{
	return operation_pool.at(index);
}

void close_in_child()
{
	for (uint32_t i = 0; i < pool.size(); i++) {
		const Context *c = pool.at(i);
		Ring *r = c->ring.load(mo::relaxed);
		if (r != nullptr && put_empty_memory(r, c->bytes))
			r->head.store(c->tail.load(mo::relaxed), mo::relaxed);
	}
}

void after_fork()
{
	table.store(nullptr, mo::relaxed);
	draining.store(false, mo::relaxed);
	changing.reset();
	for (uint32_t i = 0; i < pool.size(); i++) {
		Context *c = pool.at(i);
		if (Ring *r = c->ring.exchange(nullptr, mo::relaxed))
			put_empty_memory(r, c->bytes);
		c->address.store(nullptr, mo::relaxed);
		c->users.store(0, mo::relaxed);
		c->outstanding.store(0, mo::relaxed);
		c->of_files.store(0, mo::relaxed);
		c->buffered.store(0, mo::relaxed);
		c->ended.take_all();
		c->delivering.store(false, mo::relaxed);
		c->late = {};
		c->has_late.store(false, mo::relaxed);
		c->readers.reset();
		c->signals.lock.reset();
		c->signals.first = nullptr;
		c->sleepers.lock.reset();
		c->sleepers.masked.store(nullptr, mo::relaxed);
		c->sleepers.asleep.store(0, mo::relaxed);
	}
	pool.after_fork();
	for (uint32_t i = 0; i < operation_pool.size(); i++)
		operation_pool.at(i)->context.store(nullptr, mo::relaxed);
	operation_pool.after_fork();
}

} // namespace sigevec::io
