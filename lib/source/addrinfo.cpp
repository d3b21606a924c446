// SPDX-License-Identifier: MIT
#include "source/addrinfo.hpp"

#include "base/event_count.hpp"
#include "base/memory_order.hpp"
#include "base/queue.hpp"
#include "base/sync.hpp"
#include "libc.hpp"
#include "runtime/config.hpp"
#include "runtime/thread.hpp"
#include "source/rights.hpp"

#include <cerrno>
#include <cstdlib>

namespace sigevec::addrinfo {

namespace {

using source::Wait;

enum class State : uint8_t { waiting, running, done };

struct Batch;

struct Entry {
	struct gaicb *request;
	State state;
	Batch *list;
	Hook<Entry> hook;
};

// The requests of one call, until the last has ended.
struct Batch {
	Links<Batch> links; // as long as some wait
	Wait *wait;
	int left, n;
	int begun;  // those before this one wait no more
	bool alone; // has a thread of its own, and is not among the batches
	Entry v[];
};

Mutex lock;
Links<Batch> &links_of(Batch *l)
{
	return l->links;
}
List<Batch, links_of> batches;
Chains<Entry, &Entry::hook> by_request; // all that have not ended
unsigned threads = 0;
unsigned common = 0, idle = 0; // of them those that take what waits, and of these the idle ones
uint64_t common_rights = 0;    // of the common ones
// Changes with every list; waited on by idle threads. And with every end; waited on by gai_suspend.
EventCount starts, ends;
std::atomic<unsigned> unfinished{0};

bool describe(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_addrinfo;
	d->ev_un.ev_obj = w->names.list;
	source::describe_result(w, d);
	return true;
}

std::atomic_ref<int> status(const struct gaicb *request)
{
	return std::atomic_ref<int>(const_cast<struct gaicb *>(request)->__return);
}

uint64_t hash_of_request(const struct gaicb *request)
{
	return hash_of(request, nullptr);
}

// With the lock held, as the next functions. The earliest request that waits is no more than these:
// others have begun or ended.
void move_on(Batch *l)
{
	while (l->begun < l->n && l->v[l->begun].state != State::waiting)
		if (++l->begun == l->n && !l->alone)
			batches.remove(l); // nothing in it waits any more
}

// Returns the list if it has ended with this; the caller then calls tell_end without the lock.
Batch *count_down(Batch *l)
{
	if (--l->left != 0)
		return nullptr;
	l->wait->names.own = nullptr;
	return l;
}

// The same.
Batch *end(Entry *e, int result)
{
	Batch *l = e->list;
	e->state = State::done;
	by_request.remove(e);
	status(e->request).store(result, mo::release);
	ends.notify(INT_MAX);
	unfinished.fetch_sub(1, mo::relaxed);
	move_on(l);
	return count_down(l);
}

void tell_end(Batch *l)
{
	if (l == nullptr)
		return;
	source::finish(l->wait, 0);
	free(l);
}

// The newest, should the program have given it twice.
Entry *find(const struct gaicb *request)
{
	Entry *e = by_request.first(hash_of_request(request));
	while (e != nullptr && e->request != request)
		e = by_request.next(e);
	return e;
}

Entry *find_waiting()
{
	Batch *oldest = batches.first();
	return oldest != nullptr ? &oldest->v[oldest->begun] : nullptr;
}

// With the lock held, which is given up meanwhile: the next request for this thread. nullptr: it is
// counted no more.
Entry *next_request()
{
	Entry *e;
	while ((e = find_waiting()) == nullptr) {
		EventCount::Key seen = starts.key();
		timespec limit{static_cast<time_t>(config::limits.idle.load(mo::relaxed)) + 1, 0};
		idle++;
		lock.unlock();
		int error = starts.sleep(seen, &limit);
		lock.lock();
		idle--;
		if (error == ETIMEDOUT && find_waiting() == nullptr) {
			threads--;
			common--;
			return nullptr;
		}
	}
	return e;
}

// With the lock held, which is given up meanwhile. False: there is no list, so it has not ended.
bool has_been_told(Batch *ended)
{
	if (ended == nullptr)
		return false;
	lock.unlock();
	tell_end(ended);
	lock.lock();
	return true;
}

// The same. True: the list has ended, and is no more.
bool look_up(Entry *e)
{
	e->state = State::running;
	move_on(e->list);
	struct gaicb *r = e->request;
	lock.unlock();
	int result = getaddrinfo(r->ar_name, r->ar_service, r->ar_request, &r->ar_result);
	lock.lock();
	return has_been_told(end(e, result));
}

void *common_thread(void *)
{
	lock.lock();
	while (Entry *e = next_request())
		look_up(e);
	lock.unlock();
	return nullptr;
}

// For one list, of a caller with rights of its own.
void *single_thread(void *list)
{
	auto *l = static_cast<Batch *>(list);
	lock.lock();
	// Until here the thread has kept the list: all of it may have been cancelled.
	bool ended = has_been_told(count_down(l));
	while (!ended)
		ended = look_up(&l->v[l->begun]);
	threads--;
	lock.unlock();
	return nullptr;
}

unsigned most_threads()
{
	return config::limits.threads.load(mo::relaxed);
}

// With the lock held, for n more requests. False: there is no thread at all.
bool see_to_threads(int n)
{
	starts.notify(n);
	for (int wanted = n - static_cast<int>(idle); wanted > 0 && threads < most_threads();
	     wanted--) {
		if (start_thread(common_thread, nullptr, "sigevec-names") != 0)
			break;
		threads++;
		common++;
	}
	return common != 0;
}

// The channel ends: what has not begun is taken back, the rest ends unheard.
bool cancel_list(Wait *w, bool)
{
	Batch *ended = nullptr;
	{
		Guard<Mutex> g(lock);
		auto *l = static_cast<Batch *>(w->names.own);
		for (int i = l != nullptr ? l->begun : 0;
		     l != nullptr && ended == nullptr && i < l->n; i++)
			if (l->v[i].state == State::waiting)
				ended = end(&l->v[i], EAI_CANCELED);
	}
	tell_end(ended);
	return true;
}

constexpr source::Kind kind = {describe, nullptr, cancel_list, nullptr, nullptr, false};

Batch *make(struct gaicb *list[], int n, Wait *w)
{
	auto *l = static_cast<Batch *>(
		calloc(1, sizeof(Batch) + static_cast<size_t>(n) * sizeof(Entry)));
	if (l == nullptr)
		return nullptr;
	l->wait = w;
	for (int i = 0; i < n; i++)
		if (list[i] != nullptr)
			l->v[l->n++] = {list[i], State::waiting, l, {}};
	l->left = l->n;
	return l;
}

// With the lock held. False: no thread can be had.
bool queue_for_all(Batch *l, uint64_t rights)
{
	common_rights = rights;
	batches.push(l);
	if (see_to_threads(l->n))
		return true;
	batches.remove(l);
	return false;
}

bool start_for_one(Batch *l)
{
	l->alone = true;
	l->left++;
	if (threads >= most_threads() || start_thread(single_thread, l, "sigevec-names") != 0)
		return false;
	threads++;
	return true;
}

bool queue(Batch *l)
{
	uint64_t rights = rights::to_names();
	Guard<Mutex> g(lock);
	if (!(common == 0 || rights == common_rights ? queue_for_all(l, rights) : start_for_one(l)))
		return false;
	unfinished.fetch_add(static_cast<unsigned>(l->n), mo::relaxed);
	l->wait->names.own = l;
	for (int i = 0; i < l->n; i++) {
		status(l->v[i].request).store(EAI_INPROGRESS, mo::relaxed);
		by_request.add(&l->v[i], hash_of_request(l->v[i].request));
	}
	return true;
}

// 0 or the error of getaddrinfo_a.
int begin(struct gaicb *list[], int n, Wait *w)
{
	Batch *l = make(list, n, w);
	if (l == nullptr)
		return EAI_MEMORY;
	w->names = {list, nullptr};
	if (l->n == 0)
		tell_end(l);
	else if (!queue(l)) {
		free(l);
		return EAI_AGAIN;
	}
	return 0;
}

bool has_ended(const struct gaicb *request)
{
	return request != nullptr && status(request).load(mo::acquire) != EAI_INPROGRESS;
}

// Whether the list has requests that wait here, and such that wait in libc.
void count(const struct gaicb *const list[], int n, bool *here, bool *in_libc)
{
	Guard<Mutex> g(lock);
	*here = *in_libc = false;
	for (int i = 0; i < n; i++) {
		if (list[i] == nullptr || has_ended(list[i]))
			continue;
		(find(list[i]) != nullptr ? *here : *in_libc) = true;
	}
}

} // namespace

int start(struct gaicb *list[], int n, const struct sigevent &e, int *error)
{
	int failed = 0; // of getaddrinfo_a, not an errno
	int refused = source::submit(&kind, e.sigev_ec, e.sigev_value,
				     [&](Wait *w) { return failed = begin(list, n, w); });
	*error = failed == 0 ? refused : 0;
	if (*error == 0)
		return failed;
	return *error == EAGAIN ? EAI_AGAIN : EAI_SYSTEM;
}

int cancel(struct gaicb *request)
{
	Batch *ended = nullptr;
	{
		Guard<Mutex> g(lock);
		Entry *e = find(request);
		if (e == nullptr)
			return libc::functions().gai_cancel(request);
		if (e->state == State::running)
			return EAI_NOTCANCELED;
		ended = end(e, EAI_CANCELED);
	}
	tell_end(ended);
	return EAI_CANCELED;
}

int suspend(const struct gaicb *const list[], int n, const struct timespec *timeout)
{
	// The ends of a list of both kinds are looked for this often; one kind alone is waited for.
	constexpr timespec moment{0, 5000000};
	Deadline deadline = Deadline::after(timeout);
	while (unfinished.load(mo::acquire) != 0) {
		EventCount::Key seen = ends.key();
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
		if (ends.sleep(seen, &rest) == EINTR)
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
	batches = {};
	by_request.forget();
	threads = common = idle = 0;
	unfinished.store(0, mo::relaxed);
	starts.reset();
	ends.reset();
}

} // namespace sigevec::addrinfo
