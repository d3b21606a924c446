// SPDX-License-Identifier: MIT
#include "dma/zero_copy.hpp"

#include "base/memory_order.hpp"
#include "base/socket_option.hpp"
#include "dma/region.hpp"

#include <cerrno>
#include <cstdlib>
#include <sys/socket.h>

namespace sigevec::dma::zero_copy {

namespace {

constexpr uint32_t longest_pause = 4096;

// The kernel does not know the operation, or has no ring to offer.
std::atomic<bool> unknown{false};

} // namespace

void forget(ZeroCopy *z)
{
	Region *r = region::at(z->use.region);
	for (unsigned i = 0; i < z->use.pieces; i++)
		r->pieces.unhold(z->use.unit[i]);
	region::remove_request(r);
	free(z);
}

bool is_time(Region *r)
{
	// Two threads that both count down only shorten the pause.
	uint32_t left = r->pause.load(mo::relaxed);
	if (left != 0)
		r->pause.store(left - 1, mo::relaxed);
	return left == 0;
}

bool wanted(const Call &c)
{
	if (c.dma.kind != Use::Kind::send || c.op != Op::send || c.len < least ||
	    c.vector != nullptr || c.message != nullptr || c.call_flags != 0 ||
	    unknown.load(mo::relaxed))
		return false;
	return is_time(region::at(c.dma.region));
}

void without_ring()
{
	unknown.store(true, mo::relaxed);
}

bool possible(const Request *r)
{
	return r->dma.kind == Use::Kind::send && r->op == Op::send && r->len - r->done >= least &&
	       r->vector == nullptr && r->message == nullptr && r->call_flags == 0 &&
	       !unknown.load(mo::relaxed);
}

ZeroCopy *begin(Request *r, int file, size_t len)
{
	if (!possible(r) || len < least || !over_ip(file))
		return nullptr;
	Region *in = region::at(r->dma.region);
	auto *z = in->pause.load(mo::relaxed) == 0
			  ? static_cast<ZeroCopy *>(malloc(sizeof(ZeroCopy)))
			  : nullptr;
	if (z == nullptr)
		return nullptr;
	z->request = r;
	z->use = r->dma;
	for (unsigned i = 0; i < z->use.pieces; i++)
		in->pieces.hold_again(z->use.unit[i]);
	region::add_request(in);
	r->dma.zero_copy = z;
	return z;
}

void ended(ZeroCopy *z, ssize_t result, bool more)
{
	if (result == -EINVAL || result == -EOPNOTSUPP)
		unknown.store(true, mo::relaxed);
	z->request->dma.zero_copy = nullptr;
	z->request->dma.copy_reported = z->request->dma.copy_reported || (more && result >= 0);
	z->request = nullptr;
	if (!more)
		forget(z);
}

void released(ZeroCopy *z, bool copied)
{
	Region *r = region::at(z->use.region);
	(copied ? r->copied : r->zero_copy).fetch_add(1, mo::relaxed);
	if (!copied)
		r->next_pause.store(first_pause, mo::relaxed);
	else if (r->pause.load(mo::relaxed) == 0) {
		uint32_t n = r->next_pause.load(mo::relaxed);
		r->pause.store(n, mo::relaxed);
		r->next_pause.store(n < longest_pause ? n * 2 : n, mo::relaxed);
	}
	forget(z);
}

} // namespace sigevec::dma::zero_copy
