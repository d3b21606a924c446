// SPDX-License-Identifier: MIT
//
// What the kernel would have against the transfer that an iocb asks for.
#pragma once

#include "request/request.hpp"

#include <linux/aio_abi.h>

namespace sigevec::io {

// Flags of newer kernels (RWF_DONTCACHE, RWF_NOSIGNAL) that change nothing about a transfer: pages
// may stay in the cache, and SIGPIPE is never raised anyway. Taken where the kernel takes them.
constexpr int hints = 0x80 | 0x100;

// All that the kernel looks at before it begins: 0 or -errno. c->op is set; its file, offset and
// buffer, or vector, are set here.
int describe_transfer(const struct iocb &i, const Descriptor &d, bool vector, Call *c);

// Whether fsync of it is an error of io_submit. Where only the call can say, it is made: on files
// for which it does not wait.
bool has_no_fsync(const Descriptor &d);

} // namespace sigevec::io
