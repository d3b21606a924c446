// SPDX-License-Identifier: MIT
#include "glue/loop.hpp"

#include "base/memory_order.hpp"
#include "glue/link.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::glue {

namespace {

constexpr unsigned batch = 256; // events taken at once
constexpr unsigned rounds = 4;  // before other events of the base have their turn
constexpr unsigned limit = 1u << 30;
constexpr struct timespec at_once = {0, 0}, longest_wait = {1, 0};
constexpr struct timeval no_time = {0, 0};

Mutex registry;
Loop *loops; // under `registry'

// --- what the loop does -----------------------------------------------------------------------

bool is_thread(const Loop *l)
{
	return pthread_equal(l->thread.load(mo::relaxed), pthread_self()) != 0;
}

int take(Loop *l, event_data_t *v, const struct timespec *timeout)
{
	Locked locked(l->lock);
	for (Request *r; (r = l->to_cancel) != nullptr;) {
		l->to_cancel = r->next;
		r->listed = false;
		ev_cancel(l->ec, r);
	}
	l->prepared = false;
	int n = ec_next_events(l->ec, v, batch, timeout);
	if (n > 0)
		l->outstanding -= static_cast<unsigned>(n);
	else if (n < 0 && errno == EBADF)
		l->outstanding = 0; // the channel is the parent's, this is a child of fork
	return n;
}

// The links that were marked, in the order of their marking.
Link *take_marked(std::atomic<Link *> &list)
{
	Link *k = list.exchange(nullptr, mo::acquire), *first = nullptr;
	while (k != nullptr) {
		Link *next = k->next;
		k->next = first;
		first = k;
		k = next;
	}
	return first;
}

void start_marked(std::atomic<Link *> &list)
{
	for (Link *k = take_marked(list), *next; k != nullptr; k = next) {
		next = k->next;
		// From here on it may be marked again. Against mark().
		k->marked.store(false, mo::release);
		start(k);
	}
}

bool is_any_marked(const Loop *l)
{
	return l->marked.load(mo::acquire) != nullptr ||
	       l->marked_soon.load(mo::acquire) != nullptr;
}

// As a rule the channel, like other descriptors, has its turn when the base has its next one.
void schedule_next_turn(Loop *l)
{
	if (!is_thread(l)) {
		event_active(&l->wanted, EV_READ, 1);
	} else if (!l->next_turn) {
		l->next_turn = true;
		event_add(&l->wanted, &no_time);
	}
}

// Once in each turn it may have one more, behind what is active by then, for those of which no
// callback can be waiting that is to run before: what is answered at once then costs the base no
// turn of its own.
void schedule_soon(Loop *l)
{
	if (!l->once_more) {
		schedule_next_turn(l);
		return;
	}
	l->once_more = false;
	event_active(&l->soon, EV_WRITE, 1);
}

bool may_be_soon(const Link *k)
{
	const Loop *l = k->loop;
	return is_thread(l) && !k->deferred &&
	       event_get_priority(&k->bev->ev_read) == event_get_priority(&l->soon);
}

void handle(Loop *l, Request *r, ssize_t result, int error)
{
	Link *k = r->link.load(mo::acquire);
	// A link is freed by this thread, or when the loop does not run; it is taken from a request
	// under its own lock.
	if (k == nullptr || !ended(k, r, result, error))
		release(l, r);
}

void handle_early(Loop *l)
{
	Request *r;
	{
		Locked locked(l->lock);
		r = l->early;
		l->early = nullptr;
	}
	for (Request *next; r != nullptr; r = next) {
		next = r->later;
		handle(l, r, r->result, r->error);
	}
}

void activate_due(Loop *l)
{
	Link *k = l->due;
	l->due = nullptr;
	l->last_due = &l->due;
	for (Link *next; k != nullptr; k = next) {
		next = k->next_due;
		activate(k);
	}
}

void work(evutil_socket_t, short what, void *arg)
{
	auto *l = static_cast<Loop *>(arg);
	event_data_t events[batch];
	l->thread.store(pthread_self(), mo::relaxed);
	bool turn = (what & (EV_READ | EV_TIMEOUT)) != 0;
	l->once_more = l->once_more || turn;
	l->working = true;
	int n = static_cast<int>(batch);
	for (unsigned round = 0; round < rounds && n == static_cast<int>(batch); round++) {
		handle_early(l);
		if (turn)
			start_marked(l->marked);
		start_marked(l->marked_soon);
		n = take(l, events, &at_once);
		for (int i = 0; i < n; i++)
			handle(l, static_cast<Request *>(events[i].ev_data), events[i].ev_result,
			       events[i].ev_errno);
	}
	activate_due(l);
	l->working = false;
	if (is_any_marked(l))
		schedule_next_turn(l);
}

// Made active by another thread it is not added any more, either.
void work_wanted(evutil_socket_t fd, short what, void *arg)
{
	static_cast<Loop *>(arg)->next_turn = false;
	work(fd, what, arg);
}

// --- which loops there are --------------------------------------------------------------------

void nothing(evutil_socket_t, short, void *)
{
}

void assign_own(struct event *ev, Loop *l, evutil_socket_t fd, short what, event_callback_fn f)
{
	event_assign(ev, l->base, fd, what, f, l);
	event_priority_set(ev, 0);
	ev->ev_evcallback.evcb_flags |= EVLIST_INTERNAL;
}

void assign(Loop *l, struct event_base *base)
{
	l->base = base;
	l->thread.store(0, mo::relaxed);
	assign_own(&l->ready, l, ec_to_fd(l->ec), EV_READ | EV_PERSIST, work);
	assign_own(&l->wanted, l, -1, 0, work_wanted);
	assign_own(&l->soon, l, -1, 0, work);
	event_assign(&l->reading, base, -1, EV_READ | EV_PERSIST, nothing, nullptr);
	event_priority_set(&l->soon, event_get_priority(&l->reading));
	l->once_more = l->next_turn = false;
	l->due = nullptr;
	l->last_due = &l->due;
	event_add(&l->ready, nullptr);
}

// Without one, other threads would wait for the channel: libevent's own wait costs less, and sees
// all that is ready at once.
bool has_ring()
{
	const char *forced = secure_getenv("SIGEVEC_ENGINE");
	for (const char *other : {"inline", "kaio", "threads"})
		if (forced != nullptr && strcmp(forced, other) == 0)
			return false;
	// Not by making one: the end of a ring disturbs the thread that has made it, some time
	// later, in a call that can be interrupted.
	return syscall(SYS_io_uring_setup, 0, nullptr) < 0 && errno == EFAULT;
}

Loop *make(struct event_base *base)
{
	if (!has_ring())
		return nullptr;
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

// Every link has gone, so nobody is to be told: what was cancelled is waited for, that the base may
// be freed.
void finish(Loop *l)
{
	event_data_t events[batch];
	for (std::atomic<Link *> *list : {&l->marked, &l->marked_soon})
		for (Link *k = take_marked(*list), *next; k != nullptr; k = next) {
			next = k->next;
			free(k);
		}
	for (Request *r = l->early, *next; r != nullptr; r = next) {
		next = r->later;
		release(l, r);
	}
	l->early = nullptr;
	for (int n; l->outstanding != 0 && (n = take(l, events, &longest_wait)) > 0;)
		for (int i = 0; i < n; i++)
			release(l, static_cast<Request *>(events[i].ev_data));
	event_del(&l->ready);
	event_del(&l->wanted);
	event_del(&l->soon);
	event_del(&l->reading);
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
	if (k->marked.exchange(true, mo::acq_rel))
		return;
	Loop *l = k->loop;
	bool soon = may_be_soon(k);
	std::atomic<Link *> &list = soon ? l->marked_soon : l->marked;
	Link *first = list.load(mo::relaxed);
	do
		k->next = first;
	while (!list.compare_exchange_weak(first, k, mo::release, mo::relaxed));
	if (first != nullptr ||
	    (is_thread(l) && l->working)) // work() looks at the lists before it returns
		return;
	if (soon)
		schedule_soon(l);
	else
		schedule_next_turn(l);
}

void due(Link *k)
{
	k->next_due = nullptr;
	*k->loop->last_due = k;
	k->loop->last_due = &k->next_due;
}

void reads(Loop *l, bool more)
{
	Locked locked(l->lock);
	if (more && l->readers++ == 0)
		event_add(&l->reading, nullptr);
	else if (!more && --l->readers == 0)
		event_del(&l->reading);
}

// --- requests ---------------------------------------------------------------------------------

bool start_poll(Loop *l, Request *r, int fd, short events)
{
	Locked locked(l->lock);
	if (ev_poll(fd, events, l->ec, r) != 0)
		return false;
	r->outstanding = true;
	r->cancelled = r->listed = false;
	l->outstanding++;
	return true;
}

void cancel(Loop *l, Request *r)
{
	Locked locked(l->lock);
	if (r->cancelled)
		return;
	r->cancelled = true;
	if (is_thread(l)) {
		ev_cancel(l->ec, r);
		l->prepared = true;
		return;
	}
	// Another thread would take the channel's ring away.
	r->listed = true;
	r->next = l->to_cancel;
	l->to_cancel = r;
	event_active(&l->wanted, EV_READ, 1);
}

void hand_over(Loop *l)
{
	if (!is_thread(l) || !l->prepared)
		return;
	event_data_t events[batch];
	int n = take(l, events, &at_once);
	for (int i = 0; i < n; i++) {
		auto *r = static_cast<Request *>(events[i].ev_data);
		if (r->link.load(mo::acquire) == nullptr) {
			release(l, r);
			continue;
		}
		// Its link's lock is not to be taken here, where the caller has another one's.
		r->result = events[i].ev_result;
		r->error = events[i].ev_errno;
		Locked locked(l->lock);
		r->later = l->early;
		l->early = r;
	}
	if (l->early != nullptr && !l->working)
		schedule_next_turn(l);
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
