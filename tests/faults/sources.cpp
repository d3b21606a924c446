// SPDX-License-Identifier: MIT
//
// Scenarios: what else can be waited for, and memory regions.
#ifdef __x86_64__
#include "scenarios.hpp"

#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>

namespace faults {

struct Channel {
	ec_t ec;
	Channel()
	{
		stage("ec_create");
		ec = ec_create(EC_CLOEXEC);
		accepted("ec_create", ec, {EMFILE, ENFILE, ENOMEM, EAGAIN});
	}
	~Channel()
	{
		stage("ec_destroy");
		if (ec >= 0 && ec_destroy(ec) != 0)
			wrong("ec_destroy fails with %s", strerrorname_np(errno));
	}
	explicit operator bool() const { return ec >= 0; }
	/// The next event is this one's; false when it tells of an error.
	bool event(const char *what, void *data, event_type type, long result)
	{
		event_data_t e{};
		stage(what);
		if (!next(ec, &e, what))
			return false;
		if (e.ev_data != data || e.ev_type != type)
			wrong("%s: an event that is not its own", what);
		return ended(what, e.ev_errno, e.ev_result, result);
	}
};

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
				event_data_t e{};
				stage("a queue's event");
				if (next(c.ec, &e, "mq_notify") &&
				    e.ev_type != event_data_t::event_type_msq)
					wrong("mq_notify: an event that is not its own");
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

// -------------------------------------------------------------------------- regions

static constexpr size_t region_size = 256 * 1024;

struct Region {
	dma_mem_t mem{};
	bool made;
	Region()
	{
		stage("dma_alloc");
		made = accepted("dma_alloc", dma_alloc(&mem, region_size, 0), {EAGAIN, ENOMEM});
	}
	~Region()
	{
		stage("dma_free");
		if (made && dma_free(mem, region_size) != 0)
			wrong("dma_free fails with %s", strerrorname_np(errno));
	}
};

void region()
{
	int s[2];
	pair(s, SOCK_STREAM);
	{
		Region r;
		void *p = nullptr, *q = nullptr;
		char back[100];
		stage("dma_assoc");
		if (r.made && accepted("dma_assoc", dma_assoc(s[0], r.mem, region_size, 0),
				       {EAGAIN, ENOBUFS, ENOMEM})) {
			stage("sio_reserve");
			if (accepted("sio_reserve", sio_reserve(r.mem, &p, 100), {ENOBUFS})) {
				memset(p, 'r', 100);
				stage("sio_send");
				const int n = sio_send(s[0], p, 100, 0);
				if (accepted("sio_send", n,
					     {shared->error, ENOMEM, EAGAIN, ENOBUFS})) {
					if (n != 100 || !take(s[1], back, 100) || back[7] != 'r')
						wrong("sio_send: other data");
				}
				stage("sio_release");
				if (sio_release(r.mem, p, 100) != 0)
					wrong("sio_release fails with %s", strerrorname_np(errno));
			}
			put(s[1], "0123456789", 10);
			stage("sio_recv");
			const int n = sio_recv(s[0], &q, 100, 0);
			if (accepted("sio_recv", n, {shared->error, ENOMEM, EAGAIN, ENOBUFS})) {
				if (n != 10 || memcmp(q, "0123456789", 10) != 0)
					wrong("sio_recv: other data");
				stage("sio_release");
				if (sio_release(r.mem, q, size_t(n)) != 0)
					wrong("sio_release fails with %s", strerrorname_np(errno));
			}
			stage("dma_disassoc");
			if (dma_disassoc(s[0], r.mem, region_size) != 0)
				wrong("dma_disassoc fails with %s", strerrorname_np(errno));
		}
	}
	close_all({s[0], s[1]});
}

void region_events()
{
	int s[2];
	pair(s, SOCK_DGRAM);
	{
		Region r;
		Channel c;
		stage("dma_assoc");
		if (r.made && c &&
		    accepted("dma_assoc", dma_assoc(s[0], r.mem, region_size, 0),
			     {EAGAIN, ENOBUFS, ENOMEM})) {
			for (unsigned i = 0; i < 3; i++) {
				aiocb cb = request(s[0], nullptr, 100);
				cb.aio_sigevent.sigev_notify = SIGEV_EC;
				cb.aio_sigevent.sigev_ec = c.ec;
				cb.aio_sigevent.sigev_value.sival_ptr = &cb;
				cb.aio_dma_buf = r.mem;
				stage("aio_recv with AIO_DMA_BUF");
				if (!accepted("aio_recv", aio_recv(&cb, AIO_DMA_BUF)))
					continue;
				put(s[1], "region", 6);
				event_data_t e{};
				stage("an event of a region's");
				if (!next(c.ec, &e, "aio_recv"))
					break;
				if (ended("aio_recv", e.ev_errno, e.ev_result, 6)) {
					char *p = (char *)cb.aio_buf;
					if (memcmp(p, "region", 6) != 0)
						wrong("aio_recv: other data");
					if (sio_release(r.mem, p, 6) != 0)
						wrong("sio_release fails with %s",
						      strerrorname_np(errno));
				} else {
					char rest[6];
					raw(SYS_recvfrom, s[0], rest, 6, MSG_DONTWAIT, nullptr,
					    nullptr);
				}
			}
			stage("dma_disassoc");
			if (dma_disassoc(s[0], r.mem, region_size) != 0)
				wrong("dma_disassoc fails with %s", strerrorname_np(errno));
		}
	}
	close_all({s[0], s[1]});
}

void region_file()
{
	const int fd = file("region", O_RDWR | O_DIRECT, 8192, 1);
	{
		Region r;
		void *p = nullptr;
		stage("sio_reserve");
		if (r.made && accepted("sio_reserve", sio_reserve(r.mem, &p, 4096), {ENOBUFS})) {
			aiocb cb = request(fd, p, 4096);
			aiocb *v[] = {&cb};
			memset(p, 'f', 4096);
			cb.aio_lio_opcode = LIO_DMA_WRITE;
			cb.aio_dma_buf = r.mem;
			stage("lio_listio of LIO_DMA_WRITE");
			const int l = lio_listio(LIO_NOWAIT, v, 1, nullptr);
			if (accepted("lio_listio", l, {EAGAIN, EIO})) {
				suspend(&cb);
				const int e = aio_error(&cb);
				alignas(4096) static char back[4096];
				if (ended("LIO_DMA_WRITE", e, aio_return(&cb), 4096) &&
				    (raw(SYS_pread64, fd, back, 4096, 0) != 4096 || back[9] != 'f'))
					wrong("LIO_DMA_WRITE: other data");
			}
			stage("sio_release");
			if (sio_release(r.mem, p, 4096) != 0)
				wrong("sio_release fails with %s", strerrorname_np(errno));
		}
	}
	close_all({fd});
}

} // namespace faults

#endif
