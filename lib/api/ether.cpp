// SPDX-License-Identifier: MIT
//
// ether_open.
#include "sigevec/ether.h"
#include "api/result.hpp"

#include "ether/device.hpp"
#include "runtime/process.hpp"
#include "submit/check.hpp"

#include <cerrno>
#include <cstring>
#include <net/if.h>

using namespace sigevec;

SIGEVEC_EXPORT int ether_open(const char *ifname, unsigned queue, unsigned flags)
{
	constexpr unsigned known = ETHER_COPY | ETHER_ZEROCOPY | ETHER_PROMISC,
			   both = ETHER_COPY | ETHER_ZEROCOPY;
	if (ifname == nullptr || strnlen(ifname, IF_NAMESIZE) == IF_NAMESIZE ||
	    (flags & ~known) != 0 || (flags & both) == both)
		return api::result_of(EINVAL);
	if (!process::ensure())
		return api::result_of(ENOMEM);
	int fd = ether::device::open(ifname, queue, flags);
	return fd >= 0 ? fd : api::result_of(-fd);
}
