// SPDX-License-Identifier: MIT
#include "dma/by_readers.hpp"

#include "base/memory_order.hpp"
#include "base/syscalls.hpp"
#include "channel/channel.hpp"
#include "channel/moderation.hpp"
#include "channel/reader_fds.hpp"
#include "dma/deliver.hpp"
#include "dma/receiver.hpp"
#include "runtime/helper.hpp"

#include <poll.h>
#include <utility>

namespace sigevec::dma::by_readers {

namespace {

// Events that wait for a reader already: with so many it receives no more ahead of itself.
constexpr uint64_t enough = 64;

bool has_enough(const Channel *c)
{
	uint64_t delivered = c->delivered.load(mo::acquire);
	return static_cast<uint32_t>(c->pushed.load(mo::relaxed) - delivered) >= enough;
}

// Where the event of the one that stands first goes, if readers may receive for it; or nullptr.
Channel *channel_of(const Association *a)
{
	if (!a->stream || a->local || !receiver::takes_all(a) || a->notify != nullptr ||
	    a->held < 0)
		return nullptr;
	const Request *r = a->waiting.first();
	if (r->notification.event.notify != SIGEV_EC)
		return nullptr;
	Channel *c = r->notification.event.channel;
	// Also while what was in its ring leaves that.
	bool has_ring = c->ring_state.load(mo::relaxed) != nullptr ||
			((c->flags.load(mo::relaxed) & EC_SINGLE) != 0 && !c->without_ring);
	return has_ring || moderation::on(c) ? nullptr : c;
}

// The receiver goes on with it, by whichever number it can.
void pass_on(Association *a)
{
	leave(a);
	a->paused = true;
	receiver::note_pause();
	receiver::ensure();
}

// Nothing has come of what the kernel tells of: unless another reader was quicker, nobody here
// takes that, and it would be told of without end.
bool is_told_of_still(const Association *a)
{
	struct pollfd p = {association::file_of(a), POLLIN, 0};
	return sys::poll_now(&p) == 1;
}

} // namespace

bool watch(Association *a)
{
	if (a->read_by != nullptr)
		return true;
	if (a->watched || a->paused || a->receivers)
		return false;
	Channel *c = channel_of(a);
	if (c == nullptr || !helper::running()->private_table() || !channel::keep(c))
		return false;
	if (reader_fds::add_socket(c, a->held, a->index, a->life) != 0) {
		channel::release(c);
		return false;
	}
	a->read_by = c;
	receiver::look_now_and_then();
	return true;
}

void look_again(Association *a)
{
	if (!a->waiting.empty() &&
	    !reader_fds::watches_socket(a->read_by, a->held, a->index, a->life))
		pass_on(a);
}

void leave(Association *a)
{
	a->receivers = true;
	Channel *c = std::exchange(a->read_by, nullptr);
	if (c == nullptr)
		return;
	reader_fds::forget_socket(c, a->held);
	channel::release(c);
}

void arrived(Channel *c, uint64_t handle)
{
	if (has_enough(c))
		return;
	uint64_t place = association::place_of(static_cast<uint32_t>(handle),
					       static_cast<uint32_t>(handle >> 32));
	deliver::Outcome o;
	{
		association::Remembered a(place);
		if (!a || a->read_by != c)
			return;
		if (channel_of(a.get()) != c || !association::still_there(a.get())) {
			// What has ended meanwhile is let go of by whoever has ended it.
			if (!a->waiting.empty())
				pass_on(a.get());
			return;
		}
		deliver::step(a.get(), &o, true);
		if (!o.came && a->read_by != nullptr && is_told_of_still(a.get()))
			pass_on(a.get());
	}
	if (association::Remembered a(place); a)
		association::let_go(a.get());
	deliver::finish(o);
}

} // namespace sigevec::dma::by_readers
