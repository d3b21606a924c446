// SPDX-License-Identifier: MIT
//
// A request: one asynchronous operation from its submission to its notification.
//
// A request that an engine can carry out within the call never becomes a Request; it stays a Call
// on the stack. All others live in one pool. Lifetimes: a request is born with two references. One
// is the executor's, the engine's that was handed the request, until it lets go. The other is the
// notifier's, whoever publishes the end (the executor or aio_cancel), and goes on to the
// notification until that has been delivered. Whoever changes the state from `queued' to something
// else decides the request's fate; see State (request/life.hpp).
#pragma once

#include "base/chains.hpp"
#include "base/memory_order.hpp"
#include "base/queue.hpp"
#include "channel/event.hpp"
#include "request/life.hpp"
#include "request/use.hpp"
#include "runtime/post.hpp"
#include "runtime/stats_file.hpp"

#include <aio.h>
#include <atomic>
#include <cstdint>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

namespace sigevec {

enum class Op : uint8_t {
	read,
	write,
	fsync,
	fdatasync,
	// Socket calls; with a message where there is more to say than a buffer.
	send,
	recv,
	accept,
	connect,
	poll,  // any descriptor, in no order
	event, // nothing to carry out: an event on its way (ec_post, one of many connections)
};

inline bool is_socket_call(Op op)
{
	return op >= Op::send && op <= Op::connect;
}

// Towards the program: the direction of a stream, and what may be cancelled while it waits.
inline bool is_inward(Op op)
{
	return op == Op::read || op == Op::recv || op == Op::accept || op == Op::poll;
}

// What a descriptor is, as far as engines care.
enum class Kind : uint8_t {
	file,      // regular file, block device, /dev/zero: positional, never "no data yet"
	memory,    // regular file of tmpfs or ramfs: the same, and never a wait for a device
	pool,      // a pool of the kernel module: positional, and copied by the kernel meanwhile
	socket,    // a stream: may have to wait for data or room
	fifo,      // the same: pipe or FIFO
	device,    // the same: terminals, /dev/null, ...
	anonymous, // the same without an inode of its own: eventfd, timerfd, ...
};

inline bool is_stream(Kind k)
{
	return k >= Kind::socket;
}

// The descriptor at submission.
struct Descriptor {
	int fd;
	int flags; // F_GETFL
	Kind kind;
	uint64_t dev, ino;
	uint64_t mount; // which the kernel never gives again; 0: it does not say
	uint64_t birth; // of the file, in ns: inode numbers are given again; 0: not known
	off_t size;     // regular files
	// What is not a plain call may end before the file does: it is on FUSE.
	bool plain_calls_only;
	// No other file has its inode number.
	bool exact_inode;
	// A write within its size needs no room on the device and takes no bit away, so that it is
	// no matter who makes it.
	bool written_in_place;
	uint32_t type; // S_IFREG and its like
};

// Memory that belongs to a request. Freed through `next' when that happens where free() may not be
// called.
struct Block {
	Block *next;
};

// A vector, copied at submission.
struct Vector : Block {
	int count;
	struct iovec v[];
};

// Descriptors that have come with a message, and which files they were.
struct Received : Block {
	unsigned count;
	struct {
		int fd;
		uint64_t dev, ino;
	} v[];
};

// What a socket call says beside its buffers, copied at submission.
struct Message : Block {
	Received *received;    // or nullptr
	struct msghdr header;  // as the kernel gets it; the buffers are put in for each attempt
	struct msghdr *result; // the caller's, for what recvmsg tells there; or nullptr
	struct sockaddr_storage address; // the destination
	struct iovec buffer;             // for a request without a vector
};

// What is asked of the kernel, and how much of it is done: the part that a Call, a Request and an
// operation of a channel's ring share.
struct Operation {
	Op op;
	int call_flags; // of a socket call; the events of a poll; RWF_* of a write
	void *buf;
	size_t len;  // bytes in all
	size_t done; // of len: what has been transferred
	off_t offset;
	uint64_t begun; // when, in ns, if it is timed (request/stats_detail.hpp); or 0

