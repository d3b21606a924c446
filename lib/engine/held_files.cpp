// SPDX-License-Identifier: MIT
#include "engine/held_files.hpp"

#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "engine/to_helper.hpp"
#include "request/pace.hpp"
#include "runtime/copies.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>

namespace sigevec::held_files {

namespace {

struct alignas(64) Shard {
	Mutex lock;
	HeldFile *files = nullptr;
};

constexpr unsigned most_joined = 1024;
constexpr unsigned shards = 64;
Shard table[shards];

Shard &shard_of(uint64_t ino)
{
	return table[(ino * 0x9e3779b97f4a7c15ull >> 32) % shards];
}

bool is_of(const HeldFile *f, const Request *r)
{
	return f->ino == r->ino.load(mo::relaxed) && f->dev == r->dev.load(mo::relaxed) &&
	       f->flags == r->flags;
}

// False: its last user is about to close it.
bool use(HeldFile *f)
{
	uint32_t n = f->uses.load(mo::relaxed);
	while (n != 0 && !f->uses.compare_exchange_weak(n, n + 1, mo::relaxed))
		;
	return n != 0;
}

// The file that r may use, in use by it; nullptr: there is none. Frees those that are nobody's.
HeldFile *join(Shard &s, const Request *r)
{
	HeldFile *found = nullptr;
	for (HeldFile **p = &s.files; *p != nullptr;) {
		HeldFile *f = *p;
		// Acquire: its last user has done with it.
		if (f->closed.load(mo::acquire)) {
			*p = f->next;
			free(f);
			continue;
		}
		if (found == nullptr && f->left != 0 && is_of(f, r) && use(f)) {
			f->left--;
			found = f;
		}
		p = &f->next;
	}
	return found;
}

HeldFile *make(const Request *r)
{
	void *m = malloc(sizeof(HeldFile));
	if (m == nullptr)
		return nullptr;
	return new (m) HeldFile{nullptr,
				r->dev.load(mo::relaxed),
				r->ino.load(mo::relaxed),
				r->flags,
				-1,
				most_joined,
				{1},
				{false}};
}

// With a file of its own, which others may join from now on. 0 or -errno.
int bring(Shard &s, Request *r)
{
	HeldFile *f = make(r);
	r->held = f;
	if (int e = helper::to_driver(r); e != 0) {
		// r goes on by another way, which asks.
		r->held = nullptr;
		free(f);
		return e;
	}
	if (f == nullptr)
		return 0;
	// r may have ended already; then nobody joins it.
	Guard<Mutex> g(s.lock);
	f->next = s.files;
	s.files = f;
	return 0;
}

} // namespace

int to_driver(Request *r)
{
	helper::Helper *h = helper::get();
	if (h == nullptr || !r->exact_inode)
		return helper::to_driver(r);
	Shard &s = shard_of(r->ino.load(mo::relaxed));
	{
		Guard<Mutex> g(s.lock);
		r->held = join(s, r);
	}
	// A list's files go over together, and are known only then.
	if (r->held == nullptr)
		return helper::collecting() ? helper::to_driver(r) : bring(s, r);
	r->post = {nullptr, helper::MessageType::request, r};
	helper::post(h, &r->post);
	return 0;
}

void arrived(Request *r)
{
	HeldFile *f = r->held;
	if (f != nullptr && r->file == -1)
		r->file = f->file;
	else if (f != nullptr)
		f->file = r->file;
}

void let_go(Request *r)
{
	pace::left(r);
	HeldFile *f = r->held;
	r->held = nullptr;
	if (f == nullptr) {
		copies::close(r->file);
		return;
	}
	if (f->uses.fetch_sub(1, mo::acq_rel) != 1)
		return;
	copies::close(r->file);
	f->closed.store(true, mo::release);
}

// What the parent held is not in the child's helper.
void after_fork()
{
	for (Shard &s : table) {
		s.lock.reset();
		s.files = nullptr;
	}
}

} // namespace sigevec::held_files
