// SPDX-License-Identifier: MIT
//
// The XDP program that gives the frames of a queue to the socket that has it, and leaves those of
// other queues to the kernel.
//
// One program and one map of sockets for a device, whoever uses it. They hang on a bpf link, whose
// descriptor each process that uses the device has: the kernel takes the program off the device
// when the last of them is gone, however that process ended. Who comes second finds the link by its
// number; the program's name tells the network namespace, which the link does not.
//
// bpf(2) is called as it is. libxdp would leave its program on the device of a program that was
// killed, and libbpf with what it needs would be loaded into every program that this library is
// preloaded to.
#pragma once

#include <cstdint>

namespace sigevec::ether {

// In use while users is not 0. Guarded by the lock of device.cpp.
struct Program {
	Program *next;
	unsigned users;
	unsigned ifindex;
	uint64_t network; // its namespace's cookie
	int link, map;    // in the helper's table, which no child has
	bool generic;     // the driver has no XDP: the kernel runs it
};

namespace program {

// That of the device, attached if there is none. nullptr: *error is the errno.
Program *join(unsigned ifindex, uint64_t network, int *error);
void leave(Program *p);

// Frames of the queue go to the socket, and no longer. 0 or an errno.
int give(const Program *p, unsigned queue, int socket);
void take_back(const Program *p, unsigned queue);

void after_fork();

} // namespace program
} // namespace sigevec::ether