	bool is_read() const { return is_inward(op); }
	bool is_sync() const { return op == Op::fsync || op == Op::fdatasync; }
	// A read or write of no bytes. What a device makes of it is its own affair.
	bool of_nothing() const { return len == 0 && (op == Op::read || op == Op::write); }
};

// The same with copies of what the caller may change once its call has returned.
struct KeptOperation : Operation {
	Vector *vector; // or nullptr: buf
	Message *message;
};

struct Batch;
struct HeldFile;
struct Request;
struct Channel;
namespace driver {
struct Stream;
}

// Carries a request out as its caller (engine/carrier.hpp).
struct Carrier {
	void (*let_go)(Request *r); // it is not needed any more
};

// A thread with the caller's table of descriptors (engine/program_thread.hpp).
struct TableThread {
	void (*let_go)(TableThread *t); // one request less needs it
	void (*join)(TableThread *t);   // one more; somebody does already
	// Closes what r has received there, and nobody will read of (events.cpp), and drops a
	// reference of r's. Async-signal-safe.
	void (*close)(TableThread *t, Request *r);
};

// One request as the caller described it.
struct Call : Operation {
	struct aiocb *cb; // nullptr: an ev_* call
	int fd;
	const struct iovec *vector; // the caller's, or nullptr
	int vector_count;
	Event event;
	Batch *batch; // the list it belongs to, or nullptr
	int shown_fd; // when fd is a duplicate: 1 + what the event is to say; else 0
	bool multishot;
	bool beside;            // a worker copies it, though it could be copied in the call
	struct msghdr *message; // address and control data of a socket call, on the caller's stack;
				// or nullptr
	struct msghdr *result;  // where recvmsg's results go, or nullptr
	dma::Use dma;           // of a region
};

// Whether a request stands in request/index.hpp. What has ended once does not come back.
enum class Indexed : uint8_t { no, yes, no_more };

// Which file a request is for.
struct FileOfRequest {
	std::atomic<uint64_t> dev, ino;     // as Sought::fd
	bool plain_calls_only, exact_inode; // as in Descriptor
	bool told_by_inode;    // every open file of its inode and flags has the same bytes
	off_t size;            // of the file at submission
	uint64_t mount, birth; // as in Descriptor
	uint32_t generation;   // of its inode, where the birth does not tell; or 0
	// The descriptor in the helper's table (runtime/helper.hpp), or -1. Owned by the executor.
	int file;
	HeldFile *held; // whose file that is, with others (engine/held_files.hpp); or nullptr
};

// What the driver has of a request that stands in a stream.
struct InStream {
	// The stream, or nullptr, and its place there.
	driver::Stream *stream;
	Links<Request> in_stream;
	// For the driver: who waits to hear whether the ring could cancel it; whether the ring only
	// says when it is ready; of a multishot request, what will tell of the next connection. A
	// connect that is polled has begun.
	void *cancel_reply;
	bool polled;
	Request *connection;
	// Whether it has waited for data or room, and until when it may (monotonic ns; 0: for
	// ever).
	bool waited;
	uint64_t deadline;
};

// A request that is with a worker, or of which the driver is to let go.
struct ByWorker {
	// Of a call that a worker makes for the driver: whether it does; that worker, or 0; that it
	// is to end with ECANCELED if nothing of it has been done; that it is only to see whether
	// it has to wait; that it may wait for as long as it likes, beside the limit for workers.
	bool by_worker;
	std::atomic<pid_t> worker;
	std::atomic<bool> stop;
	bool briefly, may_wait;
	// As in Call: more of its kind are expected soon.
	bool beside;
	// The generation that is to end at the next occasion: it could not be cancelled a moment
	// ago.
	std::atomic<uint64_t> unwanted;
	// How the driver is told to look at it; while it has yet to, that holds a reference.
	helper::Post unwanted_post;
	std::atomic<bool> driver_notified;
};

struct Dependence {
	// An fsync that must wait for this request: nullptr none, else the fsync;
	// closed_dependent() once this has ended.
	std::atomic<Request *> dependent;
	// In an fsync: how many requests it still waits for, plus one until the driver has it.
	std::atomic<uint32_t> waits_for;
	// The driver's: whether it has this fsync wait; and once it waits no more the next of those
	// for which one call does, or nullptr.
	bool waits_at_driver;
	Request *together;
};

// A request in a kernel-AIO context.
struct InContext {
	std::atomic<int> context; // or -1
	uint8_t paced;            // 1 + the place where it counts as outstanding (pace.hpp), or 0
	// Who sees to it that its context reports it: nobody but who waits for this request; the
	// background thread, in whose `needed' it is counted; its group's waiters (kaio.hpp); both.
	enum class Listener : uint8_t { none, background, waiters, both, ended };
	std::atomic<Listener> listener;
	bool unfinished; // kernel AIO has transferred a part
};

// On its way from one thread to another.
struct HandedOver {
	helper::Post post;
	std::atomic<Request *> next; // in one list at a time: a file queue, of the driver
	ssize_t result; // of what one thread did, on its way to the thread that ends the request
};

// What others look for, while it may be ending: hence atomic. Stable within a generation.
struct Sought {
	std::atomic<struct aiocb *> cb;
	std::atomic<int> fd;
	std::atomic<Channel *> channel; // where its event goes
	std::atomic<void *> data;       // with what
};

struct Request : Sought,
		 KeptOperation,
		 FileOfRequest,
		 HandedOver,
		 InStream,
		 ByWorker,
		 Dependence,
		 InContext,
		 Life {
	// Of a one-call request that is queued (request/index.hpp).
	Hook<Request> of_data;

	Kind kind;
	bool front; // a write of which a part went out within the call: nothing may come between
	bool multishot; // of an event: the result is a new descriptor
	// Descriptors come of it: to be carried out there, where they are to be; or nullptr.
	TableThread *in_program;
	std::atomic<int> flags; // of the file; as Sought
	int shown_fd;           // as in Call
	Carrier *carrier; // that carries it out as the caller (engine/carrier.hpp), or nullptr

	std::atomic<uint64_t> association; // where it waits (dma/association.hpp), or 0
	// The generation while the submitting call has not returned: until then `fd' is the number
	// that was meant.
	std::atomic<uint64_t> in_call;
	dma::Use dma; // of a region
	// That has carried it out, for figures: a canceller may look at it while its executor notes
	// it.
	std::atomic<stats_file::By> engine;
	// It goes on by its number, after its call: whoever takes that file looks whether it is the
	// one that was meant.
	bool by_number;
	Indexed indexed; // by of_data; under the index's lock, since cancellers end it, too
	Notification notification;
	std::atomic<uint8_t> references;

	// The driver keeps it: a transfer on a stream, in order, or a poll.
	bool on_stream() const { return op == Op::poll || (is_stream(kind) && !is_sync()); }
	// It waits for none of the others on its file, nor they for it. A terminal has one write at
	// a time: behind a later one that waits for room a write of nothing would wait, too.
	bool has_no_turn() const
	{
		return op == Op::poll || kind == Kind::anonymous ||
		       (kind == Kind::device && of_nothing() && is_read());
	}
	// Carried out for the driver by a thread that can be interrupted.
	bool is_by_thread() const { return carrier != nullptr || by_worker; }
	// Also by another thread than its executor.
	bool has_begun() const { return __atomic_load_n(&done, __ATOMIC_RELAXED) != 0; }
	bool is_unwanted() const
	{
		return unwanted.load(mo::acquire) == state.load(mo::relaxed) >> 8;
	}
	// Ends with EAGAIN instead of waiting.
	bool nonblocking() const;
	// Its part of the order that submitters see (request/stream.hpp).
	uint32_t stream_word() const;
};

// Their size is a cost of every request: whoever makes one larger measures that.
static_assert(sizeof(Call) <= 232 && sizeof(Request) <= 608);

namespace requests {

// Whether the limit is reached, in which case even what would need no Request is refused.
bool full();

// What a call says beside its buffer, in memory of its own, for free(); nullptr: there is none. c
// has a vector, or a message.
Vector *copy_vector(const Call &c);
Message *copy_message(const Call &c);

// A request in state queued (an event: done), or nullptr (the limit, or no memory).
Request *create(const Call &c, const Descriptor &d);

// What tells of one connection of a multishot request: a request that has nothing to carry out.
// nullptr: no memory, or no credit of the channel; then the driver is told to look when there is.
Request *create_connection(const Request *multishot);
// r is for the file that d is. By who has just made it, or has it alone.
void set_file(Request *r, const Descriptor &d);
// It was not needed.
void discard_connection(Request *r);
// Frees memory where free() may not be called: async-signal-safe.
void free_later(Block *b);

// A request that no engine took: drops both references. False: aio_cancel was quicker and has told
// its end.
bool abandon(Request *r);

extern const EventOps event_ops; // of its notification (events.cpp)
// A connection, or descriptors of a message, in the calling thread's table.
void close_received(Request *r);

// One more reference to a request of which this may be a later life. False: it has ended.
bool keep(Request *r, uint64_t generation);

// Drops one reference; the last one frees the request. Async-signal-safe.
void release(Request *r);

// A request has been cancelled; its executor has yet to let go.
void linger();

// Every request that ever was, for aio_cancel and aio_fsync; also the most that have been
// outstanding at once.
uint32_t size();
Request *at(uint32_t index);

// The value of Request::dependent after the end.
Request *closed_dependent();

void after_fork();

} // namespace requests

} // namespace sigevec
