// SPDX-License-Identifier: MIT
//
// dma_alloc, dma_free, dma_import, dma_assoc, dma_disassoc, dma_attach, dma_detach, dma_stat,
// async_io_notify.
#include "api/result.hpp"
#include "dma/association.hpp"
#include "dma/attachment.hpp"
#include "dma/pool.hpp"
#include "dma/receiver.hpp"
#include "runtime/process.hpp"
#include "submit/check.hpp"

#include <cerrno>

using namespace sigevec;
using namespace sigevec::dma;

namespace {

constexpr unsigned known_flags = DMA_LATEST | ~0xffu;

Region *find(dma_mem_t mem)
{
	return process::ensure() ? region::find(mem) : nullptr;
}

// The region, if this is its size.
Region *find(dma_mem_t mem, size_t size)
{
	Region *r = find(mem);
	return r != nullptr && region::given_size(r) == size ? r : nullptr;
}

} // namespace

SIGEVEC_EXPORT int dma_alloc(dma_mem_t *handlep, size_t size, unsigned flags)
{
	return api::result_of(process::ensure() ? region::allocate(handlep, size, flags) : ENOMEM);
}

SIGEVEC_EXPORT int dma_import(dma_mem_t *handlep, void *addr, size_t size, unsigned flags)
{
	return api::result_of(process::ensure() ? region::import(handlep, addr, size, flags)
						: ENOMEM);
}

SIGEVEC_EXPORT int dma_free(dma_mem_t mem, size_t size)
{
	int e = process::ensure() ? region::release(mem, size) : EINVAL;
	if (e == EBUSY) {
		// Perhaps only sockets that are closed.
		association::forget_closed();
		e = region::release(mem, size);
	}
	return api::result_of(e);
}

SIGEVEC_EXPORT int dma_assoc(int sock, dma_mem_t mem, size_t size, unsigned flags)
{
	Region *r = find(mem, size);
	return api::result_of(r == nullptr || (flags & ~known_flags) != 0
				      ? EINVAL
				      : association::add(sock, r, flags));
}

SIGEVEC_EXPORT int dma_disassoc(int sock, dma_mem_t mem, size_t size)
{
	Region *r = find(mem, size);
	return api::result_of(r == nullptr ? EINVAL : association::remove(sock, r));
}

SIGEVEC_EXPORT int dma_attach(dma_mem_t mem, const char *ifname, unsigned queue, unsigned flags)
{
	constexpr unsigned both = DMA_ZEROCOPY | DMA_NODEV;
	Region *r = find(mem);
	bool good = r != nullptr && (flags & ~both) == 0 && flags != both;
	return api::result_of(good ? attachment::attach(r, ifname, queue, flags) : EINVAL);
}

SIGEVEC_EXPORT int dma_detach(dma_mem_t mem, const char *ifname, unsigned queue)
{
	Region *r = find(mem);
	return api::result_of(r != nullptr ? attachment::detach(r, ifname, queue) : EINVAL);
}

SIGEVEC_EXPORT int dma_stat(dma_mem_t mem, struct dma_stat *s)
{
	Region *r = find(mem);
	if (r == nullptr || s == nullptr)
		return api::result_of(EINVAL);
	region::stat(r, s);
	return 0;
}

SIGEVEC_EXPORT int async_io_notify(int fd, void (*io_complete)(int fd, void *ctx), void *ctx)
{
	if (io_complete == nullptr)
		return api::result_of(EINVAL);
	int e = process::ensure() ? association::check_socket(fd) : EAGAIN;
	if (e == 0)
		e = receiver::notify(fd, io_complete, ctx);
	else if (e == ENOTSOCK)
		e = pool::notify(fd, io_complete, ctx);
	return api::result_of(e);
}
