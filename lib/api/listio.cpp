// SPDX-License-Identifier: MIT
//
// lio_listio.
#include "aiocb.hpp"
#include "api/result.hpp"
#include "api/socket.hpp"
#include "base/memory_order.hpp"
#include "channel/wakeup.hpp"
#include "dma/request.hpp"
#include "engine/kaio.hpp"
#include "engine/to_helper.hpp"
#include "notify/batch.hpp"
#include "notify/notifier.hpp"
#include "runtime/helper.hpp"
#include "runtime/process.hpp"
#include "sigevec/aio.h"
#include "submit/check.hpp"
#include "submit/submit.hpp"
#include "submit/wait.hpp"

#include <cerrno>

using namespace sigevec;

namespace {

bool counts(const struct aiocb *cb)
{
	return cb != nullptr && cb->aio_lio_opcode != LIO_NOP;
}

int start_socket_call(struct aiocb *cb, Batch *batch)
{
	int op = cb->aio_lio_opcode;
	api::SocketCall s(op == LIO_SEND || op == LIO_SENDMSG ? Op::send : Op::recv, cb->aio_fildes,
			  0);
	s.notify_aiocb(cb);
	s.call.batch = batch;
	if (op == LIO_SENDMSG || op == LIO_RECVMSG)
		return s.start(s.message(cb->aio_msg));
	s.buffer(const_cast<void *>(cb->aio_buf), cb->aio_nbytes);
	return s.start(0);
}

int start_transfer(struct aiocb *cb, Batch *batch)
{
	Call c;
	int op = cb->aio_lio_opcode;
	bool region = op == LIO_DMA_READ || op == LIO_DMA_WRITE;
	bool known = op == LIO_READ || op == LIO_WRITE || region;
	bool read = op == LIO_READ || op == LIO_DMA_READ;
	int error = api::read_transfer(cb, read ? Op::read : Op::write, &c);
	c.batch = batch;
	if (region && error == 0)
		error = read ? dma::prepare_receive(c, cb->aio_dma_buf, false)
			     : dma::prepare_send(c, cb->aio_dma_buf, false);
	if (!known)
		c.len = ~size_t{0}; // accepted, and ends with EINVAL
	return api::start(error, cb, c);
}

// An opcode that does not exist is accepted, and ends with EINVAL, as in glibc.
int start_one(struct aiocb *cb, Batch *batch)
{
	if (batch != nullptr)
		batches::add(batch);
	bool socket_call = cb->aio_lio_opcode >= LIO_SEND && cb->aio_lio_opcode <= LIO_RECVMSG;
	int error = socket_call ? start_socket_call(cb, batch) : start_transfer(cb, batch);
	if (error != 0 && batch != nullptr) {
		batches::note_failure(batch);
		batches::finished_one(batch);
	}
	return error;
}

// Submits the list. Returns 0 or the errno of the last one that was refused.
int start_all(struct aiocb *const list[], int n, Batch *batch)
{
	int refused = 0;
	// Around the other one, which may pass on to it.
	helper::Plug plug;
	kaio::plug();
	for (int i = 0; i < n; i++)
		if (counts(list[i]))
			if (int e = start_one(list[i], batch); e != 0)
				refused = e;
	kaio::unplug();
	return refused;
}

// The list has been refused whole: no element is to look as if it had ended well, as it may have
// before.
int refuse_all(struct aiocb *const list[], int n, int error)
{
	for (int i = 0; i < n; i++)
		if (counts(list[i])) {
			aiocb_layout::result(list[i]).store(-1, mo::relaxed);
			aiocb_layout::status(list[i]).store(error, mo::release);
		}
	return error;
}

int list_and_wait(struct aiocb *const list[], int n)
{
	Batch *batch = batches::create_waited();
	if (batch == nullptr)
		return refuse_all(list, n, EAGAIN);
	int refused = start_all(list, n, batch);
	batches::finished_one(batch); // lio_listio's own count
	int e = wait::for_batch(batch);
	if (e == 0 && (refused != 0 || batch->failed.load(mo::relaxed)))
		e = EIO;
	batches::leave(batch);
	return e;
}

int list_and_go_on(struct aiocb *const list[], int n, const struct sigevent *sig)
{
	Event event = sig != nullptr ? Event::copy(*sig) : Event{};
	Batch *batch = nullptr;
	if (event.notify == SIGEV_THREAD)
		notifier::admit();
	if (event.notify == SIGEV_EC)
		if (int e = channel::admit(event.signo, &event.channel); e != 0)
			return refuse_all(list, n, e);
	bool can_notify = event.channel == nullptr || wakeup::install(event.channel);
	if (!can_notify || (!event.silent() && (batch = batches::create(event)) == nullptr)) {
		if (event.channel != nullptr)
			channel::return_credit(event.channel);
		return refuse_all(list, n, EAGAIN);
	}
	int refused = start_all(list, n, batch);
	// lio_listio's own count: an empty list is told at once, by this.
	if (batch != nullptr)
		batches::finished_one(batch);
	return refused;
}

} // namespace

SIGEVEC_EXPORT int lio_listio(int mode, struct aiocb *const list[], int n, struct sigevent *sig)
{
	if ((mode != LIO_WAIT && mode != LIO_NOWAIT) || n < 0 ||
	    (n > 0 && api::unassumed(list) == nullptr))
		return api::result_of(EINVAL);
	if (!process::ensure())
		return api::result_of(refuse_all(list, n, EAGAIN));
	return api::result_of(mode == LIO_WAIT ? list_and_wait(list, n)
					       : list_and_go_on(list, n, sig));
}
SIGEVEC_ALIAS64(int, lio_listio, int, struct aiocb64 *const[], int, struct sigevent *);
