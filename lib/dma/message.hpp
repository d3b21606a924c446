// SPDX-License-Identifier: MIT
//
// What stands before the data in a piece that holds a message.
#pragma once

#include "dma/slots.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

namespace sigevec::dma {

struct MessageHead {
	struct msghdr header;
	struct iovec vector;
	struct sockaddr_storage address;
	alignas(struct cmsghdr) char control[312];
};
// The data behind it begins a piece of its own when the head is not wanted.
static_assert(sizeof(MessageHead) % unit == 0);

} // namespace sigevec::dma
