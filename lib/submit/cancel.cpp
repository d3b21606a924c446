// SPDX-License-Identifier: MIT
#include "submit/cancel.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "completion/completion.hpp"
#include "dma/association.hpp"
#include "engine/alone.hpp"
#include "engine/kaio.hpp"
#include "engine/to_helper.hpp"
#include "request/index.hpp"
#include "runtime/helper.hpp"
#include "source/source.hpp"

#include <cstdlib>

namespace sigevec::cancel {

namespace {

int ask_executor(Request *r, uint64_t word)
{
	if (int a = alone::cancel(r, word); a != alone::not_here)
		return a;
	if (r->state.load(mo::acquire) != word)
		return helper::CancelReply::look_again;
	helper::CancelReply reply(r, word);
	uint32_t a = helper::ask(&reply);
	return a == 0 ? AIO_NOTCANCELED : static_cast<int>(a) - 1;
}

// Another thread is between two instructions; but it may have to be let in on this processor first.
void let_others(int *times)
{
	constexpr timespec moment{0, 50000};
	if (++*times < 100)
		sched_yield();
	else
		nanosleep(&moment, nullptr);
}

} // namespace

bool outstanding(uint64_t word)
{
	auto s = static_cast<State>(word & 0xff);
	return s != State::free && s != State::done && s != State::cancelled;
}

int one(Request *r, uint64_t word)
{
	if (int context = r->context.load(mo::relaxed); context >= 0)
		kaio::poll(context);
	uint64_t generation = word >> 8;
	for (int times = 0;;) {
		uint64_t now = r->state.load(mo::acquire);
		if (now >> 8 != generation)
			return AIO_ALLDONE;
		switch (static_cast<State>(now & 0xff)) {
		case State::queued:
			if (r->change_exactly(now, State::cancelled)) {
				// Against the association, which says where it waits and looks at
				// the state then.
				std::atomic_thread_fence(mo::seq_cst);
				uint64_t place = r->association.load(mo::relaxed);
				bool kept = requests::keep(r, generation);
				completion::finish_cancelled(r);
				if (place != 0)
					dma::association::drop_cancelled(place);
				if (kept)
					helper::let_go(r);
				return AIO_CANCELED;
			}
			break;
		case State::trying: // an attempt that does not wait
		case State::ending: // its status is about to be published
			let_others(&times);
			break;
		case State::in_ring:
			if (int a = ask_executor(r, now); a != helper::CancelReply::look_again)
				return a;
			break;
		case State::running:
			return AIO_NOTCANCELED;
		default:
			return AIO_ALLDONE;
		}
	}
}

int soon(Request *r, uint64_t word)
{
	r->unwanted.store(word >> 8, mo::release);
	int a = one(r, word);
	// It was being tried, and may have been put back to wait.
	if (a == AIO_NOTCANCELED && requests::keep(r, word >> 8))
		helper::let_go(r);
	return a;
}

namespace {

bool is_of(const Request *r, uint64_t word, const Channel *channel)
{
	return outstanding(word) && r->channel.load(mo::relaxed) == channel;
}

// Every one that there is: all, or the one-call requests with data. How many were found.
unsigned by_search(const Channel *channel, bool all, const void *data)
{
	unsigned found = 0;
	for (uint32_t i = 0; i < requests::size(); i++) {
		Request *r = requests::at(i);
		uint64_t word = r->state.load(mo::acquire);
		bool meant = all || (r->cb.load(mo::relaxed) == nullptr &&
				     r->data.load(mo::relaxed) == data);
		if (!meant || !is_of(r, word, channel))
			continue;
		soon(r, word);
		found++;
	}
	return found;
}

unsigned by_data(const Channel *channel, const void *data)
{
	using requests::index::Found;
	constexpr size_t few = 16;
	Found here[few], *v = here;
	size_t n = requests::index::find(channel, data, here, few), most = few;
	if (n > few) {
		most = n + n / 2;
		v = static_cast<Found *>(malloc(most * sizeof *v));
		if (v == nullptr)
			return by_search(channel, false, data);
		n = requests::index::find(channel, data, v, most);
	}
	unsigned found = 0;
	for (size_t i = 0; i < n && i < most; i++)
		if (is_of(v[i].request, v[i].word, channel)) {
			soon(v[i].request, v[i].word);
			found++;
		}
	if (v != here)
		free(v);
	return found;
}

} // namespace

unsigned of_channel(const Channel *channel, bool all, const void *data)
{
	unsigned found = all ? by_search(channel, true, data) : by_data(channel, data);
	// Whoever keeps cancelled requests lets go of their files.
	if (found != 0)
		helper::wake();
	found += source::of_channel(channel, all, data);
	return found;
}

} // namespace sigevec::cancel
