// SPDX-License-Identifier: MIT
#include "dma/receiver.hpp"

#include "base/own_number.hpp"
#include "base/same_file.hpp"
#include "base/syscalls.hpp"
#include "channel/bell.hpp"
#include "channel/channel.hpp"
#include "dma/feed.hpp"
#include "dma/pool.hpp"
#include "dma/receive.hpp"
#include "dma/send.hpp"
#include "ether/device.hpp"
#include "notify/notifier.hpp"
#include "runtime/helper.hpp"
#include "runtime/table.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <new>
#include <utility>
#include <sys/epoll.h>
#include <sys/signalfd.h>

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
// After a call that has failed for no reason of this thread's.
constexpr timespec moment{0, 10000000};

// In what is remembered of a socket that sends, beside its place.
constexpr uint32_t send_mark = 1u << 31;
constexpr uint64_t wake_mark = ~uint64_t{0};
// Blocked in all threads of the library's own; only the receiver's gets it.
constexpr int wake_signal = SIGURG;

// A thread and what it waits with. In the program's table, where the program may close it, or use the number for something else: so each has a
// copy in the helper's table, with which it is compared before it is used.
struct Instance {
	int epoll = -1, alarm = -1; // alarm: a signalfd, which is never read
	int epoll_copy = -1, alarm_copy = -1;
	pid_t process = 0;
	std::atomic<uint32_t> thread{0};
	std::atomic<uint32_t> asleep{0};
	table::Way way; // the thread's own: files out of the helper's table
	bool can_fetch = false;
	bool lacking = false; // something could not be watched: it is looked at now and then
};

// Held while a thread is started; after an association's lock, before nothing.
Mutex starting;
// nullptr: there is none. One that the program has closed is replaced, its thread ends when it next wakes.
std::atomic<Instance *> current{nullptr};
// Set before an association that is about to pause looks for room for the last time; who has made room looks at it after that.
std::atomic<bool> some_paused{false};

thread_local Instance *own __attribute__((tls_model("initial-exec"))) = nullptr;

// Whether a number of this thread's table is the file that the helper has a copy of.
bool is_still(int fd, int copy)
{
	if (fd < 0)
		return false;
	Same s = copy >= 0 ? same_file(table::own_thread(), fd, table::thread_of_helper(), copy) : Same::unknown;
	return s == Same::yes || (s == Same::unknown && !(copy >= 0 && can_compare()) && bell::is_ours(fd));
}

bool intact(const Instance *i)
{
	return is_still(i->epoll, i->epoll_copy);
}

void call(Instance *i)
{
	if (i->asleep.exchange(0, std::memory_order_seq_cst) == 0)
		return;
	int saved = errno;
	syscall(SYS_tgkill, i->process, i->thread.load(std::memory_order_acquire), wake_signal);
	errno = saved;
}

void does_not_sleep(Instance *i)
{
	i->asleep.store(0, std::memory_order_seq_cst);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, wake_signal);
	constexpr timespec none{0, 0};
	while (syscall(SYS_rt_sigtimedwait, &s, nullptr, &none, _NSIG / 8) > 0)
		;
}

// The socket of an association for a scope, with its lock held: the program's number if that is still it, or else a number for the moment, if requests hold it.
class Inside {
public:
	explicit Inside(Association *a) : a_(a)
	{
		if (association::still_there(a)) {
			there_ = true;
			return;
		}
		int fd = a->held >= 0 && own != nullptr && own->can_fetch ? own->way.fetch(a->held)
			 : a->held_here >= 0				  ? fcntl(a->held_here, F_DUPFD_CLOEXEC, 3)
									  : -1;
		if (fd < 0)
			return;
		a->inside = fd;
		there_ = association::is_socket_of(fd, a);
		if (a->device != nullptr && there_)
			a->device->fd = fd;
	}
	~Inside()
	{
		if (a_->inside < 0)
			return;
		sys::close(a_->inside);
		a_->inside = -1;
		if (a_->device != nullptr)
			a_->device->fd = a_->fd;
	}
	Inside(const Inside &) = delete;
	Inside &operator=(const Inside &) = delete;
	explicit operator bool() const { return there_; }

private:
	Association *a_;
	bool there_ = false;
};

