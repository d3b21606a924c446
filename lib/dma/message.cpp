// SPDX-License-Identifier: MIT
#include "dma/message.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "dma/region.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif

namespace sigevec::dma::ancillary {

namespace {

// Those that have descriptors, for a child of fork, which finds them as they were at that moment.
constexpr uint32_t most_kept = 4096;
std::atomic<Ancillary *> kept[most_kept];

// Calls f with each descriptor.
template <class F> void each_descriptor(const Ancillary *a, F f)
{
	auto *m = const_cast<struct msghdr *>(&a->header);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != nullptr; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET ||
		    (c->cmsg_type != SCM_RIGHTS && c->cmsg_type != SCM_PIDFD))
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
			int fd;
			memcpy(&fd, reinterpret_cast<char *>(c) + at, sizeof fd);
			f(fd);
		}
	}
}

bool is_still(int fd, uint64_t dev, uint64_t ino)
{
	struct stat st;
	return fstat(fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino &&
	       sys::closes_on_exec(fd) == 1;
}

// Calls f with each that is still what has come.
template <class F> void each_kept(Ancillary *a, F f)
{
	for (unsigned i = 0; i < a->files; i++)
		if (is_still(a->file[i].fd, a->file[i].dev, a->file[i].ino))
			f(a->file[i].fd);
}

// They are no longer the library's.
void forget_files(Ancillary *a)
{
	if (a->files == 0)
		return;
	a->files = 0;
	if (a->place < most_kept)
		kept[a->place].store(nullptr, mo::release);
}

void close_files(Ancillary *a)
{
	each_kept(a, [](int fd) { sys::close(fd); });
	forget_files(a);
}

} // namespace

Ancillary *make()
{
	auto *a = static_cast<Ancillary *>(malloc(sizeof(Ancillary)));
	if (a == nullptr)
		return nullptr;
	a->header = {};
	a->files = 0;
	return a;
}

void keep_files(Ancillary *a)
{
	each_descriptor(a, [a](int fd) {
		struct stat st = {};
		if (a->files < Ancillary::most_files && fstat(fd, &st) == 0)
			a->file[a->files++] = {fd, st.st_dev, st.st_ino};
	});
	if (a->files == 0)
		return;
	Ancillary *none = nullptr;
	for (a->place = 0;
	     a->place < most_kept && !kept[a->place].compare_exchange_strong(none, a, mo::acq_rel);
	     none = nullptr)
		a->place++;
}

void ask(const Ancillary *a, struct msghdr *m)
{
	m->msg_name = const_cast<struct sockaddr_storage *>(&a->address);
	m->msg_namelen = sizeof a->address;
	m->msg_control = const_cast<char *>(a->control);
	m->msg_controllen = sizeof a->control;
}

void note(Ancillary *a, const struct msghdr &from)
{
	const struct msghdr m = from; // which may be `told' itself
	a->header = {};
	a->header.msg_namelen =
		m.msg_namelen < sizeof a->address ? m.msg_namelen : sizeof a->address;
	a->header.msg_name = m.msg_namelen != 0 ? &a->address : nullptr;
	a->header.msg_controllen = m.msg_controllen;
	a->header.msg_control = m.msg_controllen != 0 ? a->control : nullptr;
	a->header.msg_flags = m.msg_flags;
}

void drop(Ancillary *a)
{
	if (a == nullptr)
		return;
	close_files(a);
	free(a);
}

void drop_later(Ancillary *a)
{
	if (a != nullptr)
		requests::free_later(a);
}

void copy_address(const Ancillary *a, struct sockaddr *to, socklen_t room)
{
	size_t n = a->header.msg_namelen < room ? a->header.msg_namelen : room;
	if (to != nullptr && n != 0)
		memcpy(to, &a->address, n);
}

void hand_over(Ancillary *a, int flags)
{
	if (a == nullptr)
		return;
	if ((flags & MSG_CMSG_CLOEXEC) == 0)
		each_kept(a, [](int fd) { sys::stay_open_on_exec(fd); });
	forget_files(a);
	drop_later(a);
}

void close_in_child()
{
	for (auto &place : kept)
		if (Ancillary *a = place.load(mo::acquire); a != nullptr)
			close_files(a);
}

bool store(const Ancillary *a, Region *r, char *piece, size_t n, int flags, int more_flags)
{
	auto *h = reinterpret_cast<MessageHead *>(piece);
	struct {
		struct msghdr header;
		struct iovec vector;
	} head = {a->header, {piece + sizeof(MessageHead), n}};
	head.header.msg_flags = (head.header.msg_flags & (~MSG_CMSG_CLOEXEC | flags)) | more_flags;
	if (head.header.msg_name != nullptr)
		head.header.msg_name = &h->address;
	if (head.header.msg_control != nullptr)
		head.header.msg_control = h->control;
	head.header.msg_iov = &h->vector;
	head.header.msg_iovlen = 1;
	return region::store(r, piece, &head, sizeof head) &&
	       region::store(r, &h->address, &a->address, a->header.msg_namelen) &&
	       region::store(r, h->control, a->control, a->header.msg_controllen);
}

} // namespace sigevec::dma::ancillary
