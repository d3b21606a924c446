// SPDX-License-Identifier: MIT
//
// Whether anybody listens at a peer's address.
//
// libfabric's tcp provider tries without end to connect where nobody does, and says nothing of a
// connection that has ended, so that a peer's death is not told. But the kernel knows: who has died
// listens no more. Who stands still is not dead, and who has come back says so by itself. Nor is
// one dead that cannot be reached: a link may be down for a moment, which connections outlive; it
// is given up after the time of silence.
#include "base/syscalls.hpp"
#include "fabric/endpoint.hpp"

#include <cerrno>
#include <netinet/in.h>

namespace sigevec::fabric {

namespace {

constexpr uint64_t quiet = 200000000, interval = 500000000, patience = 5000000000; // ns

// Of one who has never answered nobody knows that there is such a host.
bool is_death(const Peer *p, int error)
{
	return error == ECONNREFUSED ||
	       (p->session.life == 0 && (error == EHOSTUNREACH || error == ENETUNREACH));
}

// By a reset: a connection that only ends libfabric's tcp provider keeps for ever, if nothing has
// been said in it, and reads it again and again.
void close_probe(int fd)
{
	struct linger at_once = {1, 0};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	sys::close(fd);
}

int begin(Peer *p, uint64_t now)
{
	auto *to = reinterpret_cast<const struct sockaddr *>(p->name);
	if (to->sa_family != AF_INET && to->sa_family != AF_INET6)
		return 0;
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	p->when.probed = now;
	long n = syscall(SYS_connect, fd, to, p->name_length);
	if (n < 0 && errno == EINPROGRESS) {
		p->probe = fd;
		return 0;
	}
	int error = n < 0 ? errno : 0;
	close_probe(fd);
	return is_death(p, error) ? error : 0;
}

} // namespace

void end_probe(Peer *p)
{
	if (p->probe >= 0)
		close_probe(p->probe);
	p->probe = -1;
}

int probe(Peer *p, uint64_t now, uint64_t silence)
{
	if (p->probe < 0)
		return silence >= quiet && now - p->when.probed >= interval ? begin(p, now) : 0;
	struct pollfd ready = {p->probe, POLLOUT, 0};
	if (sys::poll_now(&ready) != 1) {
		if (now - p->when.probed > patience)
			end_probe(p);
		return 0;
	}
	int error = 0;
	socklen_t size = sizeof error;
	getsockopt(p->probe, SOL_SOCKET, SO_ERROR, &error, &size);
	end_probe(p);
	return is_death(p, error) ? error : 0;
}

} // namespace sigevec::fabric
