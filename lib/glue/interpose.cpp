// SPDX-License-Identifier: MIT
//
// bufferevent_socket_new of a program that knows nothing of the library, into which this one is
// preloaded: a bufferevent with a channel.
//
// A program that is linked with libsigevec_event finds this function, too, and gets libevent's own:
// it has asked for channels by name where it wants them.
#include "base/memory_order.hpp"
#include "bufferevent_ops.hpp"
#include "glue/link.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <sigevec/event.h>

namespace sigevec::glue {

namespace {

// Asked once: the program may change its environment for its children.
bool preloaded()
{
	static std::atomic<int> known{0}; // 1: yes, 2: no
	int answer = known.load(mo::relaxed);
	if (answer == 0) {
		const char *list = secure_getenv("LD_PRELOAD");
		answer = list != nullptr && strstr(list, "libsigevec_event.so") != nullptr ? 1 : 2;
		known.store(answer, mo::relaxed);
	}
	return answer == 1;
}

} // namespace

} // namespace sigevec::glue

SIGEVEC_EXPORT struct bufferevent *bufferevent_socket_new(struct event_base *base,
							  evutil_socket_t fd, int options)
{
	if (sigevec::glue::preloaded())
		return bufferevent_sigevec_new(base, fd, options);
	return sigevec::bufferevents::libevents_new(base, fd, options);
}
