// SPDX-License-Identifier: MIT
#include "engine/rights.hpp"

#include "base/capabilities.hpp"
#include "base/groups.hpp"
#include "base/memory_order.hpp"
#include "base/sync.hpp"
#include "runtime/helper.hpp"

#include <atomic>
#include <cstdlib>
#include <new>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec {

namespace {

constexpr uid_t no_change = ~uid_t{0}; // setfsuid and setfsgid then only say what is

bool all_equal(const unsigned (&v)[4])
{
	return v[0] == v[1] && v[0] == v[2] && v[0] == v[3];
}

} // namespace

Rights Rights::own()
{
	Rights r{};
	syscall(SYS_getresuid, &r.user[0], &r.user[1], &r.user[2]);
	r.user[3] = static_cast<uid_t>(syscall(SYS_setfsuid, no_change));
	syscall(SYS_getresgid, &r.group[0], &r.group[1], &r.group[2]);
	r.group[3] = static_cast<gid_t>(syscall(SYS_setfsgid, no_change));
	r.supplementary = supplementary_groups();
	Capabilities c = Capabilities::own();
	for (int i = 0; i < 2; i++) {
		r.effective[i] = c.set[i].effective;
		r.permitted[i] = c.set[i].permitted;
	}
	r.no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	return r;
}

bool Rights::settled() const
{
	return all_equal(user) && all_equal(group) && effective[0] == permitted[0] &&
	       effective[1] == permitted[1];
}

bool Rights::plain() const
{
	return settled() && permitted[0] == 0 && permitted[1] == 0;
}

void Rights::adopt() const
{
	// First all that is put by: it may be what allows the rest.
	Rights now = own();
	Capabilities c = Capabilities::own();
	for (auto &s : c.set)
		s.effective = s.permitted;
	c.adopt();
	syscall(SYS_setresuid, no_change, now.user[2], no_change);
	syscall(SYS_setresgid, group[0], group[1], group[2]);
	syscall(SYS_setfsgid, group[3]);
	syscall(SYS_setresuid, user[0], user[1], user[2]);
	syscall(SYS_setfsuid, user[3]);
	c = Capabilities::own();
	for (int i = 0; i < 2; i++)
		c.set[i].effective = effective[i];
	c.adopt();
}

namespace rights {

namespace {

// What the helper's threads have. Never freed: they change seldom, and somebody may be reading.
std::atomic<const Rights *> known{nullptr};
std::atomic<uint32_t> generation{1}; // of the process
// In which generation this thread was found to have the helper's rights, without a way to get any
// others.
thread_local uint32_t same_for_good __attribute__((tls_model("initial-exec"))) = 0;

bool equal(const Rights &mine)
{
	const Rights *r = known.load(mo::acquire);
	return r != nullptr && *r == mine;
}

bool same_promise(const Rights &r)
{
	return r.no_new_privileges == (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

bool same_capabilities(const Rights &r)
{
	bool told;
	Capabilities c = Capabilities::own(&told);
	return told && c.set[0].effective == r.effective[0] && c.set[1].effective == r.effective[1];
}

// What counts for files: five calls of the seven. What has been put by is not asked for: r has
// nothing, and the thread's cannot become the helper's.
bool same_for_files(const Rights &r)
{
	return r.settled() && static_cast<uid_t>(syscall(SYS_setfsuid, no_change)) == r.user[3] &&
	       static_cast<gid_t>(syscall(SYS_setfsgid, no_change)) == r.group[3] &&
	       same_capabilities(r) && supplementary_groups() == r.supplementary && same_promise(r);
}

} // namespace

bool write_alike()
{
	const Rights *r = known.load(mo::acquire);
	bool for_good = same_for_good == generation.load(mo::relaxed);
	return (r != nullptr && !for_good && same_for_files(*r)) || are_the_helpers();
}

bool are_the_helpers()
{
	uint32_t now = generation.load(mo::relaxed);
	const Rights *r = known.load(mo::acquire);
	if (same_for_good == now && r != nullptr)
		return same_promise(*r);
	// Without a helper nothing is handed over.
	if (helper::get() == nullptr)
		return true;
	Rights mine = Rights::own();
	if (!mine.settled())
		return false;
	if (!equal(mine)) {
		// libc may have changed those of all threads.
		helper::RightsReply reply;
		if (helper::ask(&reply) == 0 || !equal(mine))
			return false;
	}
	if (mine.plain())
		same_for_good = now;
	return true;
}

void helper_has(const Rights &r)
{
	if (equal(r))
		return;
	if (void *m = malloc(sizeof(Rights)); m != nullptr)
		known.store(new (m) Rights(r), mo::release);
}

void after_fork()
{
	generation.fetch_add(1, mo::relaxed);
	known.store(nullptr, mo::relaxed);
}

} // namespace rights
} // namespace sigevec
