// SPDX-License-Identifier: MIT
#include "runtime/jobs.hpp"

#include "base/memory_order.hpp"

namespace sigevec::helper {

// With the lock held.
void Jobs::append(Post *p)
{
	p->next = nullptr;
	if (first_ == nullptr)
		first_ = p;
	else
		last_->next = p;
	last_ = p;
	queued_.fetch_add(1, mo::seq_cst);
	changes_.advance();
}

// With the lock held. nullptr: there is none.
Post *Jobs::pop()
{
	Post *p = first_;
	if (p == nullptr)
		return nullptr;
	first_ = p->next;
	queued_.fetch_sub(1, mo::seq_cst);
	return p;
}

// One that looks sees the first of them by itself.
void Jobs::wake()
{
	if (queued_.load(mo::seq_cst) > lookers_.load(mo::seq_cst))
		changes_.wake(1);
}

void Jobs::push(Post *p)
{
	{
		Guard<Mutex> g(lock_);
		append(p);
	}
	wake();
}

bool Jobs::push_to_idle(Post *p)
{
	if (idle_.load(mo::relaxed) == 0)
		return false;
	{
		Guard<Mutex> g(lock_);
		if (idle_.load(mo::relaxed) <= queued_.load(mo::relaxed))
			return false;
		append(p);
	}
	wake();
	return true;
}

Post *Jobs::take_now()
{
	Guard<Mutex> g(lock_);
	return pop();
}

Post *Jobs::take(Spin &spin, bool expected, const timespec &most)
{
	Deadline until = Deadline::after(&most);
	timespec rest = most;
	bool looked = false;
	for (bool idle = false;;) {
		EventCount::Key seen;
		{
			Guard<Mutex> g(lock_);
			Post *p = pop();
			bool over = p == nullptr && idle && !until.left(rest);
			if (p != nullptr || over) {
				if (idle)
					idle_.fetch_sub(1, mo::seq_cst);
				return p;
			}
			if (!idle)
				idle_.fetch_add(1, mo::seq_cst);
			idle = true;
			seen = changes_.key();
		}
		uint32_t nobody = 0;
		if (!looked && (expected || !spin.skip()) &&
		    lookers_.compare_exchange_strong(nobody, 1, mo::seq_cst)) {
			looked = true;
			spin.until([this] { return queued_.load(mo::relaxed) != 0; });
			lookers_.store(0, mo::seq_cst);
			continue;
		}
		changes_.sleep(seen, &rest);
	}
}

bool Jobs::short_of_workers()
{
	return queued_.load(mo::seq_cst) > idle_.load(mo::seq_cst);
}

} // namespace sigevec::helper
