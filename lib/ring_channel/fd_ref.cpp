// SPDX-License-Identifier: MIT
//
// Files that the ring holds for operations that have not been handed to the kernel yet: in its
// table of registered files, where they have no number in the program's table. A program that
// closes the descriptor, and uses its number again, does nothing to them; a child of fork has none
// of them.
//
// Pinned: by an operation that EC_BATCH keeps back, in the first places of the table, from its call
// until the submission; they are let go by the last entry of the same submission. FdRef: by
// operations that wait behind another one of their queue, each file once, until the last has ended;
// by armed sockets.
#include "base/descriptor.hpp"
#include "ring_channel/ring_channel.hpp"

#ifdef HAVE_LIBURING

#include "base/syscalls.hpp"
#include "uring.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sys/resource.h>

namespace sigevec::ring_channel {

namespace {

// As many armed sockets can a channel have in its ring; eight bytes of the kernel's for each that
// the program's limit allows.
constexpr unsigned most_files = 65536;

// For the places that are let go.
struct NoFiles {
	int v[most_pinned];
	constexpr NoFiles() : v()
	{
		for (int &fd : v)
			fd = -1;
	}
};
constexpr NoFiles no_files;

// Of a table of n places, the first ones: few of a small one.
unsigned places_to_pin(unsigned n)
{
	unsigned part = n / 16 / 64 * 64;
	return part < 64 ? 64 : part < most_pinned ? part : most_pinned;
}

unsigned most_allowed()
{
	struct rlimit r;
	unsigned n = getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < most_files
			     ? static_cast<unsigned>(r.rlim_cur)
			     : most_files;
	return n / 64 * 64;
}

// False: the kernel refuses; then the ring has no table.
bool make_table(RingState *s)
{
	if (s->files != 0)
		return true;
	unsigned n = most_allowed();
	if (n <= places_to_pin(n) || s->ring.lost() || !has_number(s))
		return false;
	auto *used = static_cast<uint64_t *>(calloc(n / 64, sizeof(uint64_t)));
	if (used == nullptr)
		return false;
	if (io_uring_register_files_sparse(&s->ring, n) != 0) {
		free(used);
		return false;
	}
	s->files = n;
	s->used_files = used;
	s->next_file = places_to_pin(n);
	return true;
}

// 0 or -errno. The number of the ring has been looked at.
int put(RingState *s, unsigned place, int fd)
{
	int n = io_uring_register_files_update(&s->ring, place, &fd, 1);
	return n == 1 ? 0 : n < 0 ? n : -EBADF;
}

// A free place for a file that is held, or -1.
int find_place(RingState *s)
{
	for (unsigned i = 0; i < s->files / 64; i++) {
		unsigned at = (s->next_file / 64 + i) % (s->files / 64);
		if (at * 64 < places_to_pin(s->files) || ~s->used_files[at] == 0)
			continue;
		auto bit = static_cast<unsigned>(__builtin_ctzll(~s->used_files[at]));
		s->used_files[at] |= uint64_t{1} << bit;
		s->next_file = at * 64;
		return static_cast<int>(at * 64 + bit);
	}
	return -1;
}

void free_place(RingState *s, int place)
{
	auto p = static_cast<unsigned>(place);
	s->used_files[p / 64] &= ~(uint64_t{1} << p % 64);
}

} // namespace

bool hold(RingState *s, RingOperation *o, const RingOperation *other)
{
	if (o->held != nullptr)
		return true;
	if (other != nullptr && other->held != nullptr) {
		o->held = other->held;
		o->held->users++;
		return true;
	}
	auto *h = static_cast<FdRef *>(malloc(sizeof(FdRef)));
	int place = h != nullptr && make_table(s) ? find_place(s) : -1;
	if (place < 0) {
		free(h);
		return false;
	}
	*h = {place, 1, 0, 0};
	if (look_at(o->fd, &h->dev, &h->ino) && has_number(s) &&
	    put(s, static_cast<unsigned>(place), o->fd) == 0) {
		o->held = h;
		return true;
	}
	free_place(s, place);
	free(h);
	return false;
}

void let_go(RingState *s, RingOperation *o)
{
	FdRef *h = o->held;
	o->held = nullptr;
	if (h == nullptr || --h->users != 0)
		return;
	if (has_number(s))
		put(s, static_cast<unsigned>(h->place), -1);
	free_place(s, h->place);
	free(h);
}

bool pin(RingState *s, RingOperation *o)
{
	o->pinned = -1;
	if (o->held != nullptr || o->fd < 0)
		return true;
	// The submission that makes room for it would let go of its file, too.
	if (io_uring_sq_space_left(&s->ring) < 2)
		submit(s);
	// Of those that are submitted together the first one looks at the number of the ring.
	if (!make_table(s) || s->pinned >= places_to_pin(s->files) ||
	    (s->pinned == 0 && !has_number(s)))
		return false;
	int e = put(s, s->pinned, o->fd);
	if (e == 0)
		o->pinned = static_cast<int>(s->pinned++);
	// What is no descriptor now is not to be one later.
	else if (e == -EBADF && sys::closes_on_exec(o->fd) < 0)
		o->closed = true;
	else
		return false;
	return true;
}

bool prepare_to_let_go(RingState *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
	if (sqe == nullptr)
		return false;
	io_uring_prep_files_update(sqe, const_cast<int *>(no_files.v), s->pinned, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = cancel_tag;
	return true;
}

void let_go_of_pinned(RingState *s, bool prepared)
{
	if (!prepared)
		io_uring_register_files_update(&s->ring, 0, no_files.v, s->pinned);
	s->pinned = 0;
}

void name_file(RingState *s, struct io_uring_sqe *sqe, RingOperation *o)
{
	if (o->held != nullptr || o->pinned >= 0) {
		sqe->fd = o->held != nullptr ? o->held->place : o->pinned;
		sqe->flags |= IOSQE_FIXED_FILE;
		o->pinned = -1; // until the submission
	} else {
		sqe->fd = o->closed ? -1 : o->fd;
		s->unsafe++;
	}
}

int number_of_file(const RingOperation *o)
{
	uint64_t dev, ino;
	const FdRef *h = o->held;
	if (h == nullptr)
		return o->fd;
	return look_at(o->fd, &dev, &ino) && dev == h->dev && ino == h->ino ? o->fd : -1;
}

} // namespace sigevec::ring_channel

#endif
