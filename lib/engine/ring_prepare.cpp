// SPDX-License-Identifier: MIT
//
// Entries of the driver's ring: what a request asks of the kernel.
#include "engine/ring_prepare.hpp"

#ifdef HAVE_LIBURING

#include "dma/zero_copy.hpp"
#include "uring.h"

#include <sys/socket.h>

namespace sigevec::driver {

void prepare_socket_call(struct io_uring_sqe *sqe, Request *r, int file)
{
	bool inward = r->is_read();
	// A send never waits in the ring: see driver_streams.cpp.
	int flags = r->call_flags | (inward ? 0 : MSG_NOSIGNAL | MSG_DONTWAIT);
	if (r->message != nullptr) {
		struct msghdr *m = transfer::header_of_rest(r);
		if (inward)
			io_uring_prep_recvmsg(sqe, file, m, static_cast<unsigned>(flags));
		else
			io_uring_prep_sendmsg(sqe, file, m, static_cast<unsigned>(flags));
		return;
	}
	transfer::Piece p = transfer::rest(r);
	if (p.len > transfer::most_at_once)
		p.len = transfer::most_at_once;
	if (inward)
		io_uring_prep_recv(sqe, file, p.buf, p.len, flags);
	else if (dma::zero_copy::begin(r, file, p.len) != nullptr)
		io_uring_prep_send_zc(sqe, file, p.buf, p.len, flags, IORING_SEND_ZC_REPORT_USAGE);
	else
		io_uring_prep_send(sqe, file, p.buf, p.len, flags);
}

void prepare_write(struct io_uring_sqe *sqe, Request *r, int file, const transfer::Piece &p)
{
	if (p.vector != nullptr)
		io_uring_prep_writev(sqe, file, p.vector, static_cast<unsigned>(p.vector_count),
				     static_cast<uint64_t>(p.offset));
	else
		io_uring_prep_write(sqe, file, p.buf, static_cast<unsigned>(p.len),
				    static_cast<uint64_t>(p.offset));
	// fcntl may have set O_APPEND since. Where the kernel does not know the flag, a worker
	// makes the call.
	if (!is_stream(r->kind))
		sqe->rw_flags = RWF_NOAPPEND;
}

void prepare_read(struct io_uring_sqe *sqe, int file, const transfer::Piece &p)
{
	if (p.vector != nullptr)
		io_uring_prep_readv(sqe, file, p.vector, static_cast<unsigned>(p.vector_count),
				    static_cast<uint64_t>(p.offset));
	else
		io_uring_prep_read(sqe, file, p.buf, static_cast<unsigned>(p.len),
				   static_cast<uint64_t>(p.offset));
}

} // namespace sigevec::driver

#endif
