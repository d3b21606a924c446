// SPDX-License-Identifier: MIT
//
// An endpoint, its peers, and what is under way between them.
//
// The library's thread (fabric/thread.hpp) does all that libfabric is called for. Callers leave an
// Op with the endpoint and wake the thread; a message that a peer has room for is taken at once, so
// that sio_sendto does not wait for the thread. Messages come into buffers of the endpoint's
// (Slot), where they lie until the program receives them: only then is it known which region they
// go to, and the peer may send another one.
//
// Lifetimes: Endpoints are used again but never freed; Peers live as long as their endpoint is
// open; an Op until the provider has let go of it, however its request has ended. Locks: `lock'
// protects all of it but the provider's objects, which are the thread's; the core's functions are
// called under it, which take no lock that is held when this library is called.
#pragma once

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "fabric/protocol.hpp"
#include "fabric/provider.hpp"
#include "remote/interface.hpp"
#include "sigevec/fabric.h"

#include <atomic>
#include <cstdint>

namespace sigevec::fabric {

// With its header what providers send at once, without asking the other side for room first.
constexpr uint32_t largest_message = 16000;
constexpr uint32_t window = 8; // messages of a peer's that nobody has received
constexpr uint32_t most_peers = 8192;
constexpr uint32_t offered_slots = 16;   // that the provider has at any time
constexpr uint32_t most_replies = 16384; // to a peer, that it does not take

// First in, first out, by `next'.
template <class T> struct List {
	T *first = nullptr, *last = nullptr;
	bool empty() const { return first == nullptr; }
	void push(T *t)
	{
		t->next = nullptr;
		(first == nullptr ? first : last->next) = t;
		last = t;
	}
	void push_front(T *t)
	{
		t->next = first;
		first = t;
		if (last == nullptr)
			last = t;
	}
	T *pop()
	{
		T *t = first;
		if (t != nullptr && (first = t->next) == nullptr)
			last = nullptr;
		return t;
	}
	List take_all()
	{
		List all = *this;
		*this = {};
		return all;
	}
};

// What libfabric gets as its context, and tells of the end of.
struct Context {
	struct fi_context2 provider; // must be first
	enum class What : uint8_t { op, slot } what;
};

struct Op;
struct Peer;
struct Grant;

// What a put or get is about.
struct Transfer {
	Key key;
	uint64_t offset;
	Grant *grant;
	bool has_grant; // of the peer's session as it is: it is counted there
};

// Where an Op stands: in one list, or among those that the provider has.
struct OpLinks {
	Op *next, *before, *after;
};

struct Destination {
	Peer *peer;
	uint32_t session; // the peer's when the provider got it
	struct sockaddr_storage to;
	socklen_t to_length;
};

// Something to be sent, put or got.
struct Op : Context, OpLinks, Destination {
	enum class Does : uint8_t { control, message, put, get } does;
	bool has_piece, posted, orphan;
	bool unnumbered;  // has not got its place yet: its peer counts it
	Request *request; // or nullptr; it may end before this does
	remote::Held held;
	char *data;   // a piece's, or behind the header
	char *target; // of a get that does not go to its piece: that; or nullptr
	size_t size;
	Transfer transfer;
	Header header; // of a message
	char copy[];   // behind it, of what is small or in several parts
};

// Room for a message that comes.
struct Slot : Context {
	Slot *next, *every; // every: of the endpoint's
	Peer *peer;         // whose message lies in it
	uint32_t size;
	alignas(16) Header header;
	char data[largest_message];
};

// A key of a peer's, about which it has been asked.
struct Grant {
	Grant *next;
	Key key;
	uint64_t number;
	enum class State : uint8_t { asked, valid, revoked } state;
	uint64_t withdrawal; // its number
	uint32_t under_way;
	List<Op> waiting; // for the answer
};

// A life of the peer's, as far as both have agreed on one.
struct Session {
	uint64_t life, hellos, heard_hello; // its; our attempts; the number of its last one
	uint32_t largest, number;           // of bytes in a message; which session this is
};

// Messages of a session, and the room that each side has given the other.
struct Flow {
	uint64_t sent, may_send, received, granted, consumed;
	uint64_t acknowledged; // of those sent, by its last word on that
	uint32_t unnumbered;   // messages before which no other may take a number
	uint32_t kept;         // slots that are the program's
};

// ns, of the thread's clock; 0: never.
struct Times {
	uint64_t heard, asked; // when something came, and when something was asked of it last
	uint64_t since;        // when the greeting began
	uint64_t busy_since;   // when something became outstanding; 0: nothing is
	uint64_t probed;       // when it was looked at whether anybody listens there
};

struct PeerAddress {
	fi_addr_t address, former; // former: of who had this place before, to be given back
	unsigned char name[most_name];
	uint8_t name_length;
};

// What goes to a peer.
struct Outgoing {
	uint32_t replies;  // in `outgoing'
	List<Op> outgoing; // to be given to the provider, in order
	List<Op> waiting;  // for the greeting, or for room
	Op *posted;        // what the provider has, in no order
	Op *orphans;       // and still has of sessions before this one
};

struct Peer : PeerAddress, Outgoing {
	Peer *next;
	enum class State : uint8_t { unknown, greeting, ready } state;
	bool wanted; // somebody waits for room, or for the greeting's end
	int error;   // of what was taken from callers and lost: the next one is told
	Session session;
	Flow flow;
	Times when;
	int probe;   // the socket by which that is just asked, or -1
	Slot *early; // messages that have overtaken one before them, in no order
	Grant *grants;
};

struct Asker {
	Asker *next;
	Peer *peer;
	uint64_t life;
	bool told; // that the key is withdrawn, and has not answered
};

// Memory that peers may use.
struct Export {
	Export *next;
	Key key;
	struct fid_mr *mr;
	remote::Held held;
	Asker *askers;
	uint64_t withdrawal;         // its number; 0: it is valid
	uint64_t until;              // ns: when nobody's answer is waited for any more
	std::atomic<uint32_t> *done; // whoever waits for the end; or nullptr
};

} // namespace sigevec::fabric

