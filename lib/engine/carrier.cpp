// SPDX-License-Identifier: MIT
//
// When a request needs a carrier, how one is made, and who gives it its turn.
#include "engine/carrier_impl.hpp"

#include "base/memory_order.hpp"
#include "base/proc.hpp"
#include "base/socket_option.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "engine/alone.hpp"
#include "engine/rights.hpp"
#include "engine/to_helper.hpp"
#include "engine/transfer.hpp"
#include "interrupt.h"
#include "runtime/copies.hpp"
#include "runtime/helper.hpp"
#include "runtime/thread.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace sigevec::carrier {

namespace {

std::atomic<uint32_t> carriers{0};

OwnThread *of(const Request *r)
{
	return static_cast<OwnThread *>(r->carrier);
}

// ---- what is needed

// Where the bytes are already.
bool overwrites(const Call &c, const Descriptor &d)
{
	return d.exact_inode && d.written_in_place && (d.flags & O_APPEND) == 0 &&
	       c.offset <= d.size && c.len <= static_cast<size_t>(d.size - c.offset);
}

// Whether the kernel asks who makes the call, and credentials are the answer. Who reads has been
// asked when the file was opened; files whose content is made when they are read (/proc) are of
// size 0, and may ask again. So may whatever is written to: a file, to see whether it stays
// set-user-ID, and whether there is room.
bool depends_on_rights(const Call &c, const Descriptor &d)
{
	switch (c.op) {
	case Op::read:
		return d.kind == Kind::file && d.size == 0;
	case Op::write:
		return d.kind != Kind::fifo && !overwrites(c, d) &&
		       (d.kind != Kind::socket || !over_ip(c.fd));
	case Op::send:
		return c.message != nullptr || !over_ip(c.fd);
	default:
		return false;
	}
}

// ---- the thread

// A table of its own, with nothing but what the request needs.
bool leave_table(const OwnThread *c)
{
	unsigned end = c->apart ? copies::end_of_table() : copies::make_private_table(c->keep.v[0]);
	if (end == 0)
		return false;
	for (unsigned i = 0; i < c->keep.count; i++) {
		auto kept = static_cast<unsigned>(c->keep.v[i]);
		copies::close_range(kept + 1, end);
		end = kept;
	}
	copies::close_range(0, end);
	return true;
}

// Of a socket that has such addresses: another says that it has none, whatever there is by that
// name.
struct sockaddr_un *path_of(const OwnThread *c)
{
	if (c->request->message == nullptr || socket_option(c->file, SO_DOMAIN) != AF_UNIX)
		return nullptr;
	const struct msghdr &h = c->request->message->header;
	auto *a = static_cast<struct sockaddr_un *>(h.msg_name);
	bool named = a != nullptr && h.msg_namelen > offsetof(struct sockaddr_un, sun_path) &&
		     h.msg_namelen <= sizeof *a;
	return named && a->sun_family == AF_UNIX && a->sun_path[0] != '\0' ? a : nullptr;
}

// The file is the name's from now on: it is called by its number, in the folder of the carrier's
// own files, where nothing but the kernel gives names. That folder becomes its working directory;
// where that would be the program's, too, the whole name has to do.
bool name_by_number(struct msghdr *h, struct sockaddr_un *a, int fd, bool apart)
{
	int files = proc::open(proc::own_files, O_PATH | O_DIRECTORY);
	if (files < 0)
		return false;
	bool there = apart && fchdir(files) == 0;
	sys::close(files);
	int n = there ? snprintf(a->sun_path, sizeof a->sun_path, "%d", fd)
		      : snprintf(a->sun_path, sizeof a->sun_path, "/proc/%s/%d", proc::own_files,
				 fd);
	h->msg_namelen = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path)) +
			 static_cast<socklen_t>(n) + 1;
	return true;
}

// The name becomes what it stands for now. 0; or why it stands for nothing. apart: the carrier has
// a working directory of its own. *held: whatever happens later, it is that.
int resolve(const OwnThread *c, bool apart, bool *held)
{
	struct sockaddr_un *a = path_of(c);
	*held = a == nullptr;
	if (a == nullptr)
		return 0;
	struct msghdr *h = &c->request->message->header;
	char path[sizeof a->sun_path + 1] = {};
	memcpy(path, a->sun_path, h->msg_namelen - offsetof(struct sockaddr_un, sun_path));
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? 0 : -errno;
	*held = name_by_number(h, a, fd, apart);
	return 0;
}

int prepare(OwnThread *c)
{
	c->rights = Rights::own();
	c->settled = c->rights.settled();
	sigevec_can_interrupt();
	if (!leave_table(c)) {
		c->cannot_leave = true;
		return -EAGAIN;
	}
	bool apart = unshare(CLONE_FS) == 0, held;
	if (int e = resolve(c, apart, &held); e != 0)
		return e;
	return apart || held ? 0 : -EAGAIN;
}

// ---- between the two

void say(OwnThread *c, uint32_t state)
{
	c->state.store(state, mo::release);
	futex_wake(c->state, INT_MAX);
}

uint32_t wait_while(OwnThread *c, uint32_t state)
{
	uint32_t now;
	while ((now = c->state.load(mo::acquire)) == state)
		futex_wait(c->state, state, nullptr);
	return now;
}

