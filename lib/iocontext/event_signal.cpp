// SPDX-License-Identifier: MIT
#include "iocontext/event_signal.hpp"

#include "base/same_file.hpp"
#include "runtime/helper.hpp"
#include "runtime/syscalls.hpp"

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
	char path[40], name[32];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(path, name, sizeof name);
	if (n >= 0) {
		constexpr char eventfd[] = "anon_inode:[eventfd]";
		return n == sizeof eventfd - 1 && memcmp(name, eventfd, sizeof eventfd - 1) == 0;
	}
	struct stat st;
	return sys::fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0;
}

// By a thread of the helper's. A counter that is full stays full, as the kernel's own telling leaves it.
void write_due(helper::Errand *e)
{
	auto *s = static_cast<EventSignal *>(e);
	s->asked.store(false, std::memory_order_seq_cst);
	uint64_t n = s->due.exchange(0, std::memory_order_seq_cst);
	struct pollfd p = {s->file, POLLOUT, 0};
	int saved = errno;
	if (n != 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0)
		(void)!syscall(SYS_write, s->file, &n, sizeof n);
	errno = saved;
}

} // namespace

int EventSignals::find(int fd, EventSignal **s)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (flags & O_PATH) != 0)
		return -EBADF;
	helper::Helper *h = helper::get();
	if (h == nullptr)
		return -EAGAIN;
	auto self = static_cast<pid_t>(syscall(SYS_gettid));
	BlockSignals blocked;
	Guard<Mutex> g(lock);
	for (EventSignal *i = first; i != nullptr; i = i->next)
		if (same_file(self, fd, h->thread, i->file) == Same::yes) {
			*s = i;
			return 0;
		}
	if (!is_eventfd(fd))
		return -EINVAL;
	int file = helper::hold(fd);
	if (file < 0)
		return file == -EBADF ? -EBADF : -EAGAIN;
	void *m = malloc(sizeof(EventSignal));
	if (m == nullptr) {
		helper::close_inside(file);
		return -EAGAIN;
	}
	*s = new (m) EventSignal;
	(*s)->run = write_due;
	(*s)->file = file;
	(*s)->next = first;
	first = *s;
	return 0;
}

void EventSignals::close_all()
{
	while (EventSignal *s = first) {
		first = s->next;
		helper::close_inside(s->file);
		free(s);
	}
}

void tell(EventSignal *s)
{
	s->due.fetch_add(1, std::memory_order_seq_cst);
	// Whoever has been asked looks at `due' after it has said that it may be asked again.
	if (!s->asked.exchange(true, std::memory_order_seq_cst))
		helper::run_errand(s);
}

} // namespace sigevec::io
