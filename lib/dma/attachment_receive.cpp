// SPDX-License-Identifier: MIT
//
// What arrives in an area becomes pieces where it lies. It is copied, by the library, where the
// area is nearly used up by what the program keeps, so that the device never lacks pages; where it
// does not begin at a unit; where there is no memory for a queue of what may come; and where a call
// has asked for it, whose data came in several parts: what is left over could not be put back. Who
// has asked for more (EV_MULTISHOT, DMA_BUFSIZE) gets the parts as they are, the rest out of the
// queue.
#include "dma/attachment_impl.hpp"

#include "base/memory_order.hpp"
#include "base/pages.hpp"
#include "dma/receive_impl.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace sigevec::dma::attachment {

namespace {

constexpr int known_flags = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC;

bool wants_more(const Association *a)
{
	const Request *first = a->waiting.first();
	return receive::wants_ahead(a) || (first != nullptr && first->multishot);
}

// Whether so little of the area is the kernel's that nothing more is to be kept there.
bool is_low(const Area &area)
{
	size_t least = std::max<size_t>(area.pages / 8, 8);
	return area.pages - area.pages_out < least;
}

bool is_inside(const Area &area, const Fragment &f)
{
	size_t size = area.pages * page_size();
	return f.offset < size && f.length != 0 && f.length <= size - f.offset;
}

// With the attachment's lock held, as the rest. A fragment that the kernel has told of, or
// nullptr: it is none that it can have.
char *open(Attachment *t, Region *r, const Fragment &f)
{
	Area &area = t->area;
	size_t in = f.offset / unit;
	if (!is_inside(area, f) || f.offset % unit != 0 ||
	    (area.out[in / 64] >> (in % 64) & 1) != 0)
		return nullptr;
	area.out[in / 64] |= uint64_t{1} << (in % 64);
	if (area.arrivals[f.offset / page_size()]++ == 0)
		area.pages_out++;
	r->pieces.open_arrival(area.base + f.offset, f.length);
	return area.base + f.offset;
}

// The program gets none of it. While the thread is not asked its queue is that of whoever has the
// lock.
void give_back(Attachment *t, const Fragment &f)
{
	if (t->ring.give_back(f.offset, f.length))
		return;
	ask(t, Task::refill);
	t->ring.give_back(f.offset, f.length);
}

// All fragments into one piece; they are the kernel's again.
void gather(Attachment *t, Region *r, Arrival *x)
{
	const Question &q = t->question;
	x->n = 0;
	for (uint32_t i = 0; i < q.count; i++) {
		const Fragment &f = q.fragments[i];
		if (!is_inside(t->area, f))
			continue;
		region::store(x->region, receive::data_of(*x) + x->n, t->area.base + f.offset,
			      f.length);
		x->n += f.length;
		give_back(t, f);
	}
	r->placed_by_copy.fetch_add(x->n, mo::relaxed);
}

ssize_t ask_for(Association *a, Attachment *t, size_t len)
{
	Question &q = t->question;
	q.fd = association::file_of(a);
	q.len = len;
	ask(t, Task::receive);
	bool is_end = q.last == -EAGAIN || q.last == 0 || q.last == -EOPNOTSUPP;
	if (q.result > 0 && !is_end && a->error == 0)
		a->error = -q.last;
	return q.result;
}

// Into an ordinary piece.
ssize_t take_copied(Association *a, Attachment *t, Region *r, const receive::Want &w, Arrival *x)
{
	receive::Want less = w;
	less.size = std::min(w.size, page_size());
	*x = receive::some_room(a, less);
	if (x->piece == nullptr)
		return not_here; // where it is said what is to be done without room
	size_t room = x->size - (x->head != nullptr ? sizeof(MessageHead) : 0);
	ssize_t n = ask_for(a, t, std::min(less.size, room));
	if (n > 0)
		gather(t, r, x);
	if (n <= 0) {
		receive::discard(*x);
		*x = {};
	}
	return n == -ENOMEM ? not_here : n;
}

void count_placed(const Attachment *t, Region *r, uint64_t n)
{
	((t->flags & DMA_NODEV) != 0 ? r->placed_by_kernel : r->placed).fetch_add(n, mo::relaxed);
}

bool is_aligned(const Question &q)
{
	return std::all_of(q.fragments, q.fragments + q.count,
			   [](const Fragment &f) { return f.offset % unit == 0; });
}

// What has come cannot be put back: before the kernel is asked there is memory for a queue of all
// of it.
bool has_spare_queue(Attachment *t)
{
	if (t->spare_queue == nullptr)
		t->spare_queue = static_cast<Arrival *>(malloc(spare_room * sizeof(Arrival)));
	return t->spare_queue != nullptr;
}

// Each where it lies: into the queue.
void queue_all(Association *a, Attachment *t, Region *r)
{
	const Question &q = t->question;
	for (uint32_t i = 0; i < q.count; i++) {
		const Fragment &f = q.fragments[i];
		char *data = open(t, r, f);
		if (data == nullptr)
			continue;
		Arrival x = {r, data, f.length, f.length, nullptr};
		count_placed(t, r, f.length);
		if (association::push(a, x))
			continue;
		association::replace_queue(a, std::exchange(t->spare_queue, nullptr), spare_room);
		association::push(a, x);
	}
}

// The parts behind the first, whose page has nothing else, if they have room there: without a
// device each begins a page, which nobody writes any more.
bool unite_in_page(Attachment *t, Region *r, size_t n, Arrival *x)
{
	Question &q = t->question;
	Fragment first = q.fragments[0];
	size_t page = page_size();
	if ((t->flags & DMA_NODEV) == 0 || first.offset % page != 0 || n > page ||
	    !is_inside(t->area, first) || t->area.arrivals[first.offset / page] != 0)
		return false;
	*x = {r, t->area.base + first.offset, page, 0, nullptr};
	size_t most = first.length;
	for (uint32_t i = 1; i < q.count; i++) {
		const Fragment &f = q.fragments[i];
		if (!is_inside(t->area, f))
			continue;
		memcpy(x->piece + most, t->area.base + f.offset, f.length);
		most += f.length;
		give_back(t, f);
	}
	first.length = static_cast<uint32_t>(most);
	open(t, r, first);
	x->n = x->size = most;
	count_placed(t, r, q.fragments[0].length);
	r->placed_by_copy.fetch_add(most - q.fragments[0].length, mo::relaxed);
	return true;
}

// Several parts for one call into one piece. False: there is no room for that.
bool unite(Association *a, Attachment *t, Region *r, size_t n, Arrival *x)
{
	if (unite_in_page(t, r, n, x))
		return true;
	*x = receive::room(a, receive::Want{}, n, false);
	if (x->piece == nullptr)
		return false;
	gather(t, r, x);
	return true;
}

ssize_t take_placed(Association *a, Attachment *t, Region *r, const receive::Want &w, Arrival *x)
{
	Question &q = t->question;
	bool more = x == nullptr || wants_more(a);
	size_t len = std::min(w.size, more && w.size >= page_size() ? most_asked : page_size());
	ssize_t n = ask_for(a, t, len);
	if (n == -ENOMEM) {
		ask(t, Task::refill);
		n = ask_for(a, t, len);
	}
	if (n <= 0)
		return n == -ENOMEM ? not_here : n;
	t->unaligned = t->unaligned || !is_aligned(q);
	bool whole = !t->unaligned && (q.count == 1 || more);
	if (x != nullptr && !whole && unite(a, t, r, static_cast<size_t>(n), x))
		return n;
	queue_all(a, t, r);
	if (x == nullptr)
		return n;
	if (a->queue_count == 0)
		return -EAGAIN;
	*x = association::pop(a);
	return static_cast<ssize_t>(x->n);
}

} // namespace

