// SPDX-License-Identifier: MIT
#include "source/signal.hpp"

#include "channel/bell.hpp"
#include "channel/channel.hpp"
#include "runtime/syscalls.hpp"
#include "sigevec/sync.h"
#include "source/inner.hpp"

#include <cerrno>
#include <sys/signalfd.h>

namespace sigevec::signals {

namespace {

using source::Wait;

// There will be no further signal, and the room for an event is here.
void last(Wait *w)
{
	if ((w->flags.load(std::memory_order_acquire) & source::cancelled) != 0)
		source::finish(w, -ECANCELED);
	else
		source::give_up(w);
}

// The next signal may be taken; the room for its event is here. After this the wait is another reader's.
void go_on(Wait *w)
{
	if ((w->flags.fetch_and(~source::queued, std::memory_order_acq_rel) & source::ended) != 0)
		last(w);
}

bool tell(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_sig;
	if (w->result < 0) {
		source::tell_result(w, d);
		return true;
	}
	d->ev_un.ev_sig = w->signal;
	d->ev_result = w->signal.sigev_signo;
	channel::more_room(w->channel);
	go_on(w);
	return true;
}

void describe(const struct signalfd_siginfo &from, struct sigevent *to)
{
	*to = {};
	to->sigev_signo = static_cast<int>(from.ssi_signo);
	to->sigev_code = from.ssi_code;
	to->sigev_value.sival_ptr = reinterpret_cast<void *>(from.ssi_ptr);
	to->sigev_pid = static_cast<int>(from.ssi_pid);
	to->sigev_uid = static_cast<int>(from.ssi_uid);
	to->sigev_status = from.ssi_status;
}

// `queued' is set while a signal is read: of several readers one reads, and cancel() leaves the rest to it.
void ready(Wait *w)
{
	if ((w->flags.fetch_or(source::queued, std::memory_order_acq_rel) & (source::queued | source::ended)) != 0)
		return;
	struct signalfd_siginfo info;
	if (bell::is_ours(w->fd) && syscall(SYS_read, w->fd, &info, sizeof info) == sizeof info) {
		describe(info, &w->signal);
		source::push(w);
	} else
		go_on(w);
}

bool cancel(Wait *w, bool destroy)
{
	uint32_t was = w->flags.fetch_or(source::ended | (destroy ? 0 : source::cancelled), std::memory_order_acq_rel);
	if ((was & source::ended) != 0)
		return false;
	inner::forget(w);
	if ((was & source::queued) == 0)
		last(w);
	return true;
}

constexpr source::Kind kind = {tell, nullptr, cancel, ready, true};

int start_with_room(const sigset_t &set, Channel *c, void *data)
{
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return errno;
	union sigval value;
	value.sival_ptr = data;
	Wait *w = source::create(&kind, c, value);
	if (w == nullptr) {
		sys::close(fd);
		return EAGAIN;
	}
	w->fd = fd;
	// Before anything can be read: a signal that is not blocked would still be handled in the old way.
	pthread_sigmask(SIG_BLOCK, &set, nullptr);
	if (int error = inner::add(w); error != 0) {
		source::release(w);
		return error;
	}
	return 0;
}

} // namespace

int start(const sigset_t &set, ec_t ec, void *data)
{
	Channel *c = nullptr;
	int error = channel::admit(ec, &c);
	if (error == 0 && (error = start_with_room(set, c, data)) != 0)
		channel::retract(c);
	return error;
}

} // namespace sigevec::signals
