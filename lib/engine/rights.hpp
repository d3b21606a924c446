// SPDX-License-Identifier: MIT
//
// What a thread may do: its credentials.
//
// Threads of one process have them each for itself. libc's setuid and its like change those of
// every thread; a raw system call, setfsuid or capset changes the caller's alone. What a helper
// does for a thread it must not do with other rights than the thread's.
#pragma once

#include <cstdint>
#include <sys/types.h>

namespace sigevec {

struct Rights {
	uid_t user[4]; // real, effective, saved, of the file system
	gid_t group[4];
	uint64_t supplementary;              // groups (base/groups.hpp)
	uint32_t effective[2], permitted[2]; // capabilities
	bool no_new_privileges;

	// Those of the calling thread.
	static Rights own();
	bool operator==(const Rights &) const = default;

	// No others can be had by a call that any thread may make at any time: none has been put
	// by.
	bool settled() const;
	// And without a capability: they stay what they are until exec.
	bool plain() const;

	// The calling thread gets these, as far as it may; what it may have at all stays.
	void adopt() const;
};

namespace rights {

// Whether the helper's threads have the calling thread's rights, and keep them as long as it does.
bool are_the_helpers();
// The same for a write to a file of a local file system, of which the kernel asks less: not who the
// thread is to others (SCM_CREDENTIALS), nor what it has put by.
bool write_alike();

// By a thread of the helper: what it has now.
void helper_has(const Rights &r);

void after_fork();

} // namespace rights
} // namespace sigevec
