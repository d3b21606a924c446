// SPDX-License-Identifier: MIT
//
// libc's layout of struct aiocb: where the state of a request lives.
//
// The state is in the caller's aiocb alone, in the members that libc keeps for itself. They are
// written by this library and read back by it, but never trusted: a caller need not clear them, and
// may pass any aiocb to any function.
//
//   __error_code   the status word: bits 0..11 the error number, bits 12..27 the wait buckets that
//                  must be woken (completion/waiters.hpp)
//   __return_value what aio_return gives
//   __next_prio    low half: index of the request while it is outstanding; high half: its place in
//                  the table of finished requests (completion/completed_table.hpp)
//   __abs_prio     1 + number of the kernel-AIO context that will report it, or 0 (engine/kaio.hpp)
#pragma once

#include <aio.h>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace sigevec::aiocb_layout {

static_assert(sizeof(struct aiocb) == 168 && sizeof(struct aiocb64) == 168);
static_assert(offsetof(struct aiocb, aio_sigevent) == 32 && sizeof(struct sigevent) == 64);
static_assert(offsetof(struct aiocb, __next_prio) == 96 &&
	      offsetof(struct aiocb, __abs_prio) == 104 && offsetof(struct aiocb, __policy) == 108);
static_assert(offsetof(struct aiocb, __error_code) == 112 &&
	      offsetof(struct aiocb, __return_value) == 120);
static_assert(offsetof(struct aiocb, aio_offset) == 128);
static_assert(offsetof(struct aiocb, aio_msg) >= 136 && offsetof(struct aiocb, aio_dma_buf) >= 136);
static_assert(offsetof(struct aiocb, aio_offset) == offsetof(struct aiocb64, aio_offset));
static_assert(offsetof(struct aiocb, aio_msg) == offsetof(struct aiocb64, aio_msg));

constexpr int error_mask = 0xfff;
constexpr int bucket_shift = 12;

inline std::atomic_ref<int> status(const struct aiocb *cb)
{
	return std::atomic_ref<int>(const_cast<struct aiocb *>(cb)->__error_code);
}

inline std::atomic_ref<ssize_t> result(const struct aiocb *cb)
{
	return std::atomic_ref<ssize_t>(const_cast<struct aiocb *>(cb)->__return_value);
}

// 0, or one more than the number of the kernel-AIO context that will report the end, or
// context_of_sync: an fsync.
constexpr int context_of_sync = -1;
inline std::atomic_ref<int> context(const struct aiocb *cb)
{
	return std::atomic_ref<int>(const_cast<struct aiocb *>(cb)->__abs_prio);
}

// Another value for each submission.
inline std::atomic_ref<int> life(const struct aiocb *cb)
{
	return std::atomic_ref<int>(const_cast<struct aiocb *>(cb)->__policy);
}

inline std::atomic_ref<uint32_t> request(const struct aiocb *cb)
{
	auto *half = reinterpret_cast<uint32_t *>(&const_cast<struct aiocb *>(cb)->__next_prio);
	return std::atomic_ref<uint32_t>(half[0]);
}

inline std::atomic_ref<uint32_t> finished(const struct aiocb *cb)
{
	auto *half = reinterpret_cast<uint32_t *>(&const_cast<struct aiocb *>(cb)->__next_prio);
	return std::atomic_ref<uint32_t>(half[1]);
}

// Pairs with the release in completion::publish: a caller who sees the end also sees the result and
// the data.
inline int error(const struct aiocb *cb)
{
	return status(cb).load(std::memory_order_acquire) & error_mask;
}

inline bool in_progress(const struct aiocb *cb)
{
	return error(cb) == EINPROGRESS;
}

} // namespace sigevec::aiocb_layout
