/* SPDX-License-Identifier: MIT */
/*
 * Everything else that can be waited for, as events: semaphores, locks, System V objects, signals.
 * See ev_sem_wait(3), ev_msgrcv(3) and ev_signal(3). Message queues, timers and name look-ups have
 * calls of the system's, with SIGEV_EC: sigevec_sources(7).
 *
 * All of them return 0 once the call waits, or -1 with errno, having done nothing:
 *   EBADF    ec is no channel of this process
 *   EAGAIN   the channel is at its limit (ec_set_limit), or memory, threads or descriptors are
 *            short
 *   and what is said at each.
 * Everything else arrives as the event: ev_data is the argument data, ev_result what the call of
 * the same name would have returned (of pthread_*: 0 or -1), ev_errno its error; ECANCELED after
 * ev_cancel(ec, data).
 * Thread-safe (with EC_SINGLE: one thread at a time); not async-signal-safe. Source: the paper,
 * section 7.
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
 * ev_sem_wait, ev_pthread_mutex_lock, ev_pthread_rwlock_rdlock, ev_pthread_rwlock_wrlock,
 * ev_pthread_barrier_wait, ev_pthread_cond_wait: wait for the object as the function without ev_
 * does, in one queue with all who wait for it, of this process or others. ev_type is
 * event_type_sync, ev_un.ev_obj the object. When the event says success the object has been
 * acquired; locks belong to the thread that has read the event, and it unlocks them. An event that
 * is never read (ec_destroy) gives the object back.
 *
 * abstime: of CLOCK_REALTIME, or NULL: for ever; past it the event says ETIMEDOUT.
 * ev_pthread_cond_wait: the caller has the mutex, which is free when the call returns, and the
 * event's reader has it again; not so with ECANCELED. One event of a barrier's round has ev_result
 * PTHREAD_BARRIER_SERIAL_THREAD, which is negative, and ev_errno 0. Also -1 with:
 *   EINVAL   a pointer is NULL, or the call would wait and tv_nsec is outside 0..999,999,999
 *   ENOTSUP  a mutex that is robust or has a priority protocol, or this system's objects are not
 *            what the library knows
 *   EPERM    ev_pthread_cond_wait: the mutex is of a kind that knows its owner, and that is not the
 *            caller
 * One thread looks after all such waits of a process where io_uring waits for futexes (Linux 6.7).
 * Elsewhere it is one for 127 of them, and 1,016 can wait at once (EAGAIN); any number of waits for
 * one semaphore or mutex counts as one.
 */
int ev_sem_wait(sem_t *sem, const struct timespec *abstime, ec_t ec, void *data);
int ev_pthread_mutex_lock(pthread_mutex_t *mutex, ec_t ec, void *data);
#if defined __USE_UNIX98 || defined __USE_XOPEN2K /* in plain C11 the system has no such types */
int ev_pthread_rwlock_rdlock(pthread_rwlock_t *lock, ec_t ec, void *data);
int ev_pthread_rwlock_wrlock(pthread_rwlock_t *lock, ec_t ec, void *data);
int ev_pthread_barrier_wait(pthread_barrier_t *barrier, ec_t ec, void *data);
#endif
int ev_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, ec_t ec, void *data);

/*
 * ev_signal: signals of *set are events, one each, until ev_cancel; ev_type is event_type_sig,
 * ev_result the signal's number, and ev_un.ev_sig tells more: sigev_signo, sigev_value (of
 * sigqueue), and the members below. The call blocks *set in the calling thread; other threads that
 * exist have to block it themselves, as signalfd(2) asks, or they handle it. Also -1 with:
 *   EINVAL                  set is NULL
 *   EMFILE, ENFILE, ENOMEM  no descriptor or memory left
 */
#ifdef __USE_POSIX /* likewise */
int ev_signal(const sigset_t *set, ec_t ec, void *data);
#endif

/* Members of ev_un.ev_sig in an event of ev_signal: si_code, and what siginfo_t has in the same
 * cases. */
#define sigev_code sigev_notify
#define sigev_pid _sigev_un._pad[0]    /* the sender's, or the child's of SIGCHLD */
#define sigev_uid _sigev_un._pad[1]    /* its real user */
#define sigev_status _sigev_un._pad[2] /* of SIGCHLD */

/*
 * ev_msgrcv, ev_msgsnd, ev_semop: the System V calls. ev_type is event_type_sync, ev_un.ev_obj the
 * identifier, as a pointer. The message is the caller's until the event; the operations are copied.
 * EINTR is never seen; a removed object is EIDRM. Calls on one object that differ in nothing but
 * their buffers are served in their order. They wait in threads, as many as sigevec_set_limits
 * allows for blocking calls; when more wait, one thread tries the rest without waiting, 100 times a
 * second at most. Also -1 with:
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
