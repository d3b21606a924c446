// SPDX-License-Identifier: MIT
//
// The ring of a channel made with EC_SINGLE: one-call requests go from the program's thread to the
// kernel, and their ends from the kernel to the reader, with nothing in between.
//
// The ring (ring_enter.cpp) is SINGLE_ISSUER and DEFER_TASKRUN: it belongs to the thread that
// used the channel first, and runs nothing on it but in our calls. When another thread takes the
// channel over, the ring is refused, or the program has closed it, the channel goes on without one:
// what is outstanding is submitted again the ordinary way (ring_detach.cpp). Nothing is lost by
// that, for no operation in the ring has done a part of its work that it has not reported: a send
// or receive is repeated here until it is whole.
//
// Order: a queue for each descriptor and direction, one operation of it in the ring at a time. An
// idle queue asks nothing about the descriptor; one that is not asks whether the number still is
// the file it was (fd_queue.cpp).
//
// All of this belongs to one thread at a time, by the program's promise: nothing is locked. Others
// only push (push.cpp), and may end the channel: Channel::inside says that the owner is in a call,
// after which it takes the ring apart itself.
#pragma once

#include "base/own_ring.hpp"
#include "base/queue.hpp"
#include "channel/channel.hpp"
#include "config.h"
#include "request/request.hpp"

#ifdef HAVE_LIBURING
#include <cerrno>
#include <liburing.h>

