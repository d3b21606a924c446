// SPDX-License-Identifier: MIT
//
// mq_notify with SIGEV_EC.
//
// The kernel can tell of a message by a cookie of 32 bytes that it sends to a netlink socket (it is
// how libc implements SIGEV_THREAD). So POSIX's rules are the kernel's own: one registration for a
// queue, EBUSY, removed by the notification, by a close, or by a null sigevent, and nothing while a
// receiver waits. The socket is read by the channel's readers; there is no thread.
#pragma once

#include "source/source.hpp"

namespace sigevec::mq {

// 0 or the errno of the call.
int notify(mqd_t queue, const struct sigevent &e);

} // namespace sigevec::mq
