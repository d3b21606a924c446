// SPDX-License-Identifier: MIT
//
// Which loops there are: one for each base that has links, and an idle one for the next.
#include "glue/loop_impl.hpp"

#include "base/memory_order.hpp"
#include "glue/link.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace sigevec::glue {

namespace {

constexpr unsigned limit = 1u << 30;
constexpr struct timespec longest_wait = {1, 0};

Mutex registry;
Loop *loops; // under `registry'

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
	event_priority_set(&l->soon, event_base_get_npriorities(base) / 2);
	l->once_more = l->next_turn = false;
	l->due = {};
	event_add(&l->ready, nullptr);
}

// The kernel is asked once in each process: the page is empty in a child. First with the registry's
// lock.
pid_t own_process()
{
	static pid_t *page;
	if (page == nullptr) {
		constexpr size_t size = 4096;
		void *m = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);
		if (m == MAP_FAILED)
			return getpid();
		if (madvise(m, size, MADV_WIPEONFORK) != 0) {
			munmap(m, size);
			return getpid();
		}
		page = static_cast<pid_t *>(m);
	}
	if (*page == 0)
		*page = getpid();
	return *page;
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

// Output is gone within the turn in which it was made, and then glibc gives the memory of all of it
// back to the kernel, and takes it again page by page in the next turn: of a body of 100,000 bytes
// that is most of the cost. It does so beyond twice the size of the largest block that has been
// freed, so one block is. What a program sets itself (mallopt, MALLOC_TRIM_THRESHOLD_) holds.
void keep_memory()
{
	static bool done;
	if (std::exchange(done, true))
		return;
	constexpr size_t size = 8u << 20;
	void *volatile block = malloc(size); // never touched
	free(block);
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
	keep_memory();
	l->process = own_process();
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
	for (Inbox<Link> *list : {&l->marked, &l->marked_soon})
		for (Link *k = list->take_all(), *next; k != nullptr; k = next) {
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
}

// Of the idle ones of this process one is kept.
void keep_one_idle()
{
	pid_t self = own_process();
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

bool is_parents(const Loop *l)
{
	return l->process != own_process();
}

Loop *join(struct event_base *base)
{
	Locked locked(registry);
	pid_t self = own_process();
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
	if (--l->links != 0 || is_parents(l))
		return;
	finish(l);
	keep_one_idle();
}

} // namespace sigevec::glue