// What an event has told. Errors and hang-ups are told of without end while nobody takes them: then only of changes.
void note_event(Association *a, uint32_t events)
{
	a->shut = a->shut || (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
	bool noise = (events & EPOLLIN) == 0;
	if (!noise || !a->edge)
		a->watched = false;
	a->edge = noise;
}

void serve(uint32_t index, uint32_t life, bool arrived, uint32_t events = EPOLLIN)
{
	if (index >= association::count())
		return;
	Association *a = association::at(index);
	feed::Outcome o;
	{
		Guard<Mutex> g(a->lock);
		if (a->fd < 0 || a->life != life || (arrived ? !a->watched : !a->paused))
			return;
		if (arrived)
			note_event(a, events);
		if (a->armed != nullptr && a->paused) {
			// It is the owner of the ring who goes on, with a socket that the ring holds.
			a->paused = false;
			channel::ring_bell(a->armed_in);
			bell::ring(a->armed_in, bell::Which::wake);
			return;
		}
		Inside in(a);
		// A child of fork may have kept a socket open that the program has closed here. What requests hold may just not be had: the program's table
		// is full.
		if (!in) {
			bool later = own != nullptr && (a->held >= 0 || a->held_here >= 0);
			if (later)
				own->lacking = a->watched = true;
			return;
		}
		feed::step(a, &o, arrived);
	}
	{
		Guard<Mutex> g(a->lock);
		if (a->fd >= 0 && a->life == life)
			association::let_go(a);
	}
	feed::finish(o);
}

template <class F> void each_association(F f)
{
	for (uint32_t i = 0; i < association::count(); i++) {
		Association *a = association::at(i);
		a->lock.lock();
		uint32_t life = a->life;
		bool wanted = f(a);
		a->lock.unlock();
		if (wanted)
			serve(i, life, true);
	}
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
	each_association([](Association *a) {
		bool over = a->fd >= 0 && a->device != nullptr && (a->first != nullptr || a->notify != nullptr) && ether::device::failed(a->device);
		a->watched = a->watched || over;
		return over;
	});
}

int longest_sleep()
{
	return some_paused.load(std::memory_order_seq_cst) ? look_again_ms : ether::device::any() ? devices_ms : -1;
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

// ---- what it waits with

void close_numbers(Instance *i)
{
	if (is_still(i->epoll, i->epoll_copy))
		sys::close(i->epoll);
	if (is_still(i->alarm, i->alarm_copy))
		sys::close(i->alarm);
	for (int copy : {i->epoll_copy, i->alarm_copy})
		helper::close_inside(copy);
	i->epoll = i->alarm = i->epoll_copy = i->alarm_copy = -1;
}

// A number of its own, marked, with a copy in the helper's table. -1: there is none.
int keep(int fd, int *copy)
{
	*copy = -1;
	fd = own_number(fd);
	if (fd < 0)
		return -1;
	*copy = bell::mark(fd) ? helper::hold(fd) : -1;
	if (*copy >= 0)
		return fd;
	sys::close(fd);
	return -1;
}

bool make_numbers(Instance *i)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, wake_signal);
	i->epoll = keep(epoll_create1(EPOLL_CLOEXEC), &i->epoll_copy);
	i->alarm = keep(signalfd(-1, &s, SFD_CLOEXEC | SFD_NONBLOCK), &i->alarm_copy);
	struct epoll_event e = {};
	e.events = EPOLLIN;
	e.data.u64 = wake_mark;
	if (i->epoll >= 0 && i->alarm >= 0 && epoll_ctl(i->epoll, EPOLL_CTL_ADD, i->alarm, &e) == 0)
		return true;
	close_numbers(i);
	return false;
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
}

// Without anything to wait with, or where waiting is refused: looks at all of them now and then.
void go_round()
{
	syscall(SYS_nanosleep, &moment, nullptr);
	each_association([](Association *a) { return a->fd >= 0 && a->watched; });
}

// The program has closed what this thread waits with. True: it goes on.
bool renew(Instance *i)
{
	close_numbers(i);
	{
		Guard<Mutex> g(starting);
		if (current.load(std::memory_order_relaxed) != i)
			return false;
		if (!make_numbers(i))
			return true;
	}
	watch_again();
	return true;
}