Region *of(const Association *a, const receive::Want &w)
{
	if (!a->stream || a->local || a->device != nullptr || a->unattachable ||
	    (w.flags & ~known_flags) != 0)
		return nullptr;
	auto is_attached = [](Region *r) { return r->attached.load(mo::acquire) != 0; };
	if (w.region != nullptr)
		return is_attached(w.region) ? w.region : nullptr;
	for (uint16_t i = 0; i < a->region_count; i++)
		if (Region *r = region::at(a->regions[i]); is_attached(r))
			return r;
	return nullptr;
}

ssize_t take(Association *a, Region *r, const receive::Want &w, Arrival *x)
{
	if (x != nullptr)
		*x = {};
	uint32_t place = r->attached.load(mo::acquire);
	if (place == 0)
		return not_here;
	Attachment *t = at_place(place);
	Guard<Mutex> g(t->lock);
	if (t->region.load(mo::relaxed) != r || t->area.base == nullptr)
		return not_here;
	if (r->pieces.any_returned() && is_low(t->area))
		ask(t, Task::refill);
	bool copied = w.message || t->unaligned || is_low(t->area) || !has_spare_queue(t);
	if (copied && x == nullptr)
		return not_here;
	ssize_t n = copied ? take_copied(a, t, r, w, x) : take_placed(a, t, r, w, x);
	if (n != -EPROTONOSUPPORT && n != -EOPNOTSUPP && n != -EINVAL)
		return n;
	// It is no TCP, or TLS lies above it.
	a->unattachable = true;
	return not_here;
}

} // namespace sigevec::dma::attachment
