// SPDX-License-Identifier: MIT
//
// The errno of a call of ours that the kernel cannot give what it takes.
#pragma once

#include <cerrno>

namespace sigevec {

// A limit that the program knows is told as it is. Of what else the kernel may say, filters,
// security modules and kernels without the call included, the program learns that it cannot be had:
// `otherwise'.
constexpr int shortage(int error, int otherwise)
{
	bool known = error == EMFILE || error == ENFILE || error == ENOMEM || error == EBADF;
	return known ? error : otherwise;
}

} // namespace sigevec
