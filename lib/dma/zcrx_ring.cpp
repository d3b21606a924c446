// SPDX-License-Identifier: MIT
#include "dma/zcrx_ring.hpp"

#include "base/memory_order.hpp"
#include "base/pages.hpp"
#include "uring.h"
#include "zcrx.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::dma {

namespace {

constexpr uint32_t entries = 8, completions = 256, refill_entries = 4096;
constexpr size_t part = 65536; // room for entries, and for completions, with pages of any size
constexpr uint64_t receive_name = 1, cancel_name = 2;
constexpr size_t completion_size = 32;

uint32_t acquire(uint32_t *word)
{
	return std::atomic_ref<uint32_t>(*word).load(mo::acquire);
}

void release(uint32_t *word, uint32_t value)
{
	std::atomic_ref<uint32_t>(*word).store(value, mo::release);
}

// Memory that no child has; nullptr: there is none.
char *map(size_t size)
{
	void *m = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return nullptr;
	madvise(m, size, MADV_DONTFORK);
	return static_cast<char *>(m);
}

size_t refill_size()
{
	return page_size() + round_up(refill_entries * sizeof(zcrx_refill_entry), page_size());
}

// In the last member of both structures, which has a name in newer headers only.
template <class Offsets> void set_user_address(Offsets *o, const void *address)
{
	uint64_t a = reinterpret_cast<uintptr_t>(address);
	memcpy(reinterpret_cast<char *>(o) + 32, &a, sizeof a);
}

} // namespace

int ZcrxRing::set_up()
{
	struct io_uring_params p = {};
	p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQE32 |
		  IORING_SETUP_CQSIZE | IORING_SETUP_NO_MMAP | IORING_SETUP_SUBMIT_ALL |
		  ZCRX_SETUP_REGISTERED_FD_ONLY;
	p.cq_entries = completions;
	char *rings = memory_ + part;
	set_user_address(&p.sq_off, memory_);
	set_user_address(&p.cq_off, rings);
	index_ = static_cast<int>(syscall(SYS_io_uring_setup, entries, &p));
	if (index_ < 0)
		return -errno;
	auto word = [&](uint32_t at) { return reinterpret_cast<uint32_t *>(rings + at); };
	sq_.entries = memory_;
	sq_.head = word(p.sq_off.head);
	sq_.tail = word(p.sq_off.tail);
	sq_.array = word(p.sq_off.array);
	sq_.mask = p.sq_entries - 1;
	cq_.head = word(p.cq_off.head);
	cq_.tail = word(p.cq_off.tail);
	cq_.mask = p.cq_entries - 1;
	cq_.entries = rings + p.cq_off.cqes;
	sq_.next = *sq_.tail;
	return 0;
}

int ZcrxRing::register_queue(const ZcrxQueue &q)
{
	zcrx_region region = {};
	region.user_addr = reinterpret_cast<uintptr_t>(refill_.memory);
	region.size = refill_size();
	region.flags = ZCRX_REGION_USER;
	zcrx_area area = {};
	area.addr = reinterpret_cast<uintptr_t>(q.area);
	area.len = q.size;
	zcrx_queue queue = {};
	queue.if_idx = q.ifindex;
	queue.if_rxq = q.queue;
	queue.rq_entries = refill_entries;
	queue.flags = q.ifindex == 0 ? ZCRX_WITHOUT_DEVICE : 0;
	queue.area_ptr = reinterpret_cast<uintptr_t>(&area);
	queue.region_ptr = reinterpret_cast<uintptr_t>(&region);
	if (syscall(SYS_io_uring_register, index_,
		    ZCRX_REGISTER_IFQ | ZCRX_REGISTER_USE_REGISTERED_RING, &queue, 1) != 0)
		return -errno;
	refill_.head = reinterpret_cast<uint32_t *>(refill_.memory + queue.head);
	refill_.tail = reinterpret_cast<uint32_t *>(refill_.memory + queue.tail);
	refill_.entries = refill_.memory + queue.rqes;
	refill_.given = refill_.flushed = *refill_.tail;
	refill_.token = area.token;
	refill_.id = queue.zcrx_id;
	return 0;
}

int ZcrxRing::open(const ZcrxQueue &q, bool *registering)
{
	*registering = false;
	memory_ = map(2 * part);
	refill_.memory = map(refill_size());
	int e = memory_ != nullptr && refill_.memory != nullptr ? set_up() : -ENOMEM;
	if (e == 0) {
		*registering = true;
		e = register_queue(q);
	}
	if (e != 0)
		close();
	return e;
}

void ZcrxRing::close()
{
	if (index_ >= 0) {
		struct io_uring_rsrc_update u = {};
		u.offset = static_cast<uint32_t>(index_);
		syscall(SYS_io_uring_register, index_,
			IORING_UNREGISTER_RING_FDS | ZCRX_REGISTER_USE_REGISTERED_RING, &u, 1);
	}
	index_ = -1;
	if (memory_ != nullptr)
		munmap(memory_, 2 * part);
	if (refill_.memory != nullptr)
		munmap(refill_.memory, refill_size());
	memory_ = refill_.memory = nullptr;
}

