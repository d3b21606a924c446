// SPDX-License-Identifier: MIT
#include "base/same_file.hpp"

#include "base/memory_order.hpp"
#include "base/thread_id.hpp"

#include <atomic>
#include <cerrno>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec {

namespace {

long compare(pid_t a, pid_t b, int type, unsigned long x, unsigned long y)
{
	int saved = errno;
	long r = syscall(SYS_kcmp, a, b, type, x, y);
	errno = saved;
	return r;
}

Same answer(long r)
{
	return r == 0 ? Same::yes : r > 0 ? Same::no : Same::unknown;
}

} // namespace

Same same_file(pid_t ta, int a, pid_t tb, int b)
{
	return answer(compare(ta, tb, KCMP_FILE, static_cast<unsigned long>(a),
			      static_cast<unsigned long>(b)));
}

Same same_table(pid_t ta, pid_t tb)
{
	if (ta == tb)
		return Same::yes;
	Same same = answer(compare(ta, tb, KCMP_FILES, 0, 0));
	// Who has ended has neither a table nor the process's memory.
	return same == Same::no && compare(ta, tb, KCMP_VM, 0, 0) != 0 ? Same::unknown : same;
}

Same epoll_watches(int epoll, int watched, pid_t tb, int b)
{
	struct kcmp_epoll_slot slot = {static_cast<uint32_t>(epoll), static_cast<uint32_t>(watched),
				       0};
	return answer(compare(tb, ask_thread_id(), KCMP_EPOLL_TFD, static_cast<unsigned long>(b),
			      reinterpret_cast<unsigned long>(&slot)));
}

bool can_compare()
{
	// 0: not asked yet, 1: no, 2: yes. Whoever asks first, the answer is the same.
	static std::atomic<uint8_t> known{0};
	uint8_t k = known.load(mo::relaxed);
	if (k == 0) {
		// The memory of a thread is that of the thread.
		pid_t self = ask_thread_id();
		k = compare(self, self, KCMP_VM, 0, 0) == 0 ? 2 : 1;
		known.store(k, mo::relaxed);
	}
	return k == 2;
}

} // namespace sigevec
