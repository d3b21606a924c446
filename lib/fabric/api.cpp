// SPDX-License-Identifier: MIT
//
// fabric_open, fabric_name, fabric_stat, ev_put, ev_get.
#include "fabric/api.hpp"

#include "base/owned_fd.hpp"
#include "base/syscalls.hpp"
#include "fabric/thread.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace sigevec::fabric {

const remote::Host *host = nullptr;

int result_of(int error)
{
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

namespace {

// Whether the caller of a program with another's rights has settings for libfabric, which reads
// them as they are: they name code to be loaded. What the program itself sets later is its own.
bool misled = false;

__attribute__((constructor)) void look_at_environment()
{
	for (char **v = environ; getauxval(AT_SECURE) != 0 && v != nullptr && *v != nullptr; v++)
		misled = misled || strncmp(*v, "FI_", 3) == 0;
}

// 0 or an errno.
int begin()
{
	if (misled)
		return EPERM;
	const remote::Host *h = sigevec_fabric_host(remote::version);
	if (h == nullptr)
		return ENOSYS;
	host = h;
	return host->ensure() ? thread::ensure() : ENOMEM;
}

} // namespace

Endpoint *find(int fd, int *error)
{
	if (host == nullptr) {
		*error = fcntl(fd, F_GETFD) < 0 ? EBADF : ENOTSUP;
		return nullptr;
	}
	Endpoint *e = host->find(fd, error);
	if (e != nullptr && e->state.load(mo::acquire) != Endpoint::open) {
		*error = EBADF;
		return nullptr;
	}
	return e;
}

namespace {

struct Open : thread::Command {
	Open(const provider::Address &a, int i, bool r)
	    : Command(run_it), address(a), inner(i), repeatable(r)
	{
	}
	static int run_it(Command *c)
	{
		auto *o = static_cast<Open *>(c);
		int why = o->open();
		// It may be that of an endpoint whose descriptor this program has closed just now.
		o->again = o->repeatable && why == EADDRINUSE && thread::some_closed();
		if (o->inner >= 0 && !o->again)
			sys::close(o->inner);
		return why;
	}
	int open()
	{
		endpoint = thread::make();
		if (endpoint == nullptr)
			return ENOMEM;
		int why = fabric::open(endpoint, address);
		if (why == 0) {
			endpoint->inner = std::exchange(inner, -1);
			if ((why = thread::watch(endpoint)) != 0)
				fabric::close(endpoint);
		}
		if (why != 0)
			endpoint->state.store(Endpoint::unused, mo::release);
		return why;
	}
	const provider::Address &address;
	int inner; // this table's end of the descriptor, until an endpoint has it
	bool repeatable, again = false;
	Endpoint *endpoint = nullptr;
};

// 0 or an errno. Whatever it is, inner is the endpoint's or closed.
int open_there(const provider::Address &a, int inner, Endpoint **e)
{
	Open first(a, inner, true);
	int error = thread::run(&first);
	*e = first.endpoint;
	if (!first.again)
		return error;
	thread::wait_for_closing();
	Open second(a, inner, false);
	error = thread::run(&second);
	*e = second.endpoint;
	return error;
}

// The two ends of a descriptor. False: errno.
bool make_pair(unsigned flags, int *fd, int *inner)
{
	int v[2];
	// What another thread executes meanwhile is not to have the other end.
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, v) != 0)
		return false;
	OwnedFd own(v[0]), other(v[1]);
	// What is written to it goes nowhere.
	shutdown(own, SHUT_WR);
	int copy = host->hold_file(other);
	if (copy < 0) {
		errno = -copy;
		return false;
	}
	if ((flags & FABRIC_CLOEXEC) == 0)
		fcntl(own, F_SETFD, 0);
	*inner = copy;
	*fd = own.release();
	return true;
}

// What is wrong with a transfer at once. 0 or an errno.
int check_transfer(const struct sockaddr *to, const dma_key_t *key, size_t size)
{
	return to != nullptr && key != nullptr && size != 0 && size <= SSIZE_MAX ? 0 : EINVAL;
}

Op *make_transfer(Op::Does does, const dma_key_t *key, uint64_t offset, size_t room)
{
	void *m = room <= SIZE_MAX - sizeof(Op) ? malloc(sizeof(Op) + room) : nullptr;
	if (m == nullptr)
		return nullptr;
	memset(m, 0, sizeof(Op));
	auto *o = static_cast<Op *>(m);
	o->what = Context::What::op;
	o->does = does;
	o->transfer.offset = offset;
	memcpy(&o->transfer.key, key, sizeof o->transfer.key);
	return o;
}

