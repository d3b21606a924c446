// SPDX-License-Identifier: MIT
#include "base/thread_number.hpp"

#include "base/memory_order.hpp"

#include <atomic>
#include <cstdint>
#include <pthread.h>

namespace sigevec::detail {

thread_local int thread_number_plus_one __attribute__((tls_model("initial-exec"))) = 0;

namespace {

constexpr unsigned words = 16;
std::atomic<uint64_t> taken[words];
pthread_key_t key;
// 0: no key yet, 1: being made, 2: made. A thread that comes in between takes a shared number and
// keeps it.
std::atomic<int> key_state{0};

void give_back(void *value)
{
	auto n = reinterpret_cast<uintptr_t>(value) - 1;
	taken[n / 64].fetch_and(~(uint64_t{1} << (n % 64)), mo::release);
	thread_number_plus_one = 0;
}

bool have_key()
{
	int state = 0;
	if (key_state.compare_exchange_strong(state, 1, mo::acq_rel)) {
		pthread_key_create(&key, give_back);
		key_state.store(2, mo::release);
		return true;
	}
	return state == 2;
}

int take_bit()
{
	for (unsigned w = 0; w < words; w++) {
		uint64_t v = taken[w].load(mo::relaxed);
		while (v != ~uint64_t{0}) {
			auto bit = static_cast<unsigned>(__builtin_ctzll(~v));
			if (taken[w].compare_exchange_weak(v, v | (uint64_t{1} << bit),
							   mo::acquire))
				return static_cast<int>(w * 64 + bit);
		}
	}
	return -1;
}

} // namespace

int take_thread_number()
{
	int n = have_key() ? take_bit() : -1;
	if (n >= 0) {
		// Only this store may allocate, and a thread's first call is a submission, which
		// may.
		pthread_setspecific(key, reinterpret_cast<void *>(static_cast<uintptr_t>(n) + 1));
	} else {
		static std::atomic<unsigned> shared{0};
		// The lowest numbers are for one thread each (runtime/stats.hpp).
		constexpr unsigned kept = 64;
		n = static_cast<int>(kept + shared.fetch_add(1, mo::relaxed) % (words * 64 - kept));
	}
	thread_number_plus_one = n + 1;
	return thread_number_plus_one;
}

} // namespace sigevec::detail
