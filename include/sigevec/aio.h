/* SPDX-License-Identifier: MIT */
/*
 * What libsigevec adds to <aio.h>. The functions of POSIX are declared by <aio.h> itself; their
 * rules are in aio(7) and in sigevec(7), which also says where this library differs from glibc.
 */
#ifndef SIGEVEC_AIO_H
#define SIGEVEC_AIO_H 1

#include "sigevec/types.h"

#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The vector of aio_readv and aio_writev: an array of struct iovec in aio_buf, its length in
 * aio_nbytes. */
#define aio_iov aio_buf
#define aio_iovcnt aio_nbytes

/*
 * aio_readv, aio_writev: as aio_read and aio_write, with a scattered buffer.
 *
 * cb->aio_iov points to cb->aio_iovcnt structures iovec (1 to IOV_MAX). The array itself is copied
 * at the call; the memory it describes stays the caller's until the request has ended.
 *
 * Return 0 when the request is queued, or -1 with errno:
 *   EINVAL  aio_iovcnt is 0 or above IOV_MAX, the lengths add up to more than SSIZE_MAX, aio_offset
 *           is negative, or aio_reqprio is outside 0..20
 *   EAGAIN  the limit of requests is reached (sigevec_get_limits) or memory is short; nothing has
 *           been done
 * All else is reported by aio_error(3). Thread-safe; not async-signal-safe. Source: FreeBSD.
 */
int aio_readv(struct aiocb *cb);
int aio_writev(struct aiocb *cb);

/*
 * aio_waitcomplete: wait for the end of any request of the process.
 *
 * Stores the finished request in *cbp, which needs no aio_return any more (though one is allowed),
 * and returns what the request returned; if that is -1, errno is the request's error. A request is
 * reported once, and not after an aio_return. timeout is relative, NULL waits for ever. When none
 * is reported, it stores NULL in *cbp, but with EINVAL, and returns -1 with errno:
 *   EINVAL  cbp is NULL, tv_nsec of the timeout is outside 0..999,999,999, or tv_sec is negative
 *   EAGAIN  the timeout has passed, or memory is short at the first call of the library
 *   EINTR   a signal handler ran
 * About 65,536 finished requests are remembered until aio_waitcomplete or aio_return is called for
 * them; when there are more, older ones are forgotten by this function (not by aio_error and
 * aio_return). Thread-safe; not async-signal-safe. Source: FreeBSD.
 */
ssize_t aio_waitcomplete(struct aiocb **cbp, struct timespec *timeout);

/* Opcodes of lio_listio beside LIO_READ and LIO_WRITE. Flags are 0; LIO_SENDMSG and LIO_RECVMSG use
 * aio_msg. */
#define LIO_SEND 16
#define LIO_RECV 17
#define LIO_SENDMSG 18
#define LIO_RECVMSG 19

/*
 * aio_send, aio_recv, aio_sendto, aio_recvfrom, aio_sendmsg, aio_recvmsg: the socket calls of the
 * same names, asynchronously.
 *
 * cb: aio_fildes is the socket, aio_buf and aio_nbytes the buffer (for the last two aio_msg is the
 * message instead), aio_sigevent the notification, of any kind; aio_offset and aio_reqprio are not
 * looked at. flags: the MSG_* flags of the synchronous call. The request waits for data or room
 * even where the descriptor is O_NONBLOCK; with MSG_DONTWAIT it ends with EAGAIN instead. A
 * stream's requests are carried out in order for each direction, each send whole. SIGPIPE is never
 * raised. The destination address, the msghdr and its iovec array are copied at the call; buffers,
 * control data, and the places for results (from; of *aio_msg: msg_namelen, msg_controllen,
 * msg_flags) stay the caller's until the end.
 *
 * Return 0 when the request is queued, or -1 with errno:
 *   EINVAL  cb is NULL, flags of aio_accept that do not exist, aio_msg is NULL, lengths above
 *           SSIZE_MAX, a destination address longer than struct sockaddr_storage
 *   EFAULT  aio_connect without an address, msg_iov is NULL and msg_iovlen is not 0
 *   EMSGSIZE  msg_iovlen is above IOV_MAX
 *   EBADF   SIGEV_EC, and sigev_ec is no channel
 *   EAGAIN  a limit is reached (sigevec_get_limits, ec_set_limit) or memory is short; nothing has
 *           been done
 * All else is reported by aio_error(3). Thread-safe; not async-signal-safe. Source: the paper,
 * figure 2.
 */
int aio_send(struct aiocb *cb, int flags);
int aio_recv(struct aiocb *cb, int flags);
int aio_sendto(struct aiocb *cb, int flags, const struct sockaddr *to, socklen_t tolen);
int aio_recvfrom(struct aiocb *cb, int flags, struct sockaddr *from, socklen_t fromlen);
int aio_sendmsg(struct aiocb *cb, int flags);
int aio_recvmsg(struct aiocb *cb, int flags);

/*
 * aio_accept, aio_connect: accept a connection (the result is the new descriptor; flags:
 * SOCK_NONBLOCK, SOCK_CLOEXEC), and connect (result 0, or -1 with the error of the connection).
 * Otherwise as above. Source: ours, because a server needs them.
 */
int aio_accept(struct aiocb *cb, int flags);
int aio_connect(struct aiocb *cb, const struct sockaddr *to, socklen_t tolen);

#ifdef __cplusplus
}
#endif

#endif
