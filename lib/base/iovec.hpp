// SPDX-License-Identifier: MIT
//
// Vectors of parts: their length, what lies in them, and a copy of a caller's. Locks: none.
#pragma once

#include <climits>
#include <cstdlib>
#include <cstring>
#include <sys/types.h>
#include <sys/uio.h>

namespace sigevec {

// Bytes of all parts. -1: more than a call can carry.
inline ssize_t length_of(const struct iovec *v, size_t n)
{
	ssize_t sum = 0;
	for (size_t i = 0; i < n; i++)
		if (v[i].iov_len > SSIZE_MAX ||
		    __builtin_add_overflow(sum, static_cast<ssize_t>(v[i].iov_len), &sum))
			return -1;
	return sum;
}

// A caller's vector, read once. It may lie in a region, as a message that was received there does,
// and then another process can write it between the check and the use. Lives on the stack of an
// entry point.
class VectorCopy {
public:
	VectorCopy() {}
	VectorCopy(const VectorCopy &) = delete;
	VectorCopy &operator=(const VectorCopy &) = delete;
	~VectorCopy()
	{
		if (v_ != few_)
			free(v_);
	}

	// Once. nullptr: there is no memory for so many.
	struct iovec *take(const struct iovec *v, size_t n)
	{
		if (n > few)
			v_ = static_cast<struct iovec *>(malloc(n * sizeof *v));
		if (v_ != nullptr)
			memcpy(v_, v, n * sizeof *v);
		return v_;
	}

private:
	static constexpr size_t few = 8;
	struct iovec few_[few]; // not cleared: what is there has been copied
	struct iovec *v_ = few_;
};

} // namespace sigevec
