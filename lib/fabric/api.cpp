// SPDX-License-Identifier: MIT
//
// fabric_open, fabric_name, fabric_stat, dma_export, dma_revoke, ev_put, ev_get.
#include "base/owned_fd.hpp"
#include "base/syscalls.hpp"
#include "fabric/endpoint.hpp"
#include "fabric/thread.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <utility>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace sigevec::fabric {

const remote::Host *host = nullptr;

namespace {

int result_of(int error)
{
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

// 0 or an errno.
int begin()
{
	const remote::Host *h = sigevec_fabric_host(remote::version);
	if (h == nullptr)
		return ENOSYS;
	host = h;
	return host->ensure() ? thread::ensure() : ENOMEM;
}

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
	int type = SOCK_SEQPACKET | ((flags & FABRIC_CLOEXEC) != 0 ? SOCK_CLOEXEC : 0), v[2];
	if (socketpair(AF_UNIX, type, 0, v) != 0)
		return false;
	OwnedFd own(v[0]), other(v[1]);
	// What is written to it goes nowhere.
	shutdown(own, SHUT_WR);
	int copy = host->hold_file(other);
	if (copy < 0) {
		errno = -copy;
		return false;
	}
	*inner = copy;
	*fd = own.release();
	return true;
}

// The bytes in a piece of the program's, in the endpoint's region.
int check_region(Endpoint *e, dma_mem_t mem, unsigned rights, size_t size)
{
	Guard<Mutex> g(e->lock);
	int region = host->region(mem);
	bool good = region >= 0 && region == e->region && rights != 0 &&
		    (rights & ~(DMA_READ | DMA_WRITE)) == 0 && size != 0;
	return good ? 0 : EINVAL;
}

struct Expose : thread::Command {
	Expose(Endpoint *which, void *p, size_t n, unsigned r)
	    : Command(run_it), e(which), piece(p), size(n), rights(r)
	{
	}
	static int run_it(Command *c)
	{
		auto *x = static_cast<Expose *>(c);
		Guard<Mutex> g(x->e->lock);
		return x->expose();
	}
	int expose()
	{
		Key &k = made->key;
		if (getrandom(&k.mr, sizeof k.mr, 0) != sizeof k.mr ||
		    getrandom(k.secret, sizeof k.secret, 0) != sizeof k.secret)
			return EAGAIN;
		int why;
		made->mr = provider::expose(&e->provider, piece, size, (rights & DMA_READ) != 0,
					    (rights & DMA_WRITE) != 0, k.mr, &why);
		if (made->mr == nullptr)
			return why;
		k.life = e->life;
		k.mr = fi_mr_key(made->mr);
		k.base = provider::base_of(&e->provider, piece);
		k.size = size;
		k.rights = rights;
		k.index = static_cast<uint32_t>(e->region);
		key = k;
		made->next = e->exports;
		e->exports = made;
		e->figures.exported++;
		return 0;
	}
	Endpoint *e;
	void *piece;
	size_t size;
	unsigned rights;
	Export *made = nullptr;
	Key key{};
};

int export_piece(Endpoint *e, int region, void *piece, size_t size, unsigned rights, Key *key)
{
	Expose x(e, piece, size, rights);
	x.made = static_cast<Export *>(calloc(1, sizeof(Export)));
	if (x.made == nullptr)
		return ENOMEM;
	int error = host->hold(piece, size, &x.made->held);
	if (error == 0) {
		// A piece of another region is no piece of the endpoint's.
		error = x.made->held.region == region ? thread::run(&x) : EINVAL;
		if (error != 0)
			host->let_go(x.made->held);
	} else if (error == EFAULT)
		error = EINVAL;
	if (error != 0)
		free(x.made);
	*key = x.key;
	return error;
}

struct Withdraw : thread::Command {
	Withdraw(Endpoint *which, const dma_key_t *k) : Command(run_it), e(which)
	{
		memcpy(&key, k, sizeof key);
	}
	static int run_it(Command *c)
	{
		auto *w = static_cast<Withdraw *>(c);
		Guard<Mutex> g(w->e->lock);
		Export *x = w->e->exports;
		while (x != nullptr && memcmp(&x->key, &w->key, sizeof w->key) != 0)
			x = x->next;
		if (x == nullptr || x->withdrawal != 0)
			return EINVAL;
		withdraw(w->e, x);
		x->done = &c->done;
		return -1;
	}
	Endpoint *e;
	Key key{};
};

// What is wrong with a transfer at once. 0 or an errno.
int check_transfer(const struct sockaddr *to, const dma_key_t *key, size_t size)
{
	return to != nullptr && key != nullptr && size != 0 && size <= SSIZE_MAX ? 0 : EINVAL;
}

Op *make_transfer(Op::Does does, const dma_key_t *key, uint64_t offset, void *piece, size_t size)
{
	auto *o = static_cast<Op *>(calloc(1, sizeof(Op)));
	if (o == nullptr)
		return nullptr;
	o->what = Context::What::op;
	o->does = does;
	o->data = static_cast<char *>(piece);
	o->size = size;
	o->transfer.offset = offset;
	memcpy(&o->transfer.key, key, sizeof o->transfer.key);
	return o;
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
	Op *o = make_transfer(does, key, offset, piece, size);
	if (o == nullptr)
		return ENOMEM;
	error = read_address(e, to, tolen, &o->to, &o->to_length);
	if (error == 0)
		error = host->hold(piece, size, &o->held);
	o->has_piece = error == 0;
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

EXPORT int dma_export(dma_mem_t mem, int fabric, void *piece, size_t size, unsigned rights,
		      dma_key_t *key)
{
	static_assert(sizeof(Key) == sizeof *key);
	int error;
	Endpoint *e = find(fabric, &error);
	if (e == nullptr)
		return result_of(error);
	Key k{};
	error = key == nullptr ? EINVAL : check_region(e, mem, rights, size);
	if (error == 0)
		error = export_piece(e, host->region(mem), piece, size, rights, &k);
	if (error == 0)
		memcpy(key, &k, sizeof k);
	return result_of(error);
}

EXPORT int dma_revoke(int fabric, const dma_key_t *key)
{
	int error;
	Endpoint *e = find(fabric, &error);
	if (e == nullptr || key == nullptr)
		return result_of(e == nullptr ? error : EINVAL);
	Withdraw w(e, key);
	return result_of(thread::run(&w));
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
