/* SPDX-License-Identifier: MIT */
/*
 * Everything else that can be waited for, as events: semaphores, locks, System V objects, signals. See ev_sem_wait(3), ev_msgrcv(3) and
 * ev_signal(3). Message queues, timers and name look-ups have calls of the system's, with SIGEV_EC: sigevec_sources(7).
 *
 * All of them return 0 once the call waits, or -1 with errno, having done nothing:
 *   EBADF    ec is no channel of this process
 *   EAGAIN   the channel is at its limit (ec_set_limit), or memory, threads or descriptors are short
 *   and what is said at each. Everything else arrives as the event: ev_data is the argument data, ev_result what the call of the same
 *   name would have returned (of pthread_*: 0 or -1), ev_errno its error; ECANCELED after ev_cancel(ec, data).
 * Thread-safe (with EC_SINGLE: one thread at a time); not async-signal-safe. Source: the paper, section 7.
 */
#ifndef SIGEVEC_SYNC_H
#define SIGEVEC_SYNC_H 1

#include "sigevec/ec.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sembuf;

/*
 * ev_signal: signals of *set are events, one each, until ev_cancel; ev_type is event_type_sig, ev_result the signal's number, and
 * ev_un.ev_sig tells more: sigev_signo, sigev_value (of sigqueue), and the members below. The call blocks *set in the calling thread;
 * other threads that exist have to block it themselves, as signalfd(2) asks, or they handle it. Also -1 with:
 *   EINVAL                  set is NULL
 *   EMFILE, ENFILE, ENOMEM  no descriptor or memory left
 */
int ev_signal(const sigset_t *set, ec_t ec, void *data);

/* Members of ev_un.ev_sig in an event of ev_signal: si_code, and what siginfo_t has in the same cases. */
#define sigev_code sigev_notify
#define sigev_pid _sigev_un._pad[0]    /* the sender's, or the child's of SIGCHLD */
#define sigev_uid _sigev_un._pad[1]    /* its real user */
#define sigev_status _sigev_un._pad[2] /* of SIGCHLD */

/*
 * ev_msgrcv, ev_msgsnd, ev_semop: the System V calls. ev_type is event_type_sync, ev_un.ev_obj the identifier, as a pointer. The message is
 * the caller's until the event; the operations are copied. EINTR is never seen; a removed object is EIDRM. Calls of one kind on
 * one object are begun in order. They wait in threads, as many as sigevec_set_limits allows for blocking calls; when more wait, they take
 * turns of 10 ms. Also -1 with:
 *   EFAULT   msgp or sops is NULL
 *   E2BIG    nsops is above 65,536
 *   ENOTSUP  this system does not let a thread's call be interrupted
 */
int ev_msgrcv(int msqid, void *msgp, size_t msgsz, long msgtyp, int msgflg, ec_t ec, void *data);
int ev_msgsnd(int msqid, const void *msgp, size_t msgsz, int msgflg, ec_t ec, void *data);
int ev_semop(int semid, struct sembuf *sops, size_t nsops, ec_t ec, void *data);

#ifdef __cplusplus
}
#endif

#endif
