// SPDX-License-Identifier: MIT
//
// Where DMA_BUFSIZE asks for it a call brings along what it finds beyond what it was asked for, as
// pieces of the same size, so that the next calls need not receive; not of UNIX sockets, whose
// control data belongs to a place in the stream. For a program that has found data at each of its
// last calls the receiver does it meanwhile, until a call has to wait. Without DMA_BUFSIZE nothing
// is brought along, for it cannot be put back. Nor is anything while another thread waits in the
// kernel: it would wait for what lies here.
#include "dma/receive_impl.hpp"

#include "base/syscalls.hpp"
#include "dma/attachment.hpp"
#include "dma/came.hpp"

#include <cerrno>

namespace sigevec::dma::receive {

namespace {

constexpr size_t most_bytes_ahead = 64 * 1024;
constexpr uint32_t most_in_advance = 256;

} // namespace

bool wants_ahead(const Association *a)
{
	return a->buffer != 0 && !a->local;
}

unsigned pieces(Association *a, const Want &w)
{
	if (!wants_ahead(a) || w.message || w.from != nullptr || a->blocked != nullptr ||
	    (w.flags & ~MSG_DONTWAIT) != 0)
		return 1;
	if (w.region != nullptr || attachment::of(a, w) != nullptr)
		return 1;
	if (a->asked != w.size) {
		a->asked = w.size;
		a->ahead = 1;
	}
	size_t most = most_bytes_ahead / w.size;
	return most < 2 ? 1 : a->ahead < most ? a->ahead : static_cast<unsigned>(most);
}

void adapt(Association *a, unsigned filled, unsigned of)
{
	if (filled == of)
		a->ahead = a->ahead < most_ahead ? static_cast<uint8_t>(a->ahead * 2) : most_ahead;
	else if (filled * 2 < of)
		a->ahead = a->ahead > 1 ? static_cast<uint8_t>(a->ahead / 2) : 1;
}

namespace {

// Puts v[1] and the next ones into the queue, as far as they have data, and *x becomes v[0];
// without x that one, too.
ssize_t share_out(Association *a, Arrival *v, unsigned filled, unsigned count, Arrival *x)
{
	for (unsigned i = x != nullptr ? 1 : 0; i < count; i++)
		if (i >= filled || !association::push(a, v[i]))
			discard(v[i]);
	adapt(a, filled, count);
	if (x != nullptr)
		*x = v[0];
	return static_cast<ssize_t>(v[0].n);
}

// A stream's data into several pieces. v has `count' of them.
ssize_t stream_ahead(Association *a, Arrival *v, unsigned count, Arrival *x)
{
	struct iovec vector[most_ahead];
	for (unsigned i = 0; i < count; i++)
		vector[i] = {v[i].piece, v[i].size};
	struct msghdr m = {};
	m.msg_iov = vector;
	m.msg_iovlen = count;
	ssize_t n = repeated(MSG_DONTWAIT, [&] {
		return sys::recvmsg(association::file_of(a), &m, MSG_DONTWAIT);
	});
	unsigned filled = 0;
	for (ssize_t left = n; left > 0; filled++) {
		v[filled].n = static_cast<size_t>(left) < v[filled].size ? static_cast<size_t>(left)
									 : v[filled].size;
		left -= static_cast<ssize_t>(v[filled].n);
	}
	ssize_t first = share_out(a, v, filled, count, x);
	return n < 0 ? n : first;
}

// Datagrams, each with its head: who reads it later may want the address.
ssize_t datagrams_ahead(Association *a, Arrival *v, unsigned count, Arrival *x)
{
	struct mmsghdr m[most_ahead] = {};
	struct iovec vector[most_ahead];
	for (unsigned i = 0; i < count; i++) {
		vector[i] = {data_of(v[i]), v[i].size - sizeof(MessageHead)};
		m[i].msg_hdr.msg_iov = &vector[i];
		m[i].msg_hdr.msg_iovlen = 1;
		ancillary::ask(v[i].head, &m[i].msg_hdr);
	}
	ssize_t n = repeated(MSG_DONTWAIT, [&] {
		return syscall(SYS_recvmmsg, association::file_of(a), m, count,
			       MSG_DONTWAIT | MSG_CMSG_CLOEXEC, nullptr);
	});
	auto filled = static_cast<unsigned>(n < 0 ? 0 : n);
	for (unsigned i = 0; i < filled; i++) {
		v[i].n = m[i].msg_len;
		ancillary::note(v[i].head, m[i].msg_hdr);
		ancillary::keep_files(v[i].head);
	}
	ssize_t first = share_out(a, v, filled, count, x);
	return n < 0 ? n : first;
}

} // namespace

ssize_t several(Association *a, const Want &w, unsigned wanted, Arrival *x)
{
	if (Region *r = x == nullptr ? attachment::of(a, w) : nullptr; r != nullptr)
		if (ssize_t n = attachment::take(a, r, w, nullptr); n != attachment::not_here)
			return n;
	Arrival v[most_ahead];
	size_t size = a->stream || w.size > a->buffer ? w.size : a->buffer;
	unsigned count = 0;
	while (count < wanted && (v[count] = room(a, w, size, !a->stream)).piece != nullptr)
		count++;
	if (count > 1)
		return a->stream ? stream_ahead(a, v, count, x) : datagrams_ahead(a, v, count, x);
	if (count == 1)
		discard(v[0]);
	if (x != nullptr)
		return one(a, w, x);
	ssize_t n = one(a, w, &v[0]);
	bool data = n > 0 || (n == 0 && !at_end(a));
	if (v[0].piece != nullptr && (!data || !association::push(a, v[0])))
		discard(v[0]);
	return n;
}

bool wants_in_advance(const Association *a)
{
	return wants_ahead(a) && (!a->stream || a->asked != 0) && a->device == nullptr &&
	       a->streak >= long_streak && a->blocked == nullptr && a->waiting.empty() &&
	       !a->latest;
}

bool in_advance(Association *a)
{
	// Half of a region is for what the program reserves.
	const Region *r = region::at(a->regions[0]);
	if (r->pieces.used() > r->size / 2)
		return false;
	Want w{};
	w.size = a->stream ? a->asked : a->buffer;
	w.message = !a->stream;
	size_t most = a->stream ? most_bytes_ahead / w.size : 1;
	while (a->queue_count < most_in_advance) {
		ssize_t n = several(a, w,
				    most < 1            ? 1
				    : most < most_ahead ? static_cast<unsigned>(most)
							: most_ahead,
				    nullptr);
		Came c = came(n, n == 0 && at_end(a), true);
		if (c == Came::data)
			continue;
		if (reaction(c, Who::ahead) == Does::keeps)
			a->error = static_cast<int>(-n);
		return c == Came::nothing;
	}
	return false;
}

} // namespace sigevec::dma::receive
