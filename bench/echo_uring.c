/* SPDX-License-Identifier: MIT */
/*
 * The echo server on io_uring itself: one receive and one send request for each message, or
 * multishot receives into a ring of provided buffers. Requests are handed over in batches, with the
 * wait.
 */
#include "config.h"
#include "echo.h"
#include "echo_plain.h"

#ifdef HAVE_LIBURING
#include <errno.h>
#include <liburing.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { entries = 4096, completions = 32768, buffers = 4096, group = 1 };
enum what { accepting, receiving, sending };

static struct io_uring ring;

static struct io_uring_sqe *entry(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (sqe == NULL) {
		io_uring_submit(&ring);
		sqe = io_uring_get_sqe(&ring);
	}
	return sqe;
}

static void accept_all(int listener)
{
	struct io_uring_sqe *sqe = entry();

	io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	io_uring_sqe_set_data64(sqe, accepting);
}

static void begin(int listener)
{
	struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER |
					     IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
				    .cq_entries = completions};
	int r = io_uring_queue_init_params(entries, &ring, &p);

	echo_require(r == 0, "io_uring_queue_init", -r);
	io_uring_register_ring_fd(&ring);
	accept_all(listener);
}

static void serve(void (*handle)(const struct io_uring_cqe *))
{
	struct io_uring_cqe *cqe;
	unsigned head, n;

	for (;;) {
		io_uring_submit_and_wait(&ring, 1);
		n = 0;
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			handle(cqe);
			n++;
		}
		io_uring_cq_advance(&ring, n);
	}
}

/* --- one request for each transfer: the data of a request is its connection, 0 for the listener
 * --------------------
 */

static void receive(struct connection *c)
{
	struct io_uring_sqe *sqe = entry();

	io_uring_prep_recv(sqe, c->fd, c->data, sizeof c->data, 0);
	io_uring_sqe_set_data(sqe, c);
}

static void handle(const struct io_uring_cqe *cqe)
{
	struct connection *c = io_uring_cqe_get_data(cqe);
	struct io_uring_sqe *sqe;

	if (c == NULL) {
		echo_require(cqe->res >= 0, "accept", -cqe->res);
		receive(echo_connection(cqe->res));
	} else if (cqe->res <= 0) {
		echo_close(c);
	} else if (c->sending) {
		c->sending = 0;
		echoed++;
		receive(c);
	} else {
		c->sending = 1;
		sqe = entry();
		io_uring_prep_send(sqe, c->fd, c->data, (size_t)cqe->res, MSG_WAITALL);
		io_uring_sqe_set_data(sqe, c);
	}
}

void serve_uring(int listener)
{
	begin(listener);
	serve(handle);
}

/* --- multishot receives: the data is what | buffer << 8 | descriptor << 32 --------------------
 */

static struct io_uring_buf_ring *free_buffers;
static char (*memory)[echo_message];

static void give_back(unsigned buffer)
{
	io_uring_buf_ring_add(free_buffers, memory[buffer], echo_message, (unsigned short)buffer,
			      io_uring_buf_ring_mask(buffers), 0);
	io_uring_buf_ring_advance(free_buffers, 1);
}

static void receive_all(int fd)
{
	struct io_uring_sqe *sqe = entry();

	io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = group;
	io_uring_sqe_set_data64(sqe, receiving | (uint64_t)fd << 32);
}

static void received(const struct io_uring_cqe *cqe, int fd)
{
	unsigned buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	struct io_uring_sqe *sqe;

	if (cqe->res > 0) {
		sqe = entry();
		io_uring_prep_send(sqe, fd, memory[buffer], (size_t)cqe->res, MSG_WAITALL);
		io_uring_sqe_set_data64(sqe, sending | (uint64_t)buffer << 8 | (uint64_t)fd << 32);
	}
	if (cqe->res > 0 && (cqe->flags & IORING_CQE_F_MORE))
		return;
	if (cqe->res > 0 || cqe->res == -ENOBUFS)
		receive_all(fd);
	else
		close(fd);
}

static void handle_multishot(const struct io_uring_cqe *cqe)
{
	uint64_t data = io_uring_cqe_get_data64(cqe);

	switch ((enum what)(data & 0xff)) {
	case accepting:
		echo_require(cqe->res >= 0, "accept", -cqe->res);
		receive_all(cqe->res);
		break;
	case receiving:
		received(cqe, (int)(data >> 32));
		break;
	case sending:
		echoed++;
		give_back(data >> 8 & 0xffff);
		break;
	}
}

void serve_uring_multishot(int listener)
{
	struct io_uring_buf_reg reg = {.ring_entries = buffers, .bgid = group};
	void *pages = NULL;
	int r;

	begin(listener);
	memory = calloc(buffers, sizeof *memory);
	echo_require(
		memory && posix_memalign(&pages, 4096, buffers * sizeof(struct io_uring_buf)) == 0,
		"malloc", ENOMEM);
	free_buffers = pages;
	reg.ring_addr = (uintptr_t)pages;
	r = io_uring_register_buf_ring(&ring, &reg, 0);
	echo_require(r == 0, "io_uring_register_buf_ring", -r);
	io_uring_buf_ring_init(free_buffers);
	for (unsigned i = 0; i < buffers; i++)
		give_back(i);
	serve(handle_multishot);
}
#else
typedef int no_liburing; /* a file is not empty */
#endif
