// SPDX-License-Identifier: MIT
//
// Which inode a socket has, by its cookie: one question to the kernel instead of the two by which
// a descriptor is described (fcntl, statx), for what is sent or received within the call.
//
// A number is not a socket, so the kernel is asked for each call. A cookie is: the kernel gives
// none twice, and a socket's inode never changes, so what is remembered is never out of date.
//
// Locks: none. An entry is one word: what of the cookie is not its place, and the inode. Who sees
// an inode (acquire) sees the device that was stored before it (release), too.
#pragma once

#include "request/request.hpp"

namespace sigevec::known_sockets {

// True: fd is a socket that is known, and d says which (not its flags). False: otherwise; cookie is
// 0, or to be given to remember once the descriptor has been described.
bool find(int fd, Descriptor *d, uint64_t *cookie);
void remember(const Descriptor &d, uint64_t cookie);

} // namespace sigevec::known_sockets
