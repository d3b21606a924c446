// SPDX-License-Identifier: MIT
#include "request/pace.hpp"

#include "base/sync.hpp"
#include "request/request.hpp"

namespace sigevec {

namespace {

// A round that took longer says no more than that it was long: the program may have paused.
constexpr uint64_t longest = 8000000;

Pace::Way other(Pace::Way w)
{
	return w == Pace::Way::usual ? Pace::Way::worker : Pace::Way::usual;
}

} // namespace

void Pace::Mean::add(uint64_t ns)
{
	sum.store(sum.load(mo::relaxed) + (ns < longest ? ns : longest), mo::relaxed);
	count.store(count.load(mo::relaxed) + 1, mo::relaxed);
}

// Half as much of what was is as good as forgotten after some comparisons.
void Pace::Mean::halve()
{
	sum.store(sum.load(mo::relaxed) / 2, mo::relaxed);
	count.store(count.load(mo::relaxed) / 2, mo::relaxed);
}

uint64_t Pace::Mean::value() const
{
	uint32_t n = count.load(mo::relaxed);
	return n != 0 ? sum.load(mo::relaxed) / n : 0;
}

// Both ways have been gone: which is to be gone from now on, and when the other is tried again.
void Pace::compare()
{
	Way now = quicker_.load(mo::relaxed);
	uint64_t mine = mean(now).value(), others = mean(other(now)).value();
	uint32_t interval = interval_.load(mo::relaxed);
	if (mine == 0 || others == 0)
		return;
	// A tenth may be chance.
	if (others < mine - mine / 10) {
		quicker_.store(other(now), mo::relaxed);
		interval = rhythm_.least;
	} else if (others > mine + mine / 4) {
		interval = interval * 2 < rhythm_.most ? interval * 2 : rhythm_.most;
	} else {
		interval = rhythm_.least;
	}
	interval_.store(interval, mo::relaxed);
	mean(now).halve();
	mean(other(now)).halve();
}

// *counts: whether its round is a measure.
Pace::Way Pace::by_turn(bool *counts)
{
	uint32_t turn = turn_.load(mo::relaxed), interval = interval_.load(mo::relaxed);
	if (turn >= interval + rhythm_.probes) {
		compare();
		turn = 0;
	}
	turn_.store(turn + 1, mo::relaxed);
	*counts = (turn < interval ? turn : turn - interval) >= rhythm_.settling;
	Way quicker = quicker_.load(mo::relaxed);
	return turn < interval ? quicker : other(quicker);
}

Pace::Way Pace::next(uint64_t now)
{
	Measured m = measured_.load(mo::relaxed);
	uint64_t since = begun_.load(mo::relaxed);
	begun_.store(now, mo::relaxed);
	// The first of several that come together is alone, too: it need not go far.
	if (m == Measured::nothing) {
		measured_.store(Measured::usual, mo::relaxed);
		return Way::usual;
	}
	if (m != Measured::not_this)
		mean(m == Measured::usual ? Way::usual : Way::worker).add(now - since);
	bool counts;
	Way w = by_turn(&counts);
	Measured will = w == Way::usual ? Measured::usual : Measured::worker;
	measured_.store(counts ? will : Measured::not_this, mo::relaxed);
	return w;
}

void Pace::reset()
{
	for (Mean &m : means_) {
		m.sum.store(0, mo::relaxed);
		m.count.store(0, mo::relaxed);
	}
	turn_.store(0, mo::relaxed);
	interval_.store(rhythm_.least, mo::relaxed);
	quicker_.store(Way::usual, mo::relaxed);
	measured_.store(Measured::nothing, mo::relaxed);
}

namespace pace {

namespace {

struct alignas(64) Place {
	std::atomic<uint64_t> file{0};
	// Whichever file they are of: a place may be taken over while they are under way.
	std::atomic<uint32_t> outstanding{0};
	Pace pace{Pace::direct};
};
constexpr unsigned places = 64;
Place table[places];

uint64_t key_of(const Request *r)
{
	return file_key(r->dev.load(mo::relaxed), r->ino.load(mo::relaxed));
}

// How many others do.
uint32_t enter(Request *r, uint64_t key)
{
	auto index = static_cast<uint8_t>(key % places);
	r->paced = static_cast<uint8_t>(index + 1);
	return table[index].outstanding.fetch_add(1, mo::relaxed);
}

} // namespace

Pace::Way choose(Request *r)
{
	uint64_t key = key_of(r);
	Place &p = table[key % places];
	if (p.file.load(mo::relaxed) != key) {
		p.pace.reset();
		p.file.store(key, mo::relaxed);
	}
	if (enter(r, key) == 0)
		return p.pace.next(monotonic_ns());
	p.pace.interrupted();
	return Pace::Way::usual;
}

void count(Request *r)
{
	enter(r, key_of(r));
}

uint32_t outstanding(uint64_t dev, uint64_t ino)
{
	return table[file_key(dev, ino) % places].outstanding.load(mo::relaxed);
}

void left(Request *r)
{
	if (r->paced == 0)
		return;
	table[r->paced - 1].outstanding.fetch_sub(1, mo::relaxed);
	r->paced = 0;
}

void after_fork()
{
	for (Place &p : table) {
		p.outstanding.store(0, mo::relaxed);
		p.pace.reset();
	}
}

} // namespace pace
} // namespace sigevec
