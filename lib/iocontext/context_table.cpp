// SPDX-License-Identifier: MIT
//
// Changing the table of contexts: places are taken, given back, and moved to a larger table.
#include "iocontext/context_table.hpp"

#include "base/memory_order.hpp"

#include <cstdlib>

namespace sigevec::io {

std::atomic<Table *> table{nullptr};
Mutex changing;
Context removed;

void put(Table *t, Context *c)
{
	uint32_t i = first_place(t, c->address.load(mo::relaxed));
	while (t->place[i].load(mo::relaxed) != nullptr)
		i = (i + 1) & (t->places - 1);
	t->used++;
	t->place[i].store(c, mo::release);
}

namespace {

// Marks that nothing comes after are no longer needed: nobody's search goes beyond them. So a
// program that sets up and destroys contexts for ever needs no new tables.
void clear_marks(Table *t, uint32_t i)
{
	uint32_t mask = t->places - 1;
	if (t->place[(i + 1) & mask].load(mo::relaxed) != nullptr)
		return;
	for (; t->place[i].load(mo::relaxed) == &removed; i = (i - 1) & mask) {
		t->place[i].store(nullptr, mo::release);
		t->used--;
	}
}

} // namespace

void take_out(Table *t, const void *address)
{
	// The mark's own address.
	if (address == nullptr)
		return;
	auto *place = find(t, address);
	if (place == nullptr)
		return;
	place->store(&removed, mo::release);
	clear_marks(t, static_cast<uint32_t>(place - t->place));
}

namespace {

Table *make_table(uint32_t places)
{
	auto *t = static_cast<Table *>(
		calloc(1, sizeof(Table) + places * sizeof(std::atomic<Context *>)));
	if (t != nullptr)
		t->places = places;
	return t;
}

} // namespace

Table *roomy_table()
{
	Table *t = table.load(mo::relaxed);
	if (t != nullptr && (t->used + 1) * 2 <= t->places)
		return t;
	uint32_t live = 0;
	for (uint32_t i = 0; t != nullptr && i < t->places; i++) {
		Context *c = t->place[i].load(mo::relaxed);
		live += c != nullptr && c != &removed;
	}
	uint32_t places = 64;
	while (places < (live + 1) * 4)
		places *= 2;
	Table *bigger = make_table(places);
	if (bigger == nullptr)
		return nullptr;
	for (uint32_t i = 0; t != nullptr && i < t->places; i++)
		if (Context *c = t->place[i].load(mo::relaxed); c != nullptr && c != &removed)
			put(bigger, c);
	table.store(bigger, mo::release);
	return bigger;
}

} // namespace sigevec::io
