// SPDX-License-Identifier: MIT
#include "dma/attachment_impl.hpp"

#include "base/capabilities.hpp"
#include "base/memory_order.hpp"
#include "base/pages.hpp"
#include "runtime/thread.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::dma::attachment {

namespace {

constexpr uint32_t most = 64;
constexpr size_t fewest_pages = 16, most_pages = size_t{1} << 18;

constinit Attachment table[most] = {};
Mutex changing;

Attachment *of_region(const Region *r)
{
	uint32_t place = r->attached.load(mo::acquire);
	return place != 0 ? at_place(place) : nullptr;
}

// ---- the thread

bool make_area(Attachment *a, Region *r)
{
	Area &area = a->area;
	area = {};
	size_t n = r->size / page_size() / 2;
	for (n = n < most_pages ? n : most_pages; n >= fewest_pages; n /= 2)
		if ((area.base = r->pieces.reserve_area(n)) != nullptr)
			break;
	if (area.base == nullptr)
		return false;
	area.pages = n;
	size_t units = n * page_size() / unit;
	area.out = static_cast<uint64_t *>(calloc(units / 64 + 1, sizeof(uint64_t)));
	area.arrivals = static_cast<uint16_t *>(calloc(n, sizeof(uint16_t)));
	a->question.fragments = static_cast<Fragment *>(malloc(most_asked * sizeof(Fragment)));
	return area.out != nullptr && area.arrivals != nullptr && a->question.fragments != nullptr;
}

void drop_area(Attachment *a, Region *r)
{
	if (a->area.base != nullptr)
		r->pieces.end_area();
	free(a->area.out);
	free(a->area.arrivals);
	free(a->question.fragments);
	free(a->spare_queue);
	a->spare_queue = nullptr;
	a->area = {};
	a->question = {};
}

// What has been released is the kernel's again. Only a device takes it by itself; without one the
// kernel is told when it is much, or now.
void refill(Attachment *a, bool now)
{
	Area &area = a->area;
	Region *r = a->region.load(mo::relaxed);
	size_t page = page_size();
	auto first = static_cast<size_t>(area.base - r->base) / unit;
	auto back = [&](uint32_t at) {
		size_t in = at - first;
		// Another process may have written there what it likes.
		if (at < first || in >= area.pages * page / unit ||
		    (area.out[in / 64] >> (in % 64) & 1) == 0)
			return true;
		if (!a->ring.give_back(in * unit, static_cast<uint32_t>(unit)))
			return false;
		area.out[in / 64] &= ~(uint64_t{1} << (in % 64));
		if (--area.arrivals[in * unit / page] == 0)
			area.pages_out--;
		return true;
	};
	if (r->pieces.any_returned())
		r->pieces.collect(back);
	a->ring.publish(now || a->ring.unpublished() > area.pages / 4);
}

void carry_out(Attachment *a, Task t)
{
	Question &q = a->question;
	refill(a, t == Task::refill);
	if (t == Task::receive)
		q.result = a->ring.receive(q.fd, q.len, q.fragments, &q.count, &q.last);
}

// What the kernel said, for the program: why there is none.
struct Refusal {
	int error;
	const char *reason;
};

Refusal refusal(int e, bool registering, bool device)
{
	if (!registering)
		return {ENOTSUP, e == ENOMEM ? "memory is short"
					     : "there is no io_uring that can (Linux 6.15)"};
	switch (e) {
	case EPERM:
		return {EPERM, "CAP_NET_ADMIN is missing"};
	case EBUSY:
	case EEXIST:
		return {EBUSY, "the queue is another's"};
	case ENODEV:
		return {ENODEV, "there is no such device"};
	case ENOMEM:
		return {ENOMEM, "memory is short"};
	default:
		break;
	}
	if (!device)
		return {ENOTSUP, "the kernel has no receive without a device (Linux 7.1)"};
	return {ENOTSUP, e == EOPNOTSUPP
				 ? "the device's driver does not know zero-copy receive"
				 : "the device does not split headers, or not for this queue"};
}

// Has the ring made. The device may be taken apart by the kernel, for who had it before, a moment
// later.
int open_patiently(Attachment *a, bool *registering)
{
	constexpr int attempts = 250;
	constexpr timespec moment{0, 2000000};
	bool device = (a->flags & DMA_NODEV) == 0;
	ZcrxQueue q = {a->area.base, a->area.pages * page_size(), device ? a->ifindex : 0,
		       device ? a->queue : 0};
	for (int i = 0;; i++) {
		int e = -a->ring.open(q, registering);
		if ((e != EBUSY && e != EEXIST) || i == attempts)
			return e;
		syscall(SYS_nanosleep, &moment, nullptr);
	}
}

void answer(Attachment *a)
{
	a->task.store(static_cast<uint32_t>(Task::none), mo::seq_cst);
	futex_wake(a->task, INT_MAX);
}

// The first answer is whether there is a ring.
void *main(void *p)
{
	auto *a = static_cast<Attachment *>(p);
	bool registering = false;
	int e = open_patiently(a, &registering);
	a->question.last = e;
	a->question.count = registering ? 1 : 0;
	answer(a);
	if (e != 0)
		return nullptr;
	for (;;) {
		auto t = static_cast<Task>(a->task.load(mo::acquire));
		if (t == Task::none) {
			futex_wait(a->task, static_cast<uint32_t>(t), nullptr);
			continue;
		}
		if (t == Task::end)
			break;
		carry_out(a, t);
		answer(a);
	}
	a->ring.close();
	answer(a);
	return nullptr;
}

void wait_for_answer(Attachment *a, Task t)
{
	auto asked = static_cast<uint32_t>(t);
	while (a->task.load(mo::acquire) == asked)
		futex_wait(a->task, asked, nullptr);
}

} // namespace

