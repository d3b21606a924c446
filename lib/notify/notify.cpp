// SPDX-License-Identifier: MIT
#include "notify/notify.hpp"

#include "channel/channel.hpp"
#include "notify/batch.hpp"
#include "notify/notifier.hpp"
#include "runtime/probes.hpp"

#include <cerrno>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::notify {

namespace {

// To the process, with what POSIX asks for in siginfo_t. Signal 0 checks and says nothing, as in
// glibc. False: the user has as many signals queued as may be (RLIMIT_SIGPENDING), for now.
bool send_signal(const Event &e)
{
	if (e.signo == 0)
		return true;
	int saved = errno;
	siginfo_t info;
	memset(&info, 0, sizeof info);
	info.si_signo = e.signo;
	info.si_code = SI_ASYNCIO;
	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value = e.value;
	long r = syscall(SYS_rt_sigqueueinfo, info.si_pid, e.signo, &info);
	bool no_room = r != 0 && errno == EAGAIN;
	if (!no_room) {
		SIGEVEC_PROBE3(notify, SIGEV_SIGNAL, e.signo, e.value.sival_ptr);
		stats::count(r == 0 ? stats::notify_signal : stats::notify_signal_lost);
	}
	errno = saved;
	return !no_room;
}

// The reference stays with the event until it is read.
void into_channel(Notification &n)
{
	Batch *list = n.batch;
	stats::count(stats::notify_channel);
	SIGEVEC_PROBE3(notify, SIGEV_EC, n.event.signo, n.event.value.sival_ptr);
	channel::push(n);
	if (list != nullptr)
		batches::finished_one(list);
}

} // namespace

bool send_now(const Event &e)
{
	if (e.needs_memory())
		return false;
	return e.notify != SIGEV_SIGNAL || send_signal(e);
}

void send(Notification &n)
{
	if (n.event.notify == SIGEV_EC)
		into_channel(n);
	else if (send_now(n.event))
		delivered(n);
	else
		notifier::queue(n);
}

void delivered(Notification &n)
{
	Batch *list = n.batch;
	n.ops->release(n);
	if (list != nullptr)
		batches::finished_one(list);
}

} // namespace sigevec::notify
