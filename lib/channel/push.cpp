// SPDX-License-Identifier: MIT
//
// Events on their way into the queue of a channel, and out of one that has ended: the pushers' half
// of what is argued in queue.cpp.
#include "channel/queue_impl.hpp"

#include "base/memory_order.hpp"
#include "channel/channel_impl.hpp"
#include "channel/moderation.hpp"
#include "channel/wakeup.hpp"

namespace sigevec::channel {

namespace {

// Nobody will read it.
void drop_event(Channel *c, Notification &n)
{
	if (n.ops->drop != nullptr)
		n.ops->drop(n);
	n.ops->release(n);
	drop(c, 1);
}

void drop_list(Channel *c, Notification *n)
{
	while (n != nullptr) {
		Notification *next = n->next.load(mo::relaxed);
		drop_event(c, *n);
		n = next;
	}
}

} // namespace

void note_dropped(Channel *c, uint64_t count)
{
	c->dropped.fetch_add(count, mo::relaxed);
	if (c->figures != nullptr)
		c->figures->dropped.fetch_add(count, mo::relaxed);
	c->overflow.fetch_add(count, mo::seq_cst);
	if (c->sleepers.count() != 0)
		wake_all(c);
	signal_when_due(c);
}

void drop_all(Channel *c)
{
	Notification *oldest;
	{
		Guard<Mutex> g(c->reading);
		oldest = c->oldest.exchange(nullptr, mo::relaxed);
	}
	drop_list(c, oldest);
	drop_list(c, c->inbox.exchange(nullptr, mo::seq_cst));
}

namespace {

// True: the inbox was empty.
bool put(Channel *c, Notification &n)
{
	c->pushed.fetch_add(1, mo::relaxed);
	note_pushed(c, 1);
	Notification *head = c->inbox.load(mo::relaxed);
	bool moderated = moderation::on(c);
	do {
		n.next.store(head, mo::relaxed);
		if (moderated && head == nullptr && c->oldest.load(mo::relaxed) == nullptr)
			moderation::note_first(c);
	} while (!c->inbox.compare_exchange_weak(head, &n, mo::seq_cst));
	return head == nullptr;
}

// Whether a reader sees to what has been put there, or nobody ever will. Otherwise the wakeup is to
// be signalled. first: a reader that sleeps is to know of it even if it has to sleep on.
bool taken_care_of(Channel *c, bool first)
{
	if (!c->open.load(mo::seq_cst)) {
		// What others push meanwhile is theirs, or dropped here.
		drop_list(c, c->inbox.exchange(nullptr, mo::seq_cst));
		return true;
	}
	if (c->sleepers.count() == 0)
		return c->lookers.load(mo::seq_cst) != 0;
	if (!first && !moderation::due(c))
		return true;
	// The owner of a ring may be told by a descriptor that cannot always be had: the next one
	// tries again.
	if ((c->flags & EC_SINGLE) != 0 || c->sleepers.call())
		wakeup::signal_owner(c);
	return true;
}

// Whether a reader that has been quick so far comes before the wakeup would have been signalled.
bool reader_comes(Channel *c, bool first)
{
	// About as long as the system call takes.
	constexpr int patience = 10;
	for (int i = 0; i < patience && c->attended.load(mo::relaxed); i++) {
		if (c->inbox.load(mo::seq_cst) == nullptr || taken_care_of(c, first))
			return true;
		relax();
	}
	c->attended.store(false, mo::relaxed);
	return false;
}

} // namespace

void push(Notification &n)
{
	Channel *c = n.event.channel;
	// Its own event is what keeps the channel, and a reader may take that at once.
	c->life.fetch_add(one_reference, mo::relaxed);
	bool first = put(c, n);
	if (!taken_care_of(c, first))
		signal_when_due(c);
	drop(c, one_reference);
}

bool post(Notification &n)
{
	Channel *c = n.event.channel;
	bool first = put(c, n);
	uint32_t silent = 0;
	bool open = true;
	if (taken_care_of(c, first) || c->signalled.load(mo::seq_cst) != 0)
		return true;
	if (!moderation::due(c)) {
		open = !first || check_descriptor(c);
		if (open)
			moderation::start_clock(c);
	} else if (!reader_comes(c, first) &&
		   c->signalled.compare_exchange_strong(silent, 1, mo::seq_cst))
		open = wakeup::signal(c) || check_descriptor(c);
	return open;
}

} // namespace sigevec::channel