void *main(void *p)
{
	auto *i = static_cast<Instance *>(p);
	own = i;
	i->can_fetch = i->way.set_up() && !i->way.by_socket();
	i->thread.store(static_cast<uint32_t>(table::own_thread()), std::memory_order_release);
	futex_wake(i->thread, INT_MAX);
	for (;;) {
		if (current.load(std::memory_order_acquire) != i && current.load() != nullptr)
			break;
		if (!intact(i)) {
			if (!renew(i))
				break;
			if (i->epoll < 0)
				go_round();
			continue;
		}
		i->asleep.store(1, std::memory_order_seq_cst);
		struct epoll_event v[64];
		int n = static_cast<int>(syscall(SYS_epoll_pwait, i->epoll, v, 64, i->lacking ? look_again_ms : longest_sleep(), nullptr, 0));
		int error = errno;
		does_not_sleep(i);
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
		if (n == 0 && ether::device::any())
			look_at_devices();
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
	current.store(i, std::memory_order_release);
	if (start_thread(main, i, "sigevec-dma") != 0) {
		current.store(nullptr, std::memory_order_release);
		close_numbers(i);
		free(i);
		return nullptr;
	}
	while (i->thread.load(std::memory_order_acquire) == 0)
		futex_wait(i->thread, 0, nullptr);
	return i;
}

// The instance, started if there is none that can be used; nullptr: it cannot be had. Instances are never freed.
Instance *usable()
{
	Instance *i = current.load(std::memory_order_acquire);
	if (i != nullptr && (own == i || intact(i)))
		return i;
	Guard<Mutex> g(starting);
	i = current.load(std::memory_order_relaxed);
	if (i != nullptr && intact(i))
		return i;
	notifier::ensure();
	return start();
}

} // namespace

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

bool add(int epoll, int file, uint32_t events, uint64_t data)
{
	struct epoll_event e = {};
	e.events = events;
	e.data.u64 = data;
	return epoll_ctl(epoll, EPOLL_CTL_MOD, file, &e) == 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, file, &e) == 0;
}

} // namespace

bool watch(Association *a)
{
	if (a->watched && current.load(std::memory_order_acquire) != nullptr)
		return true;
	Instance *i = usable();
	if (i == nullptr)
		return false;
	if (!a->watched) {
		a->watched = add(i->epoll, association::file_of(a), EPOLLIN | EPOLLRDHUP | (a->edge ? EPOLLET : EPOLLONESHOT),
				 uint64_t{a->life} << 32 | a->index);
		if (!a->watched && own == i)
			i->lacking = a->watched = true;
	}
	return a->watched;
}

bool watch_eventfd(int eventfd, uint64_t tag)
{
	Instance *i = usable();
	return i != nullptr && add(i->epoll, eventfd, EPOLLIN | EPOLLONESHOT, tag);
}

void unwatch(Association *a)
{
	Instance *i = current.load(std::memory_order_acquire);
	if (a->watched && i != nullptr && association::still_there(a) && intact(i))
		epoll_ctl(i->epoll, EPOLL_CTL_DEL, association::file_of(a), nullptr);
	a->watched = false;
}

bool watch_sends(int file, uint32_t index, uint32_t life)
{
	Instance *i = usable();
	// Errors are told always, and the queue of errors is what it is about.
	return i != nullptr && add(i->epoll, file, EPOLLET, uint64_t{life} << 32 | send_mark | index);
}

int fetch(int held)
{
	return own != nullptr && own->can_fetch ? own->way.fetch(held) : -EOPNOTSUPP;
}

void note_pause()
{
	if (!some_paused.exchange(true, std::memory_order_seq_cst) && own == nullptr)
		look(); // it may be asleep without a time limit
}

void look()
{
	Instance *i = current.load(std::memory_order_acquire);
	if (i != nullptr && some_paused.load(std::memory_order_seq_cst))
		call(i);
}

int notify(int fd, void (*function)(int, void *), void *argument)
{
	feed::Outcome o;
	{
		association::Locked a(fd);
		if (!a)
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

void close_in_child()
{
	Instance *i = current.load(std::memory_order_relaxed);
	if (i == nullptr)
		return;
	i->way.close_in_child();
	for (auto [fd, copy] : {std::pair{i->epoll, i->epoll_copy}, std::pair{i->alarm, i->alarm_copy}})
		if (is_still(fd, copy))
			sys::close(fd);
	i->epoll = i->alarm = -1;
	i->way.forget();
}

void after_fork()
{
	starting.reset();
	some_paused.store(false, std::memory_order_relaxed);
	close_in_child(); // children of clone have not done it
	current.store(nullptr, std::memory_order_relaxed);
	own = nullptr;
}

} // namespace receiver
} // namespace sigevec::dma
