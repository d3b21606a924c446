// SPDX-License-Identifier: MIT
//
// The only place where errors, which are -errno or an errno inside, become what the program sees.
#pragma once

#include <cerrno>

namespace sigevec::api {

// Returns -1 with errno set for an error, else 0.
inline int result_of(int error)
{
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

} // namespace sigevec::api