// The transfer's memory, which is held. The provider reads and writes it as the program would, and
// would get SIGBUS for it where a file has been cut: of such memory it has a copy. 0 or an errno.
int give_memory(Op *o, void *piece, size_t size, bool copied)
{
	auto *p = static_cast<char *>(piece);
	struct iovec v = {piece, size};
	o->size = size;
	o->data = copied ? o->copy : p;
	o->target = copied && o->does == Op::Does::get ? p : nullptr;
	return !copied || o->target != nullptr || host->join(o->copy, &v, 1) ? 0 : EFAULT;
}

// With everything that it needs. 0 or an errno: o is the caller's.
int submit(Endpoint *e, int fd, Op *o, ec_t ec, void *data)
{
	Request *r = nullptr;
	if (int error = host->begin(fd, ec, data, &r); error != 0)
		return error;
	if (r == nullptr) { // cancelled, and told
		free_op(o);
		return 0;
	}
	o->request = r;
	{
		Guard<Mutex> g(e->lock);
		if (e->state.load(mo::relaxed) == Endpoint::open) {
			e->submitted.push(o);
			r = nullptr;
		}
	}
	if (r != nullptr) {
		host->abandon(r);
		return EBADF;
	}
	thread::wake();
	return 0;
}

int transfer(Op::Does does, int fd, const struct sockaddr *to, socklen_t tolen,
	     const dma_key_t *key, uint64_t offset, void *piece, size_t size, ec_t ec, void *data)
{
	int error;
	Endpoint *e = find(fd, &error);
	if (e == nullptr || (error = check_transfer(to, key, size)) != 0)
		return error;
	bool copied = host->may_be_cut(piece, size);
	Op *o = make_transfer(does, key, offset, copied ? size : 0);
	if (o == nullptr)
		return ENOMEM;
	error = read_address(e, to, tolen, &o->to, &o->to_length);
	if (error == 0)
		error = host->hold(piece, size, &o->held);
	o->has_piece = error == 0;
	if (error == 0)
		error = give_memory(o, piece, size, copied);
	if (error == 0)
		error = submit(e, fd, o, ec, data);
	if (error != 0)
		free_op(o);
	return error;
}

// At exit: what was sent is delivered, as if the program had closed its descriptors.
__attribute__((destructor)) void at_exit()
{
	if (host != nullptr)
		thread::finish_all();
}

} // namespace
} // namespace sigevec::fabric

using namespace sigevec;
using namespace sigevec::fabric;

EXPORT int fabric_open(const char *provider, const char *node, const char *service, unsigned flags)
{
	int fd = -1, inner = -1, error = (flags & ~FABRIC_CLOEXEC) != 0 ? EINVAL : begin();
	if (error != 0)
		return result_of(error);
	if (!make_pair(flags, &fd, &inner))
		return -1;
	provider::Address a = {provider, node, service};
	OwnedFd own(fd);
	Endpoint *e = nullptr;
	error = open_there(a, inner, &e);
	if (error == 0)
		error = host->adopt(own, e, &backend);
	return error == 0 ? own.release() : result_of(error);
}

EXPORT int fabric_name(int fabric, struct sockaddr *addr, socklen_t *len)
{
	int error;
	Endpoint *e = find(fabric, &error);
	if (e == nullptr || addr == nullptr || len == nullptr)
		return result_of(e == nullptr ? error : EINVAL);
	memcpy(addr, e->name, std::min(size_t{*len}, e->name_length));
	*len = static_cast<socklen_t>(e->name_length);
	return 0;
}

EXPORT int fabric_stat(int fabric, struct fabric_stat *s)
{
	int error;
	Endpoint *e = find(fabric, &error);
	if (e == nullptr || s == nullptr)
		return result_of(e == nullptr ? error : EINVAL);
	Guard<Mutex> g(e->lock);
	*s = e->figures;
	s->largest = e->largest;
	s->window = window;
	s->peer_memory = sizeof(Peer) + window * sizeof(Slot);
	s->why_copied = "it is known only when a message is received which region it goes to";
	s->waits_by = "the descriptor of the provider's completion queue";
	return 0;
}

EXPORT int ev_put(int fabric, const struct sockaddr *to, socklen_t tolen, const dma_key_t *key,
		  uint64_t offset, const void *piece, size_t size, ec_t ec, void *data)
{
	return result_of(transfer(Op::Does::put, fabric, to, tolen, key, offset,
				  const_cast<void *>(piece), size, ec, data));
}

EXPORT int ev_get(int fabric, const struct sockaddr *from, socklen_t fromlen, const dma_key_t *key,
		  uint64_t offset, void *piece, size_t size, ec_t ec, void *data)
{
	return result_of(
		transfer(Op::Does::get, fabric, from, fromlen, key, offset, piece, size, ec, data));
}
