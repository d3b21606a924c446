/* SPDX-License-Identifier: MIT */
/* io_uring constants that older headers lack. The values are the kernel's ABI. */
#ifndef SIGEVEC_COMPAT_URING_H
#define SIGEVEC_COMPAT_URING_H 1

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif
#ifndef IORING_SETUP_COOP_TASKRUN
#define IORING_SETUP_COOP_TASKRUN (1U << 8)
#endif
#ifndef IORING_SETUP_TASKRUN_FLAG
#define IORING_SETUP_TASKRUN_FLAG (1U << 9)
#endif
#ifndef IORING_SETUP_SUBMIT_ALL
#define IORING_SETUP_SUBMIT_ALL (1U << 7)
#endif
#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP (1U << 14)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#endif
#ifndef IORING_NOTIF_USAGE_ZC_COPIED
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif
#ifndef IORING_ASYNC_CANCEL_USERDATA
#define IORING_ASYNC_CANCEL_USERDATA (1U << 4)
#endif

/* Enumerators in newer headers, which the preprocessor cannot ask for: hence names of their own.
 */
#define IORING_OP_FUTEX_WAIT_NUMBER 51
#define IORING_OP_FIXED_FD_INSTALL_NUMBER 54
#define IORING_ENTER_REGISTERED_RING_FLAG (1U << 4)
#define IORING_REGISTER_RING_FDS_NUMBER 20
#define IORING_UNREGISTER_RING_FDS_NUMBER 21
#define IORING_REGISTER_USE_REGISTERED_RING_FLAG (1U << 31)

#endif
