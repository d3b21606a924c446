// SPDX-License-Identifier: MIT
//
// Scenarios: what else can be waited for.
#ifdef __x86_64__
#include "scenarios.hpp"

#include <mqueue.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <time.h>

namespace faults {

void timer()
{
	Channel c;
	if (!c)
		return;
	sigevent s{};
	s.sigev_notify = SIGEV_EC;
	s.sigev_ec = c.ec;
	s.sigev_value.sival_ptr = &c;
	timer_t t;
	const itimerspec soon{{0, 0}, {0, 1000000}};
	stage("timer_create");
	if (!accepted("timer_create", timer_create(CLOCK_MONOTONIC, &s, &t),
		      {EAGAIN, ENOMEM, shared->call == SYS_timer_create ? shared->error : EAGAIN}))
		return;
	stage("timer_settime");
	if (accepted("timer_settime", timer_settime(t, 0, &soon, nullptr), {shared->error})) {
		event_data_t e{};
		stage("a timer's event");
		if (next(c.ec, &e, "a timer") && e.ev_type != event_data_t::event_type_timer)
			wrong("a timer: an event that is not its own");
	}
	stage("timer_delete");
	if (timer_delete(t) != 0 && (strict() || errno != shared->error))
		wrong("timer_delete fails with %s", strerrorname_np(errno));
}

void queue()
{
	char name[40];
	snprintf(name, sizeof name, "sigevec-faults-%ld", raw(SYS_getpid));
	mq_attr a{};
	a.mq_maxmsg = 4;
	a.mq_msgsize = 16;
	raw(SYS_mq_unlink, name);
	const int q = own(raw(SYS_mq_open, name, O_CREAT | O_RDWR, 0600, &a));
	raw(SYS_mq_unlink, name);
	{
		Channel c;
		if (c) {
			sigevent s{};
			s.sigev_notify = SIGEV_EC;
			s.sigev_ec = c.ec;
			s.sigev_value.sival_ptr = &c;
			stage("mq_notify");
			if (accepted("mq_notify", mq_notify(q, &s),
				     {EAGAIN, ENOMEM, EMFILE, ENFILE, EAFNOSUPPORT,
				      shared->call == SYS_mq_notify ? shared->error : EAGAIN})) {
				raw(SYS_mq_timedsend, q, "hello", 5, 0, nullptr);
				c.event("mq_notify", &c, event_data_t::event_type_msq, 0);
			}
		}
	}
	close_all({q});
}

static long post_sem(sem_t *s)
{
	return sem_post(s); // a futex wake of libc's at most, which cannot fail
}

void semaphore()
{
	static sem_t sem, other;
	static pthread_mutex_t mutex;
	sem_init(&sem, 0, 0);
	sem_init(&other, 0, 0);
	pthread_mutex_init(&mutex, nullptr);
	Channel c;
	if (!c)
		return;
	const auto sync = event_data_t::event_type_sync;
	stage("ev_sem_wait");
	const bool in = accepted("ev_sem_wait", ev_sem_wait(&sem, nullptr, c.ec, &sem));
	stage("ev_sem_wait with a limit");
	timespec end;
	raw(SYS_clock_gettime, CLOCK_REALTIME, &end);
	end.tv_nsec += 3000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	const bool late = accepted("ev_sem_wait", ev_sem_wait(&other, &end, c.ec, &other));
	if (late) {
		event_data_t e{};
		stage("the limit of ev_sem_wait");
		if (next(c.ec, &e, "ev_sem_wait") &&
		    (e.ev_data != &other || e.ev_errno != ETIMEDOUT))
			wrong("ev_sem_wait: %s instead of ETIMEDOUT", strerrorname_np(e.ev_errno));
	}
	if (in) {
		post_sem(&sem);
		c.event("ev_sem_wait", &sem, sync, 0);
	}
	stage("ev_pthread_mutex_lock");
	if (accepted("ev_pthread_mutex_lock", ev_pthread_mutex_lock(&mutex, c.ec, &mutex)) &&
	    c.event("ev_pthread_mutex_lock", &mutex, sync, 0)) {
		stage("ev_pthread_mutex_lock of what is locked");
		const bool waits = accepted("ev_pthread_mutex_lock",
					    ev_pthread_mutex_lock(&mutex, c.ec, &end));
		if (pthread_mutex_unlock(&mutex) != 0)
			wrong("the mutex is not ours");
		if (waits && c.event("ev_pthread_mutex_lock", &end, sync, 0) &&
		    pthread_mutex_unlock(&mutex) != 0)
			wrong("the mutex is not ours");
	}
	stage("ev_sem_wait for ever");
	if (accepted("ev_sem_wait", ev_sem_wait(&sem, nullptr, c.ec, &c))) {
		stage("ev_cancel");
		if (ev_cancel(c.ec, &c) == 0) {
			event_data_t e{};
			stage("ev_cancel of a semaphore");
			if (next(c.ec, &e, "ev_cancel") && e.ev_errno != ECANCELED)
				wrong("ev_cancel: %s", strerrorname_np(e.ev_errno));
		} else {
			accepted("ev_cancel", -1, {EAGAIN});
		}
	}
}

void signals()
{
	Channel c;
	if (!c)
		return;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	stage("ev_signal");
	if (!accepted("ev_signal", ev_signal(&set, c.ec, &set), {EAGAIN, ENOMEM, EMFILE, ENFILE}))
		return;
	raw(SYS_tgkill, raw(SYS_getpid), raw(SYS_gettid), SIGUSR1);
	event_data_t e{};
	stage("a signal's event");
	if (next(c.ec, &e, "ev_signal") && e.ev_type != event_data_t::event_type_sig)
		wrong("ev_signal: an event that is not its own");
}

void sysv()
{
	struct {
		long type;
		char text[8];
	} m{1, "message"}, got{};
	const int q = int(raw(SYS_msgget, IPC_PRIVATE, 0600 | IPC_CREAT));
	{
		Channel c;
		if (c) {
			stage("ev_msgrcv");
			if (accepted("ev_msgrcv", ev_msgrcv(q, &got, 8, 0, 0, c.ec, &got))) {
				raw(SYS_msgsnd, q, &m, 8, 0);
				if (c.event("ev_msgrcv", &got, event_data_t::event_type_sync, 8) &&
				    memcmp(got.text, m.text, 8) != 0)
					wrong("ev_msgrcv: other data");
			}
		}
	}
	raw(SYS_msgctl, q, IPC_RMID, nullptr);
}

void locks()
{
	static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
	static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	const auto sync = event_data_t::event_type_sync;
	Channel c;
	if (!c)
		return;
	stage("ev_pthread_rwlock_wrlock");
	if (accepted("ev_pthread_rwlock_wrlock", ev_pthread_rwlock_wrlock(&lock, c.ec, &lock)) &&
	    c.event("ev_pthread_rwlock_wrlock", &lock, sync, 0)) {
		stage("ev_pthread_rwlock_rdlock of what is locked");
		const bool waits = accepted("ev_pthread_rwlock_rdlock",
					    ev_pthread_rwlock_rdlock(&lock, c.ec, &c));
		if (pthread_rwlock_unlock(&lock) != 0)
			wrong("the lock is not ours");
		if (waits && c.event("ev_pthread_rwlock_rdlock", &c, sync, 0) &&
		    pthread_rwlock_unlock(&lock) != 0)
			wrong("the lock is not ours");
	}
	stage("ev_pthread_cond_wait");
	pthread_mutex_lock(&mutex);
	if (accepted("ev_pthread_cond_wait", ev_pthread_cond_wait(&cond, &mutex, c.ec, &cond))) {
		pthread_mutex_lock(&mutex);
		pthread_cond_signal(&cond);
		pthread_mutex_unlock(&mutex);
		c.event("ev_pthread_cond_wait", &cond, sync, 0);
	}
	if (pthread_mutex_unlock(&mutex) != 0)
		wrong("the condition's mutex is not ours");
}

/// Both sides of a barrier; one alone is cancelled.
void barrier()
{
	static pthread_barrier_t b;
	pthread_barrier_init(&b, nullptr, 2);
	Channel c;
	if (!c)
		return;
	unsigned in = 0, serial = 0;
	for (void *data : {(void *)&b, (void *)&c}) {
		stage("ev_pthread_barrier_wait");
		in += accepted("ev_pthread_barrier_wait", ev_pthread_barrier_wait(&b, c.ec, data));
	}
	event_data_t e{};
	if (in == 1) {
		stage("ev_cancel of one side of a barrier");
		if (ev_cancel(c.ec, &b) == 0 || ev_cancel(c.ec, &c) == 0) {
			if (next(c.ec, &e, "ev_cancel") && e.ev_errno != ECANCELED)
				wrong("ev_cancel: %s", strerrorname_np(e.ev_errno));
		} else {
			accepted("ev_cancel", -1, {EAGAIN, ENOENT});
		}
	}
	for (unsigned i = 0; in == 2 && i < 2; i++) {
		stage("the events of a barrier");
		if (!next(c.ec, &e, "ev_pthread_barrier_wait"))
			break;
		serial += e.ev_result == PTHREAD_BARRIER_SERIAL_THREAD;
		if (e.ev_errno != 0)
			wrong("ev_pthread_barrier_wait: %s", strerrorname_np(e.ev_errno));
	}
	if (in == 2 && serial != 1)
		wrong("ev_pthread_barrier_wait: %u are the one of a round", serial);
}

void sysv_calls()
{
	struct {
		long type;
		char text[8];
	} m{1, "message"}, got{};
	const int q = int(raw(SYS_msgget, IPC_PRIVATE, 0600 | IPC_CREAT));
	const int s = int(raw(SYS_semget, IPC_PRIVATE, 1, 0600 | IPC_CREAT));
	const auto sync = event_data_t::event_type_sync;
	{
		Channel c;
		if (c) {
			stage("ev_msgsnd");
			if (accepted("ev_msgsnd", ev_msgsnd(q, &m, 8, 0, c.ec, &m)) &&
			    c.event("ev_msgsnd", &m, sync, 0) &&
			    (raw(SYS_msgrcv, q, &got, 8, 0, IPC_NOWAIT) != 8 ||
			     memcmp(got.text, m.text, 8) != 0))
				wrong("ev_msgsnd: other data");
			sembuf take_it{0, -1, 0}, give{0, 1, 0};
			void *const list = &take_it;
			stage("ev_semop");
			if (accepted("ev_semop", ev_semop(s, &take_it, 1, c.ec, list))) {
				raw(SYS_semop, s, &give, 1);
				c.event("ev_semop", list, sync, 0);
			}
		}
	}
	raw(SYS_msgctl, q, IPC_RMID, nullptr);
	raw(SYS_semctl, s, 0, IPC_RMID, 0);
}

/// A number needs no server and no file.
void look_up()
{
	Channel c;
	if (!c)
		return;
	addrinfo hints{};
	hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
	gaicb g{};
	g.ar_name = "127.0.0.1";
	g.ar_service = "80";
	g.ar_request = &hints;
	gaicb *list[] = {&g};
	sigevent s{};
	s.sigev_notify = SIGEV_EC;
	s.sigev_ec = c.ec;
	s.sigev_value.sival_ptr = &c;
	stage("getaddrinfo_a");
	const int r = getaddrinfo_a(GAI_NOWAIT, list, 1, &s);
	if (r != 0) {
		if (strict() || (r != EAI_AGAIN && r != EAI_MEMORY && r != EAI_SYSTEM))
			wrong("getaddrinfo_a: %s", gai_strerror(r));
		return;
	}
	event_data_t e{};
	stage("the event of getaddrinfo_a");
	if (next(c.ec, &e, "getaddrinfo_a") && e.ev_data != &c)
		wrong("getaddrinfo_a: an event that is not its own");
	const int end = gai_error(&g);
	if (end == EAI_INPROGRESS || (strict() && end != 0))
		wrong("getaddrinfo_a ends with %s", gai_strerror(end));
	if (end == 0)
		freeaddrinfo(g.ar_result);
}

} // namespace faults

#endif
