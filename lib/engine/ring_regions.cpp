// SPDX-License-Identifier: MIT
//
// Regions registered with the driver's ring: the kernel has looked up their pages once, and pins
// them. A region's number is its place in the table of regions.
#include "engine/ring.hpp"

#ifdef HAVE_LIBURING

#include "base/memory_order.hpp"
#include "dma/region.hpp"

namespace sigevec::driver {

using dma::Region;

namespace {

// Of one registered buffer.
constexpr size_t most_bytes = size_t{1} << 30;

} // namespace

bool Ring::make_table()
{
	if (table_ == Table::none)
		table_ = io_uring_register_buffers_sparse(&ring_, dma::region::most) == 0
				 ? Table::made
				 : Table::refused;
	return table_ == Table::made;
}

void Ring::keep(Region *r)
{
	if (!r->for_ring.load(mo::relaxed) || r->ring.load(mo::relaxed) == this)
		return;
	struct iovec v = {r->base, r->size};
	if (r->size <= most_bytes && make_table() &&
	    io_uring_register_buffers_update_tag(&ring_, dma::region::index_of(r), &v, nullptr,
						 1) == 1)
		r->ring.store(this, mo::relaxed);
	else
		r->for_ring.store(false, mo::relaxed);
}

void Ring::let_go(Region *r)
{
	if (r->ring.load(mo::relaxed) != this)
		return;
	struct iovec none = {};
	io_uring_register_buffers_update_tag(&ring_, dma::region::index_of(r), &none, nullptr, 1);
	r->ring.store(nullptr, mo::relaxed);
}

// The operations that take a registered buffer have the arguments of those that do not.
void Ring::use_registered(struct io_uring_sqe *sqe, const Request *r)
{
	Region *in = dma::region::at(r->dma.region);
	bool file = (sqe->opcode == IORING_OP_READ || sqe->opcode == IORING_OP_WRITE) &&
		    !r->on_stream();
	if ((!file && sqe->opcode != IORING_OP_SEND_ZC) || r->dma.region == dma::no_region)
		return;
	keep(in);
	// Under the addresses of imported memory the program may have put other memory since.
	if (in->ring.load(mo::relaxed) != this || in->mapping == nullptr)
		return;
	if (file)
		sqe->opcode = sqe->opcode == IORING_OP_READ ? IORING_OP_READ_FIXED
							    : IORING_OP_WRITE_FIXED;
	else
		sqe->ioprio |= IORING_RECVSEND_FIXED_BUF;
	sqe->buf_index = static_cast<uint16_t>(dma::region::index_of(in));
}

} // namespace sigevec::driver

#endif
