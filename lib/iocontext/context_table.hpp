// SPDX-License-Identifier: MIT
//
// The table of contexts, by address. It is read without a lock, and changed with `changing'.
#pragma once

#include "base/chains.hpp"
#include "base/memory_order.hpp"
#include "iocontext/context.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec::io {

// Open addressing; a table is replaced by one of twice the size when half of it has been used, and
// stays for whoever still reads it. Places are not emptied, but marked, as long as something may
// come after them.
struct Table {
	uint32_t places, used;
	std::atomic<Context *> place[];
};

extern std::atomic<Table *> table;
extern Mutex changing;  // the table, with all signals blocked
extern Context removed; // the mark

inline uint32_t first_place(const Table *t, const void *address)
{
	return static_cast<uint32_t>(hash_of(address, nullptr)) & (t->places - 1);
}

// nullptr: there is none.
inline std::atomic<Context *> *find(Table *t, const void *address)
{
	for (uint32_t i = first_place(t, address), n = 0; n < t->places;
	     i = (i + 1) & (t->places - 1), n++) {
		Context *c = t->place[i].load(mo::acquire);
		if (c == nullptr)
			return nullptr;
		if (c->address.load(mo::acquire) == address)
			return &t->place[i];
	}
	return nullptr;
}

void put(Table *t, Context *c);
// What is at the address is there no more.
void take_out(Table *t, const void *address);
// A table with room for one more; nullptr: no memory. With `changing' held.
Table *roomy_table();

} // namespace sigevec::io
