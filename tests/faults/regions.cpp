// SPDX-License-Identifier: MIT
//
// Scenarios: memory regions, and sockets that are associated with them.
#ifdef __x86_64__
#include "scenarios.hpp"

namespace faults {

static constexpr size_t region_size = 256 * 1024;

struct Region {
	dma_mem_t mem{};
	size_t size;
	bool made;
	explicit Region(size_t bytes = region_size) : size(bytes)
	{
		stage("dma_alloc");
		made = accepted("dma_alloc", dma_alloc(&mem, size, 0), {EAGAIN, ENOMEM});
	}
	~Region()
	{
		stage("dma_free");
		if (made && dma_free(mem, size) != 0)
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

// What arrives at an armed socket, or may have come by other ways when that has ended.
static void take_arrival(int s, dma_mem_t mem)
{
	void *p = nullptr;
	char rest[8];
	const int n = sio_recv(s, &p, 3, MSG_DONTWAIT);
	if (n > 0)
		sio_release(mem, p, size_t(n));
	else if (raw(SYS_recvfrom, s, rest, 3, MSG_DONTWAIT, nullptr, nullptr) != 3)
		wrong("an arrival is lost");
}

static void armed_with(unsigned flags)
{
	int s[2];
	pair(s, SOCK_STREAM);
	{
		Region r(1 << 20);
		stage("ec_create");
		const ec_t ec = ec_create(flags | EC_CLOEXEC);
		bool going = r.made && accepted("ec_create", ec, {EMFILE, ENFILE, ENOMEM, EAGAIN});
		stage("dma_assoc");
		const bool with = going && accepted("dma_assoc", dma_assoc(s[0], r.mem, r.size, 0),
						    {EAGAIN, ENOBUFS, ENOMEM});
		stage("ev_recv with EV_MULTISHOT");
		going = with && accepted("ev_recv", ev_recv(s[0], nullptr, 4096,
							    AIO_DMA_BUF | EV_MULTISHOT, ec, s));
		event_data_t e{};
		for (unsigned i = 0; going && i < 3; i++) {
			put(s[1], "arm", 3);
			stage("an arrival");
			if (!next(ec, &e, "an armed socket"))
				break;
			going = ended("an armed socket", e.ev_errno, e.ev_result, 3);
			if (!going) {
				take_arrival(s[0], r.mem);
				continue;
			}
			if (memcmp(e.ev_un.ev_dma.buf, "arm", 3) != 0)
				wrong("an armed socket: other data");
			stage("sio_release");
			if (sio_release(r.mem, e.ev_un.ev_dma.buf, 3) != 0)
				wrong("sio_release fails with %s", strerrorname_np(errno));
		}
		if (going) {
			stage("ev_cancel of an armed socket");
			const int q = ev_cancel(ec, s);
			if ((accepted("ev_cancel", q, {ENOENT, EAGAIN}) || errno == ENOENT) &&
			    next(ec, &e, "ev_cancel") && e.ev_errno != ECANCELED &&
			    (strict() || e.ev_errno != shared->error))
				wrong("a cancelled receive: %s", strerrorname_np(e.ev_errno));
		}
		stage("dma_disassoc");
		if (with && dma_disassoc(s[0], r.mem, r.size) != 0)
			wrong("dma_disassoc fails with %s", strerrorname_np(errno));
		stage("ec_destroy");
		if (ec >= 0 && ec_destroy(ec) != 0)
			wrong("ec_destroy fails with %s", strerrorname_np(errno));
	}
	close_all({s[0], s[1]});
}
void armed_shared()
{
	armed_with(0);
}
void armed_single()
{
	armed_with(EC_SINGLE);
}

static void arrived(int, void *count)
{
	static_cast<std::atomic<int> *>(count)->fetch_add(1);
}

void region_notify()
{
	static std::atomic<int> calls;
	calls = 0;
	int s[2];
	pair(s, SOCK_STREAM);
	{
		Region r;
		stage("dma_assoc");
		if (r.made && accepted("dma_assoc", dma_assoc(s[0], r.mem, r.size, 0),
				       {EAGAIN, ENOBUFS, ENOMEM})) {
			stage("async_io_notify");
			if (accepted("async_io_notify", async_io_notify(s[0], arrived, &calls))) {
				put(s[1], "now", 3);
				while (calls == 0)
					nap(200);
				stage("what async_io_notify has told of");
				take_arrival(s[0], r.mem);
			}
			if (calls > 1)
				wrong("async_io_notify: called twice");
			stage("dma_disassoc");
			if (dma_disassoc(s[0], r.mem, r.size) != 0)
				wrong("dma_disassoc fails with %s", strerrorname_np(errno));
		}
	}
	close_all({s[0], s[1]});
}

} // namespace faults

#endif
