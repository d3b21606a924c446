// SPDX-License-Identifier: MIT
#include "source/addrinfo.hpp"

#include "channel/channel.hpp"
#include "libc.hpp"
#include "runtime/config.hpp"
#include "runtime/sync.hpp"

#include <cerrno>
#include <cstdlib>

namespace sigevec::addrinfo {

namespace {

using source::Wait;

enum class State : uint8_t { waiting, running, done };

struct Entry {
	struct gaicb *request;
	State state;
};

// The requests of one call, until the last has ended.
struct List {
	List *next, *previous;
	Wait *wait;
	int left, n;
	Entry v[];
};

Mutex lock;
List *first = nullptr, *last = nullptr;
unsigned threads = 0, idle = 0;
// Changes with every list; waited on by idle threads. And with every end; waited on by gai_suspend.
std::atomic<uint32_t> starts{0}, ends{0};
std::atomic<unsigned> unfinished{0};

bool tell(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_addrinfo;
	d->ev_un.ev_obj = w->list;
	source::tell_result(w, d);
	return true;
}

std::atomic_ref<int> status(const struct gaicb *request)
{
	return std::atomic_ref<int>(const_cast<struct gaicb *>(request)->__return);
}

// With the lock held. Returns the list if it has ended with this; the caller then calls tell_end without the lock.
List *end(List *l, Entry *e, int result)
{
	e->state = State::done;
	status(e->request).store(result, std::memory_order_release);
	ends.fetch_add(1, std::memory_order_seq_cst);
	futex_wake(ends, INT_MAX);
	unfinished.fetch_sub(1, std::memory_order_relaxed);
	if (--l->left != 0)
		return nullptr;
	(l->previous != nullptr ? l->previous->next : first) = l->next;
	(l->next != nullptr ? l->next->previous : last) = l->previous;
	return l;
}

void tell_end(List *l)
{
	if (l == nullptr)
		return;
	source::finish(l->wait, 0);
	free(l);
}

// With the lock held: the earliest entry for which meant() holds, and its list.
template <class F> Entry *find(F meant, List **in)
{
	for (List *l = first; l != nullptr; l = l->next)
		for (int i = 0; i < l->n; i++)
			if (meant(l->v[i])) {
				*in = l;
				return &l->v[i];
			}
	return nullptr;
}

Entry *find_waiting(List **in)
{
	return find([](const Entry &e) { return e.state == State::waiting; }, in);
}

// With the lock held, which is given up meanwhile: the next request for this thread. nullptr: it is counted no more.
Entry *next_request(List **in)
{
	Entry *e;
	while ((e = find_waiting(in)) == nullptr) {
		uint32_t seen = starts.load(std::memory_order_relaxed);
		timespec limit{static_cast<time_t>(config::limits.idle.load(std::memory_order_relaxed)) + 1, 0};
		idle++;
		lock.unlock();
		int error = futex_wait(starts, seen, &limit);
		lock.lock();
		idle--;
		if (error == ETIMEDOUT && find_waiting(in) == nullptr) {
			threads--;
			return nullptr;
		}
	}
	return e;
}

void *main(void *)
{
	lock.lock();
	List *l;
	while (Entry *e = next_request(&l)) {
		e->state = State::running;
		struct gaicb *r = e->request;
		lock.unlock();
		int result = getaddrinfo(r->ar_name, r->ar_service, r->ar_request, &r->ar_result);
		lock.lock();
		List *ended = end(l, e, result);
		lock.unlock();
		tell_end(ended);
		lock.lock();
	}
	lock.unlock();
	return nullptr;
}

// With the lock held, for n more requests. False: there is no thread at all.
bool see_to_threads(int n)
{
	starts.fetch_add(1, std::memory_order_relaxed);
	futex_wake(starts, n);
	unsigned most = config::limits.threads.load(std::memory_order_relaxed);
	for (int wanted = n - static_cast<int>(idle); wanted > 0 && threads < most; wanted--) {
		if (start_thread(main, nullptr, "sigevec-names") != 0)
			break;
		threads++;
	}
	return threads != 0;
}

// The channel ends: what has not begun is taken back, the rest ends unheard.
bool cancel_list(Wait *w, bool)
{
	List *ended = nullptr;
	{
		Guard<Mutex> g(lock);
		List *l = first;
		while (l != nullptr && l->wait != w)
			l = l->next;
		for (int i = 0; l != nullptr && ended == nullptr && i < l->n; i++)
			if (l->v[i].state == State::waiting)
				ended = end(l, &l->v[i], EAI_CANCELED);
	}
	tell_end(ended);
	return true;
}

constexpr source::Kind kind = {tell, nullptr, cancel_list, nullptr, false};

List *make(struct gaicb *list[], int n, Wait *w)
{
	auto *l = static_cast<List *>(calloc(1, sizeof(List) + static_cast<size_t>(n) * sizeof(Entry)));
	if (l == nullptr)
		return nullptr;
	l->wait = w;
	for (int i = 0; i < n; i++)
		if (list[i] != nullptr)
			l->v[l->n++] = {list[i], State::waiting};
	l->left = l->n;
	return l;
}

// False: no thread can be had.
bool queue(List *l)
{
	Guard<Mutex> g(lock);
	l->previous = last;
	(last != nullptr ? last->next : first) = l;
	last = l;
	if (!see_to_threads(l->n)) {
		last = l->previous;
		(last != nullptr ? last->next : first) = nullptr;
		return false;
	}
	unfinished.fetch_add(static_cast<unsigned>(l->n), std::memory_order_relaxed);
	for (int i = 0; i < l->n; i++)
		status(l->v[i].request).store(EAI_INPROGRESS, std::memory_order_relaxed);
	return true;
}

int start_with_room(struct gaicb *list[], int n, Channel *c, union sigval value)
{
	Wait *w = source::create(&kind, c, value);
	List *l = w != nullptr ? make(list, n, w) : nullptr;
	if (l == nullptr) {
		if (w != nullptr)
			source::release(w);
		return EAI_MEMORY;
	}
	w->list = list;
	if (l->n == 0)
		tell_end(l);
	else if (!queue(l)) {
		free(l);
		source::release(w);
		return EAI_AGAIN;
	}
	return 0;
}

bool has_ended(const struct gaicb *request)
{
	return request != nullptr && status(request).load(std::memory_order_acquire) != EAI_INPROGRESS;
}

// Whether the list has requests that wait here, and such that wait in libc.
void count(const struct gaicb *const list[], int n, bool *here, bool *in_libc)
{
	Guard<Mutex> g(lock);
	*here = *in_libc = false;
	for (int i = 0; i < n; i++) {
		if (list[i] == nullptr || has_ended(list[i]))
			continue;
		List *l;
		bool found = find([&](const Entry &e) { return e.request == list[i]; }, &l) != nullptr;
		(found ? *here : *in_libc) = true;
	}
}

} // namespace

int start(struct gaicb *list[], int n, const struct sigevent &e)
{
	Channel *c = nullptr;
	if (int error = channel::admit(e.sigev_ec, &c); error != 0) {
		errno = error;
		return error == EAGAIN ? EAI_AGAIN : EAI_SYSTEM;
	}
	int result = start_with_room(list, n, c, e.sigev_value);
	if (result != 0)
		channel::retract(c);
	return result;
}

int cancel(struct gaicb *request)
{
	List *ended = nullptr;
	{
		Guard<Mutex> g(lock);
		List *l;
		Entry *e = find([&](const Entry &other) { return other.request == request; }, &l);
		if (e == nullptr)
			return libc::functions().gai_cancel(request);
		if (e->state != State::waiting)
			return e->state == State::running ? EAI_NOTCANCELED : EAI_ALLDONE;
		ended = end(l, e, EAI_CANCELED);
	}
	tell_end(ended);
	return EAI_CANCELED;
}

int suspend(const struct gaicb *const list[], int n, const struct timespec *timeout)
{
	// The ends of a list of both kinds are looked for this often; one kind alone is waited for.
	constexpr timespec moment{0, 5000000};
	Deadline deadline = Deadline::after(timeout);
	while (unfinished.load(std::memory_order_acquire) != 0) {
		uint32_t seen = ends.load(std::memory_order_seq_cst);
		bool here, in_libc;
		count(list, n, &here, &in_libc);
		if (!here)
			break;
		for (int i = 0; i < n; i++)
			if (has_ended(list[i]))
				return 0;
		timespec rest{1 << 30, 0};
		if (!deadline.never && !deadline.left(rest))
			return EAI_AGAIN;
		if (in_libc && (rest.tv_sec != 0 || rest.tv_nsec > moment.tv_nsec))
			rest = moment;
		if (futex_wait(ends, seen, &rest) == EINTR)
			return EAI_INTR;
	}
	for (int i = 0; i < n; i++)
		if (has_ended(list[i]))
			return 0;
	return libc::functions().gai_suspend(list, n, timeout);
}

void after_fork()
{
	lock.reset();
	first = last = nullptr;
	threads = idle = 0;
	unfinished.store(0, std::memory_order_relaxed);
}

} // namespace sigevec::addrinfo
