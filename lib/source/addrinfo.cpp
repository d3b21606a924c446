// SPDX-License-Identifier: MIT
#include "source/addrinfo.hpp"

#include "channel/channel.hpp"
#include "libc.hpp"
#include "runtime/sync.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>

namespace sigevec::addrinfo {

namespace {

using source::Wait;

struct List;

struct Entry {
	List *list;
	struct gaicb *request;
	bool done;
};

// The requests of one call, until the last has ended.
struct List {
	List *next, *previous;
	Wait *wait;
	int left;
	int n;
	bool kept; // libc may still call back for a request that it refused: never freed
	Entry v[];
};

// Guards the lists. Nothing that is called with it held takes another lock of this library's.
Mutex lock;
List *lists = nullptr;

bool tell(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_addrinfo;
	d->ev_un.ev_obj = w->list;
	source::tell_result(w, d);
	return true;
}

// With the lock held. True: it was the list's last, and the caller is to call last_ended without the lock.
bool ended(Entry *e)
{
	if (e->done)
		return false;
	e->done = true;
	List *l = e->list;
	if (--l->left != 0)
		return false;
	(l->previous != nullptr ? l->previous->next : lists) = l->next;
	if (l->next != nullptr)
		l->next->previous = l->previous;
	return true;
}

void last_ended(List *l)
{
	source::finish(l->wait, 0);
	if (!l->kept)
		free(l);
}

void end(Entry *e)
{
	List *l = e->list;
	bool last;
	{
		Guard<Mutex> g(lock);
		last = ended(e);
	}
	if (last)
		last_ended(l);
}

// By libc, on a thread of its own making.
void answered(union sigval v)
{
	end(static_cast<Entry *>(v.sival_ptr));
}

// With the lock held: the entry of a request that has yet to end.
template <class F> Entry *find(F meant)
{
	for (List *l = lists; l != nullptr; l = l->next)
		for (int i = 0; i < l->n; i++)
			if (!l->v[i].done && l->v[i].request != nullptr && meant(l->v[i]))
				return &l->v[i];
	return nullptr;
}

// libc has taken e out of its queue, or has just ended it.
int cancel_entry(struct gaicb *request, Entry **e, List **last)
{
	int r = libc::functions().gai_cancel(request);
	*last = nullptr;
	if (r != EAI_CANCELED)
		return r;
	*e = find([&](const Entry &other) { return other.request == request; });
	if (*e != nullptr) {
		request->__return = EAI_CANCELED; // what gai_error tells
		if (ended(*e))
			*last = (*e)->list;
	}
	return r;
}

// The channel ends: what libc has not begun is taken back, the rest ends unheard.
bool cancel_list(Wait *w, bool)
{
	for (int i = 0;; i++) {
		List *last;
		{
			Guard<Mutex> g(lock);
			List *l = lists;
			while (l != nullptr && l->wait != w)
				l = l->next;
			if (l == nullptr || i >= l->n)
				return true;
			Entry *e = &l->v[i];
			if (e->done || e->request == nullptr)
				continue;
			cancel_entry(e->request, &e, &last);
		}
		if (last != nullptr)
			last_ended(last);
	}
}

constexpr source::Kind kind = {tell, nullptr, cancel_list, nullptr, false};

List *make(struct gaicb *list[], int n, Wait *w)
{
	auto count = static_cast<size_t>(n);
	auto *l = static_cast<List *>(malloc(sizeof(List) + (count + 1) * sizeof(Entry)));
	if (l == nullptr)
		return nullptr;
	*l = {};
	l->wait = w;
	l->n = n + 1;
	// One more than there are requests, for the submission itself.
	for (size_t i = 0; i <= count; i++) {
		l->v[i] = {l, i < count ? list[i] : nullptr, false};
		l->left += i == count || list[i] != nullptr ? 1 : 0;
	}
	Guard<Mutex> g(lock);
	l->next = lists;
	if (lists != nullptr)
		lists->previous = l;
	lists = l;
	return l;
}

int submit(Entry *e)
{
	struct sigevent call_back = {};
	call_back.sigev_notify = SIGEV_THREAD;
	call_back.sigev_value.sival_ptr = e;
	call_back.sigev_notify_function = answered;
	int r = libc::functions().getaddrinfo_a(GAI_NOWAIT, &e->request, 1, &call_back);
	if (r == 0)
		return 0;
	// Whether libc will call back all the same depends on what it was short of.
	{
		Guard<Mutex> g(lock);
		e->list->kept = true;
	}
	end(e);
	return r;
}

} // namespace

int start(struct gaicb *list[], int n, const struct sigevent &e)
{
	Channel *c = nullptr;
	if (int error = channel::admit(e.sigev_ec, &c); error != 0) {
		errno = error;
		return error == EAGAIN ? EAI_AGAIN : EAI_SYSTEM;
	}
	Wait *w = source::create(&kind, c, e.sigev_value);
	List *l = w != nullptr ? make(list, n, w) : nullptr;
	if (l == nullptr) {
		if (w != nullptr)
			source::release(w);
		channel::retract(c);
		return EAI_MEMORY;
	}
	w->list = list;
	int result = 0;
	for (int i = 0; i < n; i++)
		if (l->v[i].request != nullptr)
			if (int r = submit(&l->v[i]); r != 0 && result == 0)
				result = r;
	end(&l->v[n]);
	return result;
}

int cancel(struct gaicb *request)
{
	List *last = nullptr;
	int r;
	{
		Guard<Mutex> g(lock);
		Entry *e = nullptr;
		r = cancel_entry(request, &e, &last);
	}
	if (last != nullptr)
		last_ended(last);
	return r;
}

void after_fork()
{
	lock.reset();
	lists = nullptr;
}

} // namespace sigevec::addrinfo
