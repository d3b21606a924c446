// SPDX-License-Identifier: MIT
//
// What the kernel would have against the transfer that an iocb asks for.
#pragma once

#include "request/request.hpp"

#include <linux/aio_abi.h>

namespace sigevec::io {

// All that the kernel looks at before it begins: 0 or -errno. c->op is set; its file, offset and
// buffer, or vector, are set here.
int describe_transfer(const struct iocb &i, const Descriptor &d, bool vector, Call *c);

} // namespace sigevec::io
