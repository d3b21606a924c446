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

int enable(struct bufferevent *bev, short what)
{
	Link *k = link_of(bev);
	if ((what & EV_READ) != 0 && !k->reading)
		k->reading = k->read_first = true;
	if ((what & EV_WRITE) != 0 && !writing(k))
		k->read_first = false;
	int r = k->plain->enable(bev, what);
	if ((what & EV_WRITE) != 0 && k->mode == Link::Mode::channel)
		mark(k);
	return r;
}

int disable(struct bufferevent *bev, short what)
{
	Link *k = link_of(bev);
	if ((what & EV_READ) != 0)
		k->reading = k->put_off = false;
	if ((what & EV_WRITE) != 0)
		k->write_active = false;
	if (what == EV_READ && k->in_read && k->mode == Link::Mode::channel)
		return event_remove_timer(&bev->ev_read);
	int r = k->plain->disable(bev, what);
	if ((what & EV_WRITE) != 0 && waits_for_room(k))
		mark(k);
	return r;
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
	if (info->n_deleted != 0) {
		k->left = info->orig_size + info->n_added - info->n_deleted;
		k->prompt = true;
		lower_limit(k); // before the program is told
	}
	if (info->n_added == 0 || k->unlinked)
		return;
	k->fresh = k->fresh || info->orig_size == 0;
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
