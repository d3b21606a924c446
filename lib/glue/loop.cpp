// SPDX-License-Identifier: MIT
#include "glue/loop.hpp"

#include "glue/link.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>
#include <poll.h>
#include <unistd.h>

namespace sigevec::glue {

namespace {

constexpr unsigned batch = 256; // events taken at once
constexpr unsigned rounds = 4;  // before other events of the base have their turn
constexpr unsigned limit = 1u << 30;
constexpr struct timespec at_once = {0, 0}, longest_wait = {1, 0};

Mutex registry;
Loop *loops; // under `registry'

// --- what the loop does ---------------------------------------------------------------------------------------------

bool is_thread(const Loop *l)
{
	return pthread_equal(l->thread.load(std::memory_order_relaxed), pthread_self()) != 0;
}

int take(Loop *l, event_data_t *v, const struct timespec *timeout)
{
	Locked locked(l->lock);
	for (Request *r; (r = l->to_cancel) != nullptr;) {
		l->to_cancel = r->next;
		r->listed = false;
		ev_cancel(l->ec, r);
	}
	int n = ec_next_events(l->ec, v, batch, timeout);
	if (n > 0)
		l->outstanding -= static_cast<unsigned>(n);
	else if (n < 0 && errno == EBADF)
		l->outstanding = 0; // the channel is the parent's, this is a child of fork
	return n;
}

// The links that were marked, in the order of their marking.
Link *take_marked(Loop *l)
{
	Link *k = l->marked.exchange(nullptr, std::memory_order_acquire), *first = nullptr;
	while (k != nullptr) {
		Link *next = k->next;
		k->next = first;
		first = k;
		k = next;
	}
	return first;
}

void start_marked(Loop *l)
{
	while (Link *k = take_marked(l)) {
		while (k != nullptr) {
			Link *next = k->next;
			// From here on it may be marked again. Against mark().
			k->marked.store(false, std::memory_order_release);
			start(k);
			k = next;
		}
	}
}

// Its descriptor is waited for while something is outstanding, and not longer: an event that is added keeps the loop running.
void watch(Loop *l)
{
	bool is = event_pending(&l->ready, EV_READ, nullptr) != 0, should = l->outstanding != 0;
	if (should && !is)
		event_add(&l->ready, nullptr);
	else if (!should && is)
		event_del(&l->ready);
}

void handle(Loop *l, const event_data_t &e)
{
	auto *r = static_cast<Request *>(e.ev_data);
	Link *k = r->link.load(std::memory_order_acquire);
	// A link is freed by this thread, or when the loop does not run; it is taken from a request under its own lock.
	if (k == nullptr || !ended(k, r, e.ev_result, e.ev_errno))
		release(l, r);
}

void work(evutil_socket_t, short, void *arg)
{
	auto *l = static_cast<Loop *>(arg);
	event_data_t events[batch];
	l->thread.store(pthread_self(), std::memory_order_relaxed);
	l->working = true;
	for (unsigned round = 0; round < rounds; round++) {
		start_marked(l);
		int n = take(l, events, &at_once);
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++) {
			handle(l, events[i]);
		}
	}
	l->working = false;
	watch(l);
	if (l->marked.load(std::memory_order_acquire) != nullptr)
		event_active(&l->wanted, EV_TIMEOUT, 1);
}

// --- which loops there are --------------------------------------------------------------------------------------------

void assign(Loop *l, struct event_base *base)
{
	l->base = base;
	l->thread.store(0, std::memory_order_relaxed);
	event_assign(&l->ready, base, ec_to_fd(l->ec), EV_READ | EV_PERSIST, work, l);
	event_assign(&l->wanted, base, -1, 0, work, l);
	l->priority = event_get_priority(&l->ready);
}

Loop *make(struct event_base *base)
{
	void *memory = calloc(1, sizeof(Loop));
	if (memory == nullptr)
		return nullptr;
	Loop *l = new (memory) Loop{};
	l->ec = ec_create(EC_SINGLE | EC_BATCH | EC_NONBLOCK | EC_CLOEXEC);
	if (l->ec < 0) {
		free(l);
		return nullptr;
	}
	ec_set_limit(l->ec, limit);
	l->process = getpid();
	assign(l, base);
	l->next = loops;
	loops = l;
	return l;
}

// Every link has gone, so nobody is to be told: what was cancelled is waited for, that the base may be freed.
void finish(Loop *l)
{
	event_data_t events[batch];
	for (Link *k = take_marked(l), *next; k != nullptr; k = next) {
		next = k->next;
		free(k);
	}
	for (int n; l->outstanding != 0 && (n = take(l, events, &longest_wait)) > 0;)
		for (int i = 0; i < n; i++)
			release(l, static_cast<Request *>(events[i].ev_data));
	if (event_pending(&l->ready, EV_READ, nullptr) != 0)
		event_del(&l->ready);
	event_del(&l->wanted);
}

// Of the idle ones of this process one is kept.
void keep_one_idle()
{
	pid_t self = getpid();
	bool kept = false;
	for (Loop **p = &loops; *p != nullptr;) {
		Loop *l = *p;
		bool idle = l->links == 0 && l->outstanding == 0 && l->process == self;
		if (!idle || !kept) {
			kept = kept || idle;
			p = &l->next;
			continue;
		}
		*p = l->next;
		ec_destroy(l->ec);
		free(l);
	}
}

} // namespace

