// SPDX-License-Identifier: MIT
#include "dma/receiver.hpp"

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "dma/by_readers.hpp"
#include "dma/deliver.hpp"
#include "dma/device.hpp"
#include "dma/pool.hpp"
#include "dma/receive.hpp"
#include "dma/receiver_impl.hpp"
#include "dma/send.hpp"
#include "notify/notifier.hpp"
#include "runtime/helper.hpp"
#include "runtime/thread.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>
#include <sys/epoll.h>

namespace sigevec::dma {

void room_made()
{
	receiver::look();
}

namespace receiver {

namespace {

// Room that a child of fork makes is found at this interval, while there is somebody who waits for
// some.
constexpr int look_again_ms = 20;
// And so are network devices that have gone, or been closed, and what somebody else has taken out
// of the instance.
constexpr int moments_ms = 1000;
// After a call that has failed for no reason of this thread's.
constexpr timespec moment{0, 10000000};

// In what is remembered of a socket that sends, beside its place.
constexpr uint32_t send_mark = 1u << 31;

// Held while a thread is started; after an association's lock, before nothing.
Mutex starting;
// nullptr: there is none. One that the program has closed is replaced, its thread ends when it next
// wakes.
std::atomic<Instance *> current{nullptr};
// All that ever were, with `starting' held: others may still use one that has been replaced.
Instance *newest = nullptr;
thread_local Instance *own __attribute__((tls_model("initial-exec"))) = nullptr;

// Something may be watched: it is looked at now and then whether the kernel still would tell.
std::atomic<bool> some_watched{false};

int longest_sleep()
{
	bool moments = device_ops.any() || some_watched.load(mo::seq_cst);
	return some_paused.load(mo::seq_cst) ? look_again_ms : moments ? moments_ms : -1;
}

void note_watch(Instance *i)
{
	if (!some_watched.exchange(true, mo::seq_cst) && own != i)
		call(i); // it may be asleep without a time limit
}

void handle(const struct epoll_event &e)
{
	uint64_t data = e.data.u64;
	if (data == wake_mark)
		return;
	if ((data & pool::tag_bit) != 0) {
		pool::signalled(data);
		return;
	}
	auto index = static_cast<uint32_t>(data), life = static_cast<uint32_t>(data >> 32);
	if ((index & send_mark) != 0)
		send::arrived(index & ~send_mark, life);
	else
		serve(index, life, true, e.events);
}

// What the old instance was told to watch the new one is.
void watch_again()
{
	for (uint32_t index = 0; index < association::count(); index++) {
		Association *a = association::at(index);
		Guard<Mutex> g(a->lock);
		if (a->fd < 0 || !a->watched)
			continue;
		a->watched = false;
		if (Inside in(a); in)
			watch(a);
		a->watched = true; // what cannot be watched is looked at now and then
	}
	send::watch_again();
	pool::watch_again();
}

// Without anything to wait with, or where waiting is refused: looks at all of them now and then.
void go_round()
{
	syscall(SYS_nanosleep, &moment, nullptr);
	serve_watched();
}

// The program has closed what this thread waits with. True: it goes on.
bool renew(Instance *i)
{
	{
		Guard<Mutex> g(starting);
		if (current.load(mo::relaxed) != i)
			return false;
		// In a full table what there is must be closed first.
		if (!make_numbers(i) && !make_numbers(i))
			return true;
	}
	watch_again();
	return true;
}

// A child that no handler has heard of has the instance, and can take sockets out of it, or their
// events. It has not got the next one. True: it goes on.
bool look_for_losses(Instance *i)
{
	some_watched.store(false, mo::seq_cst);
	bool some = send::look_again(), missed = some_missed(&some),
	     lost = missed || !watches_alarm(i);
	if (some)
		some_watched.store(true, mo::seq_cst);
	return !lost || renew(i);
}

void *main(void *p)
{
	auto *i = static_cast<Instance *>(p);
	own = i;
	i->can_fetch = i->way.set_up() && !i->way.by_socket();
	i->thread.store(static_cast<uint32_t>(thread_id()), mo::release);
	futex_wake(i->thread, INT_MAX);
	for (;;) {
		if (current.load(mo::acquire) != i && current.load() != nullptr)
			break;
		if (!intact(i)) {
			if (!renew(i))
				break;
			if (i->epoll.fd.load(mo::relaxed) < 0)
				go_round();
			continue;
		}
		will_sleep(i);
		struct epoll_event v[64];
		int n = sys::epoll_wait(i->epoll.fd.load(mo::relaxed), v, 64,
					i->lacking ? look_again_ms : longest_sleep());
		int error = errno;
		i->asleep.store(0, mo::seq_cst);
		bool look = n <= 0;
		for (int k = 0; k < n; k++) {
			look = look || v[k].data.u64 == wake_mark;
			handle(v[k]);
		}
		if ((n < 0 && error != EINTR) || i->lacking) {
			i->lacking = false;
			go_round();
		}
		if (look)
			serve_paused();
		if (n == 0 && device_ops.any())
			look_at_devices();
		if (n == 0 && !look_for_losses(i))
			break;
		// What it has just been told of says nothing about the rest.
		if (bool some = false; n > 0 && i->is_time_to_look())
			some_missed(&some);
	}
	close_numbers(i);
	watch_again();
	return nullptr;
}

// With `starting' held. nullptr: no thread or descriptor.
Instance *start()
{
	void *m = malloc(sizeof(Instance));
	if (m == nullptr)
		return nullptr;
	auto *i = new (m) Instance{};
	i->process = static_cast<pid_t>(syscall(SYS_getpid));
	if (helper::get() == nullptr || !make_numbers(i)) {
		free(i);
		return nullptr;
	}
	current.store(i, mo::release);
	if (start_thread(main, i, "sigevec-dma") != 0) {
		current.store(nullptr, mo::release);
		close_numbers(i);
		free(i);
		return nullptr;
	}
	i->before = newest;
	newest = i;
	while (i->thread.load(mo::acquire) == 0)
		futex_wait(i->thread, 0, nullptr);
	return i;
}

// The instance, started if there is none that can be used; nullptr: it cannot be had. Instances are
// never freed.
Instance *usable()
{
	Instance *i = current.load(mo::acquire);
	if (i != nullptr && (own == i || intact(i)))
		return i;
	Guard<Mutex> g(starting);
	i = current.load(mo::relaxed);
	if (i != nullptr && intact(i))
		return i;
	notifier::ensure();
	return start();
}

} // namespace

std::atomic<bool> some_paused{false};

Instance *own_instance()
{
	return own;
}

void begin()
{
	usable();
}

bool can_hold_inside()
{
	Instance *i = usable();
	return i != nullptr && i->can_fetch;
}

bool ensure()
{
	Instance *i = usable();
	if (i != nullptr)
		call(i); // it may be asleep without a time limit
	return i != nullptr;
}

void pause(Association *a)
{
	a->paused = true;
	note_pause();
	receive::wait_for_room(a, receive::Want{});
}

namespace {

// The instance watches file from now on. What it waits with may be closed or made anew in between:
// then it is the next one.
bool add(Instance **i, int file, uint32_t events, uint64_t data)
{
	struct epoll_event e = {};
	e.events = events;
	e.data.u64 = data;
	for (; *i != nullptr; *i = usable()) {
		int epoll = (*i)->epoll.fd.load(mo::acquire);
		if (epoll_ctl(epoll, EPOLL_CTL_MOD, file, &e) == 0 ||
		    epoll_ctl(epoll, EPOLL_CTL_ADD, file, &e) == 0)
			return true;
		if (own == *i || (epoll == (*i)->epoll.fd.load(mo::acquire) && intact(*i)))
			return false;
	}
	return false;
}

} // namespace

bool watch(Association *a)
{
	if (by_readers::watch(a))
		return true;
	if (a->watched && current.load(mo::acquire) != nullptr)
		return true;
	Instance *i = usable();
	if (i == nullptr)
		return false;
	if (!a->watched) {
		a->watched =
			add(&i, association::file_of(a),
			    EPOLLIN | EPOLLRDHUP | (a->edge ? EPOLLET | EPOLLPRI : EPOLLONESHOT),
			    uint64_t{a->life} << 32 | a->index);
		if (!a->watched && i != nullptr && own == i)
			i->lacking = a->watched = true;
	}
	if (a->watched)
		note_watch(i);
	return a->watched;
}

bool watch_eventfd(int eventfd, uint64_t tag)
{
	Instance *i = usable();
	return add(&i, eventfd, EPOLLIN | EPOLLONESHOT, tag);
}

void unwatch(Association *a)
{
	if (a->read_by != nullptr)
		by_readers::leave(a);
	Instance *i = current.load(mo::acquire);
	if (a->watched && i != nullptr && association::still_there(a) && intact(i))
		epoll_ctl(i->epoll.fd.load(mo::acquire), EPOLL_CTL_DEL, association::file_of(a),
			  nullptr);
	a->watched = false;
}

bool watch_sends(int file, uint32_t index, uint32_t life)
{
	Instance *i = usable();
	// Errors are told always, and the queue of errors is what it is about.
	bool can = add(&i, file, EPOLLET, uint64_t{life} << 32 | send_mark | index);
	if (can)
		note_watch(i);
	return can;
}

int fetch(int held)
{
	return own != nullptr && own->can_fetch ? own->way.fetch(held) : -EOPNOTSUPP;
}

void note_pause()
{
	if (!some_paused.exchange(true, mo::seq_cst) && own == nullptr)
		look(); // it may be asleep without a time limit
}

void look_now_and_then()
{
	if (Instance *i = current.load(mo::acquire); i != nullptr)
		note_watch(i);
}

void look()
{
	Instance *i = current.load(mo::acquire);
	if (i != nullptr && some_paused.load(mo::seq_cst))
		call(i);
}

int notify(int fd, void (*function)(int, void *), void *argument)
{
	deliver::Outcome o;
	{
		association::Locked a(fd);
		if (!a)
			return ENOTSUP;
		if (a->notify != nullptr)
			return EBUSY;
		if (a->read_by != nullptr)
			by_readers::leave(a.get());
		if (!watch(a.get()))
			return EAGAIN;
		a->notify = function;
		a->notify_argument = argument;
		// What has been taken out of the socket already the kernel does not tell of.
		if (a->queue_count != 0 && a->unreported)
			deliver::step(a.get(), &o, true);
	}
	deliver::finish(o);
	return 0;
}

void close_in_child()
{
	Instance *i = current.load(mo::relaxed);
	if (i == nullptr)
		return;
	i->way.close_in_child();
	close_numbers_in_child(i);
	i->way.forget();
}

void after_fork()
{
	starting.reset();
	some_paused.store(false, mo::relaxed);
	some_watched.store(false, mo::relaxed);
	close_in_child(); // children of clone have not done it
	current.store(nullptr, mo::relaxed);
	own = nullptr;
}

} // namespace receiver
} // namespace sigevec::dma