namespace sigevec::remote {

// Room for what comes, and what has come.
struct Slots {
	fabric::Slot *every_slot;
	fabric::List<fabric::Slot> arrived, idle; // idle: that the provider has no room for yet
	uint32_t given;                           // to the provider
};

// Calls that wait for a message. Who is woken for one takes it a moment later, so the program's
// descriptor is not told of that one, unless nobody comes for it.
struct Receivers {
	std::atomic<uint32_t> came; // changes when one of them is to look
	// woken: of those that wait, they have not returned yet. to_wake: of those, by the thread,
	// once it has released the lock.
	uint32_t waiting, woken, to_wake;
	// Since when a message lies there for one that was woken, and how many had been received
	// by then.
	uint64_t untold, received;
};

// What only the thread uses.
struct EndpointOfThread {
	fabric::Provider provider;
	int inner; // the other end of the program's descriptor, in the thread's table
	bool said_good_bye, over;
	uint64_t ends; // ns: when a closing one stops to care for what is under way
};

// Which one it is, to its peers.
struct EndpointName {
	uint64_t life;
	unsigned char name[fabric::most_name];
	size_t name_length;
};

struct Endpoint : EndpointOfThread, EndpointName {
	Endpoint *next;
	enum State : uint32_t { unused, opening, open, closing };
	std::atomic<uint32_t> state;

	Mutex lock;
	int region; // or -1
	uint32_t largest;
	fabric::Peer *peers;
	fabric::Export *exports;
	fabric::List<fabric::Op> submitted;
	Slots slots;
	Receivers receivers;
	bool readable; // the program's end has been told
	bool told;     // so has somebody, since the last round
	uint64_t numbers;
	struct fabric_stat figures;
	std::atomic<uint32_t> changes; // of what callers wait for
	std::atomic<uint32_t> change_waiters;
};

} // namespace sigevec::remote

