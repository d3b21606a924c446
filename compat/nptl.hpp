// SPDX-License-Identifier: MIT
//
// What glibc's semaphores, locks and condition variables look like in memory, and the bits that
// they are made of (2.25 to 2.41).
//
// Other processes use the same objects through their own libc, so the layout is an ABI. What the
// words mean is not: it is tried before it is relied on (source/selftest.cpp). Members that the
// public headers name are used by their names.
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>
#include <cstring>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#ifndef FUTEX_32
#define FUTEX_32 2
#endif

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace sigevec::nptl {

using Word = std::atomic_ref<uint32_t>;
using Wide = std::atomic_ref<uint64_t>;

template <class T> uint32_t &word_at(T *object, size_t offset)
{
	return *reinterpret_cast<uint32_t *>(reinterpret_cast<char *>(object) + offset);
}

inline void wake(const void *word, int count, bool shared)
{
	syscall(SYS_futex, word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, count, nullptr, nullptr,
		0);
}

// The thread's number as glibc writes it into locks, without a system call.
inline int this_thread()
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock(&m);
	int id = m.__data.__owner;
	pthread_mutex_unlock(&m);
	return id;
}

// ---- semaphores: the value in the lower half of one word, waiters in the upper

constexpr uint64_t one_waiter = uint64_t{1} << 32;

inline Wide semaphore(sem_t *s)
{
	return Wide(*reinterpret_cast<uint64_t *>(s));
}
inline bool is_shared(sem_t *s)
{
	return word_at(s, 8) != 0;
}
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
inline const void *value_of(sem_t *s)
{
	return s;
}
#else
inline const void *value_of(sem_t *s)
{
	return &word_at(s, 4);
}
#endif

// ---- mutexes: 0 free, 1 locked, 2 locked and perhaps waited for

constexpr int shared_kind = 128, never_elided = 512; // beside the kind
constexpr int most_known_kind =
	3; // normal, recursive, error-checking, adaptive; above: robust, with priorities, elided

inline Word lock_of(pthread_mutex_t *m)
{
	return Word(*reinterpret_cast<uint32_t *>(&m->__data.__lock));
}
inline bool is_shared(const pthread_mutex_t *m)
{
	return (m->__data.__kind & shared_kind) != 0;
}
inline int kind_of(const pthread_mutex_t *m)
{
	return m->__data.__kind & ~(shared_kind | never_elided);
}

// ---- read-write locks

constexpr uint32_t write_phase = 1, write_locked = 2, readers_wait = 4, one_reader = 8,
		   too_many_readers = 1u << 31;
constexpr uint32_t hand_over = 1u << 31; // of __writers
constexpr uint32_t futex_used = 2;       // of the two futexes
enum { prefer_readers, prefer_writers, prefer_writers_strictly };

inline bool is_shared(const pthread_rwlock_t *l)
{
	return l->__data.__shared != 0;
}

// ---- barriers

struct Barrier {
	uint32_t in, current_round, count, shared, out;
};
static_assert(sizeof(Barrier) <= sizeof(pthread_barrier_t));

inline Barrier *layout(pthread_barrier_t *b)
{
	return reinterpret_cast<Barrier *>(b);
}
// How many it waits for. Another process that shares it may have written anything there; never 0.
inline uint32_t count_of(const Barrier *b)
{
	uint32_t count = Word(const_cast<uint32_t &>(b->count)).load(std::memory_order_relaxed);
	return count != 0 ? count : 1;
}
// Entries after which a barrier for so many starts anew.
inline uint32_t last_entry(uint32_t count)
{
	constexpr uint32_t threshold = UINT_MAX / 2;
	return threshold - threshold % count;
}

// ---- condition variables

struct Condition {
	uint64_t sequence;    // of waiters, by twos; the lowest bit: the newer group
	uint64_t first_start; // of the older group; before 2.41 likewise, since then by ones
	uint32_t more[8]; // before 2.41 two references to groups, then ConditionWords; since then
			  // these alone
};
struct ConditionWords {
	uint32_t size[2];
	uint32_t first_size; // by fours; the lowest two bits are a lock like a mutex's
	uint32_t waiters;    // by eights; bit 0: between processes
	uint32_t signals[2]; // before 2.41 by twos, bit 0: the group is closed; since then by ones,
			     // from first_start on
};
static_assert(sizeof(Condition) == sizeof(pthread_cond_t));

inline Condition *layout(pthread_cond_t *c)
{
	return reinterpret_cast<Condition *>(c);
}
inline ConditionWords *words(Condition *c, bool with_references)
{
	return reinterpret_cast<ConditionWords *>(c->more + (with_references ? 2 : 0));
}
// Which of the two this libc has, which need not be the one that the library was built with: the
// flag of an object between processes tells where its word is.
inline bool condition_with_references()
{
	pthread_condattr_t attributes;
	pthread_cond_t c;
	memset(&c, 0, sizeof c);
	pthread_condattr_init(&attributes);
	pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&c, &attributes);
	return (words(layout(&c), false)->waiters & 1) == 0;
}

// ---- ThreadSanitizer, which sees glibc's functions but not what is done here in their place

#ifdef __SANITIZE_THREAD__
inline void acquired(void *object)
{
	__tsan_acquire(object);
}
inline void locked(void *lock, bool for_reading = false)
{
	// As by a trylock: it is the thread's already, and nothing was waited for with other locks
	// held.
	unsigned flags = __tsan_mutex_not_static | __tsan_mutex_try_lock |
			 (for_reading ? __tsan_mutex_read_lock : 0);
	__tsan_mutex_pre_lock(lock, flags);
	__tsan_mutex_post_lock(lock, flags, 0);
}
#else
inline void acquired(void *)
{
}
inline void locked(void *, bool = false)
{
}
#endif

} // namespace sigevec::nptl
