/* SPDX-License-Identifier: MIT */
/*
 * The queues of a network device, without the kernel's protocols: whole Ethernet frames in a DMA
 * region. See ether_open(3).
 */
#ifndef SIGEVEC_ETHER_H
#define SIGEVEC_ETHER_H 1

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of ether_open. With neither of the first two the device reads and writes the region itself
 * if its driver can. */
#define ETHER_COPY 1u     /* frames are copied between the device's memory and the region */
#define ETHER_ZEROCOPY 2u /* fail rather than copy */
#define ETHER_PROMISC                                                                              \
	4u /* the device receives frames for other stations as well, as long as this is open */

/*
 * ether_open: a descriptor for one receive and transmit queue (0 is the first) of a network device:
 * an AF_XDP socket. With dma_assoc a region becomes the memory of the queue; from then on its
 * frames come to this program instead of the kernel's protocols, by sio_recv, aio_recv with
 * AIO_DMA_BUF, ev_recv and async_io_notify; the descriptor is readable while there are some.
 * sio_send sends frames; with MSG_MORE only together with the next one. Frames begin with the
 * Ethernet header and end without the checksum. A frame larger than a slot is dropped and counted
 * (dma_stat); a slot takes DMA_BUFSIZE(n) bytes, or else the device's MTU, its header and two VLAN
 * tags.
 *
 * The descriptor is closed by execve. When it is closed, or the program ends however it ends, the
 * kernel's protocols get the frames again, at the latest after about a second. Returns the
 * descriptor, or -1 with errno:
 *   EINVAL        unknown flags, or both of the first two; ifname is NULL or longer than a name can
 *                 be; the device has no such queue
 *   ENODEV        there is no such device
 *   EPERM         it takes CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF; CAP_SYS_ADMIN as well to join
 *                 another program on one device
 *   EBUSY         another XDP program is attached to the device
 *   EOPNOTSUPP    ETHER_ZEROCOPY: the driver cannot; or the device takes no XDP program
 *   EAFNOSUPPORT  the kernel has no AF_XDP
 *   EMFILE, ENFILE, ENOMEM  there are too many descriptors, or there is too little memory
 * Thread-safe; not async-signal-safe. Source: ours.
 */
int ether_open(const char *ifname, unsigned queue, unsigned flags);

#ifdef __cplusplus
}
#endif

#endif