// ---- receiving

int ZcrxRing::enter()
{
	release(sq_.tail, sq_.next);
	long n = syscall(SYS_io_uring_enter, index_, sq_.next - acquire(sq_.head), 1,
			 IORING_ENTER_GETEVENTS | ZCRX_ENTER_REGISTERED_RING, nullptr, _NSIG / 8);
	return n < 0 && errno != EINTR && errno != EBUSY && errno != EAGAIN ? -errno : 0;
}

void ZcrxRing::put(unsigned index, uint8_t op, int fd, uint64_t address, uint32_t len,
		   uint64_t name)
{
	struct io_uring_sqe e = {};
	e.opcode = op;
	e.fd = fd;
	e.addr = address;
	e.len = len;
	e.user_data = name;
	if (op == ZCRX_OP_RECV_ZC) {
		e.ioprio = ZCRX_RECV_MULTISHOT;
		e.file_index = refill_.id; // where newer headers have zcrx_ifq_idx
	}
	uint32_t at = (sq_.next + index) & sq_.mask;
	memcpy(sq_.entries + at * sizeof e, &e, sizeof e);
	sq_.array[at] = at;
}

// What there is of completions.
void ZcrxRing::reap(Fragment *v, uint32_t *count, int *result)
{
	uint32_t head = *cq_.head, tail = acquire(cq_.tail);
	for (; head != tail; head++) {
		const char *at = cq_.entries + (head & cq_.mask) * completion_size;
		struct io_uring_cqe c;
		memcpy(static_cast<void *>(&c), at, 16);
		if (c.user_data == cancel_name) {
			cancelling_ = false;
			continue;
		}
		if ((c.flags & IORING_CQE_F_MORE) == 0) {
			final_ = true;
			*result = c.res;
			continue;
		}
		zcrx_completion where;
		memcpy(&where, at + 16, sizeof where);
		v[(*count)++] = {where.off & ((uint64_t{1} << ZCRX_AREA_SHIFT) - 1),
				 static_cast<uint32_t>(c.res)};
	}
	release(cq_.head, head);
}

// The kernel's receive goes on until it is cancelled: it is begun and cancelled in one submission,
// in that order. A cancellation that has come too early is made again.
ssize_t ZcrxRing::receive(int fd, size_t len, Fragment *v, uint32_t *count, int *last)
{
	int result = 0;
	*count = 0;
	*last = -EOPNOTSUPP;
	if (index_ < 0)
		return *last;
	put(0, ZCRX_OP_RECV_ZC, fd, 0, static_cast<uint32_t>(len), receive_name);
	put(1, IORING_OP_ASYNC_CANCEL, -1, receive_name, 0, cancel_name);
	sq_.next += 2;
	final_ = false;
	cancelling_ = true;
	while (!final_ || cancelling_) {
		if (!cancelling_) {
			put(0, IORING_OP_ASYNC_CANCEL, -1, receive_name, 0, cancel_name);
			sq_.next++;
			cancelling_ = true;
		}
		if (enter() != 0) {
			close(); // what is in it must not take anything any more
			result = -EOPNOTSUPP;
			break;
		}
		reap(v, count, &result);
	}
	size_t n = 0;
	for (uint32_t i = 0; i < *count; i++)
		n += v[i].length;
	// Without bytes left to be received it ends with 0, too.
	bool nothing = result == -ECANCELED || result == -ENOSPC || (result == 0 && n == len) ||
		       (*count != 0 && result == -ENOMEM);
	*last = nothing ? -EAGAIN : result;
	return n != 0 ? static_cast<ssize_t>(n) : *last;
}

// ---- giving back

bool ZcrxRing::give_back(uint64_t offset, uint32_t length)
{
	if (index_ < 0)
		return true; // nobody wants it
	if (refill_.given - acquire(refill_.head) >= refill_entries)
		return false;
	zcrx_refill_entry e = {};
	e.off = offset | refill_.token;
	e.len = length;
	memcpy(refill_.entries + (refill_.given & (refill_entries - 1)) * sizeof e, &e, sizeof e);
	refill_.given++;
	return true;
}

void ZcrxRing::publish(bool now)
{
	if (index_ < 0)
		return;
	release(refill_.tail, refill_.given);
	if (!now || refill_.given == refill_.flushed)
		return;
	refill_.flushed = refill_.given;
	zcrx_control c = {};
	c.zcrx_id = refill_.id;
	c.op = ZCRX_FLUSH_REFILL;
	syscall(SYS_io_uring_register, index_,
		ZCRX_REGISTER_CTRL | ZCRX_REGISTER_USE_REGISTERED_RING, &c, 0);
}

} // namespace sigevec::dma
