// SPDX-License-Identifier: MIT
//
// Memory for objects of one type, the first few of which are part of the reserve itself: whoever
// owns it can go on a little where the process's memory or address space is used up. For one
// thread.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace sigevec {

template <class T, unsigned Own> class Reserve {
public:
	// Not constructed. nullptr: no memory.
	void *take()
	{
		if (Free *f = free_; f != nullptr) {
			free_ = f->next;
			return f;
		}
		return used_ < Own ? own_[used_++] : malloc(sizeof(T));
	}

	void give_back(void *p)
	{
		if (p < static_cast<void *>(own_) || p >= static_cast<void *>(own_ + Own)) {
			free(p);
			return;
		}
		auto *f = static_cast<Free *>(p);
		f->next = free_;
		free_ = f;
	}

private:
	struct Free {
		Free *next;
	};
	static_assert(sizeof(T) >= sizeof(Free));

	Free *free_ = nullptr;
	unsigned used_ = 0;
	alignas(T) unsigned char own_[Own][sizeof(T)];
};

} // namespace sigevec
