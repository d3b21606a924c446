// SPDX-License-Identifier: MIT
//
// sigevec_event_new: a libevent event for a channel.
//
// The channel's events are taken one by one, each just before its callback runs. That there may be
// more is said beforehand, by making the event active again: so a callback that deletes or frees
// the event stops the next call as it would with any other event, and nothing has been taken that
// nobody would hear of. No system call lies between two events that wait.
#include "glue/loop.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <event2/event_struct.h>
#include <sigevec/ev.h>
#include <sigevec/event.h>

// libevent's own: event_free() gives memory back where this takes it from. Null in a libevent that
// does not show it.
extern "C" void *event_mm_malloc_(size_t n) __attribute__((weak));

namespace {

constexpr unsigned most = 64; // before the base looks at other descriptors
constexpr struct timespec at_once = {0, 0};

// Behind the event, in the same piece of memory, so that event_free() frees both.
struct Source {
	struct event *event;
	ec_t ec;
	unsigned taken; // since the descriptor was looked at
	sigevec_event_cb callback;
	void *arg;
};

void run(evutil_socket_t, short what, void *arg)
{
	auto *s = static_cast<Source *>(arg);
	ec_t ec = s->ec;
	sigevec_event_cb callback = s->callback;
	void *callback_arg = s->arg;
	event_data_t e;
	if (ec_next_events(ec, &e, 1, &at_once) != 1) {
		s->taken = 0;
		if ((what & EV_TIMEOUT) != 0)
			callback(ec, nullptr, callback_arg);
		return;
	}
	if (++s->taken < most)
		event_active(s->event, EV_READ, 1);
	else
		s->taken = 0;
	callback(ec, &e, callback_arg);
	ec_submit(
		ec); // what the callback kept back, if it has not closed the channel; s may be gone
}

} // namespace

SIGEVEC_EXPORT struct event *sigevec_event_new(struct event_base *base, ec_t ec,
					       sigevec_event_cb callback, void *arg)
{
	if (base == nullptr || callback == nullptr) {
		errno = EINVAL;
		return nullptr;
	}
	int fd = ec_to_fd(ec);
	if (fd < 0)
		return nullptr;
	// The size that this libevent has, not the one it had when this was compiled.
	size_t before = (event_get_struct_event_size() + alignof(Source) - 1) / alignof(Source) *
			alignof(Source);
	size_t size = before + sizeof(Source);
	void *memory = event_mm_malloc_ != nullptr ? event_mm_malloc_(size) : malloc(size);
	if (memory == nullptr) {
		errno = ENOMEM;
		return nullptr;
	}
	auto *ev = static_cast<struct event *>(memory);
	auto *s = reinterpret_cast<Source *>(static_cast<char *>(memory) + before);
	*s = {ev, ec, 0, callback, arg};
	event_assign(ev, base, fd, EV_READ | EV_PERSIST, run, s);
	return ev;
}
