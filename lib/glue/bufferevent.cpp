// SPDX-License-Identifier: MIT
//
// bufferevent_sigevec_new, and the functions of ours in a bufferevent's table.
#include "glue/link.hpp"

#include "base/memory_order.hpp"

#include <cstdlib>
#include <event2/buffer.h>
#include <new>
#include <sigevec/event.h>

namespace sigevec::glue {

namespace {

// Reading that the base itself waits for needs no turn of the channel.
void mark_for(Link *k, short what)
{
	if ((what & EV_WRITE) != 0 || !base_waits(k))
		mark(k);
}

int enable(struct bufferevent *bev, short what)
{
	Link *k = link_of(bev);
	if ((what & EV_READ) != 0 && !k->reading)
		k->reading = k->read_first = true;
	if ((what & EV_WRITE) != 0 && !writing(k))
		k->read_first = false;
	if (k->mode != Link::Mode::channel)
		return k->plain->enable(bev, what);
	count(k);
	mark_for(k, what);
	if ((what & EV_READ) != 0 && evutil_timerisset(&bev->timeout_read) &&
	    event_add(&bev->ev_read, &bev->timeout_read) != 0)
		return -1;
	return (what & EV_WRITE) != 0 ? k->plain->enable(bev, EV_WRITE) : 0;
}

int disable(struct bufferevent *bev, short what)
{
	Link *k = link_of(bev);
	if ((what & EV_READ) != 0)
		k->reading = false;
	int r = k->plain->disable(bev, what);
	count(k);
	if (k->mode == Link::Mode::channel)
		mark_for(k, what);
	return r;
}

// libevent's own looks after writing; it does not find that reading is wanted.
int adjust_timeouts(struct bufferevent *bev)
{
	Link *k = link_of(bev);
	int r = k->plain->adj_timeouts(bev);
	if (k->mode != Link::Mode::channel || !k->reading)
		return r;
	int of_reading = evutil_timerisset(&bev->timeout_read)
				 ? event_add(&bev->ev_read, &bev->timeout_read)
				 : event_remove_timer(&bev->ev_read);
	return r != 0 ? r : of_reading;
}

int ctrl(struct bufferevent *bev, int op, union bufferevent_ctrl_data *data)
{
	Link *k = link_of(bev);
	switch (op) {
	case bufferevents::set_fd:
		exchange(k, data->fd);
		return 0;
	case bufferevents::get_fd:
		data->fd = k->fd;
		return 0;
	default:
		return k->plain->ctrl(bev, op, data);
	}
}

// From here on nobody is told of anything. The descriptor is the program's again, or is closed
// soon, when others may be, too.
void unlink(struct bufferevent *bev)
{
	Link *k = link_of(bev);
	k->unlinked = true;
	count(k);
	abandon(k);
	if (!k->close_on_free)
		hand_over(k->loop);
}

// In the thread of the loop, or when the base is freed. libevent closes the descriptor that its
// event for reading has.
void destruct(struct bufferevent *bev)
{
	Link *k = link_of(bev);
	Loop *l = k->loop;
	hand_over(l);
	bev->be_ops = k->plain;
	k->plain->destruct(bev);
	k->bev = nullptr;
	// Otherwise it is in the loop's list, and is freed when it is found there.
	if (!k->marked.load(mo::acquire))
		free(k);
	part(l);
}

// Whatever was added is sent when the loop has its turn: libevent asks for it after this.
void output_changed(struct evbuffer *, const struct evbuffer_cb_info *info, void *arg)
{
	auto *k = static_cast<Link *>(arg);
	if (info->n_deleted != 0)
		k->left = info->orig_size + info->n_added - info->n_deleted;
	if (info->n_added == 0 || k->unlinked)
		return;
	if (!writing(k))
		k->read_first = false;
	if (k->mode == Link::Mode::channel)
		mark(k);
}

void take_over(Link *k, struct bufferevent *bev)
{
	k->plain = bev->be_ops;
	k->bev = bev;
	k->plain_read = event_get_callback(&bev->ev_read);
	k->plain_write = event_get_callback(&bev->ev_write);
	k->ops = *k->plain;
	k->ops.enable = enable;
	k->ops.disable = disable;
	k->ops.adj_timeouts = adjust_timeouts;
	k->ops.ctrl = ctrl;
	k->ops.unlink = unlink;
	k->ops.destruct = destruct;
	bev->be_ops = &k->ops;
}

} // namespace

} // namespace sigevec::glue

using namespace sigevec;
using namespace sigevec::glue;

SIGEVEC_EXPORT struct bufferevent *bufferevent_sigevec_new(struct event_base *base,
							   evutil_socket_t fd, int options)
{
	Loop *l = nullptr;
	if (base == nullptr || !bufferevents::usable(base) || (l = join(base)) == nullptr)
		return bufferevents::libevents_new(base, fd, options);
	void *memory = malloc(sizeof(Link));
	struct bufferevent *bev =
		memory == nullptr ? nullptr : bufferevents::libevents_new(base, -1, options);
	if (bev == nullptr) {
		free(memory);
		part(l);
		return nullptr;
	}
	Link *k = new (memory) Link{};
	k->loop = l;
	k->fd = -1;
	k->close_on_free = (options & BEV_OPT_CLOSE_ON_FREE) != 0;
	k->deferred = (options & BEV_OPT_DEFER_CALLBACKS) != 0;
	take_over(k, bev);
	k->own = evbuffer_add_cb(bev->output, output_changed, k);
	if (k->own == nullptr) {
		bufferevent_free(bev);
		return nullptr;
	}
	k->own_place = reinterpret_cast<bufferevents::CallbackEntry *>(k->own)->previous;
	if (fd >= 0)
		use(k, fd);
	return bev;
}
