// SPDX-License-Identifier: MIT
//
// ether_open: one queue of a network device, an AF_XDP socket whose memory is a region.
//
// The descriptor is the socket itself, so that poll and epoll are the kernel's own. What the
// library maps of it keeps the socket alive after close(): it is let go when that is noticed, by
// the next ether_open, dma_assoc or dma_free, or by the receiver, which looks once a second.
//
// Memory: the region's whole pages are the UMEM; a frame arrives in a slot
// (dma/piece_allocator.hpp), a chunk of 2 or 4 KiB that is reserved like any piece, is the kernel's
// while it is in the fill ring, and is the program's from sio_recv to sio_release. Devices that use
// one region share one UMEM where they can.
//
// Lifetimes: a Device lives from ether_open until its number is found to be closed, its memory for
// ever. Locks: that of the association protects all of it that sends and receives; the list has its
// own, which comes after that.
#pragma once

#include "base/memory_order.hpp"
#include "dma/association.hpp"
#include "ether/program.hpp"
#include "ether/ring.hpp"

namespace sigevec::ether {

// Room for what is being sent, in the order of sending.
constexpr uint32_t flights = 4096;
struct Flight {
	uint64_t address;
	uint32_t first; // the piece's, which is held; no_unit: it has been sent
};

// The region as the queue's memory, from dma_assoc to dma_disassoc.
struct Umem {
	char *memory;
	size_t memory_size;
	uint32_t chunk; // bytes of a slot
	uint32_t most;  // bytes of a frame
	bool zero_copy;
	bool in_parts; // frames may take several slots
};

struct Rings {
	Ring receive, transmit, fill, completed;
	uint64_t *kernels; // which slots are, a bit for each
};

// What is being sent.
struct Outgoing {
	uint32_t sending;        // entries whose completion is to come
	uint32_t oldest, newest; // of them
	Flight *flying;
};

// Written with the association's lock held, read at any time.
struct Counts {
	std::atomic<uint64_t> frames_in, frames_out, bytes_out, too_large;
};

struct Device : dma::Device {
	Device *next;
	std::atomic<bool> used;
	std::atomic<uint64_t> cookie; // of the socket
	unsigned ifindex, queue, flags;
	uint32_t mtu;
	Program *program;
	int promiscuous; // a packet socket that asks for it, in the helper's table; or negative
	bool bound;      // this socket has been, and cannot be again

	// From dma_assoc to dma_disassoc.
	std::atomic<dma::Region *> region;
	Umem umem;
	Rings rings;
	Outgoing out;
	Counts counts;
};

namespace device {

constexpr uint32_t around_a_frame = 14 + 8; // its header, and two VLAN tags

// ---- device.cpp

// The descriptor or -errno.
int open(const char *name, unsigned queue, unsigned flags);
// That of a socket; nullptr: it is none of ours.
Device *find(uint64_t cookie);
// Whether a frame of this length is none of the device's, which would drop it without a word. Of
// one whose MTU has been made less since ether_open it is not known.
bool is_too_long(Device *d, size_t length);
// A device with the same memory, whose UMEM can be used as well, or nullptr; one with the same
// queue, if there is one.
Device *partner(const Device *d, const dma::Region *r);
// Whether its number still is its socket.
bool is_open(const Device *d);
// The number gets another socket, a duplicate of fd. 0 or an errno.
int change_socket(Device *d, int fd, int flags);
// Ends those that have been closed. True: some are open.
bool sweep();
bool any();
// The socket's own numbers of dropped frames.
uint64_t dropped(const Device *d);
// Counts without an atomic operation, with the association's lock held.
inline void add(std::atomic<uint64_t> &counter, uint64_t n)
{
	counter.store(counter.load(mo::relaxed) + n, mo::relaxed);
}
// The device leaves its region, to whose figures its own are added.
void leave_region(Device *d, dma::Region *r);
// Adds what the devices of a region have to tell.
void stat(const dma::Region *r, struct dma_stat *s);
void after_fork();

// ---- attach.cpp

// The region becomes the queue's memory; slots of at least `slot' bytes, or as large as the
// device's frames. 0 or an errno. With the association's lock held.
int attach(Device *d, dma::Region *r, size_t slot);
void detach(Device *d);
// Binds a socket with memory of its own for a moment. 0 or the errno: whether that mode can be.
int probe(unsigned ifindex, unsigned queue, uint16_t mode);

// ---- frames.cpp: with the association's lock held

// The next frame. Bytes or -errno: -EAGAIN there is none, no_room none can come for want of slots.
ssize_t take(dma::Association *a, dma::Arrival *x);
// PieceAllocator for the kernel, as many as there is room for. False: it has none at all.
bool refill(Device *d);
// Bytes or -errno: -EAGAIN there is no room.
ssize_t send(Device *d, const struct iovec *v, size_t count, bool more);
// What has been sent is free again.
void reap(Device *d);
// Whether the device has gone.
bool failed(Device *d);

} // namespace device
} // namespace sigevec::ether
