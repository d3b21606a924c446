// SPDX-License-Identifier: MIT
//
// Whether this libc's objects work as the protocols believe: each protocol takes turns with libc's
// own functions, on objects of its own, when it is first needed. What fails once is refused for
// good (ENOTSUP).
#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "nptl.hpp"
#include "source/futex_waiter.hpp"
#include "source/sync.hpp"

#include <cerrno>
#include <cstring>
#include <initializer_list>

namespace sigevec::source::sync {

namespace {

constexpr int rounds = 4;

// A wait of the test's: nothing of it is seen by others.
struct Trial {
	Wait w;
	Trial(const Protocol *p, void *object, pthread_mutex_t *mutex = nullptr)
	{
		prepare(&w, p, object, mutex);
	}
	bool step() { return w.sync.protocol->step(&w); }
	bool waits() { return !step(); }
	bool withdraws()
	{
		bool done = w.sync.protocol->withdraw(&w);
		if (done && w.sync.protocol->leave != nullptr)
			w.sync.protocol->leave(&w);
		return done;
	}
	void adopt() { w.sync.protocol->adopt(&w); }
};

bool try_semaphore()
{
	sem_t s;
	if (sem_init(&s, 0, 0) != 0)
		return false;
	for (int i = 0; i < rounds; i++) {
		Trial a(&semaphore_protocol, &s), b(&semaphore_protocol, &s);
		if (!a.waits() || !b.waits() ||
		    nptl::semaphore(&s).load() != 2 * nptl::one_waiter || !b.withdraws())
			return false;
		if (sem_post(&s) != 0 || !a.step() || sem_trywait(&s) == 0 ||
		    nptl::semaphore(&s).load() != 0)
			return false;
	}
	return true;
}

bool try_mutex_of(int type)
{
	pthread_mutexattr_t attributes;
	pthread_mutex_t m;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, type);
	if (pthread_mutex_init(&m, &attributes) != 0)
		return false;
	for (int i = 0; i < rounds; i++) {
		Trial a(&mutex_protocol, &m), b(&mutex_protocol, &m);
		if (pthread_mutex_lock(&m) != 0 || !a.waits() || !b.waits() || !b.withdraws() ||
		    pthread_mutex_unlock(&m) != 0)
			return false;
		if (!a.step() || pthread_mutex_trylock(&m) != EBUSY)
			return false;
		a.adopt();
		if (pthread_mutex_unlock(&m) != 0 || pthread_mutex_trylock(&m) != 0 ||
		    pthread_mutex_unlock(&m) != 0)
			return false;
	}
	return nptl::lock_of(&m).load() == 0 && m.__data.__owner == 0 && m.__data.__nusers == 0;
}

bool try_mutex()
{
	return try_mutex_of(PTHREAD_MUTEX_NORMAL) && try_mutex_of(PTHREAD_MUTEX_RECURSIVE) &&
	       try_mutex_of(PTHREAD_MUTEX_ERRORCHECK) && try_mutex_of(PTHREAD_MUTEX_ADAPTIVE_NP);
}

bool try_barrier()
{
	pthread_barrier_t b;
	if (pthread_barrier_init(&b, nullptr, 2) != 0 || nptl::layout(&b)->count != 2)
		return false;
	for (int i = 0; i < rounds; i++) {
		Trial a(&barrier_protocol, &b), gone(&barrier_protocol, &b);
		if (!gone.waits() || !gone.withdraws() || !a.waits())
			return false;
		if (pthread_barrier_wait(&b) != PTHREAD_BARRIER_SERIAL_THREAD || !a.step() ||
		    a.w.sync.serial)
			return false;
	}
	return nptl::layout(&b)->in == nptl::layout(&b)->out && pthread_barrier_destroy(&b) == 0;
}

bool free_now(pthread_rwlock_t *l)
{
	return pthread_rwlock_trywrlock(l) == 0 && pthread_rwlock_unlock(l) == 0;
}

bool try_readers(pthread_rwlock_t *l)
{
	Trial a(&read_protocol, l), gone(&read_protocol, l);
	if (pthread_rwlock_wrlock(l) != 0 || !a.waits() || !gone.waits() || !gone.withdraws() ||
	    pthread_rwlock_unlock(l) != 0)
		return false;
	return a.step() && pthread_rwlock_trywrlock(l) == EBUSY && pthread_rwlock_unlock(l) == 0 &&
	       free_now(l);
}

bool try_writers(pthread_rwlock_t *l, bool held_by_writer)
{
	Trial a(&write_protocol, l), gone(&write_protocol, l);
	if ((held_by_writer ? pthread_rwlock_wrlock(l) : pthread_rwlock_rdlock(l)) != 0)
		return false;
	if (!gone.waits() || !gone.withdraws() || !a.waits() || pthread_rwlock_unlock(l) != 0 ||
	    !a.step())
		return false;
	if (pthread_rwlock_tryrdlock(l) != EBUSY)
		return false;
	a.adopt();
	return pthread_rwlock_unlock(l) == 0 && free_now(l);
}

bool try_rwlock()
{
	for (int kind : {PTHREAD_RWLOCK_PREFER_READER_NP, PTHREAD_RWLOCK_PREFER_WRITER_NP,
			 PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP}) {
		pthread_rwlockattr_t attributes;
		pthread_rwlock_t l;
		pthread_rwlockattr_init(&attributes);
		pthread_rwlockattr_setkind_np(&attributes, kind);
		if (pthread_rwlock_init(&l, &attributes) != 0)
			return false;
		for (int i = 0; i < rounds; i++)
			if (!try_readers(&l) || !try_writers(&l, true) || !try_writers(&l, false))
				return false;
	}
	return true;
}

uint32_t waiters_of(pthread_cond_t *c)
{
	return nptl::words(nptl::layout(c), nptl::condition_with_references())->waiters;
}

// In later versions of glibc the words may mean something else: the wait then takes a signal that
// is none.
bool try_signal(pthread_cond_t *c, pthread_mutex_t *m, bool broadcast)
{
	Trial a(&condition_protocol, c, m), b(&condition_protocol, c, m),
		gone(&condition_protocol, c, m);
	for (Trial *t : {&a, &gone, &b})
		if (pthread_mutex_lock(m) != 0 || !t->waits() || pthread_mutex_trylock(m) != 0 ||
		    pthread_mutex_unlock(m) != 0)
			return false;
	if (!a.waits() || !gone.withdraws() || waiters_of(c) != 16)
		return false;
	if ((broadcast ? pthread_cond_broadcast(c) : pthread_cond_signal(c)) != 0)
		return false;
	for (Trial *t : {&a, &b}) {
		if (!broadcast && t == &b && (!b.waits() || pthread_cond_signal(c) != 0))
			return false;
		if (!t->step() || pthread_mutex_trylock(m) != EBUSY)
			return false;
		t->adopt();
		if (pthread_mutex_unlock(m) != 0)
			return false;
	}
	return waiters_of(c) == 0;
}

bool try_condition()
{
	pthread_cond_t c;
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	memset(&c, 0, sizeof c);
	if (!try_mutex() || pthread_cond_init(&c, nullptr) != 0)
		return false;
	for (int i = 0; i < rounds; i++)
		if (!try_signal(&c, &m, i % 2 != 0))
			return false;
	return true;
}

struct Entry {
	const Protocol *protocol;
	bool (*attempt)();
	std::atomic<int> works{-1};
};

Entry table[] = {
	{&semaphore_protocol, try_semaphore}, {&mutex_protocol, try_mutex},
	{&barrier_protocol, try_barrier},     {&read_protocol, try_rwlock},
	{&write_protocol, try_rwlock},        {&condition_protocol, try_condition},
};

// One thread tries at a time; what it finds is the same for all.
Mutex trying;

} // namespace

bool works(const Protocol *p)
{
	Entry *e = table;
	while (e->protocol != p)
		e++;
	int known = e->works.load(mo::acquire);
	if (known >= 0)
		return known != 0;
	Guard<Mutex> g(trying);
	known = e->works.load(mo::relaxed);
	if (known < 0) {
		known = futex_waiter::works() && e->attempt() ? 1 : 0;
		e->works.store(known, mo::release);
	}
	return known != 0;
}

void after_fork()
{
	trying.reset();
}

} // namespace sigevec::source::sync
