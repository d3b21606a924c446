// SPDX-License-Identifier: MIT
//
// Semaphores, mutexes, read-write locks, barriers and condition variables: glibc's own protocol,
// without the thread that sleeps.
//
// A wait does what the blocking function would do, one step after the other: it registers with the
// object, tries to get it, and where the function would sleep on a word it leaves the word to a
// waiter (futex_waiter.hpp), which takes the next step when the word has changed. So it stands in
// one queue with ordinary waiters, of this process or others, and is woken in its turn. When the
// event goes into the channel the object has been acquired; the thread that reads the event is
// entered as its owner. An event that nobody reads gives the object back.
//
// The words are shared with glibc's code in other threads and processes: the order of each access
// is the one glibc relies on.
#pragma once

#include "source/source.hpp"

namespace sigevec::source {

// How one kind of object is waited for. By the submitter first, then by the wait's waiter alone.
struct Protocol {
	// Goes on. True: it has ended, with w->result. False: it sleeps, on sync.word as long as
	// that has sync.value.
	bool (*step)(Wait *w);
	// Leaves the queue, and passes on a wake-up that may have been its own. False: it is about
	// to get the object, or has got it. Never waits for a lock; with sync.at.leaves set leave()
	// is to do the rest.
	bool (*withdraw)(Wait *w);
	// After success: this thread is the owner. nullptr: objects have none.
	void (*adopt)(Wait *w);
	// After success, and if adopt() has been called by this thread: the object is not wanted.
	void (*give_back)(Wait *w);
	// By the canceller: the rest of withdraw(), which may wait for locks as libc's functions
	// do. nullptr: there is none.
	void (*leave)(Wait *w);
	// All that wait for an object sleep on the same word.
	bool one_word;
};

// sync_simple.cpp, sync_rwlock.cpp, sync_cond.cpp
extern const Protocol semaphore_protocol, mutex_protocol, barrier_protocol, read_protocol,
	write_protocol, condition_protocol;

// Steps of mutex_protocol for a condition variable's: w->sync.mutex is locked as one that others
// may wait for.
bool lock_again(Wait *w);
bool withdraw_lock(Wait *w);
void adopt_mutex(pthread_mutex_t *m);

// Sleeps on this word. For the end of a step.
bool sleep_on(Wait *w, const void *word, uint32_t value, bool shared);

namespace sync {

// Whether objects behave as this file believes; found out by trying, once for each kind.
bool works(const Protocol *p);

// 0 or the errno of the call. deadline: of CLOCK_REALTIME, or nullptr.
int start(const Protocol *p, void *object, pthread_mutex_t *mutex, const struct timespec *deadline,
	  ec_t ec, void *data);

// For selftest.cpp: a wait without a channel.
void prepare(Wait *w, const Protocol *p, void *object, pthread_mutex_t *mutex);

void after_fork();

} // namespace sync
} // namespace sigevec::source
