// SPDX-License-Identifier: MIT
//
// The background thread of a kernel-AIO context: it leads where nobody else does, and looks from
// time to time at what is left to waiters (kaio_group.hpp).
#include "engine/kaio_context.hpp"

#ifdef HAVE_LIBAIO

#include "base/memory_order.hpp"
#include "completion/waiters.hpp"
#include "runtime/helper.hpp"
#include "runtime/thread.hpp"

namespace sigevec::kaio {

namespace {

void *background_main(void *);

// The background thread has something to do. All: one of two may be about to end.
void stir(Context &c)
{
	c.stirred.fetch_add(1, mo::seq_cst);
	futex_wake(c.stirred, INT_MAX);
}

void add_need(Context &c)
{
	if (c.needed.fetch_add(1, mo::seq_cst) == 0)
		stir(c);
}

bool start_background(Context &c)
{
	constexpr Background mine = Background::of_program;
	if (c.background.load(mo::acquire) == mine ||
	    c.background.exchange(mine, mo::acq_rel) == mine)
		return true;
	if (start_thread(background_main, &c, "sigevec-kaio") == 0)
		return true;
	c.background.store(Background::none, mo::release);
	return false;
}

void drop_need(Context &c)
{
	c.needed.fetch_sub(1, mo::acq_rel);
}

bool nothing_needed(void *p)
{
	return static_cast<Context *>(p)->needed.load(mo::acquire) == 0;
}

// How often the background thread looks for what is left to waiters, and how long what has ended
// lies there at the least before it counts as left alone.
constexpr timespec look_after{0, 4000000};

// What nobody has come for since the last look, of which `head' is kept, is taken.
void take_deserted(Context &c, uint32_t *head)
{
	const Ring *r = c.ring.load(mo::relaxed);
	uint32_t now = r->head.load(mo::relaxed);
	bool lies = has_events(r) && c.leader.load(mo::acquire) == nullptr;
	if (lies && now == *head) {
		BlockSignals blocked;
		Guard<Mutex> g(c.lock);
		if (!led_by_other(c)) {
			c.deserted = true;
			take_events(c);
			c.deserted = false;
		}
	}
	*head = lies ? now : UINT32_MAX;
}

// By the background thread: nothing is needed.
void look_from_time_to_time(Context &c, uint32_t stirred)
{
	uint32_t head = UINT32_MAX, submissions = c.submissions.load(mo::relaxed);
	c.looking.store(true, mo::seq_cst);
	while (c.stirred.load(mo::acquire) == stirred) {
		futex_wait(c.stirred, stirred, &look_after);
		take_deserted(c, &head);
		uint32_t before = submissions;
		submissions = c.submissions.load(mo::relaxed);
		if (c.left_to_waiters.load(mo::relaxed) == 0 && submissions == before)
			break;
	}
	c.looking.store(false, mo::seq_cst);
}

void rest(Context &c)
{
	uint32_t stirred = c.stirred.load(mo::seq_cst);
	if (!nothing_needed(&c))
		return;
	if (c.left_to_waiters.load(mo::seq_cst) != 0)
		look_from_time_to_time(c, stirred);
	else
		futex_wait(c.stirred, stirred, nullptr);
}

void *background_main(void *p)
{
	auto *c = static_cast<Context *>(p);
	auto index = static_cast<int>(c - all);
	unsigned b = waiters::own_bucket();
	for (;;) {
		if (helper::on_helper_thread() &&
		    c->background.load(mo::acquire) != Background::of_helper)
			return nullptr;
		if (nothing_needed(c)) {
			rest(*c);
			continue;
		}
		uint32_t seen = waiters::bucket[b].generation.load(mo::acquire);
		if (lead(index, nothing_needed, c, Deadline{}, false) != EBUSY)
			continue;
		waiters::bucket[b].sleepers.fetch_add(1, mo::seq_cst);
		if (follow(index, b))
			futex_wait(waiters::bucket[b].generation, seen, nullptr);
		waiters::bucket[b].sleepers.fetch_sub(1, mo::relaxed);
	}
}

void *background_of_helper(void *context)
{
	helper::enter_helper_thread(static_cast<Context *>(context)->helper);
	return background_main(context);
}

} // namespace

void start_for_helper(helper::Helper *h, void *context)
{
	static_cast<Context *>(context)->helper = h;
	start_thread(background_of_helper, context, "sigevec-kaio");
}

bool need(int context)
{
	Context &c = all[context];
	add_need(c);
	auto none = Background::none;
	if (!c.background.compare_exchange_strong(none, Background::of_helper, mo::acq_rel) ||
	    helper::start_background(&c.post, &c))
		return true;
	c.background.store(Background::none, mo::release);
	return false;
}

bool start_listening(int context)
{
	return start_background(all[context]);
}

void need_no_more(int context)
{
	drop_need(all[context]);
}

void leave_to_waiters(Context &c)
{
	c.left_to_waiters.fetch_add(1, mo::seq_cst);
	if (!c.looking.load(mo::seq_cst))
		stir(c);
}

void end_in_background(Request *r)
{
	int context = r->context.load(mo::relaxed);
	if (context < 0)
		return;
	Context &c = all[context];
	using Listener = Request::Listener;
	add_need(c);
	auto none = Listener::none, waiters = Listener::waiters;
	if (!r->listener.compare_exchange_strong(none, Listener::background, mo::acq_rel) &&
	    !r->listener.compare_exchange_strong(waiters, Listener::both, mo::acq_rel))
		drop_need(c);
	start_background(c);
}

} // namespace sigevec::kaio

#endif
