// SPDX-License-Identifier: MIT
//
// sigevec_get_engine, sigevec_get_limits, sigevec_set_limits, sigevec_get_stats.
#include "sigevec/info.h"
#include "api/result.hpp"

#include "base/memory_order.hpp"
#include "dma/region.hpp"
#include "engine/select.hpp"
#include "runtime/config.hpp"
#include "runtime/process.hpp"
#include "runtime/stats.hpp"
#include "submit/check.hpp"

#include <cerrno>

using namespace sigevec;

SIGEVEC_EXPORT int sigevec_get_engine(unsigned index, struct sigevec_engine *engine)
{
	auto all = select::all();
	if (engine == nullptr || index >= all.size() || !process::ensure())
		return api::result_of(EINVAL);
	const Engine *e = all[index];
	engine->name = e->name;
	engine->works = e->works(&engine->reason) ? 1 : 0;
	return 0;
}

SIGEVEC_EXPORT int sigevec_get_limits(struct sigevec_limits *limits)
{
	if (limits == nullptr || !process::ensure())
		return api::result_of(EINVAL);
	limits->threads = config::limits.threads.load(mo::relaxed);
	limits->requests = config::limits.requests.load(mo::relaxed);
	limits->ring = config::limits.ring.load(mo::relaxed);
	limits->idle = config::limits.idle.load(mo::relaxed);
	limits->dma = config::limits.dma.load(mo::relaxed);
	return 0;
}

SIGEVEC_EXPORT int sigevec_set_limits(const struct sigevec_limits *limits)
{
	if (limits == nullptr || !process::ensure() || limits->threads == 0 ||
	    limits->requests == 0 || limits->requests > config::most_requests ||
	    limits->ring == 0 || limits->ring > config::most_ring)
		return api::result_of(EINVAL);
	if (limits->requests < requests::size() || limits->dma < dma::region::charged())
		return api::result_of(EBUSY);
	config::limits.threads.store(limits->threads, mo::relaxed);
	config::limits.requests.store(limits->requests, mo::relaxed);
	config::limits.ring.store(limits->ring, mo::relaxed);
	config::limits.idle.store(limits->idle, mo::relaxed);
	config::limits.dma.store(limits->dma, mo::relaxed);
	return 0;
}

SIGEVEC_EXPORT int sigevec_get_stats(struct sigevec_stat *v, unsigned max)
{
	if ((v == nullptr && max != 0) || !process::ensure())
		return api::result_of(EINVAL);
	for (unsigned i = 0; i < max && i < stats::counters; i++)
		v[i] = {stats::names[i], stats::sum(i)};
	return stats::counters;
}
