// SPDX-License-Identifier: MIT
//
// Event channels: a bounded queue of events, and a descriptor that is readable as long as it is not
// empty.
//
// The descriptor is an epoll instance that holds one eventfd, the wakeup (wakeup.hpp). The wakeup
// is signalled when the queue stops being empty and drained when it is empty again. Why not the
// eventfd itself: the library would have to write to a number that the program may have closed and
// used again; of an instance it can be told whose it is (own_epoll.hpp), which is how a plain
// close() of a channel is noticed.
//
// Lifetimes: channels live in a pool that never shrinks, so a stale pointer finds a channel,
// perhaps another one. A channel is in use as long as `life' is not 0: references of the table and
// of callers, and events that were admitted. Whoever submits takes a credit for the event first;
// reading the event returns it. So the queue needs no memory of its own: an event is the
// Notification of its request.
//
// Locks: `reading', by readers only, after nothing, before nothing. Pushing takes none and is
// async-signal-safe.
#pragma once

#include "base/memory_order.hpp"
#include "base/pool.hpp"
#include "base/sleepers.hpp"
#include "base/sync.hpp"
#include "channel/event.hpp"
#include "channel/own_epoll.hpp"
#include "runtime/stats_file.hpp"
#include "sigevec/ec.h"

#include <atomic>
#include <cstdint>

namespace sigevec {

namespace ring_channel {
struct RingState;
}

// How many events may be on their way: the credits.
struct Admission {
	// Low half: events admitted, outstanding or in the queue. High half: references. 0: free.
	std::atomic<uint64_t> life;
	std::atomic<uint32_t> limit;
	std::atomic<uint32_t> high_water;
	std::atomic<uint64_t> refused;
	// A multishot request waits for a credit.
	std::atomic<bool> credit_waiters;
};

// The descriptors by which it becomes readable, and its ring's owner is woken (wakeup.hpp).
struct WakeupFds {
	uint32_t wakeup_secret; // where the wakeup's count begins, in the high half
	std::atomic<int> wakeup_fd;
	std::atomic<int>
		wake; // an eventfd the ring listens to, signalled while its owner sleeps; or -1
	// Copies of the two in the table of the helper (wakeup.cpp), or -1.
	std::atomic<int> inner_wakeup, inner_wake;
};

struct RingOfChannel {
	// With EC_SINGLE: its ring, once it has been used; and whether it is to have none.
	std::atomic<ring_channel::RingState *> ring_state;
	// Whose that is (ring_channel.hpp), or 0. Other threads look here, and not into the ring,
	// which its owner may end meanwhile.
	std::atomic<uint64_t> ring_owner;
	bool without_ring;
	std::atomic<bool> inside; // its owner is in a call
	// With EC_BATCH, whose owner's it is: requests since the program last handed them over.
	// Who has no right to the channel may call, too: it is a count then, and no more.
	std::atomic<unsigned> kept;
};

struct ReaderFds {
	// An epoll instance of descriptors that readers read themselves (channel/reader_fds.hpp),
	// and its number in the table of the helper, or -1; readers that sleep on the channel's
	// descriptor for it.
	std::atomic<int> inner, inner_copy;
	std::atomic<uint64_t> inner_mark; // how that is known
	std::atomic<uint32_t> inner_sleepers;
	std::atomic<uint32_t> inner_sockets; // how many of them are sockets
};

struct EventQueue {
	// Newest first, pushed to by anyone. A reader turns it round into `oldest', which `reading'
	// guards.
	alignas(64) std::atomic<Notification *> inbox;
	std::atomic<uint32_t> pushed;
	// The wakeup: 0 silent, 1 being signalled, 2 signalled.
	std::atomic<uint32_t> signalled;
	std::atomic<bool> late; // a reader has not waited for a signal that had begun
	// Changes with every push that found a sleeper; waited on by blocked readers.
	std::atomic<uint32_t> wakes;
	Sleepers sleepers;
	// Readers that look for an event for a moment before they sleep; whether the last one of
	// these has seen one.
	std::atomic<uint32_t> lookers;
	std::atomic<bool> attended;

	alignas(64) Mutex reading;
	std::atomic<Notification *> oldest;
	std::atomic<uint64_t> delivered;
	// Arrivals that DMA_LATEST has dropped: since the last event that told of it, and in all.
	std::atomic<uint64_t> overflow, dropped;
};

struct Coalescing {
	// ec_moderate and ec_busy_poll (channel/moderation.hpp): whether anything is to be held
	// back; events and microseconds, 0: not by that; when the first event came that the
	// descriptor does not tell of yet; whether the clock runs for it.
	std::atomic<bool> moderated;
	std::atomic<uint32_t> moderate_events, moderate_time;
	std::atomic<int64_t> first_came;
	std::atomic<bool> clock;
	std::atomic<bool> ring_signalled; // its ring has something, as far as the clock knows
	Channel *next_clock;              // in the list of those for which it runs
	std::atomic<uint32_t> busy_poll;
};

struct Channel : EventQueue, Coalescing, Admission, WakeupFds, RingOfChannel, ReaderFds, Pooled {
	unsigned home; // which pool it is from: that of the creator's NUMA node

	int fd;
	own_epoll::Mark mark; // how fd is known (has_number)
	own_epoll::Anchor anchor;
	std::atomic<unsigned> flags;
	std::atomic<bool> ending; // somebody ends it
	std::atomic<bool> open;

