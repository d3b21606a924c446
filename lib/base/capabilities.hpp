// SPDX-License-Identifier: MIT
//
// What the calling thread may do, as the kernel keeps it: libc has no function for it. Locks: none.
#pragma once

#include <cstdint>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec {

struct Capabilities {
	struct __user_cap_data_struct set[_LINUX_CAPABILITY_U32S_3];

	// known: whether the kernel has told; otherwise there are none.
	static Capabilities own(bool *known = nullptr)
	{
		struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
		Capabilities c = {};
		bool told = syscall(SYS_capget, &h, c.set) == 0;
		if (known != nullptr)
			*known = told;
		return c;
	}

	// False: errno.
	bool adopt() const
	{
		struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
		return syscall(SYS_capset, &h, set) == 0;
	}

	bool has(unsigned capability) const
	{
		return (set[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) != 0;
	}
};

} // namespace sigevec
