// SPDX-License-Identifier: MIT
#include "source/signal.hpp"

#include "base/memory_order.hpp"
#include "base/pending_signal.hpp"
#include "base/shortage.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "channel/channel.hpp"
#include "channel/reader_fds.hpp"
#include "sigevec/sync.h"

#include <cerrno>
#include <cstring>
#include <sys/signalfd.h>

namespace sigevec::signals {

namespace {

using source::Wait;

// There will be no further signal, and the credit for an event is here.
void last(Wait *w)
{
	if ((w->flags.load(mo::acquire) & source::cancelled) != 0)
		source::finish(w, -ECANCELED);
	else
		source::give_up(w);
}

// The next signal may be taken; the credit for its event is here. After this the wait is another
// reader's.
void go_on(Wait *w)
{
	if ((w->flags.fetch_and(~source::queued, mo::acq_rel) & source::ended) != 0)
		last(w);
}

bool describe(Wait *w, event_data_t *d)
{
	d->ev_type = event_type_sig;
	if (w->result < 0) {
		source::describe_result(w, d);
		return true;
	}
	d->ev_un.ev_sig = w->signal;
	d->ev_result = w->signal.sigev_signo;
	channel::add_credit(w->channel);
	go_on(w);
	return true;
}

// As a signalfd tells it: members that this kind of signal has not are 0.
void describe(const siginfo_t &from, struct sigevent *to)
{
	*to = {};
	to->sigev_signo = from.si_signo;
	to->sigev_code = from.si_code;
	int code = from.si_code;
	bool of_kernel = code > SI_USER && code < SI_KERNEL,
	     child = of_kernel && from.si_signo == SIGCHLD;
	if (child)
		to->sigev_status = from.si_status;
	else if (code < 0 && code != SI_SIGIO)
		to->sigev_value = from.si_value;
	if (child || !(of_kernel || code == SI_SIGIO || code == SI_TIMER)) {
		to->sigev_pid = from.si_pid;
		to->sigev_uid = static_cast<int>(from.si_uid);
	}
}

// Not by the signalfd, which only tells when: a number could be another file's, and who has the
// file can change what it is for.
bool take_signal(const Wait *w, siginfo_t *info)
{
	uint64_t set;
	memcpy(&set, &w->signals, sizeof set);
	return sys::take_signal(set, info) > 0;
}

// `queued' is set while a signal is taken: of several readers one takes it, and cancel() leaves the
// rest to it.
void ready(Wait *w)
{
	if ((w->flags.fetch_or(source::queued, mo::acq_rel) & (source::queued | source::ended)) !=
	    0)
		return;
	siginfo_t info;
	if (take_signal(w, &info)) {
		describe(info, &w->signal);
		source::push(w);
	} else
		go_on(w);
}

bool cancel(Wait *w, bool destroy)
{
	uint32_t was =
		w->flags.fetch_or(source::ended | (destroy ? 0 : source::cancelled), mo::acq_rel);
	if ((was & source::ended) != 0)
		return false;
	reader_fds::forget(w->channel, w->fd);
	if ((was & source::queued) == 0)
		last(w);
	return true;
}

constexpr source::Kind kind = {describe, nullptr, cancel, nullptr, ready, true};

int open_and_add(const sigset_t &set, Wait *w)
{
	memcpy(&w->signals, &set, sizeof w->signals);
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return shortage(errno, EAGAIN);
	// Before anything can be read: a signal that is not blocked would still be handled in the
	// old way.
	sigset_t before;
	change_signal_mask(SIG_BLOCK, &set, &before);
	int error = reader_fds::add(w->channel, fd, handle(w), &w->fd);
	if (error != 0)
		change_signal_mask(SIG_SETMASK, &before, nullptr);
	return error;
}

} // namespace

int start(const sigset_t &set, ec_t ec, void *data)
{
	union sigval value;
	value.sival_ptr = data;
	return source::submit(&kind, ec, value, [&](Wait *w) { return open_and_add(set, w); });
}

} // namespace sigevec::signals
