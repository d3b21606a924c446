// SPDX-License-Identifier: MIT
#include "iocontext/event_signal.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/proc.hpp"
#include "base/same_file.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "engine/moment.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <poll.h>
#include <sys/stat.h>

namespace sigevec::io {

namespace {

// By its name, where there is /proc; elsewhere every file without an inode of its own may be one.
bool is_eventfd(int fd)
{
	char name[32];
	if (proc::name_of(fd, name, sizeof name) >= 0)
		return strcmp(name, "anon_inode:[eventfd]") == 0;
	struct stat st;
	return sys::fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0;
}

constexpr uint64_t unknown = 0;

// Which eventfd has the number in the caller's table; none of these is 0.
uint64_t id_of(int fd)
{
	constexpr char title[] = "eventfd-id:";
	constexpr uint64_t other = ~uint64_t{0};
	char name[40], text[512];
	snprintf(name, sizeof name, "thread-self/fdinfo/%d", fd);
	if (proc::read(name, text, sizeof text) < 0)
		return errno == ENOENT ? other : unknown;
	const char *at = strstr(text, title);
	return at != nullptr ? strtoull(at + sizeof title - 1, nullptr, 10) + 1 : other;
}

// In a table that is the program's, too, it may be another file by now.
bool is_still_there(const EventSignal *s)
{
	if (s->shared_id == unknown)
		return true;
	uint64_t now = id_of(s->file);
	return now == s->shared_id || now == unknown;
}

// By a thread of the helper's.
void dispose(helper::Chore *e)
{
	auto *s = static_cast<EventSignal *>(e);
	int saved = errno;
	if (is_still_there(s))
		close(s->file);
	free(s);
	errno = saved;
}

bool has_room(int file)
{
	struct pollfd p = {file, POLLOUT, 0};
	return sys::poll_now(&p) == 1 && (p.revents & POLLOUT) != 0;
}

// One by one, for what is more than a counter has room for would be waited for. A counter that is
// full stays full, as the kernel's own telling leaves it.
void count_up(int file, uint64_t n)
{
	constexpr uint64_t one = 1;
	// Whoever else has the file may fill it after the look at it, and the write would wait.
	transfer::Moment moment;
	while (n != 0 && has_room(file)) {
		if (syscall(SYS_write, file, &one, sizeof one) >= 0)
			n--;
		else if (errno != EINTR)
			break;
	}
}

// By a thread of the helper's, which must not wait.
void write_due(helper::Chore *e)
{
	auto *s = static_cast<EventSignal *>(e);
	int saved = errno;
	s->asked.store(false, mo::seq_cst);
	if (uint64_t n = s->due.exchange(0, mo::seq_cst); n != 0 && is_still_there(s))
		count_up(s->file, n);
	errno = saved;
	drop(s);
}

EventSignal *make(const helper::Helper *h, int fd)
{
	int file = helper::hold(fd);
	if (file < 0)
		return nullptr;
	void *m = malloc(sizeof(EventSignal));
	if (m == nullptr) {
		helper::close_inside(file);
		return nullptr;
	}
	auto *s = new (m) EventSignal;
	s->run = write_due;
	s->number = fd;
	s->file = file;
	s->shared_id = h->private_table() ? unknown : id_of(file);
	return s;
}

} // namespace

EventSignal *EventSignals::known(int fd, pid_t helper) const
{
	for (EventSignal *i = first; i != nullptr; i = i->next)
		if (same_file(thread_id(), fd, helper, i->file) == Same::yes)
			return i;
	return nullptr;
}

void EventSignals::drop_idle(pid_t helper)
{
	for (EventSignal **p = &first; *p != nullptr;) {
		EventSignal *i = *p;
		if (i->users.load(mo::acquire) != 1 ||
		    same_file(thread_id(), i->number, helper, i->file) == Same::yes) {
			p = &i->next;
			continue;
		}
		*p = i->next;
		drop(i);
	}
}

int EventSignals::find(int fd, EventSignal **s)
{
	int flags = sys::status_flags(fd);
	if (flags < 0 || (flags & O_PATH) != 0)
		return -EBADF;
	helper::Helper *h = helper::get();
	if (h == nullptr)
		return -EAGAIN;
	BlockSignals blocked;
	Guard<Mutex> g(lock);
	*s = known(fd, h->thread);
	if (*s == nullptr) {
		if (!is_eventfd(fd))
			return -EINVAL;
		drop_idle(h->thread);
		*s = make(h, fd);
		if (*s == nullptr)
			return -EAGAIN;
		if (can_compare()) {
			(*s)->users.store(1, mo::relaxed);
			(*s)->next = first;
			first = *s;
		}
	}
	(*s)->users.fetch_add(1, mo::relaxed);
	return 0;
}

void EventSignals::close_all()
{
	while (EventSignal *s = first) {
		first = s->next;
		drop(s);
	}
}

void signal_eventfd(EventSignal *s)
{
	s->due.fetch_add(1, mo::seq_cst);
	// Whoever has been asked looks at `due' after it has said that it may be asked again. The
	// use goes along.
	if (s->asked.exchange(true, mo::seq_cst))
		drop(s);
	else
		helper::run_chore(s);
}

void drop(EventSignal *s)
{
	if (s->users.fetch_sub(1, mo::acq_rel) != 1)
		return;
	s->run = dispose;
	helper::run_chore(s);
}

} // namespace sigevec::io
