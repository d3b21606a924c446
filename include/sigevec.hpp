/* SPDX-License-Identifier: MIT */
/*
 * libsigevec for C++20, header only: an event channel that owns itself, requests to be awaited, two
 * coroutine types.
 *
 *	sigevec::detached serve(sigevec::channel &ch, int fd)
 *	{
 *		char buf[4096];
 *		for (;;) {
 *			sigevec::result r = co_await ch.recv(fd, buf);
 *			if (r.size() == 0 || !co_await ch.send(fd, buf, r.size()))
 *				break;
 *		}
 *		close(fd);
 *	}
 *
 * A request lives in the frame of the coroutine that awaits it; nothing is allocated for it. A
 * coroutine that is destroyed while it awaits a request takes the request back, but what the
 * request reads or writes must last until the channel has shown its end: cancel() and let the
 * coroutine end. A channel that is destroyed cancels what is outstanding; the coroutines do not go
 * on, and may be destroyed. Errors are results, no function throws; an exception that leaves a
 * detached coroutine ends the program. However many awaits end at once, and however deep tasks
 * await each other, the stack does not grow, with any compiler and any level of optimization.
 *
 * run and run_once pass over events that are no request's of theirs, whatever their data. A program
 * that has such ones (a timer, ec_post, an ev_ or aio_ call of its own) calls ec_next_events itself
 * and shows each event to dispatch, which says whether it was a request's.
 */
#ifndef SIGEVEC_HPP
#define SIGEVEC_HPP 1

#include "sigevec/channel.hpp"
#include "sigevec/operation.hpp"
#include "sigevec/relay.hpp"
#include "sigevec/task.hpp"

#endif
