// SPDX-License-Identifier: MIT
//
// Pools of the kernel module (sigevec(4)): the memory of regions, and async_io_notify for their
// descriptors.
//
// The library keeps no descriptor of a pool: a mapping holds it. A program that has one of its own
// may transfer with it and be notified.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sigevec::dma::pool {

// Memory of a pool of its own, whole pages. nullptr: *error says why not, ENOENT that there is no
// module. node: -1 any.
void *map(size_t size, int node, int *error);

// Which pool it is the descriptor of; 0: of none, with errno (EBADF). Async-signal-safe.
uint64_t identity(int fd);

// async_io_notify. 0 or an errno, ENOTSUP: this is no pool.
int notify(int fd, void (*function)(int, void *), void *argument);
bool any_call_back();

// By the receiver's thread: what was watched as `tag' has been signalled. Tags have this bit.
constexpr uint64_t tag_bit = uint64_t{1} << 30;
void signalled(uint64_t tag);
// The receiver has a new instance.
void watch_again();

void after_fork();

} // namespace sigevec::dma::pool
