// SPDX-License-Identifier: MIT
//
// One arrival at an associated socket for the request that stands first: one that ends with it, one
// that is armed, or the events of DMA_LATEST.
#include "dma/deliver_first.hpp"

#include "base/memory_order.hpp"
#include "channel/channel.hpp"
#include "dma/message.hpp"
#include "dma/request.hpp"

#include <cerrno>
#include <utility>

namespace sigevec::dma::deliver {

receive::Want wanted(const Request *r)
{
	receive::Want w{};
	w.size = r->dma.size;
	w.flags = r->call_flags & ~MSG_DONTWAIT;
	w.message = r->dma.message;
	if (r->message != nullptr && !w.message) {
		w.from = static_cast<struct sockaddr *>(r->message->header.msg_name);
		w.from_length = r->message->header.msg_namelen;
	}
	if (r->cb.load(mo::relaxed) != nullptr)
		w.region = region::at(r->dma.region);
	return w;
}

bool is_end(const Association *a, ssize_t n)
{
	return (n == 0 || (n == -EAGAIN && a->shut && !a->stream)) && receive::at_end(a);
}

namespace {

// The oldest in the queue, or what one call finds. Bytes or -errno, and the program's piece. *end:
// it was the end, and there is no piece.
ssize_t next(Association *a, const receive::Want &w, void **address, bool *end)
{
	Arrival x{};
	bool queued = a->queue_count != 0;
	*end = false;
	if (!queued && a->error != 0)
		return -std::exchange(a->error, 0);
	ssize_t n = queued ? static_cast<ssize_t>((x = a->queue[a->queue_first]).n)
			   : receive::one(a, w, &x);
	*end = a->queue_count <= 1 && is_end(a, n);
	if (*end && queued)
		association::pop(a);
	if (*end)
		n = 0;
	if (n < 0 || x.piece == nullptr || *end) {
		if (x.piece != nullptr)
			receive::discard(x);
		*address = nullptr;
		return n;
	}
	if (queued)
		return receive::take(a, w, address);
	n = receive::hand_out(a, x, w, address);
	if (n == receive::no_room && !association::put_back(a, x))
		receive::discard(x);
	return n;
}

// r is the first, and `trying'.
void end_first(Association *a, Outcome *o, ssize_t result)
{
	Request *r = a->waiting.pop();
	r->set(State::running);
	r->result = result;
	o->ended.push(r);
}

// An event of an armed request, which has room in its channel. nullptr: there is none, or no
// memory.
Request *make_event(const Request *armed)
{
	Request *e = requests::create_connection(armed);
	if (e != nullptr)
		e->dma = {};
	return e;
}

void send_event(Request *e, ssize_t result)
{
	e->result = result;
	requests::release(e);
	channel::push(e->notification);
}

// One arrival for a request that ends with it.
ssize_t serve_one(Association *a, Outcome *o, Request *r)
{
	void *address;
	bool end;
	receive::Want w = wanted(r);
	// Who reads the event gets the descriptors.
	if (r->cb.load(mo::relaxed) == nullptr)
		w.keep = &r->dma.head;
	ssize_t n = next(a, w, &address, &end);
	if (n == receive::no_room || (n == -EAGAIN && !r->nonblocking()))
		return n;
	r->dma.kind = Use::Kind::arrival;
	r->dma.piece = static_cast<char *>(address);
	if (r->cb.load(mo::relaxed) == nullptr)
		keep_region(r->dma);
	end_first(a, o, n);
	return 0;
}

// One arrival for an armed request. -EBUSY: its channel is full.
ssize_t serve_armed(Association *a, Outcome *o, Request *r)
{
	Request *e = make_event(r);
	if (e == nullptr)
		return -EBUSY;
	void *address;
	bool end;
	receive::Want w = wanted(r);
	w.keep = &e->dma.head;
	ssize_t n = next(a, w, &address, &end);
	if (n >= 0 && !end) {
		e->dma.kind = Use::Kind::arrival;
		e->dma.piece = static_cast<char *>(address);
		keep_region(e->dma);
		send_event(e, n);
		return 0;
	}
	requests::discard_connection(e);
	if (n == -EAGAIN || n == receive::no_room)
		return n;
	end_first(a, o, n);
	return 0;
}

// As many events as there are datagrams that no event tells of; then the end, if that has come.
ssize_t serve_latest(Association *a, Outcome *o, Request *r)
{
	while (a->events < a->queue_count) {
		Request *e = make_event(r);
		if (e == nullptr)
			return -EBUSY;
		e->dma.kind = Use::Kind::latest;
		e->dma.message = r->dma.message;
		e->dma.size = r->dma.size;
		e->dma.association = a->index;
		e->dma.life = a->life;
		a->events++;
		send_event(e, 0);
	}
	if (!a->ended && a->error == 0)
		return -EAGAIN;
	end_first(a, o, -std::exchange(a->error, 0));
	return 0;
}

} // namespace

ssize_t serve_first(Association *a, Outcome *o)
{
	Request *r = a->waiting.first();
	if (!r->change(State::queued, State::trying)) {
		a->waiting.pop(); // cancelled, and told
		requests::release(r);
		return 0;
	}
	if (r->is_unwanted()) {
		end_first(a, o, -ECANCELED);
		return 0;
	}
	ssize_t n = !r->multishot ? serve_one(a, o, r)
		    : a->latest   ? serve_latest(a, o, r)
				  : serve_armed(a, o, r);
	if (a->waiting.first() == r) {
		r->set(State::queued);
		if (n != 0 && r->is_unwanted())
			n = 0;
	}
	return n;
}

} // namespace sigevec::dma::deliver
