// SPDX-License-Identifier: MIT
//
// How a file gets from the program's table of descriptors into the helper's, and back.
//
// A request that cannot be carried out at once must hold the file it was submitted on. A dup() in
// the program's table would hold it too, but it would use up the program's numbers, a program that
// closes all its descriptors would close it, its close() would release the program's POSIX record
// locks on the file, which belong to process and inode, and a child of fork would have it. So the
// submitter makes a HandOver, in memory, and waits; a thread of the helper's takes the file out of
// the submitter's table (pidfd_getfd) and answers. 5 µs of the caller's processor time, 10 until it
// returns, where SCM_RIGHTS took 8 and 15, and needed a socket in the program's table that a child
// could write to, and a place among the descriptors in flight of a whole user. Where the kernel can
// nobody waits: runtime/mailbox.hpp.
//
// Where the kernel or a seccomp filter refuses pidfd_getfd, the submitter sends the file over a
// socketpair beside the offer (the courier). What comes over it is believed only with the process's
// own credentials, which the kernel attaches, and the hand-over's number. Of a filter that comes
// later the first offer tells: then the helper opens a door, a socket with a name and no number in
// the program's table, to which submitters send from sockets that they make for the call. Others
// may knock, too; what they send is thrown away.
//
// Lifetimes: a HandOver is on the submitter's stack, and is not touched after its answer. The
// submitter blocks signals, so that no handler leaves it by a longjmp.
#pragma once

#include "base/sync.hpp"
#include "runtime/mailbox.hpp"
#include "runtime/post.hpp"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

namespace sigevec::helper {

struct Helper;

// At once, in one offer.
constexpr unsigned most_handed_over = 64;

struct HandOver {
	Post post;
	MessageType type;     // request, job, file_queue; or hold: the number is all that is wanted
	void *const *objects; // whose files they are
	const int *numbers;   // in the submitter's table
	int *files;           // the answer: in the helper's table, or -errno
	unsigned count;
	pid_t thread;      // the submitter
	bool sent = false; // by the courier
	uint64_t sent_as = 0;
	enum Answer : uint32_t { none, slept_for, given };
	std::atomic<uint32_t> answer{none};
};

// How files come; set up with the helper.
struct Files {
	enum class Way : uint8_t {
		none,
		fetch,   // pidfd_getfd
		courier, // SCM_RIGHTS
		shared,  // the helper's table is the program's: dup
	};
	// How the helper comes by a table of its own; in what is left of one that failed, how the
	// next is to.
	enum class Table : uint8_t { left, apart, programs };
	std::atomic<Way> way = Way::none; // fetch becomes courier when a filter says so
	Table table = Table::left;
	int process = -1;            // in the helper's table: a pidfd of the process
	int courier_tx = -1;         // in the program's table
	int courier_rx = -1;         // in the helper's table
	uint64_t courier_cookie = 0; // what courier_tx was when it was made
	uint64_t sent = 0;           // with `sending' held
	// The door: courier_rx is it. Written before `way' becomes courier, with `opening' held.
	struct sockaddr_un door;
	socklen_t door_length = 0; // 0: there is none
	uint64_t door_network = 0; // names are a network namespace's own
	Mutex opening;
	Mutex sending;
	Mailbox mailbox; // where they come without their submitter waiting
};

// By the helper's first thread: leaves the program's table for an empty one, and finds a way for
// files. False: there is none but by a courier, and none has been made; or it cannot leave the
// table.
bool set_up_files(Files *f);
// In the program's table, before the helper's thread is started. False: errno.
bool make_courier(Files *f);
// After that, if the thread has left the table.
void leave_courier(Files *f);
void discard_courier(Files *f);

// By the submitter, before the offer is seen. 0, then the answer must be waited for; or -errno:
// nothing has been sent.
int send_along(Files *f, HandOver *o);
void sent_along(Files *f, const HandOver *o);
// Whether it is worth while to make the answered offer once more: another way has been found.
bool hand_over_again(const Files *f, const HandOver *o);
// Looks for the answer for a moment, where that has paid lately, and sleeps until it is there.
void wait_for_answer(HandOver *o);

// By a thread of the helper's: takes the files and answers, after which the offer is gone; its
// files and objects are in the caller's arrays.
struct Taken {
	MessageType type;
	unsigned count;
	void *objects[most_handed_over];
	int files[most_handed_over];
};
void take(Files *f, HandOver *o, Taken *t);
// The same of what has that number now in the process's table, or -errno.
int take_by_number(const Files *f, int number);

// In a child of fork: what the program's table holds of the parent's is closed, if it still is what
// it was. Async-signal-safe.
void close_in_child(Files *f);

} // namespace sigevec::helper
