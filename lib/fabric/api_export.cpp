// SPDX-License-Identifier: MIT
//
// dma_export, dma_revoke.
#include "fabric/api.hpp"
#include "fabric/thread.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sys/random.h>

namespace sigevec::fabric {

namespace {

// Which region the memory is, if it is the endpoint's, and may be exported so; negative: it is not.
int region_of(Endpoint *e, dma_mem_t mem, unsigned rights, size_t size)
{
	Guard<Mutex> g(e->lock);
	int region = host->region(mem);
	bool good = region == e->region && rights != 0 && (rights & ~(DMA_READ | DMA_WRITE)) == 0 &&
		    size != 0;
	return good ? region : -1;
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

} // namespace
} // namespace sigevec::fabric

using namespace sigevec;
using namespace sigevec::fabric;

EXPORT int dma_export(dma_mem_t mem, int fabric, void *piece, size_t size, unsigned rights,
		      dma_key_t *key)
{
	static_assert(sizeof(Key) == sizeof *key);
	int error;
	Endpoint *e = find(fabric, &error);
	if (e == nullptr)
		return result_of(error);
	Key k{};
	int region = key != nullptr ? region_of(e, mem, rights, size) : -1;
	error = region < 0 ? EINVAL : export_piece(e, region, piece, size, rights, &k);
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
