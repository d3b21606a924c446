// SPDX-License-Identifier: MIT
#include "dma/members.hpp"

#include "base/memory_order.hpp"
#include "base/proc.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "base/thread_number.hpp"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

namespace sigevec::dma {

namespace {

constexpr uint32_t own_counters = 16; // threads with counters of their own; the others share some
// Beside the process's number: what else is to stand there is not there yet; it has let go.
constexpr uint32_t entering = uint32_t{1} << 31, has_left = uint32_t{1} << 30,
		   number_mask = has_left - 1;
constexpr uint32_t of_everybody = ~uint32_t{0}; // a parent that is not known
constexpr uint32_t of_nobody = 0;

// What is the same as long as a process runs one program. Zero: not known.
struct Identity {
	uint64_t start; // when it began, in ticks
	uint64_t stack; // where its stack begins, which changes with the program
	bool there, zombie;
};

// Fields of /proc/PID/stat, counted as in proc(5); what stands before the state may have any
// characters.
constexpr int state_field = 3, start_field = 22, stack_field = 28;

Identity parse(const char *text)
{
	Identity i{0, 0, true, false};
	const char *at = strrchr(text, ')');
	for (int field = state_field; at != nullptr && field <= stack_field; field++) {
		at = strchr(at + (field == state_field), ' ');
		if (at == nullptr)
			break;
		at++;
		if (field == state_field)
			i.zombie = *at == 'Z' || *at == 'X';
		else if (field == start_field)
			i.start = strtoull(at, nullptr, 10);
		else if (field == stack_field)
			i.stack = strtoull(at, nullptr, 10);
	}
	return i;
}

void append_number(char *text, uint32_t n)
{
	char digits[12];
	size_t count = 0;
	for (; n != 0; n /= 10)
		digits[count++] = static_cast<char>('0' + n % 10);
	size_t end = strlen(text);
	while (count != 0)
		text[end++] = digits[--count];
	text[end] = 0;
}

// Async-signal-safe, but for what libc makes of strtoull. process 0: the caller.
Identity look_at(uint32_t process)
{
	char name[32] = "", text[1024];
	if (process == 0)
		strcat(name, "self");
	else
		append_number(name, process);
	strcat(name, "/stat");
	return proc::read(name, text, sizeof text) > 0 ? parse(text) : Identity{};
}

// The PID namespace; 0: not known.
uint64_t own_space()
{
	int root = proc::root();
	struct statx s;
	bool known = root >= 0 && sys::statx(root, "self/ns/pid", 0, STATX_INO, &s) == 0;
	if (root >= 0)
		sys::close(root);
	return known ? s.stx_ino : 0;
}

} // namespace

// The counters of one thread. Who dies in the middle leaves them unequal.
struct alignas(64) Members::Transit::Counters {
	std::atomic<uint32_t> begun, ended;
};

struct alignas(64) Members::Member {
	std::atomic<uint32_t> process; // 0: free
	std::atomic<uint32_t> parent;  // its place, or one of the two above
	std::atomic<uint64_t> start, stack, space;
	std::atomic<uint64_t> lent;
	std::atomic<bool> swept; // dead, and nothing is left but what the program had there
};

struct Members::Table {
	alignas(64) std::atomic<uint32_t> reaper; // whose turn it is: a place, or 0
	Member member[most];
	Transit::Counters transit[most][own_counters + 1];
};

size_t Members::memory()
{
	return sizeof(Table);
}

void Members::create(void *memory)
{
	table_ = static_cast<Table *>(memory);
	me_ = 0;
	my_process_ = 0;
	join();
}

void Members::join()
{
	// The parent's place may have been given away since.
	uint32_t parent = my_process_ == 0 ? of_nobody
			  : me_ != 0 && table_->member[me_].process.load(mo::acquire) == my_process_
				  ? me_
				  : of_everybody;
	auto process = static_cast<uint32_t>(syscall(SYS_getpid));
	int saved = errno;
	Identity i = look_at(0);
	uint64_t space = own_space();
	errno = saved;
	my_process_ = process;
	me_ = 0;
	for (uint32_t at = 1; at < most && me_ == 0; at++) {
		Member &m = table_->member[at];
		uint32_t none = 0;
		if (!m.process.compare_exchange_strong(none, process | entering, mo::acq_rel))
			continue;
		m.parent.store(parent, mo::relaxed);
		m.start.store(i.start, mo::relaxed);
		m.stack.store(i.stack, mo::relaxed);
		m.space.store(space, mo::relaxed);
		m.lent.store(0, mo::relaxed);
		m.swept.store(false, mo::relaxed);
		for (auto &t : table_->transit[at])
			t.ended.store(t.begun.load(mo::relaxed), mo::relaxed);
		m.process.store(process, mo::release);
		me_ = at;
	}
}

namespace {

// One instruction, so that a signal handler's use of the same counter does no harm.
inline void count(std::atomic<uint32_t> &c, bool alone)
{
#if defined __x86_64__ && !defined __SANITIZE_THREAD__
	if (alone) {
		asm volatile("incl %0" : "+m"(c) : : "memory", "cc");
		return;
	}
#endif
	(void)alone;
	c.fetch_add(1, mo::seq_cst);
}

} // namespace

// The counter is changed before the units and records, which is done by locked instructions, and
// after them.
Members::Transit::Transit(const Members &m)
{
	unsigned number = thread_number();
	alone_ = number < own_counters && m.me_ != 0;
	c_ = &m.table_->transit[m.me_][number < own_counters ? number : own_counters];
	count(c_->begun, alone_);
}

Members::Transit::~Transit()
{
	count(c_->ended, alone_);
}

uint64_t Members::living() const
{
	uint64_t living = 1; // of those who found no place nobody knows
	for (uint32_t at = 1; at < most; at++)
		if (table_->member[at].process.load(mo::acquire) != 0 && !is_dead(at))
			living |= uint64_t{1} << at;
	return living;
}

bool Members::quiet(uint64_t living, uint64_t *sum) const
{
	bool quiet = true;
	*sum = 0;
	std::atomic_thread_fence(mo::seq_cst);
	for (; living != 0; living &= living - 1)
		for (auto &t : table_->transit[__builtin_ctzll(living)]) {
			uint32_t ended = t.ended.load(mo::acquire),
				 begun = t.begun.load(mo::acquire);
			quiet = quiet && begun == ended;
			*sum += begun;
		}
	std::atomic_thread_fence(mo::seq_cst);
	return quiet;
}

void Members::leave()
{
	if (me_ != 0)
		table_->member[me_].process.fetch_or(has_left, mo::release);
}

void Members::add_lent(int64_t bytes)
{
	table_->member[me_].lent.fetch_add(static_cast<uint64_t>(bytes), mo::relaxed);
}

uint64_t Members::lent() const
{
	uint64_t n = table_->member[0].lent.load(mo::relaxed);
	for (uint32_t at = 1; at < most; at++)
		if (table_->member[at].process.load(mo::acquire) != 0)
			n += table_->member[at].lent.load(mo::relaxed);
	return n;
}

bool Members::is_dead(uint32_t at) const
{
	const Member &m = table_->member[at];
	uint32_t process = m.process.load(mo::acquire);
	if (process == 0 || (at == me_ && process == my_process_))
		return false;
	if ((process & has_left) != 0)
		return true;
	uint64_t space = table_->member[me_].space.load(mo::relaxed);
	if (me_ == 0 || space == 0 ||
	    ((process & entering) == 0 && m.space.load(mo::relaxed) != space))
		return false;
	int saved = errno;
	bool gone = syscall(SYS_kill, process & number_mask, 0) != 0 && errno == ESRCH;
	Identity now = gone ? Identity{} : look_at(process & number_mask);
	errno = saved;
	if (gone || (process & entering) != 0 || !now.there)
		return gone;
	auto differs = [](uint64_t was, uint64_t is) { return was != 0 && is != 0 && was != is; };
	return now.zombie || differs(m.start.load(mo::relaxed), now.start) ||
	       differs(m.stack.load(mo::relaxed), now.stack);
}

uint32_t Members::begin_reaping(uint32_t after, bool theirs)
{
	uint32_t dead = 0;
	for (uint32_t at = after + 1; at < most && dead == 0; at++) {
		const Member &m = table_->member[at];
		if (at != me_ && m.process.load(mo::relaxed) != 0 && is_dead(at) &&
		    (!m.swept.load(mo::relaxed) || (theirs && !has_heirs(at))))
			dead = at;
	}
	if (dead == 0 || me_ == 0)
		return 0;
	// One at a time: the place of a dead one is not used again while somebody looks for what it
	// had.
	uint32_t reaper = table_->reaper.load(mo::acquire);
	bool free = reaper == 0 || (reaper < most && reaper != me_ && is_dead(reaper));
	if (!free || !table_->reaper.compare_exchange_strong(reaper, me_, mo::acq_rel))
		return 0;
	if (is_dead(dead))
		return dead;
	table_->reaper.store(0, mo::release);
	return 0;
}

bool Members::has_heirs(uint32_t dead) const
{
	for (uint32_t at = 1; at < most; at++) {
		uint32_t process = table_->member[at].process.load(mo::acquire);
		if (at == dead || process == 0 || is_dead(at))
			continue;
		if ((process & entering) != 0)
			return true;
		uint32_t up = at;
		for (uint32_t i = 0; i < most && up != of_nobody; i++) {
			up = table_->member[up].parent.load(mo::relaxed);
			if (up == dead || up >= most)
				return true;
		}
	}
	return false;
}

bool Members::died_in_transit(uint32_t dead) const
{
	for (auto &t : table_->transit[dead])
		if (t.begun.load(mo::relaxed) != t.ended.load(mo::relaxed))
			return true;
	return false;
}

void Members::end_reaping(uint32_t dead, Left left)
{
	Member &d = table_->member[dead];
	if (left == Left::nothing) {
		uint32_t parent = d.parent.load(mo::relaxed);
		for (auto &m : table_->member)
			if (m.parent.load(mo::relaxed) == dead)
				m.parent.store(parent, mo::relaxed);
		d.process.store(0, mo::release);
	} else
		d.swept.store(left == Left::to_heirs, mo::relaxed);
	table_->reaper.store(0, mo::release);
}

} // namespace sigevec::dma
