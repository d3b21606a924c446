// SPDX-License-Identifier: MIT
#include "source/rights.hpp"

#include "base/capabilities.hpp"
#include "base/chains.hpp"
#include "base/groups.hpp"
#include "base/proc.hpp"

#include <cerrno>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sigevec::rights {

namespace {

uint64_t mix(uint64_t h, long value)
{
	return hash_of(h, static_cast<uint64_t>(value));
}

uint64_t of_capabilities(uint64_t h)
{
	Capabilities c = Capabilities::own();
	return mix(mix(h, c.set[0].effective), c.set[1].effective);
}

uint64_t of_namespace(uint64_t h, const char *name)
{
	return hash_of(h, proc::name_space(name));
}

uint64_t of_root(uint64_t h)
{
	struct statx s = {};
	syscall(SYS_statx, -1, "/", 0, STATX_INO, &s);
	return mix(mix(mix(h, s.stx_dev_major), s.stx_dev_minor), static_cast<long>(s.stx_ino));
}

uint64_t of_identity()
{
	uint64_t h = mix(mix(0, syscall(SYS_geteuid)), syscall(SYS_getegid));
	// A number that is none changes nothing, and the answer is the one that counts.
	h = mix(h, syscall(SYS_setfsgid, -1));
	return of_capabilities(hash_of(h, supplementary_groups()));
}

} // namespace

uint64_t to_objects()
{
	int saved = errno;
	uint64_t h = of_namespace(of_identity(), "thread-self/ns/ipc");
	errno = saved;
	return h;
}

uint64_t to_names()
{
	int saved = errno;
	uint64_t h = of_root(of_identity());
	h = of_namespace(of_namespace(h, "thread-self/ns/net"), "thread-self/ns/mnt");
	errno = saved;
	return h;
}

} // namespace sigevec::rights
