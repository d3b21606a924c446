// SPDX-License-Identifier: MIT
//
// async_io_notify for a pool: an eventfd that the kernel module signals and the receiver's thread
// waits for.
//
// A watch belongs to a number of the program's table and remembers which pool that was. It holds
// nothing of the pool's: the module signals the eventfd also when the last descriptor is closed,
// and what is then found under the number is no longer that pool.
#include "base/sync.hpp"
#include "channel/wakeup.hpp"
#include "dma/deliver.hpp"
#include "dma/pool.hpp"
#include "dma/receiver.hpp"
#include "sigevec/uapi.h"

#include <cerrno>
#include <sys/ioctl.h>

namespace sigevec::dma::pool {

namespace {

struct Watch {
	uint64_t pool; // 0: free
	int fd, eventfd;
	uint32_t life;
	void (*function)(int, void *);
	void *argument;
};

constexpr uint32_t most = 1024;
Watch table[most];
// Protects the table; after nothing, before the receiver's own.
Mutex lock;

uint64_t tag_of(const Watch *w)
{
	return uint64_t{w->life} << 32 | tag_bit | static_cast<uint64_t>(w - table);
}

bool still_there(const Watch *w)
{
	return identity(w->fd) == w->pool;
}

// With `lock' held. The module forgets the eventfd, if the pool can still be reached, else with the
// pool.
void end(Watch *w)
{
	struct sigevec_pool_listen l = {};
	l.eventfd = w->eventfd;
	l.flags = SIGEVEC_LISTEN_REMOVE;
	if (still_there(w))
		ioctl(w->fd, SIGEVEC_IOC_POOL_LISTEN, &l);
	wakeup::close(w->eventfd);
	w->pool = 0;
	w->life++;
}

// With `lock' held: a free one, and 0; EBUSY: this descriptor has one; EAGAIN: there is none.
int place(int fd, Watch **free)
{
	*free = nullptr;
	for (Watch &w : table) {
		if (w.pool != 0 && w.fd == fd) {
			if (still_there(&w))
				return EBUSY;
			end(&w); // the number is another pool's now
		}
		if (w.pool == 0 && *free == nullptr)
			*free = &w;
	}
	return *free != nullptr ? 0 : EAGAIN;
}

// 0 or an errno.
int listen(const Watch *w)
{
	struct sigevec_pool_listen l = {};
	l.eventfd = w->eventfd;
	l.flags = SIGEVEC_LISTEN_IN;
	if (!receiver::watch_eventfd(w->eventfd, tag_of(w)))
		return EAGAIN;
	return ioctl(w->fd, SIGEVEC_IOC_POOL_LISTEN, &l) == 0 ? 0 : EAGAIN;
}

} // namespace

int notify(int fd, void (*function)(int, void *), void *argument)
{
	uint64_t id = identity(fd);
	if (id == 0)
		return errno == EBADF ? EBADF : ENOTSUP;
	Guard<Mutex> g(lock);
	Watch *w;
	if (int e = place(fd, &w); e != 0)
		return e;
	int eventfd = wakeup::make();
	if (eventfd < 0)
		return EAGAIN;
	*w = {id, fd, eventfd, w->life, function, argument};
	int e = listen(w);
	if (e != 0)
		end(w);
	return e;
}

bool any_call_back()
{
	Guard<Mutex> g(lock);
	for (const Watch &w : table)
		if (w.pool != 0 && still_there(&w))
			return true;
	return false;
}

void signalled(uint64_t tag)
{
	deliver::Outcome o;
	{
		Guard<Mutex> g(lock);
		Watch *w = &table[(tag & ~tag_bit) % most];
		if (w->pool == 0 || tag_of(w) != tag)
			return;
		if (still_there(w)) {
			o.notify = w->function;
			o.argument = w->argument;
			o.fd = w->fd;
		}
		end(w);
	}
	deliver::finish(o);
}

void watch_again()
{
	Guard<Mutex> g(lock);
	for (const Watch &w : table)
		if (w.pool != 0 && wakeup::is_ours(w.eventfd))
			receiver::watch_eventfd(w.eventfd, tag_of(&w));
}

// The watches are the parent's; the child has copies of their eventfds.
void after_fork()
{
	lock.reset();
	for (Watch &w : table)
		if (w.pool != 0) {
			wakeup::close(w.eventfd);
			w.pool = 0;
			w.life++;
		}
}

} // namespace sigevec::dma::pool
