// SPDX-License-Identifier: MIT
//
// An io_context_t of libaio's: a ring of events in memory of the program's, and what is
// outstanding.
//
// The program reads the ring as it reads the kernel's: an event is there from the moment the tail
// says so, without a call, and stays until the head has been moved, by io_getevents or by the
// program. The ring is the program's to write to. Of it only the head is believed, and only as a
// place within it: a program that scribbles over its ring loses that context's events, and nothing
// else.
//
// Who ends a request puts its Operation into the context's inbox, and then into the ring, unless
// another thread, or an interrupted frame of this one, is doing that: then that looks again. So
// nobody waits for a lock in order to end a request.
//
// The memory is mapped twice, for the program and for the library. What the program does to its
// view
// - it may move it by mremap, as the kernel allows, or unmap it - harms nobody else. No child has
// either, unlike the kernel's: it could put events there that name whatever it likes.
//
// A program that has as many events unread as the ring has room for gets EAGAIN for the next
// request; there is always room for those that have been accepted.
//
// Lifetimes: a Context is never freed, so that a stale pointer to one does no harm. It is in use
// while `users' is not 0: one for being in the table of contexts, one for each call and each
// Operation. The last user unmaps both views. Locks: `readers', with all signals blocked, by
// io_getevents; see sleep.hpp and event_signal.hpp for theirs.
#pragma once

#include "base/inbox.hpp"
#include "base/pool.hpp"
#include "base/queue.hpp"
#include "base/sync.hpp"
#include "engine/kaio.hpp"
#include "iocontext/event_signal.hpp"
#include "iocontext/ring.hpp"
#include "iocontext/sleep.hpp"

#include <sys/types.h>

namespace sigevec {
struct Request;
}

namespace sigevec::io {

struct Context;

// One request of a context's. Made by io_submit, given back once its event is in the ring.
struct Operation : Pooled {
	Operation *next; // in the inbox, and behind it

	// Read by io_cancel while the operation may be ending; nullptr: it is none.
	std::atomic<Context *> context;
	std::atomic<uint64_t> object; // the program's iocb
	uint64_t data;
	ssize_t result;
	EventSignal *signal; // of the eventfd that is to be told, or nullptr
	bool poll;
	bool of_file;  // counted in Context::of_files
	bool buffered; // counted in Context::buffered

	// Its place in the order of its file (order.hpp), whose locks protect it.
	struct Place {
		bool ordered, write, waits, released;
		uint64_t dev, ino;
		uint64_t from, to; // bytes of the file
		Links<Operation> links;
		Request *parked;
	} place;
};

// The ring, and how long it is one.
struct MappedRing {
	std::atomic<Ring *> ring{nullptr};    // the library's view
	std::atomic<void *> address{nullptr}; // the program's, as far as is known
	size_t bytes;
	uint32_t size; // of the ring, in events
	std::atomic<uint32_t> users{0};
	std::atomic<bool> dead{false};
};

// The way of what has ended into the ring.
struct Delivery {
	Inbox<Operation> ended;
	std::atomic<bool> delivering{false};
	Queue<Operation> late; // for which the ring had no room: by whoever delivers
	std::atomic<bool> has_late{false};
	std::atomic<uint32_t> tail{0}; // the ring's, which the program could change
};

struct Outstanding {
	std::atomic<uint32_t> outstanding{0}; // accepted, and not in the ring
	std::atomic<uint32_t> of_files{
		0}; // of them, those that the end of the program waits for, and that have not ended
	std::atomic<uint32_t> buffered{
		0}; // of them, transfers of files without O_DIRECT, until they are in the ring
};

struct alignas(64) Context : Pooled, MappedRing, Delivery, Outstanding {
	kaio::Group group;
	Sleepers sleepers;
	EventSignals signals;
	Mutex readers;
};
static_assert(sizeof(Context) <= 320 && sizeof(Operation) <= 128);

// Makes one with room for twice nr events: 0 and the ring, or -errno.
int create(unsigned nr, void **ring);
// The context at an address, in use until release; nullptr: it is none, or none any more. An
// address that is not known is read, if it can be: the program may have moved the ring there.
Context *acquire(void *address);
void release(Context *c);
// Takes it out of the table: whoever does that ends it. False: another thread was quicker. From
// then on nothing is accepted.
bool remove(Context *c);
// Puts into the ring what has ended and is not there yet; of a context that has been removed,
// forgets it.
void deliver(Context *c);

// An Operation, with its place in the ring and its use of the context; nullptr: there is no room,
// or no memory, or the context has been removed.
Operation *reserve(Context *c);
// It has not been submitted.
void give_up(Operation *o);
// It is a transfer of a file without O_DIRECT.
void note_buffered(Operation *o);
// What is accepted with it is carried out, also at the end of the program.
void carry_out(Operation *o);
// Waits for all such operations. Those that are accepted later, by threads that go on, are not
// waited for.
void drain();
// It has ended, with this result: an event. Any thread; async-signal-safe.
void ended(Operation *o, ssize_t result);

// Takes up to `most' events out of the ring: their number, or -EFAULT.
int take(Context *c, struct io_event *events, long most);
// The same with all signals blocked.
int take_blocked(Context *c, struct io_event *events, long most);

// For io_cancel.
uint32_t operations();
Operation *operation_at(uint32_t index);

// In every child of fork: an interrupted frame of its thread may be about to read and write a
// ring, which it has not. Async-signal-safe.
void close_in_child();
// In the child: the parent's contexts are none here.
void after_fork();

} // namespace sigevec::io
