// SPDX-License-Identifier: MIT
//
// What the tests of semaphores and locks share: objects for one process and for several.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of channel.hpp.
#ifndef CONTRACT_SOURCE_OBJECTS_HPP
#define CONTRACT_SOURCE_OBJECTS_HPP

#include "channel.hpp"

#include <semaphore.h>
#include <sys/mman.h>

namespace contract {

inline int datum, other_datum;

/// An object in memory that children share, initialised for one process or for several.
template <class T> class Object {
public:
	explicit Object(bool shared) : shared_(shared)
	{
		void *const m = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		BOOST_TEST_REQUIRE(m != MAP_FAILED);
		object_ = new (m) T();
	}
	Object(const Object &) = delete;
	~Object() { munmap(object_, sizeof(T)); }
	operator T *() const { return object_; }
	bool shared() const { return shared_; }
	int scope() const { return shared_ ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE; }

private:
	T *object_;
	bool shared_;
};

struct Semaphore : Object<sem_t> {
	explicit Semaphore(bool shared = false, unsigned value = 0) : Object(shared)
	{
		BOOST_TEST_REQUIRE(sem_init(*this, shared, value) == 0);
	}
	int value() const
	{
		int n = -1;
		sem_getvalue(*this, &n);
		return n;
	}
};
struct Mutex : Object<pthread_mutex_t> {
	explicit Mutex(bool shared = false, int type = PTHREAD_MUTEX_NORMAL) : Object(shared)
	{
		pthread_mutexattr_t a;
		pthread_mutexattr_init(&a);
		pthread_mutexattr_settype(&a, type);
		pthread_mutexattr_setpshared(&a, scope());
		BOOST_TEST_REQUIRE(pthread_mutex_init(*this, &a) == 0);
	}
	bool is_free() const
	{
		bool free = false;
		in_thread([&] {
			free = pthread_mutex_trylock(*this) == 0 &&
			       pthread_mutex_unlock(*this) == 0;
		});
		return free;
	}
};
struct RwLock : Object<pthread_rwlock_t> {
	explicit RwLock(bool shared = false, int kind = PTHREAD_RWLOCK_PREFER_READER_NP)
	    : Object(shared)
	{
		pthread_rwlockattr_t a;
		pthread_rwlockattr_init(&a);
		pthread_rwlockattr_setkind_np(&a, kind);
		pthread_rwlockattr_setpshared(&a, scope());
		BOOST_TEST_REQUIRE(pthread_rwlock_init(*this, &a) == 0);
	}
	bool is_free() const
	{
		bool free = false;
		in_thread([&] {
			free = pthread_rwlock_trywrlock(*this) == 0 &&
			       pthread_rwlock_unlock(*this) == 0;
		});
		return free;
	}
};
struct Barrier : Object<pthread_barrier_t> {
	explicit Barrier(bool shared, unsigned count) : Object(shared)
	{
		pthread_barrierattr_t a;
		pthread_barrierattr_init(&a);
		pthread_barrierattr_setpshared(&a, scope());
		BOOST_TEST_REQUIRE(pthread_barrier_init(*this, &a, count) == 0);
	}
};
struct Condition : Object<pthread_cond_t> {
	explicit Condition(bool shared = false) : Object(shared)
	{
		pthread_condattr_t a;
		pthread_condattr_init(&a);
		pthread_condattr_setpshared(&a, scope());
		BOOST_TEST_REQUIRE(pthread_cond_init(*this, &a) == 0);
	}
};

/// Runs `body` with every kind of channel, for objects of one process and of several.
template <class Body> void for_each_channel_and_scope(Body body)
{
	for (bool shared : {false, true})
		BOOST_TEST_CONTEXT((shared ? "shared" : "private"))
		{
			for_each_channel([&](Channel &ec) { body(ec, shared); });
		}
}

inline void check_event(ec_t ec, const void *object, Outcome expected = ok(0), void *data = &datum)
{
	const event_data_t event = next_event(ec);
	BOOST_TEST(event.ev_type == event_type_sync);
	BOOST_TEST(event.ev_un.ev_obj == object);
	BOOST_TEST(outcome(event) == expected);
	BOOST_TEST(event.ev_data == data);
}
/// A wait that is under way has reached the object by then.
inline void check_nothing(ec_t ec)
{
	BOOST_TEST(found_empty(ec));
}

inline timespec in_the_future(long nanoseconds)
{
	timespec t{};
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += nanoseconds;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}
inline long threads()
{
	std::ifstream status("/proc/self/status");
	for (std::string line; std::getline(status, line);)
		if (line.rfind("Threads:", 0) == 0)
			return atol(line.c_str() + 8);
	return -1;
}

} // namespace contract

#endif
