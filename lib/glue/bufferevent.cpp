// SPDX-License-Identifier: MIT
//
// bufferevent_sigevec_new, and the functions of ours in a bufferevent's table.
#include "glue/link.hpp"

#include <cstdlib>
#include <event2/buffer.h>
#include <new>
#include <sigevec/event.h>
#include <unistd.h>

namespace sigevec::glue {

namespace {

int enable(struct bufferevent *bev, short what)
{
	Link *k = link_of(bev);
	int r = k->plain->enable(bev, what);
	if (k->mode == Link::Mode::channel)
		mark(k);
	return r;
}

int disable(struct bufferevent *bev, short what)
{
	Link *k = link_of(bev);
	int r = k->plain->disable(bev, what);
	if (k->mode == Link::Mode::channel)
		stop(k, what);
	return r;
}

int ctrl(struct bufferevent *bev, int op, union bufferevent_ctrl_data *data)
{
	Link *k = link_of(bev);
	switch (op) {
	case bufferevents::set_fd:
		settle(k, data->fd);
		return 0;
	case bufferevents::get_fd:
		data->fd = k->fd;
		return 0;
	default:
		return k->plain->ctrl(bev, op, data);
	}
}

// From here on nobody is told of anything, and the descriptor is not touched: the program may close it or go on with it.
void unlink(struct bufferevent *bev)
{
	Link *k = link_of(bev);
	k->unlinked = true;
	abandon(k);
}

// In the thread of the loop, or when the base is freed.
void destruct(struct bufferevent *bev)
{
	Link *k = link_of(bev);
	bev->be_ops = k->plain;
	if (k->mode == Link::Mode::channel && k->close_on_free)
		close(k->fd);
	k->plain->destruct(bev);
	k->bev = nullptr;
	Loop *l = k->loop;
	// Otherwise it is in the loop's list, and is freed when it is found there.
	if (!k->marked.load(std::memory_order_acquire))
		free(k);
	part(l);
}

// Whatever was added is sent when the loop has its turn.
void output_grew(struct evbuffer *, const struct evbuffer_cb_info *info, void *arg)
{
	auto *k = static_cast<Link *>(arg);
	if (info->n_added != 0 && k->mode == Link::Mode::channel && !k->unlinked)
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
	// Files that are added to the output are to be in memory: it does not go to the descriptor by sendfile.
	evbuffer_clear_flags(bev->output, EVBUFFER_FLAG_DRAINS_TO_FD);
}

} // namespace

} // namespace sigevec::glue

using namespace sigevec;
using namespace sigevec::glue;

SIGEVEC_EXPORT struct bufferevent *bufferevent_sigevec_new(struct event_base *base, evutil_socket_t fd, int options)
{
	Loop *l = nullptr;
	if (base == nullptr || !bufferevents::usable(base) || (l = join(base)) == nullptr)
		return bufferevent_socket_new(base, fd, options);
	void *memory = malloc(sizeof(Link));
	struct bufferevent *bev = memory == nullptr ? nullptr : bufferevent_socket_new(base, -1, options);
	if (bev == nullptr) {
		free(memory);
		part(l);
		return nullptr;
	}
	Link *k = new (memory) Link{};
	k->loop = l;
	k->fd = fd;
	k->mode = fd < 0 ? Link::Mode::none : Link::Mode::channel;
	k->close_on_free = (options & BEV_OPT_CLOSE_ON_FREE) != 0;
	k->next_size = 2048;
	take_over(k, bev);
	if (evbuffer_add_cb(bev->output, output_grew, k) == nullptr) {
		k->close_on_free = false;
		bufferevent_free(bev);
		return nullptr;
	}
	return bev;
}