namespace sigevec::ring_channel {

// A file that is held for operations that need it for longer than one submission
// (fd_ref.cpp).
struct FdRef {
	int place; // among the ring's registered files
	unsigned users;
	uint64_t dev, ino;
};

struct BufferGroup;

// What an operation has to do with a region (multishot_recv.cpp).
struct OfRegion {
	// A send out of a piece, an armed socket, one that is so no more, an arrival, one that is
	// the program's.
	enum class Region : uint8_t { none, send, armed, disarmed, arrival, given };
	Region use;
	bool starved;  // armed: there was no piece for what comes
	bool parked;   // an arrival, or the end after it, for which the channel has no credit
	bool unwanted; // armed: by whoever ends the association; atomic
	uint16_t region;
	uint32_t unit;  // send: of its piece
	uint64_t place; // armed: of its association
	BufferGroup *group;
};

// The file of an operation beside its number.
struct FileOfOperation {
	int pinned;  // a place among the registered files until the submission; or -1
	FdRef *held; // instead of fd, or nullptr
	uint64_t dev,
		ino; // of one that may go on elsewhere: what fd was at the call; ino 0: not known
};

// What an accept is at (ring_accept.cpp).
struct OfAccept {
	bool multishot;
	bool polling; // it waits until there is something; else it takes what there is
	bool starved_of_credit;
};

struct RingOperation : KeptOperation, OfRegion, FileOfOperation, OfAccept {
	enum class State : uint8_t { free, waiting, in_ring, ready };
	RingOperation *next; // behind it in its queue; in the list of what is free or ready
	void *data;
	ssize_t result;
	int fd;
	State state;
	bool closed; // fd was no descriptor when it was called
	bool stream; // with MSG_WAITALL
	bool once;   // tried without waiting; the rest is handed over
	bool cancelled;
	uint8_t attempts; // to cancel it
	bool detached;    // its queue is another file's now
	bool again;       // a connection that had begun before
};
static_assert(sizeof(RingOperation) <= 176);

using FdQueue = Queue<RingOperation>;

struct FdState {
	FdQueue queue[2];    // outwards, inwards
	uint64_t dev, ino;   // what it was when it was last looked at; ino 0: not known
	bool handed_over[2]; // what of each direction is now with the driver, in its order
};

struct RingState;

// What its number is known by.
struct RingNumber {
	std::atomic<RingState *>
		*claim;    // whose ring the number was last, as far as the library knows
	uint64_t dev, ino; // what the number is known by besides
};

// Its table of registered files.
struct RingFiles {
	unsigned pinned; // files
	unsigned files;  // places in its table of registered files, or 0
	unsigned next_file;
	uint64_t *used_files; // one bit each
};

// Arrivals into regions.
struct RingRegions {
	BufferGroup *buffer_groups;
	uint16_t last_group;
	bool no_buffer_groups;       // the kernel cannot
	Queue<RingOperation> parked; // what is so
};

// How its owner sleeps, and is woken.
struct RingWakeup {
	bool words;      // it can sleep on a word: the kernel knows futexes
	bool listening;  // it does so, for others that wake its owner
	bool armed;      // the kernel signals the wakeup
	bool may_ring;   // it may have done so
	bool watching;   // it polls the channel's inner instance
	int wakeup_fd;   // the number it was given
	int coalesce_fd; // with ec_moderate: the eventfd that the kernel signals instead of the
			 // wakeup (channel/moderation.hpp); or -1
};

// What is known of descriptors, and the operations.
struct RingOperations {
	FdState *fd_states;
	uint32_t fd_count;
	RingOperation *free;
	Queue<RingOperation> ready;
	struct Chunk *chunks;
};

struct RingState : RingNumber, RingFiles, RingRegions, RingWakeup, RingOperations {
	OwnRing ring;
	bool ending;
	bool accept_starved; // there may be an accept that waits for a credit
	uint64_t owner;
	bool from_device; // with ec_busy_poll: it has received from a device that the kernel can
			  // poll
	bool checked;     // this read has seen that the program has not closed the descriptor
	uint32_t in_ring;
	unsigned cancels; // of single operations, whose answers will come
	unsigned unsafe; // prepared, with a number that may be another file's before the submission
};

constexpr unsigned chunk_size = 64;
struct Chunk {
	Chunk *next;
	RingOperation v[chunk_size];
};

// ---- ring_submit.cpp

// Starts an operation whose event has a credit. Returns 0 or EAGAIN.
int start(Channel *c, const Call &call);

// ---- ring_events.cpp

// Takes the ends of operations.
unsigned take(Channel *c, event_data_t *v, unsigned max);

// ---- ring_setup.cpp

// Of a ring; beyond, the kernel keeps them in a list.
constexpr unsigned room_for_completions = 4096;
// What is told of in the ring beside operations, by user_data.
constexpr uint64_t wake_tag = 1, cancel_tag = 2, reader_fds_tag = 3;
// An operation's with this: its cancellation.
constexpr uint64_t cancel_mark = 1;

// Of threads, none of which has the number of another, even after its end.
uint64_t this_thread();
// Whether c has a ring that is this thread's. Any thread may ask: who is not the owner never reads
// its own number there, which only the owner writes.
inline bool is_own(const Channel *c)
{
	return c->ring_owner.load(mo::relaxed) == this_thread();
}
// A ring for the calling thread. nullptr: refused; the channel goes on without.
RingState *make(Channel *c);
// Closes it, and frees what is the ring's.
void give_up_ring(RingState *s);
// Its `wake', and its inner instance if it has one (channel/reader_fds.hpp).
void listen_for_others(Channel *c, RingState *s);
void listen_inside(Channel *c, RingState *s);
// Has the kernel poll the network device of this socket, if there is one that can be polled.
void note_device(Channel *c, RingState *s, int fd);
// That it polls them for so long, 0: no more. False: the kernel refuses.
bool poll_devices(RingState *s, uint32_t microseconds);
// The wakeup is another one now. False: the kernel refuses.
bool change_wakeup(Channel *c, RingState *s);

// ---- ring_wait.cpp

// Hands what was prepared to the kernel; with wait sleeps until something has ended. 0 or -errno.
int enter(Channel *c, bool wait, const Deadline &deadline);
// For a channel with ec_moderate, after the first event: until it is time. 0 or -errno.
int gather(Channel *c, const Deadline &deadline);
// As enter() with wait, and until it is time.
int await(Channel *c, const Deadline &deadline);
// ec_busy_poll: looks for an event, without the kernel. 1: something has come; 0; -EINTR: a signal.
int look(Channel *c, const Deadline &deadline);

// ---- ring_end.cpp

// Frees everything. The operations are lost.
void dispose(Channel *c);
// Of a ring with nothing in it only the ring remains.
void forget_use(RingState *s);

// ---- ring_enter.cpp

// Of a new ring, for the calling thread. False: refused.
bool open_ring(RingState *s, unsigned entries, unsigned completions);
// Unmaps it, and closes its number if that is still the ring's.
void close_ring(RingState *s);
// Whether its number is still the ring's: before every call that takes the number.
bool has_number(const RingState *s);
// Never nullptr: what is prepared in a ring that is lost goes nowhere.
struct io_uring_sqe *get_sqe(RingState *s);
// Hands what was prepared to the kernel; takes what has ended; waits for `count' completions, at
// most for rest. 0 or more, or -errno.
int submit(RingState *s);
int submit_and_look(RingState *s);
int submit_and_wait(RingState *s, unsigned count, const struct __kernel_timespec *rest);

// ---- fd_ref.cpp

constexpr unsigned most_pinned = 256;

// Holds its file, together with another operation's (nullptr: by itself). False: no room or memory.
bool hold(RingState *s, RingOperation *o, const RingOperation *other);
void let_go(RingState *s, RingOperation *o);
// Holds its file until the next submission. False: then that has to be now.
bool pin(RingState *s, RingOperation *o);
// By the submission: prepares that those are let go, if there is room for it; afterwards.
bool prepare_to_let_go(RingState *s);
void let_go_of_pinned(RingState *s, bool prepared);
// Tells the kernel which file o is about, after the rest has been prepared.
void name_file(RingState *s, struct io_uring_sqe *sqe, RingOperation *o);
// A number in the program's table that is o's file, or -1: there is none any more.
int number_of_file(const RingOperation *o);

// ---- ring_operation.cpp

void start_in_ring(RingState *s, RingOperation *o);
void cancel_in_ring(RingState *s, RingOperation *o);
// The same for one that has waited or goes on: ends it if its descriptor has been closed.
void restart(RingState *s, RingOperation *o);
// The end of an operation: into the list.
void finish(RingState *s, RingOperation *o, ssize_t result);
// Moves what the ring tells to the list of ends.
void reap(Channel *c);

void put_ready(RingState *s, RingOperation *o);

// ---- ring_accept.cpp

// Before an accept is started: what it is to begin with, and its file.
void prepare_to_accept(RingState *s, RingOperation *o);
// The entry for what it is at; the file is named by the caller.
void prepare_accept(struct io_uring_sqe *sqe, const RingOperation *o);
// What the ring tells of it.
void accept_ended(Channel *c, RingState *s, RingOperation *o, ssize_t n, unsigned flags);
// Accepts that wait for a credit try again.
void accept_step(Channel *c, RingState *s);
// Takes the operation, with its credit, that the next connection would end; or nullptr.
RingOperation *take_reserved(RingOperation *o);
// Of an accept, or a connection of one, whose event nobody has read.
void close_accepted(const RingOperation *o);

// ---- multishot_recv.cpp

// Arms an associated socket, whose last event has a credit. 0; -1: not in this ring.
int arm_socket(Channel *c, const Call &call);
// What the ring tells of an armed socket.
void completed(Channel *c, RingState *s, RingOperation *o, ssize_t n, unsigned flags);
// What has been waiting for a credit goes on.
void region_step(Channel *c, RingState *s);
// Ends armed sockets whose associations others have ended.
void look_for_unwanted(RingState *s);
// The end of an armed socket: after what has arrived.
void put_last(RingState *s, RingOperation *o);
// The end of an operation's use of a region.
void region_ended(RingState *s, RingOperation *o, ssize_t result);
// An arrival becomes the program's piece; what its event tells.
void give_arrival(RingOperation *o);
void describe_region(const RingOperation *o, event_data_t *d);
// For the same on the ordinary way.
void call_region(RingOperation *o, Call *call);
// False: its socket or association is gone.
bool still_armed(const RingOperation *o);

// ---- ring_detach.cpp

// Goes on, or ends, the ordinary way, with a credit for its event beside its own.
void submit_again(Channel *c, RingOperation *o);
// What has to wait in another way than the ring's goes on the ordinary way.
void hand_over(Channel *c, RingOperation *o);
// The same of a poll, which is in no order.
void hand_over_poll(Channel *c, RingOperation *o);
// Another thread has the channel now: goes on without the ring.
void leave(Channel *c);

// ---- fd_queue.cpp

bool grow(RingState *s);
RingOperation *make_operation(RingState *s, const Call &call);
void free_operation(RingState *s, RingOperation *o);
// Puts o into its queue. True: it is the first, and is to be started. False: it waits. EAGAIN
// through *error: no memory; cannot_be_held: it would have to wait there, and the ring has no place
// for its file.
constexpr int cannot_be_held = ENFILE;
bool enter_queue(Channel *c, RingOperation *o, int *error);
// It has ended, or been cancelled. Returns the one that stands first now and is to be started, or
// nullptr.
RingOperation *leave_queue(RingState *s, RingOperation *o);
// Whether the number of an operation that goes on is still its file.
bool still_there(RingState *s, const RingOperation *o);
FdState *fd_state(RingState *s, int fd);
constexpr int most_numbers = 1 << 20; // the system's limit; beyond it there is no descriptor
// Whether there is a place for what is known of a number, not negative and below that. False: no
// memory.
bool has_place(RingState *s, int fd);
bool look_at(int fd, uint64_t *dev, uint64_t *ino);

template <class F> void each(RingState *s, F f)
{
	for (Chunk *k = s->chunks; k != nullptr; k = k->next)
		for (RingOperation &o : k->v)
			if (o.state != RingOperation::State::free)
				f(&o);
}

} // namespace sigevec::ring_channel

