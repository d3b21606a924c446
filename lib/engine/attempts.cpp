// SPDX-License-Identifier: MIT
#include "engine/attempts.hpp"

#include "base/memory_order.hpp"
#include "request/pace.hpp"
#include "runtime/helper.hpp"

#include <atomic>

namespace sigevec::attempts {

namespace {

constexpr uint32_t most_failures = 6;

// How many attempts are to be left out yet, and how many have failed one after the other.
struct Record {
	uint32_t left_out, failures;
};

constexpr Record unpack(uint32_t word)
{
	return {word & 0xffff, word >> 16};
}

constexpr uint32_t pack(Record r)
{
	return r.failures << 16 | r.left_out;
}

struct alignas(64) Place {
	std::atomic<uint64_t> file;
	std::atomic<uint32_t> record[ways];
};
constexpr unsigned places = 256;
Place table[places];

Place &place_of(uint64_t key)
{
	return table[key % places];
}

// The file's, if something is remembered of it.
bool known(const Place &p, uint64_t key)
{
	return p.file.load(mo::relaxed) == key;
}

void take_over(Place &p, uint64_t key)
{
	for (auto &r : p.record)
		r.store(0, mo::relaxed);
	p.file.store(key, mo::relaxed);
}

// The driver's ring begins many reads with less ado than as many attempts; workers begin each of
// theirs beside the caller.
bool device_has_little_to_do(uint64_t dev, uint64_t ino)
{
	constexpr uint32_t few = 2;
	helper::Helper *h = helper::running();
	bool has_ring = h != nullptr && h->has_ring.load(mo::relaxed);
	return pace::outstanding(dev, ino) < (has_ring ? few : 1);
}

} // namespace

bool pays(uint64_t dev, uint64_t ino, Way way)
{
	if (way == Way::read && device_has_little_to_do(dev, ino))
		return true;
	uint64_t key = pace::file_key(dev, ino);
	Place &p = place_of(key);
	if (!known(p, key))
		return true;
	auto &word = p.record[static_cast<unsigned>(way)];
	Record r = unpack(word.load(mo::relaxed));
	if (r.left_out == 0)
		return true;
	r.left_out--;
	word.store(pack(r), mo::relaxed);
	return false;
}

void note(uint64_t dev, uint64_t ino, Way way, bool success)
{
	uint64_t key = pace::file_key(dev, ino);
	Place &p = place_of(key);
	if (!known(p, key)) {
		if (success)
			return;
		take_over(p, key);
	}
	auto &word = p.record[static_cast<unsigned>(way)];
	uint32_t before = word.load(mo::relaxed);
	if (success) {
		// Files that are always warm are not written to.
		if (before != 0)
			word.store(0, mo::relaxed);
		return;
	}
	uint32_t failures =
		unpack(before).failures + (unpack(before).failures < most_failures ? 1 : 0);
	word.store(pack({(1u << failures) - 1, failures}), mo::relaxed);
}

} // namespace sigevec::attempts
