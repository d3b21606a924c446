// SPDX-License-Identifier: MIT
//
// Which kind of file system a regular file is on, as far as engines care.
//
// It is asked for once for each mount and remembered by the number of the mount that the kernel
// never gives again (Linux 6.8). Older kernels give the numbers of mounts and devices again: there
// an answer is remembered that does no harm when it has become wrong, and what is relied upon is
// asked for each time.
//
// Locks: none. Async-signal-safe.
#pragma once

#include "request/request.hpp"

namespace sigevec::file_system {

enum class Type : uint8_t {
	other,
	exact,  // of a disk, and two files never have one inode number: ext4, XFS, btrfs
	memory, // tmpfs, ramfs: the same, and never a wait for a device
	// FUSE: what is not a plain call is held to the size that the file last had, which may be 0
	// though there is something to read.
	fuse,
	queue, // POSIX message queues: read never waits, but what looks whether it can be done
	       // finds that there is no message
};

// d has its numbers already.
Type of(int fd, const Descriptor &d);

} // namespace sigevec::file_system