#endif // HAVE_LIBURING

namespace sigevec::ring_channel {

// For an ev_* call. -1: not for a ring, the ordinary way is to be taken; else 0 or the errno of the
// call.
int submit(const Call &call);
// As channel::next, for the owner; -1 through *handled false: the channel has no ring.
int next(Channel *c, event_data_t *v, unsigned max, bool wait, const Deadline &deadline,
	 bool *handled);
// Hands over what was kept.
void flush(Channel *c);
// ev_cancel: how many operations were found.
unsigned cancel(Channel *c, const void *data);
// Events that have arrived and are not read, if the caller is the owner.
unsigned arrived(Channel *c);
// The channel has got descriptors that its readers read (channel/reader_fds.hpp): the ring wakes
// its owner for them. By the owner.
void watch(Channel *c);
// The channel ends: no operation touches the program's memory after this.
void end(Channel *c);
// ec_moderate and ec_busy_poll have been called: the ring, if there is one, goes by them, or is
// left.
void moderate(Channel *c);
void busy_poll(Channel *c);
// An association ends, with its lock held, for which this is armed.
void end_armed(Channel *c, void *armed);
// In a child of fork, that may never call the library: lets go of the parent's ring.
// Async-signal-safe.
void close_in_child(Channel *c);
// The same with rings that no channel has (ring_spare.hpp).
void close_spares_in_child();

} // namespace sigevec::ring_channel