void ask(Attachment *a, Task t)
{
	a->task.store(static_cast<uint32_t>(t), mo::seq_cst);
	futex_wake(a->task, 1);
	wait_for_answer(a, t);
}

Attachment *at_place(uint32_t place)
{
	return &table[place - 1];
}

// ---- attaching and detaching

namespace {

// Whether the device has such a queue, as far as that can be seen.
bool has_queue(const char *ifname, unsigned queue)
{
	char path[64 + IF_NAMESIZE];
	struct stat s;
	snprintf(path, sizeof path, "/sys/class/net/%s/queues", ifname);
	if (stat(path, &s) != 0)
		return true;
	snprintf(path, sizeof path, "/sys/class/net/%s/queues/rx-%u", ifname, queue);
	return stat(path, &s) == 0;
}

// 0 or an errno: what is wrong with the device's name and queue.
int find_device(const char *ifname, unsigned queue, unsigned flags, unsigned *index)
{
	bool needed = (flags & DMA_NODEV) == 0;
	*index = 0;
	if (ifname == nullptr)
		return needed ? EINVAL : 0;
	size_t n = strnlen(ifname, IF_NAMESIZE);
	if (n == IF_NAMESIZE || (needed && (n == 0 || strchr(ifname, '/') != nullptr)))
		return EINVAL;
	if (!needed)
		return 0;
	if ((*index = if_nametoindex(ifname)) == 0)
		return ENODEV;
	return has_queue(ifname, queue) ? 0 : EINVAL;
}

// With `changing' held: a free place, unless the region or the queue has one. 0 or an errno.
int find_place(const Region *r, unsigned index, unsigned queue, unsigned flags, Attachment **a)
{
	*a = nullptr;
	if (r->attached.load(mo::relaxed) != 0)
		return EBUSY;
	for (Attachment &x : table) {
		if (x.region.load(mo::relaxed) == nullptr) {
			*a = *a == nullptr ? &x : *a;
			continue;
		}
		// Without a device there are as many queues as are wanted.
		bool same = ((x.flags | flags) & DMA_NODEV) == 0 && x.ifindex == index &&
			    x.queue == queue;
		if (same)
			return EBUSY;
	}
	return *a != nullptr ? 0 : EAGAIN;
}

// The thread and its ring. What the kernel said; error 0: it works.
Refusal start(Attachment *a, Region *r)
{
	if (!Capabilities::own().has(CAP_NET_ADMIN))
		return {EPERM, "CAP_NET_ADMIN is missing"};
	if (!make_area(a, r)) {
		if (a->area.base == nullptr && r->pieces.has_area())
			return {EBUSY, "the region is another process's queue's"};
		return {ENOMEM, "the region has no room for an area of 16 pages"};
	}
	a->task.store(static_cast<uint32_t>(Task::refill), mo::seq_cst);
	if (start_thread(main, a, "sigevec-zcrx") != 0)
		return {EAGAIN, "no thread can be had"};
	wait_for_answer(a, Task::refill);
	int e = a->question.last;
	if (e != 0)
		return refusal(e, a->question.count != 0, (a->flags & DMA_NODEV) == 0);
	return {0, (a->flags & DMA_NODEV) != 0 ? "without a device: the kernel copies"
					       : "the device puts it there"};
}

} // namespace

