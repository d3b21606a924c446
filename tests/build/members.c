/* SPDX-License-Identifier: MIT */
/* The members that <sigevec.h> adds: readable, assignable, of exactly the right type. Compiled as C
 * and as C++ after the headers in every order (headers.sh). */

struct msghdr;
void use_members(struct aiocb *cb, struct sigevent *event, struct msghdr *message, dma_mem_t region,
		 ec_t channel);

void use_members(struct aiocb *cb, struct sigevent *event, struct msghdr *message, dma_mem_t region,
		 ec_t channel)
{
	struct msghdr **pm = &cb->aio_msg;
	dma_mem_t *pd = &cb->aio_dma_buf;
	ec_t *pc = &event->sigev_ec;

	cb->aio_msg = message;
	cb->aio_dma_buf = region;
	event->sigev_ec = channel;
	if (*pm != cb->aio_msg || *pd != cb->aio_dma_buf || *pc != event->sigev_ec)
		cb->aio_sigevent.sigev_ec = *pc;
}

#ifdef __USE_LARGEFILE64
void use_members64(struct aiocb64 *cb, struct msghdr *message, dma_mem_t region);

void use_members64(struct aiocb64 *cb, struct msghdr *message, dma_mem_t region)
{
	struct msghdr **pm = &cb->aio_msg;
	dma_mem_t *pd = &cb->aio_dma_buf;

	cb->aio_msg = message;
	cb->aio_dma_buf = region;
	if (*pm != cb->aio_msg || *pd != cb->aio_dma_buf)
		cb->aio_nbytes = 0;
}
#endif