namespace sigevec::fabric {

using remote::Endpoint;

// Everything below with the endpoint's lock held, by the thread unless it says otherwise.

// ---- endpoint.cpp

// By the thread, without the lock. 0 or an errno.
int open(Endpoint *e, const provider::Address &a);
void close(Endpoint *e);
// What a round has brought.
struct Round {
	bool more; // there may be more to do at once
	bool told; // a caller has been told of something
};
Round step(Endpoint *e);
// ms until the next round that nothing asks for; -1: for ever.
int longest_sleep(Endpoint *e);
void finish(Op *o, ssize_t result); // its request; o stays
void free_op(Op *o);
void changed(Endpoint *e); // any thread
// Until that, or the limit. 0 or an errno of futex(2). Any thread, without the lock.
int wait_for_change(Endpoint *e, uint32_t seen, const struct timespec *limit);

// ---- address.cpp

// What stands for the address in find_peer(): it has one form. 0 or an errno. Any thread, without
// the lock.
int read_address(const Endpoint *e, const void *given, size_t length, struct sockaddr_storage *name,
		 socklen_t *name_length);

// ---- peers.cpp

// That with the name, made if there is none; nullptr: no memory, or too many. Any thread.
Peer *find_peer(Endpoint *e, const struct sockaddr_storage &name, size_t length);
// A message may have its place now. Any thread.
bool has_room(const Peer *p);
void greet(Peer *p);
void begin_session(Endpoint *e, Peer *p, uint64_t life);
// What is outstanding to it ends with the errno, and the session with it.
void lose(Endpoint *e, Peer *p, int error);
void say(Peer *p, Kind kind, uint64_t number, uint32_t result = 0, const Key *key = nullptr);
// Gives to the provider what is to go out. True: something has.
bool pump(Endpoint *e, Peer *p);
// Asks those who are silent, and gives them up.
void look_at_time(Endpoint *e, Peer *p, uint64_t now);
bool something_outstanding(const Peer *p);

// ---- probe.cpp

// What is outstanding waits for so many ns already: an errno if nobody listens there, or 0.
int probe(Peer *p, uint64_t now, uint64_t silence);
void end_probe(Peer *p);

// ---- messages.cpp

// What callers have left.
void accept(Endpoint *e, Op *o);
// Those that have waited, as far as there is room.
void send_waiting(Endpoint *e, Peer *p);
bool give_slots(Endpoint *e);
void arrived(Endpoint *e, Slot *s, size_t size);
// Any thread.
void received(Endpoint *e, Slot *s);
// What nobody has come for becomes the descriptor's. ms until that is to be looked at; -1: never.
int look_at_untold(Endpoint *e, uint64_t now);
// Without the lock. All look.
void wake_receivers(Endpoint *e);

// ---- export.cpp

void asked(Endpoint *e, Peer *p, const Key &key, uint64_t number);
void withdraw(Endpoint *e, Export *x);
void note_revoked(Endpoint *e, const Peer *p, uint64_t number);
void forget_asker(Endpoint *e, const Peer *p);
void remove_asker(Endpoint *e, const Peer *p); // whose memory becomes another's
// Those that nobody uses any more go. True: some wait.
bool end_exports(Endpoint *e, uint64_t now);

// ---- transfer.cpp

void begin_transfer(Endpoint *e, Op *o);
void answered(Endpoint *e, Peer *p, uint64_t number, uint32_t result);
void revoked(Peer *p, const Key &key, uint64_t number);
void transfer_over(Op *o);
void drop_grants(Peer *p, int error);

// The core's table.
extern const remote::Host *host;
extern const remote::Backend backend;

} // namespace sigevec::fabric
