// SPDX-License-Identifier: MIT
#include "dma/receiver.hpp"

#include "channel/bell.hpp"
#include "channel/channel.hpp"
#include "dma/feed.hpp"
#include "dma/pool.hpp"
#include "dma/receive.hpp"
#include "dma/send.hpp"
#include "ether/device.hpp"
#include "notify/notifier.hpp"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <cstdlib>
#include <initializer_list>
#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace sigevec::dma {

void room_made()
{
	receiver::look();
}

namespace receiver {

namespace {

// Room that a child of fork makes is found at this interval, while there is somebody who waits for some.
constexpr int look_again_ms = 20;
// And so are network devices that have gone, or been closed.
constexpr int devices_ms = 1000;

constexpr uint64_t wake_mark = ~uint64_t{0};
// In what is remembered of a socket that sends, beside its place.
constexpr uint32_t send_mark = 1u << 31;

// Held while the thread is started; after an association's lock, before nothing.
Mutex starting;
// Both in the program's table; -1: there is no thread. The program may have closed them: see usable().
std::atomic<int> instance{-1}, bell_fd{-1};
// Set before an association that is about to pause looks for room for the last time; who has made room looks at it after that.
std::atomic<bool> some_paused{false};

thread_local bool on_thread __attribute__((tls_model("initial-exec"))) = false;

struct Thread {
	int epoll, bell;
};

void serve(uint32_t index, uint32_t life, bool arrived, bool shut = false)
{
	Association *a = association::at(index);
	feed::Outcome o;
	{
		Guard<Mutex> g(a->lock);
		if (a->fd < 0 || a->life != life)
			return;
		a->shut = a->shut || shut;
		if (arrived)
			a->watched = false;
		else if (!a->paused)
			return;
		// A child of fork may have kept a socket open that the program has closed here; the number may be another's.
		if (!association::still_there(a))
			return;
		if (a->armed != nullptr && a->paused) {
			// It is the owner of the ring who goes on.
			a->paused = false;
			channel::ring_bell(a->armed_in);
			bell::ring(a->armed_in, bell::Which::wake);
			return;
		}
		feed::step(a, &o, arrived);
		association::let_go(a);
	}
	feed::finish(o);
}

void serve_paused()
{
	some_paused.store(false, std::memory_order_seq_cst);
	for (uint32_t i = 0; i < association::count(); i++) {
		uint32_t life;
		{
			Association *a = association::at(i);
			Guard<Mutex> g(a->lock);
			life = a->life;
		}
		serve(i, life, false);
	}
}

// Network devices do not tell of their end, nor of the end of their descriptors.
void look_at_devices()
{
	association::forget_closed();
	ether::device::sweep();
	for (uint32_t i = 0; i < association::count(); i++) {
		uint32_t life;
		{
			Association *a = association::at(i);
			Guard<Mutex> g(a->lock);
			life = a->life;
			if (a->fd < 0 || a->device == nullptr || (a->first == nullptr && a->notify == nullptr) || !ether::device::failed(a->device))
				continue;
		}
		serve(i, life, true);
	}
}

int longest_sleep()
{
	return some_paused.load(std::memory_order_seq_cst) ? look_again_ms : ether::device::any() ? devices_ms : -1;
}

void *main(void *p)
{
	Thread t = *static_cast<Thread *>(p);
	free(p);
	on_thread = true;
	// A program that has closed everything may have an instance of its own under this number.
	while (bell::is_ours(t.epoll)) {
		struct epoll_event v[64];
		int n = static_cast<int>(syscall(SYS_epoll_pwait, t.epoll, v, 64, longest_sleep(), nullptr, 0));
		if (n < 0 && errno != EINTR)
			return nullptr;
		bool look = n == 0;
		for (int i = 0; i < n; i++) {
			if (v[i].data.u64 == wake_mark) {
				uint64_t count;
				syscall(SYS_read, t.bell, &count, sizeof count);
				look = true;
				continue;
			}
			if ((v[i].data.u64 & pool::tag_bit) != 0) {
				pool::signalled(v[i].data.u64);
				continue;
			}
			auto index = static_cast<uint32_t>(v[i].data.u64), life = static_cast<uint32_t>(v[i].data.u64 >> 32);
			if ((index & send_mark) != 0)
				send::arrived(index & ~send_mark, life);
			else
				serve(index, life, true, (v[i].events & (EPOLLRDHUP | EPOLLHUP)) != 0);
		}
		if (look)
			serve_paused();
		if (n == 0 && ether::device::any())
			look_at_devices();
	}
	return nullptr;
}

int make_instance()
{
	int fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd >= 0 && !bell::mark(fd)) {
		sys::close(fd);
		fd = -1;
	}
	return fd;
}

// With `starting' held.
bool start()
{
	auto *t = static_cast<Thread *>(malloc(sizeof(Thread)));
	if (t == nullptr)
		return false;
	*t = {make_instance(), bell::make()};
	struct epoll_event e = {};
	e.events = EPOLLIN;
	e.data.u64 = wake_mark;
	Thread made = *t;
	bool ok = made.epoll >= 0 && made.bell >= 0 && epoll_ctl(made.epoll, EPOLL_CTL_ADD, made.bell, &e) == 0 &&
		  start_thread(main, t, "sigevec-dma") == 0;
	if (!ok) {
		free(t);
		bell::close(made.epoll);
		bell::close(made.bell);
		return false;
	}
	bell_fd.store(made.bell, std::memory_order_release);
	instance.store(made.epoll, std::memory_order_release);
	return true;
}

// The instance, started if there is none; -1: it cannot be had.
int usable()
{
	int fd = instance.load(std::memory_order_acquire);
	if (fd >= 0 && bell::is_ours(fd))
		return fd;
	Guard<Mutex> g(starting);
	fd = instance.load(std::memory_order_relaxed);
	if (fd >= 0 && bell::is_ours(fd))
		return fd;
	notifier::ensure();
	return start() ? instance.load(std::memory_order_relaxed) : -1;
}

} // namespace

