/* SPDX-License-Identifier: MIT */
/*
 * One-call requests: each ev_* call starts an operation whose end is an event of a channel. See
 * ev_send(3).
 *
 * All of them return 0 once the request is queued, or -1 with errno, having done nothing:
 *   EBADF   ec is no channel of this process
 *   EINVAL  flags of ev_accept that do not exist, msg is NULL, lengths above SSIZE_MAX, an address
 *           longer than sockaddr_storage
 *   EFAULT  ev_connect without an address, msg_iov is NULL and msg_iovlen is not 0
 *   EMSGSIZE  msg_iovlen is above IOV_MAX
 *   EAGAIN  the channel is at its limit (ec_set_limit), or the process at its own
 *           (sigevec_get_limits), or memory is short
 * Everything else, errors of the descriptor included, arrives as the event: ev_type is
 * event_type_net, ev_un.ev_fd the descriptor given, ev_data the argument data, ev_result what the
 * call would have returned, ev_errno its error.
 *
 * With AIO_DMA_BUF (sigevec/dma.h) a send takes its memory from a DMA region, and a receive from an
 * associated socket is an event_type_dma, with EV_MULTISHOT one for each arrival; see dma_assoc(3).
 * Such a call also fails with EFAULT: the memory of a send is in no region.
 *
 * Flags are the MSG_* flags of the call of the same name. The request waits for data or room,
 * O_NONBLOCK or not; with MSG_DONTWAIT it ends with EAGAIN instead. A stream's requests are carried
 * out in order for each direction, each send whole. SIGPIPE is never raised. Destination address,
 * msghdr and iovec array are copied at the call; buffers, control data, and the places for results
 * stay the caller's until the event. Thread-safe (with EC_SINGLE: one thread at a time); not
 * async-signal-safe. Source: the paper, figure 1; what the paper lacks is marked with +.
 */
#ifndef SIGEVEC_EV_H
#define SIGEVEC_EV_H 1

#include "sigevec/ec.h"

#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A flag of ev_accept beside SOCK_NONBLOCK and SOCK_CLOEXEC: + one call, many connections. Of
 * ev_recv and ev_recvmsg, with AIO_DMA_BUF only (it has the value of MSG_OOB): + one call, an event
 * for each arrival.
 */
#define EV_MULTISHOT 1

int ev_send(int s, const void *buf, size_t len, int flags, ec_t ec, void *data);
int ev_sendto(int s, const void *buf, size_t len, int flags, const struct sockaddr *to,
	      socklen_t tolen, ec_t ec, void *data);
int ev_sendmsg(int s, const struct msghdr *msg, int flags, ec_t ec, void *data);
int ev_recv(int s, void *buf, size_t len, int flags, ec_t ec, void *data);
/* from: at most fromlen bytes of the sender's address are stored there; may be NULL. */
int ev_recvfrom(int s, void *buf, size_t len, int flags, struct sockaddr *from, socklen_t fromlen,
		ec_t ec, void *data);
/* msg_namelen, msg_controllen and msg_flags of *msg are results. */
int ev_recvmsg(int s, struct msghdr *msg, int flags, ec_t ec, void *data);

/*
 * ev_accept +: accept a connection; the result is the new descriptor. flags: SOCK_NONBLOCK,
 * SOCK_CLOEXEC, EV_MULTISHOT: each connection is an event of its own, until ev_cancel or an error;
 * while the channel is full, connections wait in the backlog.
 */
int ev_accept(int s, int flags, ec_t ec, void *data);

/* ev_connect +: connect; the result is 0, or -1 with the error of the connection. */
int ev_connect(int s, const struct sockaddr *to, socklen_t tolen, ec_t ec, void *data);

/* ev_poll +: wait for one of the events of poll(2), once; the result is what there is (POLLIN,
 * POLLHUP, ...). Any descriptor. */
int ev_poll(int fd, short events, ec_t ec, void *data);

/*
 * ev_cancel +: end every ev_* request of this channel that was made with this data. Each gets a
 * last event, with ECANCELED if it was cancelled in time, else its own. Returns 0, or -1 with errno
 * EBADF, or ENOENT: there is none outstanding.
 */
int ev_cancel(ec_t ec, void *data);

#ifdef __cplusplus
}
#endif

#endif
