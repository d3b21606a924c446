/* SPDX-License-Identifier: MIT */
/*
 * Pieces of DMA regions, and the synchronous calls that send from and receive into them. See
 * sio_reserve(3), sio_send(3), sio_recv(3).
 *
 * A piece is 1 byte or more, begins at a multiple of 128 bytes and takes a multiple of that; one
 * whose size is a multiple of 512 or 4096 begins at a multiple of 512 or 4096, as O_DIRECT needs
 * it. (In an imported region: of addresses.)
 */
#ifndef SIGEVEC_SIO_H
#define SIGEVEC_SIO_H 1

#include "sigevec/dma.h"

#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * sio_reserve: take size bytes of the region and store their address in *memp. Returns 0, or -1
 * with errno:
 *   EINVAL   no such region, memp is NULL, size is 0 or above the region's
 *   ENOBUFS  there is no room for that in one piece
 * Thread-safe, lock-free; not async-signal-safe. Source: the paper, section 3.
 */
int sio_reserve(dma_mem_t mem, void **memp, size_t size);

/*
 * sio_release: give a piece back, exactly as it was got: from sio_reserve with its size, from
 * sio_recv or sio_recvfrom with what they returned, from sio_recvmsg with what that returned or
 * with sizeof(struct msghdr). While an asynchronous request still uses it, it is not used again.
 * Returns 0, or -1 with errno EINVAL, having done nothing: no such region, no piece of it, released
 * already, not its size. Thread-safe, lock-free; not async-signal-safe. Source: the paper, section
 * 3.
 */
int sio_release(dma_mem_t mem, void *addr, size_t size);

/*
 * sio_send, sio_sendto, sio_sendmsg: as send, sendto and sendmsg, from memory of regions. msg is a
 * struct msghdr, anywhere, and size its sizeof; its vector points into regions. SIGPIPE is never
 * raised. What has been sent may be released at once, and is used again when the device is done
 * with it; from 32 KiB on, over TCP to another machine, it must not be changed. Return the number
 * of bytes, or -1 with the errno of the system call, or:
 *   EFAULT  the memory is in no region
 *   EINVAL  size is above INT_MAX; of sio_sendmsg: not sizeof(struct msghdr)
 * Thread-safe; not async-signal-safe. Source: the paper, section 3.
 */
int sio_send(int sock, const void *buf, size_t size, int flags);
int sio_sendto(int sock, const void *buf, size_t size, int flags, const struct sockaddr *to,
	       socklen_t tolen);
int sio_sendmsg(int sock, const void *msg, size_t size, int flags);

/*
 * sio_recv, sio_recvfrom: receive at most size bytes into a new piece of a region that is
 * associated with the socket, and store its address in *buf. Return the number of bytes, which is
 * the size of the piece; 0 at the end of a stream and for an empty datagram, *buf being NULL; or -1
 * with the errno of recv, or:
 *   EINVAL   the socket has no region, buf is NULL, size is 0 or above INT_MAX
 *   ENOBUFS  there is no room in its regions; nothing is lost
 *   EOPNOTSUPP  flags that cannot be: MSG_PEEK and MSG_WAITALL where data has been received ahead
 * They wait as recv does: O_NONBLOCK, MSG_DONTWAIT, SO_RCVTIMEO. At most fromlen bytes of the
 * sender's address are stored at from, which may be NULL. Thread-safe; not async-signal-safe.
 * Source: the paper, section 3.
 */
int sio_recv(int sock, void **buf, size_t size, int flags);
int sio_recvfrom(int sock, const void **buf, size_t size, int flags, struct sockaddr *from,
		 socklen_t fromlen);

/*
 * sio_recvmsg: the same, with address and control data: *msg is a struct msghdr in the region,
 * whose msg_name, msg_control and msg_iov[0] point to what arrived, beside it; up to 312 bytes of
 * control data. size: the most bytes of data; with sizeof(struct msghdr) as many as fit into the
 * region, for a stream 65,536.
 */
int sio_recvmsg(int sock, const void **msg, size_t size, int flags);

#ifdef __cplusplus
}
#endif

#endif
