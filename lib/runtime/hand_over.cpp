// SPDX-License-Identifier: MIT
#include "runtime/hand_over.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/owned_fd.hpp"
#include "base/pidfd.hpp"
#include "base/same_file.hpp"
#include "base/socket_option.hpp"
#include "base/spin.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "config.h"
#include "runtime/copies.hpp"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <initializer_list>
#include <poll.h>
#include <sys/socket.h>

namespace sigevec::helper {

// ---- a table of the helper's own ----

namespace {

#ifdef SIGEVEC_SANITIZER
constexpr int first_closed = 3; // reports go to standard error
#else
constexpr int first_closed =
	0; // not even standard error: whoever reads its other end waits for the last close
#endif

// Leaves the program's table; with `kept' (-1: nothing) and nothing else. False: the kernel
// refuses. apart: it has been left.
bool make_private_table(int kept, bool apart)
{
	constexpr auto first = static_cast<unsigned>(first_closed);
	unsigned end =
		apart ? copies::end_of_table()
		      : copies::make_private_table(kept > first_closed ? kept : first_closed);
	if (end == 0)
		return false;
	auto one = kept < first_closed ? first : static_cast<unsigned>(kept);
	copies::close_range(first, one);
	copies::close_range(kept < first_closed ? one : one + 1, end);
	return true;
}

} // namespace

bool set_up_files(Files *f)
{
	bool apart = f->table == Files::Table::apart;
	if (f->table == Files::Table::programs) {
		f->way = Files::Way::shared;
		return true;
	}
	if (!make_private_table(f->courier_rx, apart)) {
		f->table = Files::Table::apart;
		return false;
	}
	f->process = sys::pidfd_open(getpid(), 0);
	// A number that is not there says EBADF where the call is allowed.
	if (f->process >= 0 && sys::pidfd_getfd(f->process, INT_MAX) == -EBADF)
		f->way = Files::Way::fetch;
	else if (f->courier_rx >= 0)
		f->way = Files::Way::courier;
	return f->way != Files::Way::none;
}

// ---- the courier ----

namespace {

// Of the library's own numbers none is below 3: 0 to 2 are the program's even while it has closed
// them.
int above_standard(int fd)
{
	if (fd > 2)
		return fd;
	int other = sys::duplicate(fd, 3);
	sys::close(fd);
	return other;
}

union Control {
	struct cmsghdr aligned;
	char space[CMSG_SPACE(most_handed_over * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
};

} // namespace

bool make_courier(Files *f)
{
	int v[2], yes = 1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, v) != 0)
		return false;
	f->courier_tx = above_standard(v[0]);
	f->courier_rx = above_standard(v[1]);
	f->courier_cookie = socket_cookie(f->courier_tx);
	if (f->courier_tx >= 0 && f->courier_rx >= 0 && f->courier_cookie != 0 &&
	    setsockopt(f->courier_rx, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) == 0)
		return true;
	discard_courier(f);
	return false;
}

void leave_courier(Files *f)
{
	if (f->courier_rx >= 0 && f->way != Files::Way::shared)
		sys::close(f->courier_rx);
}

void discard_courier(Files *f)
{
	for (int *fd : {&f->courier_tx, &f->courier_rx}) {
		if (*fd >= 0)
			sys::close(*fd);
		*fd = -1;
	}
}

namespace {

bool is_refusal(int file)
{
	return file == -EPERM || file == -ENOSYS || file == -EACCES;
}

// Linux 5.14; 0: it does not say.
uint64_t network_of(int fd)
{
	constexpr int netns_cookie = 71;
	uint64_t cookie = 0;
	return get_option(fd, SOL_SOCKET, netns_cookie, &cookie) ? cookie : 0;
}

// By a thread of the helper's: pidfd_getfd is refused from now on. False: so is this.
bool open_door(Files *f)
{
	Guard<Mutex> g(f->opening);
	if (f->door_length != 0)
		return true;
	int yes = 1, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un own = {};
	own.sun_family = AF_UNIX;
	socklen_t length = sizeof f->door;
	// The kernel chooses an abstract name.
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) != 0 ||
	    bind(fd, reinterpret_cast<struct sockaddr *>(&own), sizeof own.sun_family) != 0 ||
	    getsockname(fd, reinterpret_cast<struct sockaddr *>(&f->door), &length) != 0) {
		if (fd >= 0)
			sys::close(fd);
		return false;
	}
	f->courier_rx = fd;
	f->door_network = network_of(fd);
	f->door_length = length;
	f->way.store(Files::Way::courier, mo::release);
	return true;
}