int attach(Region *r, const char *ifname, unsigned queue, unsigned flags)
{
	unsigned index;
	if (int e = find_device(ifname, queue, flags, &index); e != 0)
		return e;
	Guard<Mutex> g(changing);
	Attachment *a;
	if (int e = find_place(r, index, queue, flags, &a); e != 0)
		return e;
	Guard<Mutex> h(a->lock);
	*a->ifname = 0;
	if (ifname != nullptr)
		strcpy(a->ifname, ifname);
	a->ifindex = index;
	a->queue = queue;
	a->flags = flags;
	a->question = {};
	a->area = {};
	a->unaligned = false;
	a->region.store(r, mo::release);
	Refusal refused = start(a, r);
	a->reason = refused.reason;
	if (refused.error != 0)
		drop_area(a, r);
	bool insists = (flags & (DMA_NODEV | DMA_ZEROCOPY)) != 0 || refused.error == EBUSY;
	if (refused.error != 0 && insists) {
		a->region.store(nullptr, mo::release);
		return refused.error;
	}
	region::add_request(r);
	r->attached.store(static_cast<uint32_t>(a - table) + 1, mo::release);
	return 0;
}

int detach(Region *r, const char *ifname, unsigned queue)
{
	Guard<Mutex> g(changing);
	Attachment *a = of_region(r);
	const char *name = ifname != nullptr ? ifname : "";
	if (a == nullptr || strncmp(a->ifname, name, IF_NAMESIZE) != 0 || a->queue != queue)
		return EINVAL;
	Guard<Mutex> h(a->lock);
	r->attached.store(0, mo::release);
	if (a->area.base != nullptr)
		ask(a, Task::end);
	drop_area(a, r);
	a->region.store(nullptr, mo::release);
	region::remove_request(r);
	return 0;
}

void stat(const Region *r, struct dma_stat *s)
{
	s->attached = dma_not_attached;
	s->attached_reason = "it is not attached to a queue";
	s->placed = r->placed.load(mo::relaxed);
	s->placed_by_kernel = r->placed_by_kernel.load(mo::relaxed);
	s->placed_by_copy = r->placed_by_copy.load(mo::relaxed);
	Attachment *a = of_region(r);
	if (a == nullptr)
		return;
	s->requests -= s->requests != 0 ? 1 : 0; // the attachment's own
	s->attached_reason = a->reason;
	s->attached = a->area.base == nullptr       ? dma_attached_by_name
		      : (a->flags & DMA_NODEV) != 0 ? dma_attached_without_device
						    : dma_attached_to_device;
}

void after_fork()
{
	changing.reset();
	for (Attachment &a : table) {
		a.lock.reset();
		if (Region *r = a.region.load(mo::relaxed); r != nullptr)
			r->attached.store(0, mo::relaxed);
		// What it has is the parent's; its memory is lost to the child.
		a.region.store(nullptr, mo::relaxed);
		a.area = {};
	}
}

} // namespace sigevec::dma::attachment
