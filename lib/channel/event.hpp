// SPDX-License-Identifier: MIT
//
// How the end of a request is told: a compact copy of the caller's sigevent.
#pragma once

#include <atomic>
#include <cstdint>
#include <pthread.h>
#include <signal.h>
#include <sys/types.h>

#include "sigevec/ec.h"

namespace sigevec {

struct Batch;
struct Channel;
namespace kaio {
class Group;
}

// In `notify': the owner inside the library is told (an io_context_t of libaio's).
constexpr int notify_owner = -1;

struct Event {
	int notify = SIGEV_NONE;
	int signo = 0; // for SIGEV_EC: the descriptor of the channel
	union sigval value = {};
	union {
		void (*function)(union sigval) = nullptr;
		// With notify_owner: by whoever ends the request. Async-signal-safe.
		void (*on_end)(void *owner, ssize_t result);
	};
	union {
		pthread_attr_t *attributes = nullptr;
		// With notify_owner: of those whose events are waited for together, or nullptr.
		kaio::Group *group;
	};
	Channel *channel = nullptr; // with a credit for this event, from the submission on

	static Event copy(const struct sigevent &e)
	{
		Event v;
		v.notify = e.sigev_notify;
		v.signo = e.sigev_signo;
		v.value = e.sigev_value;
		if (v.notify == SIGEV_EC)
			v.signo = e.sigev_ec;
		if (v.notify == SIGEV_THREAD) {
			v.function = e.sigev_notify_function;
			v.attributes = e.sigev_notify_attributes;
		}
		return v;
	}

	static Event to_owner(void *owner, void (*on_end)(void *, ssize_t),
			      kaio::Group *group = nullptr)
	{
		Event v;
		v.notify = notify_owner;
		v.value.sival_ptr = owner;
		v.on_end = on_end;
		v.group = group;
		return v;
	}

	// Is delivered later than the end of the request is published: needs memory of its own.
	bool needs_memory() const { return notify == SIGEV_THREAD || notify == SIGEV_EC; }

	// Needs someone to deliver it, even when the program never looks at the request again.
	bool silent() const
	{
		return notify == SIGEV_NONE || (notify == SIGEV_SIGNAL && signo == 0);
	}
};

struct Notification;

// What a notification tells of: a request, a list of requests, a wait, the program's own. The queue
// that it is in knows none of them.
struct EventOps {
	// The event is read: fills in *d, of which ev_data is there. False: there is none after
	// all.
	bool (*describe)(Notification &n, event_data_t *d);
	// Nobody will read the event. nullptr: nothing is to be done for that.
	void (*drop)(Notification &n);
	// Drops the owner's reference. Async-signal-safe.
	void (*release)(Notification &n);
};

// An Event on its way. Part of what it tells of, whose reference it holds while it is queued.
struct Notification {
	std::atomic<Notification *> next{nullptr};
	Event event;
	Batch *batch = nullptr; // the list to be counted down once this one is delivered
	const EventOps *ops = nullptr;
	void *owner = nullptr; // what it is part of, as its ops know it
};

} // namespace sigevec
