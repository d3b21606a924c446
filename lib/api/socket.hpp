// SPDX-License-Identifier: MIT
//
// Socket calls, from their arguments to a Call. What aio_*, ev_* and lio_listio share.
#pragma once

#include "base/iovec.hpp"
#include "request/request.hpp"
#include "sigevec/types.h"

namespace sigevec::api {

// The arguments of one socket call. Lives on the stack of the entry point; the Call points into it.
class SocketCall {
public:
	SocketCall(Op op, int fd, int flags);
	SocketCall(const SocketCall &) = delete;
	SocketCall &operator=(const SocketCall &) = delete;

	void notify_aiocb(struct aiocb *cb);
	void notify_channel(ec_t ec, void *data);

	void buffer(const void *buf, size_t len);
	// nullptr: none. Of a destination the address is copied, at a source it is stored.
	int address(const struct sockaddr *a, socklen_t length);
	// const in sends; where results are told otherwise.
	int message(const struct msghdr *m);

	// With AIO_DMA_BUF, once all else is known: 0 or an errno. The last one is for an aiocb.
	int wait_for_arrival(size_t size, bool whole_message);
	int send_from_region();
	int use_region(dma_mem_t mem, bool whole_message);

	// Submits. error: what was wrong with the arguments, or 0. Returns 0 or the errno of the
	// call.
	int start(int error);

	Call call{};

private:
	int measure_vector();
	int read_vector();

	struct msghdr header_ {};
	VectorCopy vector_; // of a send from a region
};

// Whether the vector that m, a copy of *said, points to can be read. In a region, where received
// messages lie, another process may have written anything.
bool vector_is_there(const struct msghdr *said, const struct msghdr &m);

} // namespace sigevec::api
