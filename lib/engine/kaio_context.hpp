// SPDX-License-Identifier: MIT
//
// The contexts of engine "kaio", for its own files: kaio_context.cpp (contexts and their events),
// kaio_wait.cpp (who sleeps on them), kaio_background.cpp (who does where nobody else would),
// kaio_group.cpp (who may be left alone), kaio.cpp (submission). The rules of locks and leaders are
// in kaio.hpp.
#pragma once

#include "base/memory_order.hpp"
#include "config.h"

#ifdef HAVE_LIBAIO

#include "base/aio_ring.hpp"
#include "engine/kaio.hpp"
#include "raw_syscall.h"
#include "request/request.hpp"
#include "runtime/post.hpp"

#include <libaio.h>

namespace sigevec::kaio {

using Ring = AioRing<struct io_event>;

// The thread that leads where nobody else does. The helper's is asked for where none may be made;
// it gives way to one that has the program's descriptors.
enum class Background : uint8_t { none, of_helper, of_program };

struct alignas(64) Context {
	// nullptr until the first use; released last, when the rest is set up.
	std::atomic<Ring *> ring{nullptr};
	std::atomic<bool> failed{false};
	Mutex lock;
	// Identity of the thread that sleeps on the context: the address of a variable of its own.
	std::atomic<const void *> leader{nullptr};
	std::atomic<uint32_t> followers{0};
	std::atomic<uint32_t> needed{0};
	// Requests that are left to their group's waiters. seq_cst: who counts one then looks at
	// `looking'; the background thread clears that, then looks at the count.
	std::atomic<uint32_t> left_to_waiters{0};
	std::atomic<bool> looking{false};
	// The background thread sleeps while it is unchanged.
	std::atomic<uint32_t> stirred{0};
	bool deserted = false; // by who takes events: nobody has come for them
	std::atomic<Background> background{Background::none};
	helper::Helper *helper = nullptr; // whose thread was started for it
	helper::Post post{};              // that asks for that
	// Requests that a thread of the helper's could not pass on, for one that has the program's
	// descriptors. Changed with the lock held.
	std::atomic<Request *> left{nullptr};
	// A submission is a release, taking an event an acquire: what the kernel's ring orders, in
	// the language's terms.
	std::atomic<uint32_t> submissions{0};
};

extern Context all[contexts];

// Identity of this thread as a leader.
extern thread_local char identity __attribute__((tls_model("initial-exec")));

// An address at which the kernel refuses to read or write without trying: EFAULT. At address 0 it
// would try, and the fault costs as much as five system calls in a virtual machine.
constexpr long not_of_user_space = -4096;

// The kernel's calls, and not libaio's, which libsigevec_aio replaces.
inline long call_kernel(long number, long a, long b, long c)
{
	return sigevec_raw_syscall(number, a, b, c, 0, 0, 0);
}

inline bool has_events(const Ring *r)
{
	// Acquire pairs with the kernel's barrier between an event and the tail.
	return r->head.load(mo::relaxed) != r->tail.load(mo::acquire);
}

inline bool led_by_other(const Context &c)
{
	const void *l = c.leader.load(mo::acquire);
	return l != nullptr && l != &identity;
}

// The context of this thread, set up at its first use; nullptr: refused, and why_not() tells.
Context *own_context();
const char *why_not();

// Works off all events there are, and what was left for a thread that has the program's
// descriptors. With the context's lock held and signals blocked.
void take_events(Context &c);

// A request that this engine could not, or not wholly, carry out goes on elsewhere, by the
// descriptor's number, if that is still the file. False: it has to end with what there is.
bool pass_on(Request *r);

// After fork: requests that were being collected are the parent's.
void forget_plugged();

// One more request of the context is left to its group's waiters.
void leave_to_waiters(Context &c);

inline Group *group_of(const Request *r)
{
	const Event &e = r->notification.event;
	return e.notify == notify_owner ? e.group : nullptr;
}

// Its context will not report it any more.
void leave_context(Request *r);

} // namespace sigevec::kaio

#endif
