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

Came came_of(const Association *a, ssize_t n, bool last, bool waits)
{
	bool end =
		last && (n == 0 || (n == -EAGAIN && a->shut && !a->stream)) && receive::at_end(a);
	return receive::came(n, end, waits);
}

namespace {

// The oldest in the queue, or what one call finds. Bytes or -errno, the program's piece, and what
// it is.
ssize_t next(Association *a, const receive::Want &w, void **address, Came *came, bool waits)
{
	Arrival x{};
	bool queued = a->queue_count != 0;
	a->emptied = false;
	*address = nullptr;
	ssize_t n = queued          ? static_cast<ssize_t>((x = a->queue[a->queue_first]).n)
		    : a->error != 0 ? -std::exchange(a->error, 0)
				    : receive::one(a, w, &x);
	*came = came_of(a, n, a->queue_count <= 1, waits);
	if (*came == Came::end)
		n = 0;
	if (*came == Came::end && queued)
		association::pop(a);
	if (*came != Came::data || x.piece == nullptr) {
		if (x.piece != nullptr)
			receive::discard(x);
		return n;
	}
	if (queued)
		n = receive::take(a, w, address);
	else if ((n = receive::hand_out(a, x, w, address)) == receive::no_room &&
		 !association::put_back(a, x))
		receive::discard(x);
	if (n < 0)
		*came = receive::came(n, false, waits);
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

// Whether a call has taken all there was, so that whatever comes is told of: no end, error or
// urgent byte had come when the socket was last told of, where a call ends for nothing else.
bool has_emptied(const Association *a, const receive::Want &w)
{
	return a->emptied && a->plain && a->stream && !a->local && w.flags == 0;
}

// Full pieces after one behind which nothing was, until that is tried again.
constexpr uint8_t most_alone = 16;

// To readers what is left is told of anyway. Whether the next call is worth more than that.
bool asks_on(Association *a)
{
	if (a->emptied)
		return false;
	if (a->full_alone != 0) {
		a->full_alone--;
		return false;
	}
	a->asked_on = true;
	return true;
}

// One arrival for the first request, which ends with it, or, armed, has an event made. -EBUSY: its
// channel is full.
ssize_t serve_arrival(Association *a, Outcome *o, Request *r)
{
	Who who = r->multishot ? Who::armed : Who::request;
	Request *e = r->multishot ? make_event(r) : r;
	if (e == nullptr)
		return -EBUSY;
	bool by_event = r->cb.load(mo::relaxed) == nullptr;
	receive::Want w = wanted(r);
	// Who reads the event gets the descriptors.
	if (by_event)
		w.keep = &e->dma.head;
	void *address;
	Came came;
	ssize_t n = next(a, w, &address, &came, !r->nonblocking());
	if (std::exchange(a->asked_on, false))
		a->full_alone = came == Came::data ? 0 : most_alone;
	Does does = reaction(came, who);
	if (e != r && does != Does::gets)
		requests::discard_connection(e);
	if (does == Does::waits || does == Does::pauses)
		return n;
	if (e == r || does == Does::gets) {
		e->dma.kind = Use::Kind::arrival;
		e->dma.piece = static_cast<char *>(address);
		if (by_event)
			keep_region(e->dma);
	}
	if (does == Does::gets)
		send_event(e, n);
	else
		end_first(a, o, n);
	o->came = true;
	bool over = a->read_by != nullptr ? !asks_on(a) : has_emptied(a, w);
	return does == Does::gets && over ? -EAGAIN : 0;
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
	ssize_t n = r->multishot && a->latest ? serve_latest(a, o, r) : serve_arrival(a, o, r);
	if (a->waiting.first() == r) {
		r->set(State::queued);
		if (n != 0 && r->is_unwanted())
			n = 0;
	}
	return n;
}

} // namespace sigevec::dma::deliver
