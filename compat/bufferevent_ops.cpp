// SPDX-License-Identifier: MIT
#include "bufferevent_ops.hpp"

#include <atomic>
#include <cstring>
#include <dlfcn.h>
#include <event2/event.h>

namespace sigevec::bufferevents {

namespace {

// What has been called, and with what: 1 enable, 2 disable, 3 flush, 4 ctrl, 5 timeouts.
struct Trial {
	const struct bufferevent *of;
	int called;
	short what;
};
thread_local Trial trial;

int note(struct bufferevent *bev, int called, short what)
{
	trial = {bev, called, what};
	return 0;
}

int enable(struct bufferevent *bev, short what)
{
	return note(bev, 1, what);
}

int disable(struct bufferevent *bev, short what)
{
	return note(bev, 2, what);
}

int flush(struct bufferevent *bev, short what, enum bufferevent_flush_mode)
{
	return note(bev, 3, what);
}

int ctrl(struct bufferevent *bev, int op, union bufferevent_ctrl_data *data)
{
	data->fd = 7;
	return note(bev, 4, static_cast<short>(op));
}

int timeouts(struct bufferevent *bev)
{
	return note(bev, 5, 0);
}

bool was(const struct bufferevent *bev, int called, short what)
{
	bool right = trial.of == bev && trial.called == called && trial.what == what;
	trial = {};
	return right;
}

// Calls everything but the end of it, with a table of ours in place of libevent's.
bool calls_ours(struct bufferevent *bev, const struct bufferevent_ops *theirs)
{
	struct bufferevent_ops ours = *theirs;
	ours.enable = enable;
	ours.disable = disable;
	ours.flush = flush;
	ours.ctrl = ctrl;
	ours.adj_timeouts = timeouts;
	bev->be_ops = &ours;
	bool right = bufferevent_enable(bev, EV_READ) == 0 && was(bev, 1, EV_READ) &&
		     bufferevent_disable(bev, EV_READ) == 0 && was(bev, 2, EV_READ) &&
		     bufferevent_flush(bev, EV_WRITE, BEV_FLUSH) == 0 && was(bev, 3, EV_WRITE) &&
		     bufferevent_getfd(bev) == 7 && was(bev, 4, get_fd) &&
		     bufferevent_set_timeouts(bev, nullptr, nullptr) == 0 && was(bev, 5, 0);
	bev->be_ops = theirs;
	return right;
}

} // namespace

struct bufferevent *libevents_new(struct event_base *base, evutil_socket_t fd, int options)
{
	using Function = struct bufferevent *(struct event_base *, evutil_socket_t, int);
	static std::atomic<Function *> known{nullptr};
	Function *f = known.load(std::memory_order_relaxed);
	if (f == nullptr) {
		// Behind this library where that is preloaded or linked before libevent, and
		// otherwise the first there is.
		void *symbol = dlsym(RTLD_NEXT, "bufferevent_socket_new");
		if (symbol == nullptr)
			symbol = dlsym(RTLD_DEFAULT, "bufferevent_socket_new");
		if (symbol == nullptr)
			return nullptr;
		f = reinterpret_cast<Function *>(symbol);
		known.store(f, std::memory_order_relaxed);
	}
	return f(base, fd, options);
}

bool usable(struct event_base *base)
{
	static std::atomic<int> known{0}; // 1: yes, 2: no
	int answer = known.load(std::memory_order_relaxed);
	if (answer != 0)
		return answer == 1;
	struct bufferevent *bev = libevents_new(base, -1, 0);
	if (bev == nullptr)
		return false; // not known: next time
	const struct bufferevent_ops *theirs = bev->be_ops;
	bool right = event_get_version_number() >= 0x02010600 &&
		     strcmp(theirs->type, "socket") == 0 && theirs->mem_offset == 0 &&
		     theirs->unlink == nullptr && theirs->destruct != nullptr &&
		     calls_ours(bev, theirs);
	bufferevent_free(bev);
	known.store(right ? 1 : 2, std::memory_order_relaxed);
	return right;
}

} // namespace sigevec::bufferevents
