// SPDX-License-Identifier: MIT
//
// Has the kernel look at the rings of an AF_XDP socket.
//
// Its number may have become another file since it was looked at: then nothing happens there. So
// not by a receive of nothing, which takes a datagram away, nor by a send of nothing, which sends
// an empty one.
#pragma once

#include "base/syscalls.hpp"

#include <poll.h>
#include <sys/socket.h>

namespace sigevec::ether {

// A device that sleeps for want of slots.
inline void wake_for_slots(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	sys::poll_now(&p);
}

// What is to be sent: 0 or an errno. AF_XDP does not look at MSG_OOB; other sockets of messages
// have no such data and refuse it, and streams have nothing to send.
inline int wake_for_sending(int fd)
{
	return syscall(SYS_sendto, fd, nullptr, 0, MSG_DONTWAIT | MSG_OOB, nullptr, 0) >= 0 ? 0
											    : errno;
}

} // namespace sigevec::ether
