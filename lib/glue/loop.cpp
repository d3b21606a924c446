// SPDX-License-Identifier: MIT
//
// What the thread of a loop does in its turn, who calls for one, and requests.
#include "glue/loop_impl.hpp"

#include "base/memory_order.hpp"
#include "glue/link.hpp"

#include <cerrno>
#include <cstdlib>

namespace sigevec::glue {

Link *&next_due_of(Link *k)
{
	return k->next_due;
}

namespace {

constexpr unsigned rounds = 4; // before other events of the base have their turn

constexpr struct timespec at_once = {0, 0};
constexpr struct timeval no_time = {0, 0};

bool is_thread(const Loop *l)
{
	return pthread_equal(l->thread.load(mo::relaxed), pthread_self()) != 0;
}

} // namespace

namespace {

// With l's lock.
void cancel_listed(Loop *l)
{
	for (Request *r; (r = l->to_cancel) != nullptr;) {
		l->to_cancel = r->next;
		r->listed = false;
		ev_cancel(l->ec, r);
	}
	l->prepared = false;
}

// What has been prepared goes to the kernel, and what has ended is left there.
void submit(Loop *l)
{
	Locked locked(l->lock);
	if (!l->prepared && l->to_cancel == nullptr)
		return;
	cancel_listed(l);
	ec_submit(l->ec);
}

} // namespace

int take(Loop *l, event_data_t *v, const struct timespec *timeout)
{
	Locked locked(l->lock);
	cancel_listed(l);
	int n = ec_next_events(l->ec, v, batch, timeout);
	if (n > 0)
		l->outstanding -= static_cast<unsigned>(n);
	else if (n < 0 && errno == EBADF)
		l->outstanding = 0; // the channel is the parent's, this is a child of fork
	return n;
}

namespace {

void start_marked(Inbox<Link> &list)
{
	for (Link *k = list.take_all(), *next; k != nullptr; k = next) {
		next = k->next;
		// From here on it may be marked again. Against mark().
		k->marked.store(false, mo::release);
		start(k);
	}
}

bool is_any_marked(const Loop *l)
{
	return !l->marked.empty() || !l->marked_soon.empty();
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
	for (Link *k = l->due.take_all(), *next; k != nullptr; k = next) {
		next = l->due.after(k);
		activate(k);
	}
}

bool is_anything_outstanding(Loop *l)
{
	Locked locked(l->lock);
	return l->outstanding != 0;
}

// called: by the channel
void take_turn(Loop *l, bool called)
{
	event_data_t events[batch];
	int n = static_cast<int>(batch);
	for (unsigned round = 0; round < rounds && n == static_cast<int>(batch); round++) {
		handle_early(l);
		start_marked(l->marked);
		start_marked(l->marked_soon);
		n = called || is_anything_outstanding(l) ? take(l, events, &at_once) : 0;
		for (int i = 0; i < n; i++)
			handle(l, static_cast<Request *>(events[i].ev_data), events[i].ev_result,
			       events[i].ev_errno);
	}
}

} // namespace

// Before the base looks at its descriptors the kernel is only told: what it answers makes the
// channel readable.
void work(evutil_socket_t fd, short what, void *arg)
{
	auto *l = static_cast<Loop *>(arg);
	l->thread.store(pthread_self(), mo::relaxed);
	bool turn = (what & (EV_READ | EV_TIMEOUT)) != 0;
	l->once_more = l->once_more || turn;
	l->working = true;
	if (!turn) {
		start_marked(l->marked_soon);
		submit(l);
	} else
		take_turn(l, fd >= 0);
	activate_due(l);
	l->working = false;
	if (is_any_marked(l))
		schedule_next_turn(l);
}

void work_wanted(evutil_socket_t fd, short what, void *arg)
{
	static_cast<Loop *>(arg)->next_turn = false;
	work(fd, what, arg);
}

void mark(Link *k)
{
	if (k->marked.exchange(true, mo::acq_rel))
		return;
	Loop *l = k->loop;
	k->in_turn = is_active(&l->wanted);
	bool soon = may_be_soon(k);
	bool first = (soon ? l->marked_soon : l->marked).push(k);
	if (!first || (is_thread(l) && l->working)) // work() looks at the lists before it returns
		return;
	if (soon)
		schedule_soon(l);
	else
		schedule_next_turn(l);
}

bool asks_next(const Link *k)
{
	return k->marked.load(mo::relaxed) && !k->in_turn && is_active(&k->loop->wanted);
}

void due(Link *k)
{
	k->loop->due.push(k);
}

void set_reader(Loop *l, Link *k)
{
	l->thread.store(pthread_self(), mo::relaxed);
	l->reader = k;
}

void let_go_of(Loop *l, int fd)
{
	if (!is_thread(l))
		return;
	Link *k = l->reader;
	if (k != nullptr && k->fd == fd && !k->reading && in_channel(k))
		k->plain->disable(k->bev, EV_READ);
}

// --- requests ---------------------------------------------------------------------------------

bool start_poll(Loop *l, Request *r, int fd, short events)
{
	Locked locked(l->lock);
	if (ev_poll(fd, events, l->ec, r) != 0)
		return false;
	l->prepared = r->outstanding = true;
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
