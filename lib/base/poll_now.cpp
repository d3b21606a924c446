// SPDX-License-Identifier: MIT
#include "base/syscalls.hpp"

#include <sys/select.h>

namespace sigevec::sys {

namespace {

// As poll() would say it. What has an error is both readable and writable.
int select_now(struct pollfd *p)
{
	if (p->fd < 0 || p->fd >= FD_SETSIZE)
		return -1;
	fd_set sets[3];
	constexpr short events[3] = {POLLIN, POLLOUT, POLLPRI};
	for (int i = 0; i < 3; i++) {
		FD_ZERO(&sets[i]);
		if ((p->events & events[i]) != 0)
			FD_SET(p->fd, &sets[i]);
	}
	struct timespec none = {};
	p->revents = 0;
	if (syscall(SYS_pselect6, p->fd + 1, &sets[0], &sets[1], &sets[2], &none, nullptr) < 0)
		return -1;
	for (int i = 0; i < 3; i++)
		if (FD_ISSET(p->fd, &sets[i]))
			p->revents = static_cast<short>(p->revents | events[i]);
	return p->revents != 0 ? 1 : 0;
}

} // namespace

int poll_now(struct pollfd *p)
{
	constexpr struct timespec none = {};
	int n;
	do
		n = poll(p, 1, &none);
	while (n < 0 && errno == EINTR);
	return n >= 0 ? n : select_now(p);
}

} // namespace sigevec::sys
