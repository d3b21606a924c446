// SPDX-License-Identifier: MIT
#include "engine/ring_prepare.hpp"

#ifdef HAVE_LIBURING

#include "engine/transfer.hpp"
#include "uring.h"

#include <sys/socket.h>

namespace sigevec {

namespace {

void prepare_message(struct io_uring_sqe *sqe, KeptOperation *o, int file, int flags)
{
	struct msghdr *m = transfer::header_of_rest(o);
	if (o->is_read())
		io_uring_prep_recvmsg(sqe, file, m, static_cast<unsigned>(flags));
	else
		io_uring_prep_sendmsg(sqe, file, m, static_cast<unsigned>(flags));
}

void prepare_vector(struct io_uring_sqe *sqe, bool read, int file, const transfer::Piece &p)
{
	auto n = static_cast<unsigned>(p.vector_count);
	if (read)
		io_uring_prep_readv(sqe, file, p.vector, n, static_cast<uint64_t>(p.offset));
	else
		io_uring_prep_writev(sqe, file, p.vector, n, static_cast<uint64_t>(p.offset));
}

void prepare_buffer(struct io_uring_sqe *sqe, Op op, int file, const transfer::Piece &p, int flags)
{
	auto n = static_cast<unsigned>(p.len);
	auto offset = static_cast<uint64_t>(p.offset);
	if (op == Op::read)
		io_uring_prep_read(sqe, file, p.buf, n, offset);
	else if (op == Op::write)
		io_uring_prep_write(sqe, file, p.buf, n, offset);
	else if (op == Op::recv)
		io_uring_prep_recv(sqe, file, p.buf, n, flags);
	else
		io_uring_prep_send(sqe, file, p.buf, n, flags);
}

size_t prepare_transfer(struct io_uring_sqe *sqe, KeptOperation *o, int file, int flags)
{
	transfer::Piece p = transfer::rest(o);
	if (p.len > transfer::most_at_once)
		p.len = transfer::most_at_once;
	if (p.vector != nullptr)
		prepare_vector(sqe, o->is_read(), file, p);
	else
		prepare_buffer(sqe, o->op, file, p, flags);
	if (o->op == Op::write)
		sqe->rw_flags = flags;
	return p.len;
}

} // namespace

size_t prepare_sqe(struct io_uring_sqe *sqe, KeptOperation *o, int file, int flags)
{
	if (o->message != nullptr && o->op != Op::connect) {
		prepare_message(sqe, o, file, flags);
		return o->len - o->done;
	}
	switch (o->op) {
	case Op::fsync:
		io_uring_prep_fsync(sqe, file, 0);
		return 0;
	case Op::fdatasync:
		io_uring_prep_fsync(sqe, file, IORING_FSYNC_DATASYNC);
		return 0;
	case Op::connect: {
		const struct msghdr &to = o->message->header;
		io_uring_prep_connect(sqe, file, static_cast<const struct sockaddr *>(to.msg_name),
				      to.msg_namelen);
		return 0;
	}
	case Op::poll:
		io_uring_prep_poll_add(sqe, file, static_cast<unsigned>(flags));
		return 0;
	default:
		return prepare_transfer(sqe, o, file, flags);
	}
}

} // namespace sigevec

#endif