namespace {

void ring()
{
	int fd = bell_fd.load(std::memory_order_acquire);
	uint64_t one = 1;
	int saved = errno;
	if (fd >= 0 && bell::is_ours(fd))
		syscall(SYS_write, fd, &one, sizeof one);
	errno = saved;
}

} // namespace

bool ensure()
{
	if (usable() < 0)
		return false;
	ring(); // it may be asleep without a time limit
	return true;
}

void pause(Association *a)
{
	a->paused = true;
	note_pause();
	receive::wait_for_room(a, receive::Want{});
}

bool watch(Association *a)
{
	int fd = usable();
	if (fd < 0)
		return false;
	if (a->watched)
		return true;
	struct epoll_event e = {};
	e.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT;
	e.data.u64 = uint64_t{a->life} << 32 | a->index;
	int file = association::file_of(a);
	a->watched = epoll_ctl(fd, EPOLL_CTL_MOD, file, &e) == 0 || epoll_ctl(fd, EPOLL_CTL_ADD, file, &e) == 0;
	return a->watched;
}

bool watch_eventfd(int eventfd, uint64_t tag)
{
	int fd = usable();
	struct epoll_event e = {};
	e.events = EPOLLIN | EPOLLONESHOT;
	e.data.u64 = tag;
	return fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, eventfd, &e) == 0;
}

void unwatch(Association *a)
{
	int fd = instance.load(std::memory_order_acquire);
	if (fd >= 0 && bell::is_ours(fd) && association::still_there(a))
		epoll_ctl(fd, EPOLL_CTL_DEL, association::file_of(a), nullptr);
	a->watched = false;
}

bool watch_sends(int file, uint32_t index, uint32_t life)
{
	int fd = usable();
	struct epoll_event e = {};
	e.events = EPOLLET; // errors are told always, and the queue of errors is what it is about
	e.data.u64 = uint64_t{life} << 32 | send_mark | index;
	return fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, file, &e) == 0;
}

void unwatch_sends(int file)
{
	int fd = instance.load(std::memory_order_acquire);
	if (fd >= 0 && bell::is_ours(fd))
		epoll_ctl(fd, EPOLL_CTL_DEL, file, nullptr);
}

void note_pause()
{
	if (!some_paused.exchange(true, std::memory_order_seq_cst) && !on_thread)
		look(); // it may be asleep without a time limit
}

void look()
{
	if (some_paused.load(std::memory_order_seq_cst))
		ring();
}

int notify(int fd, void (*function)(int, void *), void *argument)
{
	feed::Outcome o;
	{
		association::Locked a(fd);
		if (!a || !association::still_there(a.get()))
			return ENOTSUP;
		if (a->notify != nullptr)
			return EBUSY;
		if (!watch(a.get()))
			return EAGAIN;
		a->notify = function;
		a->notify_argument = argument;
		// What has been taken out of the socket already the kernel does not tell of.
		if (a->queue_count != 0 && a->untold)
			feed::step(a.get(), &o, true);
	}
	feed::finish(o);
	return 0;
}

void after_fork()
{
	starting.reset();
	some_paused.store(false, std::memory_order_relaxed);
	for (auto *fd : {&instance, &bell_fd})
		if (int n = fd->exchange(-1, std::memory_order_relaxed); n >= 0)
			bell::close(n);
}

} // namespace receiver
} // namespace sigevec::dma
