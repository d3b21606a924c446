// SPDX-License-Identifier: MIT
#include "engine/known_sockets.hpp"

#include "base/memory_order.hpp"
#include "base/socket_option.hpp"

#include <atomic>
#include <cerrno>
#include <sys/stat.h>

namespace sigevec::known_sockets {

namespace {

constexpr uint64_t places = 16384;
// High half: the cookie's number of rounds through the table, and one; low half: the inode, 0 if
// the socket has been seen once only. One that is closed after its first message is not worth more.
std::atomic<uint64_t> table[places];
std::atomic<uint64_t> device; // that of all sockets; 0: none has been described

constexpr uint64_t half = uint64_t{1} << 32;

uint64_t round_of(uint64_t cookie)
{
	return cookie / places + 1;
}

std::atomic<uint64_t> &place_of(uint64_t cookie)
{
	return table[cookie % places];
}

} // namespace

bool find(int fd, Descriptor *d, uint64_t *cookie)
{
	int saved = errno;
	uint64_t c = socket_cookie(fd);
	errno = saved;
	*cookie = 0;
	if (c == 0 || round_of(c) >= half)
		return false;
	uint64_t word = place_of(c).load(mo::acquire);
	if (word / half != round_of(c)) {
		place_of(c).store(round_of(c) * half, mo::relaxed);
		return false;
	}
	if (word % half == 0) {
		*cookie = c;
		return false;
	}
	*d = {};
	d->fd = fd;
	d->kind = Kind::socket;
	d->type = S_IFSOCK;
	d->dev = device.load(mo::relaxed);
	d->ino = word % half;
	return true;
}

void remember(const Descriptor &d, uint64_t cookie)
{
	// Described was what the number is by now.
	if (d.kind != Kind::socket || d.ino >= half || socket_cookie(d.fd) != cookie)
		return;
	device.store(d.dev, mo::relaxed);
	place_of(cookie).store(round_of(cookie) * half + d.ino, mo::release);
}

} // namespace sigevec::known_sockets