	// Its figures in the statistics file, or nullptr. Fixed for its life.
	stats_file::Channel *figures;
};
static_assert(sizeof(Channel) <= 384); // as for Request (request/request.hpp)

namespace channel {

// What a channel asks of the floors above it, by tables of process/wiring.cpp.
struct Outside {
	// Ends all whose event goes to the channel.
	void (*cancel_all)(Channel *c);
	// A descriptor that its readers read has something (channel/reader_fds.hpp).
	void (*ready)(const Channel *c, uint64_t handle);
	// A socket that its readers receive from has something.
	void (*arrived)(Channel *c, uint64_t handle);
	// A credit is free, for which others than the driver may wait.
	void (*credit_returned)();
};
extern const Outside outside;

// The ring of a channel made with EC_SINGLE: ring_channel/ring_channel.hpp says what each does.
struct RingOps {
	int (*next)(Channel *c, event_data_t *v, unsigned max, bool wait, const Deadline &deadline,
		    bool *handled);
	unsigned (*arrived)(Channel *c);
	void (*end)(Channel *c);
	void (*moderate)(Channel *c);
	void (*watch)(Channel *c);
	void (*end_armed)(Channel *c, void *armed);
	void (*close_in_child)(Channel *c);
	void (*close_spares_in_child)();
};
extern const RingOps ring_ops;

// Returns the descriptor, or -errno.
int create(unsigned flags);

// A reference to the channel that has this descriptor; nullptr: there is none. Notices a plain
// close of it.
Channel *find(int fd);
// The same without a system call: the descriptor may have been closed.
Channel *peek(int fd);
// For the statistics file.
inline void note_pushed(Channel *c, uint64_t n)
{
	if (c->figures != nullptr)
		c->figures->pushed.fetch_add(n, mo::relaxed);
}
// By one reader at a time: with `reading' held, or in the ring's owner.
inline void note_delivered(Channel *c, uint64_t n)
{
	if (c->figures != nullptr)
		c->figures->delivered.store(c->figures->delivered.load(mo::relaxed) + n,
					    mo::relaxed);
}

// Of all channels, in use or not, by a number that may be anybody's; nullptr: there is none.
Channel *at(uint32_t place);
uint32_t place_of(const Channel *c);

// Whether it takes no more events.
bool full(const Channel *c);

// One more reference, by who has a share in its life.
bool keep(Channel *c);
// With the credits of events that were read.
void release(Channel *c, unsigned read = 0);

// True: this caller has ended it; false: another one has. With a reference.
bool destroy(Channel *c);

// A one-call request has been accepted: with EC_BATCH ec_submit will tell of it, whichever way it
// has gone.
inline void count_kept(Channel *c)
{
	if ((c->flags & EC_BATCH) != 0)
		c->kept.store(c->kept.load(mo::relaxed) + 1, mo::relaxed);
}

// Whether the number seems to be a channel's of one thread: a hint, for nothing keeps it.
bool is_single(int fd);

// A credit, for one event of a submission. 0, EBADF or EAGAIN.
// `check': also that the descriptor has not been closed, if there is no event in the queue.
int admit(int fd, Channel **c, bool check = true);
// The same without a check, and a reference.
int admit_and_keep(int fd, Channel **c);
// One more for a request that has one already. False: at the limit; then the driver is
// told when there is one.
bool admit_another(Channel *c);
// The same whatever the limit.
void add_credit(Channel *c);
// The submission was refused after all. Async-signal-safe.
void return_credit(Channel *c);

// The event of n.event has happened: into the queue, with the owner's reference. Async-signal-safe.
void push(Notification &n);
// The same for an event of the program's own, from its own threads, with a reference. False: the
// descriptor has been closed, and the channel is no more.
bool post(Notification &n);

// Arrivals have been dropped: in favour of later ones, or for want of room in a network device's
// region.
void note_dropped(Channel *c, uint64_t count = 1);

// The time of moderation is up: signals if there is something.
void moderation_expired(Channel *c);

// Parts of next(), for ring_channel/ring_events.cpp: what is in the queue, and its descriptor
// afterwards.
unsigned take_queued(Channel *c, event_data_t *v, unsigned max);
bool queue_empty(const Channel *c);
// Whether a reader that finds events is to see if the program has closed the channel: once for all
// that were pushed while nobody waited. Compared with the wakeup, which had to be signalled for
// them, that costs little.
bool worth_a_check(const Channel *c);
// Unless it has been signalled.
void signal(Channel *c);
// known: its descriptor has been looked at in the same call.
void drain(Channel *c, bool known);

// Whether the descriptor is still the channel's. Async-signal-safe; errno is kept.
inline bool has_number(const Channel *c)
{
	return own_epoll::is_anchored(c->fd, c->mark, c->anchor);
}
// The same; ends the channel if not.
bool check_descriptor(Channel *c);
// For a submission: while there are events the descriptor has been signalled, and their reader will
// notice.
bool still_open(Channel *c);

// Takes up to max events, waiting for the first one; their credits are returned with the caller's
// reference. Returns how many, or -errno: -EBADF the channel is no more, -ETIMEDOUT, -EINTR.
int next(Channel *c, event_data_t *v, unsigned max, bool wait, const Deadline &deadline);

// After the limit was raised, or events were read.
void credit_returned(Channel *c);

void stat(Channel *c, struct ec_stat *s);

// In a child of fork, that may never call the library: async-signal-safe. What it has of the
// parent's channels in its table is closed; their own numbers, which the program may close there,
// become instances that hold nothing.
void close_in_child();
void after_fork();

} // namespace channel
} // namespace sigevec