void *carrier_main(void *p)
{
	auto *c = static_cast<OwnThread *>(p);
	c->thread.store(thread_id(), mo::relaxed);
	c->error = prepare(c);
	say(c, OwnThread::standing_by);
	uint32_t state = wait_while(c, OwnThread::standing_by);
	if (state == OwnThread::alone)
		alone::run(c);
	if (state == OwnThread::at_work) {
		Request *r = c->request;
		bool for_driver = c->for_driver;
		r->result = carry_out(c, r);
		carrier::close_files(c);
		say(c, OwnThread::done);
		if (for_driver)
			helper::returned_from_program(r);
		wait_while(c, OwnThread::done);
	}
	carriers.fetch_sub(1, mo::relaxed);
	free(c);
	return nullptr;
}

// ---- making one

void note_files(OwnThread *c, const Request *r)
{
	c->keep.v[c->keep.count++] = c->file;
	struct msghdr *m =
		r->message != nullptr && r->op == Op::send ? &r->message->header : nullptr;
	for (struct cmsghdr *h = m != nullptr ? CMSG_FIRSTHDR(m) : nullptr; h != nullptr;
	     h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS ||
		    h->cmsg_len < CMSG_LEN(0))
			continue;
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		// The kernel takes 253; what is more, or no number, it refuses.
		for (size_t i = 0; i < n && c->keep.count < sizeof c->keep.v / sizeof c->keep.v[0];
		     i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			if (fd >= 0)
				c->keep.v[c->keep.count++] = fd;
		}
	}
	std::sort(c->keep.v, c->keep.v + c->keep.count, [](int a, int b) { return a > b; });
	c->keep.count = static_cast<unsigned>(std::unique(c->keep.v, c->keep.v + c->keep.count) -
					      c->keep.v);
}

// apart: with a table of its own from the start.
OwnThread *make(Request *r, bool apart)
{
	auto *start = apart ? start_thread_apart : start_thread;
	if (carriers.fetch_add(1, mo::relaxed) < most)
		if (void *m = malloc(sizeof(OwnThread)); m != nullptr) {
			auto *c = new (m) OwnThread;
			c->request = r;
			c->file = r->fd.load(mo::relaxed);
			c->apart = apart;
			note_files(c, r);
			if (start(carrier_main, c, "sigevec-carrier") == 0)
				return c;
			free(c);
		}
	carriers.fetch_sub(1, mo::relaxed);
	return nullptr;
}

} // namespace

bool names_unix(const Call &c)
{
	if ((c.op != Op::connect && c.op != Op::send) || c.message == nullptr)
		return false;
	const auto *a = static_cast<const struct sockaddr *>(c.message->msg_name);
	// Another socket says that it has no such addresses, whatever there is by that name.
	return a != nullptr && c.message->msg_namelen >= sizeof a->sa_family &&
	       a->sa_family == AF_UNIX && socket_option(c.fd, SO_DOMAIN) == AF_UNIX;
}

bool sends_descriptors(const Call &c)
{
	return c.op == Op::send && transfer::may_carry_descriptors(c.op, c.fd, c.message);
}

bool needed(const Call &c, const Descriptor &d, ssize_t out)
{
	// Where a thread may connect to is also a matter of its security domain (Landlock,
	// filters), which nothing tells: two threads with the same credentials may have different
	// ones.
	if (c.op == Op::connect)
		return out < 0;
	// Names and descriptors go with the first part.
	if (out <= 0 && (names_unix(c) || sends_descriptors(c)))
		return true;
	if (!depends_on_rights(c, d))
		return false;
	return !(c.op == Op::write && d.exact_inode ? rights::write_alike()
						    : rights::are_the_helpers());
}

namespace {

// 0 or -errno.
int attach(Request *r, bool apart)
{
	OwnThread *c = make(r, apart);
	if (c == nullptr)
		return -EAGAIN;
	wait_while(c, OwnThread::starting);
	r->carrier = c;
	int error = c->error;
	bool again = c->cannot_leave && !apart;
	if (error != 0)
		let_go(r);
	return again ? attach(r, true) : error;
}

} // namespace

int attach(Request *r)
{
	// No handler may leave by a longjmp meanwhile: what is outstanding must have its thread.
	BlockSignals blocked;
	return attach(r, false);
}

void begin(Request *r)
{
	of(r)->for_driver = true;
	say(of(r), OwnThread::at_work);
}

ssize_t run(Request *r)
{
	say(of(r), OwnThread::at_work);
	wait_while(of(r), OwnThread::at_work);
	ssize_t n = r->result;
	let_go(r);
	return n;
}

void close_files(const OwnThread *c)
{
	for (unsigned i = 0; i < c->keep.count; i++)
		copies::close_carefully(c->keep.v[i]);
}

void begin_alone(OwnThread *c)
{
	say(c, OwnThread::alone);
}

void interrupt(OwnThread *c)
{
	c->stop.store(true, mo::release);
	sigevec_interrupt(c->thread.load(mo::relaxed));
}

void interrupt(Request *r)
{
	interrupt(of(r));
}

void let_go(Request *r)
{
	OwnThread *c = of(r);
	r->carrier = nullptr;
	if (c != nullptr)
		say(c, OwnThread::abandoned);
}

void after_fork()
{
	carriers.store(0, mo::relaxed);
}

} // namespace sigevec::carrier