// 0 or -errno.
int send_now(int fd, const struct msghdr *m)
{
	return sys::sendmsg(fd, m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ? 0 : -errno;
}

// Whatever has the number by the time of the call: no socket but one for such messages takes it,
// and that sends it where it is meant to go. 0 or -errno.
int send_from_here(Files *f, struct msghdr *m)
{
	if (f->door_length == 0)
		return socket_cookie(f->courier_tx) == f->courier_cookie
			       ? send_now(f->courier_tx, m)
			       : -EAGAIN;
	int fd = above_standard(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (fd < 0)
		return -errno;
	uint64_t cookie = socket_cookie(fd);
	m->msg_name = &f->door;
	m->msg_namelen = f->door_length;
	bool here = f->door_network != 0 && network_of(fd) == f->door_network;
	int e = here ? send_now(fd, m) : -ECONNREFUSED;
	if (cookie != 0 && socket_cookie(fd) == cookie)
		sys::close(fd);
	// There is no room: others have knocked. The helper is asked to take what there is.
	return e == 0 || e == -EAGAIN || e == -ENOBUFS ? 0 : -EAGAIN;
}

} // namespace

bool hand_over_again(const Files *f, const HandOver *o)
{
	bool refused = false, missing = false;
	for (unsigned i = 0; i < o->count; i++) {
		refused = refused || is_refusal(o->files[i]);
		missing = missing || o->files[i] == -EMFILE;
	}
	return f->door_length != 0 && (refused || (o->sent && missing));
}

int send_along(Files *f, HandOver *o)
{
	if (f->way.load(mo::acquire) != Files::Way::courier)
		return 0;
	f->sending.lock();
	o->sent = true;
	o->sent_as = ++f->sent;
	struct iovec v = {&o->sent_as, sizeof o->sent_as};
	Control control;
	struct msghdr m = {};
	m.msg_iov = &v;
	m.msg_iovlen = 1;
	m.msg_control = &control;
	m.msg_controllen = CMSG_SPACE(o->count * sizeof(int));
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(o->count * sizeof(int));
	memcpy(CMSG_DATA(c), o->numbers, o->count * sizeof(int));
	int e = send_from_here(f, &m);
	if (e == 0)
		return 0;
	f->sending.unlock();
	// EAGAIN also for ETOOMANYREFS: what other programs of this user have in flight is not
	// waited for.
	return e == -EBADF ? -EBADF : -EAGAIN;
}

void sent_along(Files *f, const HandOver *o)
{
	if (o->sent)
		f->sending.unlock();
}

namespace {

// Whether a message is the hand-over's, from this process. Its descriptors, if it has any: fds, or
// closed.
bool accept_message(const HandOver *o, struct msghdr *m, uint64_t number, ssize_t n, int *fds)
{
	bool own = false;
	unsigned count = 0;
	int got[most_handed_over];
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != nullptr; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred u;
			memcpy(&u, CMSG_DATA(c), sizeof u);
			own = u.pid == getpid();
		} else if (c->cmsg_type == SCM_RIGHTS) {
			count = static_cast<unsigned>((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			if (count > most_handed_over)
				count = most_handed_over;
			memcpy(got, CMSG_DATA(c), count * sizeof(int));
		}
	}
	bool right = own && n == static_cast<ssize_t>(sizeof number) && number == o->sent_as &&
		     count == o->count;
	for (unsigned i = 0; i < count; i++) {
		if (right)
			fds[i] = got[i];
		else
			copies::close(got[i]);
	}
	return right;
}

void receive_files(Files *f, const HandOver *o, int *fds)
{
	for (unsigned i = 0; i < o->count; i++)
		fds[i] = -EMFILE;
	for (;;) {
		uint64_t number = 0;
		struct iovec v = {&number, sizeof number};
		Control control;
		struct msghdr m = {};
		m.msg_iov = &v;
		m.msg_iovlen = 1;
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		ssize_t n = sys::recvmsg(f->courier_rx, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || accept_message(o, &m, number, n, fds))
			return; // sent before the offer was made: it is there, or never comes
	}
}

// The pidfd names the table of the process's first thread. Another thread may have left that
// (CLONE_FILES), and the first may have ended.
int fetch(Files *f, const HandOver *o, int number)
{
	int fd = sys::pidfd_getfd(f->process, number);
	auto self = thread_id();
	if (o->thread == getpid() ||
	    (fd >= 0 && same_file(o->thread, number, self, fd) == Same::yes))
		return fd;
	OwnedFd thread(sys::pidfd_open(o->thread, PIDFD_THREAD));
	if (thread < 0)
		return fd; // Linux before 6.9: threads with tables of their own are not told apart
	if (fd >= 0)
		copies::close(fd);
	return sys::pidfd_getfd(thread, number);
}

int duplicate(int number)
{
	int fd = sys::duplicate(number, 3);
	return fd >= 0 ? fd : -errno;
}

} // namespace

void take(Files *f, HandOver *o, Taken *t)
{
	t->type = o->type;
	t->count = o->count;
	bool refused = false;
	if (o->sent)
		receive_files(f, o, t->files);
	for (unsigned i = 0; i < o->count; i++) {
		t->objects[i] = o->objects[i];
		if (!o->sent)
			t->files[i] = f->way.load(mo::relaxed) == Files::Way::shared
					      ? duplicate(o->numbers[i])
					      : fetch(f, o, o->numbers[i]);
		refused = refused || is_refusal(t->files[i]);
		o->files[i] = t->files[i];
		f->mailbox.note_number(t->files[i]);
	}
	if (refused)
		open_door(f);
	// Release: of the files; after this the offer is its submitter's, who may have left. Waking
	// nobody at an address that was good is no harm.
	if (o->answer.exchange(HandOver::given, mo::acq_rel) == HandOver::slept_for)
		futex_wake(o->answer, 1);
}

namespace {

// What this thread has learned of looking for answers. The two changes of thread that a sleep takes
// are longer than this.
thread_local Spin spin __attribute__((tls_model("initial-exec"))) = Spin(25000);

bool is_answered(const HandOver *o)
{
	return o->answer.load(mo::acquire) == HandOver::given;
}

} // namespace

int take_by_number(const Files *f, int number)
{
	return sys::pidfd_getfd(f->process, number);
}

void wait_for_answer(HandOver *o)
{
	if (!spin.skip() && spin.until([o] { return is_answered(o); }))
		return;
	uint32_t none = HandOver::none;
	o->answer.compare_exchange_strong(none, HandOver::slept_for, mo::acq_rel, mo::acquire);
	while (!is_answered(o))
		futex_wait(o->answer, HandOver::slept_for, nullptr);
}

void close_in_child(Files *f)
{
	if (f->courier_tx >= 0 && socket_cookie(f->courier_tx) == f->courier_cookie)
		sys::close(f->courier_tx);
}

} // namespace sigevec::helper