Loop *join(struct event_base *base)
{
	Locked locked(registry);
	pid_t self = getpid();
	Loop *found = nullptr;
	for (Loop *l = loops; l != nullptr; l = l->next) {
		if (l->process != self)
			continue;
		if (l->links != 0 && l->base == base) {
			l->links++;
			return l;
		}
		if (l->links == 0 && l->outstanding == 0)
			found = l;
	}
	if (found != nullptr)
		assign(found, base);
	else if ((found = make(base)) == nullptr)
		return nullptr;
	found->links = 1;
	return found;
}

void part(Loop *l)
{
	Locked locked(registry);
	if (--l->links != 0 || l->process != getpid())
		return;
	finish(l);
	keep_one_idle();
}

void mark(Link *k)
{
	if (k->marked.exchange(true, std::memory_order_acq_rel))
		return;
	Loop *l = k->loop;
	Link *first = l->marked.load(std::memory_order_relaxed);
	do
		k->next = first;
	while (!l->marked.compare_exchange_weak(first, k, std::memory_order_release, std::memory_order_relaxed));
	// work() looks at the list before it returns.
	if (first == nullptr && !(is_thread(l) && l->working))
		event_active(&l->wanted, EV_TIMEOUT, 1);
}

// --- requests -----------------------------------------------------------------------------------------------------------

namespace {

bool started(Loop *l, Request *r, int result)
{
	if (result != 0)
		return false;
	r->outstanding = true;
	r->cancelled = r->listed = false;
	l->outstanding++;
	return true;
}

} // namespace

bool start_receive(Loop *l, Request *r, int fd, void *buf, size_t n)
{
	Locked locked(l->lock);
	return started(l, r, ev_recv(fd, buf, n, 0, l->ec, r));
}

bool start_send(Loop *l, Request *r, int fd, const void *buf, size_t n)
{
	Locked locked(l->lock);
	return started(l, r, ev_send(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL, l->ec, r));
}

bool start_room(Loop *l, Request *r, int fd)
{
	Locked locked(l->lock);
	return started(l, r, ev_poll(fd, POLLOUT, l->ec, r));
}

void cancel(Loop *l, Request *r)
{
	Locked locked(l->lock);
	if (r->cancelled)
		return;
	r->cancelled = true;
	if (is_thread(l)) {
		ev_cancel(l->ec, r);
		ec_submit(l->ec);
		return;
	}
	// Another thread would take the channel's ring away.
	r->listed = true;
	r->next = l->to_cancel;
	l->to_cancel = r;
	event_active(&l->wanted, EV_TIMEOUT, 1);
}

void release(Loop *l, Request *r)
{
	Locked locked(l->lock);
	if (r->listed)
		for (Request **p = &l->to_cancel; *p != nullptr; p = &(*p)->next)
			if (*p == r) {
				*p = r->next;
				break;
			}
	free(r);
}

} // namespace sigevec::glue
