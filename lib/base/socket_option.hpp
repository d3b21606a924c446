// SPDX-License-Identifier: MIT
//
// What the kernel says of a socket: the only place that asks for its options and its cookie.
//
// Locks: none. Async-signal-safe; errno is the kernel's where it refuses.
#pragma once

#include <cstdint>
#include <netinet/in.h>
#include <sys/socket.h>

namespace sigevec {

// False: errno, and *value is what it was.
template <class T> bool get_option(int fd, int level, int name, T *value)
{
	socklen_t size = sizeof *value;
	return getsockopt(fd, level, name, value, &size) == 0;
}

// A number of level SOL_SOCKET, none of which is negative; -1: it is no socket, or has none.
inline int socket_option(int fd, int name)
{
	int value = -1;
	return get_option(fd, SOL_SOCKET, name, &value) ? value : -1;
}

// By which the kernel knows this socket and no other, as long as it runs; 0: it is no socket.
inline uint64_t socket_cookie(int fd)
{
	uint64_t cookie = 0;
	return get_option(fd, SOL_SOCKET, SO_COOKIE, &cookie) ? cookie : 0;
}

inline bool over_ip(int fd)
{
	int domain = socket_option(fd, SO_DOMAIN);
	return domain == AF_INET || domain == AF_INET6;
}

} // namespace sigevec
