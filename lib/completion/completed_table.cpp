// SPDX-License-Identifier: MIT
#include "completion/completed_table.hpp"

#include "aiocb.hpp"
#include "base/memory_order.hpp"
#include "base/thread_number.hpp"

#include <atomic>

namespace sigevec::completed_table {

namespace {

// Places are grouped in rows of one cache-line multiple; a thread starts looking in a row of its
// own.
constexpr uint32_t row = 64;
constexpr uint32_t rows = 1024;
constexpr uint32_t places = row * rows;

std::atomic<struct aiocb *> table[places];
// Rows below this one may hold entries.
std::atomic<uint32_t> rows_used{0};

// Where this thread looks first: the place it used last, since that is the one it has just emptied.
thread_local uint32_t hint __attribute__((tls_model("initial-exec"))) = 0;

// The table was found full: for how many requests this thread has not looked through it again.
thread_local uint32_t scans_skipped __attribute__((tls_model("initial-exec"))) = 0;

bool put(uint32_t place, struct aiocb *cb)
{
	struct aiocb *empty = nullptr;
	if (table[place].load(mo::relaxed) != nullptr)
		return false;
	// Written before the entry is visible: whoever finds the entry may end the life of the
	// aiocb.
	aiocb_layout::finished(cb).store(place + 1, mo::relaxed);
	return table[place].compare_exchange_strong(empty, cb, mo::release, mo::relaxed);
}

bool put_in_row(uint32_t r, struct aiocb *cb)
{
	for (uint32_t i = 0; i < row; i++)
		if (put(r * row + i, cb)) {
			hint = r * row + i;
			uint32_t used = rows_used.load(mo::relaxed);
			while (used < r + 1 &&
			       !rows_used.compare_exchange_weak(used, r + 1, mo::release))
				;
			return true;
		}
	return false;
}

} // namespace

void add(struct aiocb *cb)
{
	if (put(hint, cb)) {
		// The row of a hint has been counted by put_in_row, but for the very first one:
		// unless another thread has counted its own meanwhile.
		uint32_t none = 0;
		if (rows_used.load(mo::relaxed) == 0)
			rows_used.compare_exchange_strong(none, 1, mo::release);
		return;
	}
	// On from the place used last: before it are the requests that nobody has asked about yet.
	uint32_t own = hint != 0 ? hint / row : thread_number() % rows;
	for (uint32_t i = 0; i < rows && scans_skipped == 0; i++)
		if (put_in_row((own + i) % rows, cb))
			return;
	// Full of requests that nobody has asked about: one of this thread's row gives way.
	scans_skipped = (scans_skipped + 1) % 4096;
	uint32_t place = own * row + (hint + 1) % row;
	hint = place;
	aiocb_layout::finished(cb).store(place + 1, mo::relaxed);
	table[place].store(cb, mo::release);
}

void remove(const struct aiocb *cb)
{
	uint32_t place = aiocb_layout::finished(cb).load(mo::relaxed) - 1;
	if (place >= places)
		return;
	auto *mine = const_cast<struct aiocb *>(cb);
	if (table[place].load(mo::relaxed) == mine &&
	    table[place].compare_exchange_strong(mine, nullptr, mo::relaxed))
		hint = place;
}

struct aiocb *take()
{
	uint32_t end = rows_used.load(mo::acquire) * row;
	for (uint32_t i = 0; i < end; i++) {
		struct aiocb *cb = table[i].load(mo::relaxed);
		if (cb != nullptr && table[i].compare_exchange_strong(cb, nullptr, mo::acquire))
			return cb;
	}
	return nullptr;
}

void after_fork()
{
	for (auto &p : table)
		p.store(nullptr, mo::relaxed);
	rows_used.store(0, mo::relaxed);
	hint = 0;
	scans_skipped = 0;
}

} // namespace sigevec::completed_table
