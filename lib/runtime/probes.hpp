// SPDX-License-Identifier: MIT
//
// Probes for tracers (systemtap, bpftrace, perf), of the provider "libsigevec". Each is one
// instruction that does nothing, and a note in the ELF file that says where it is and where its
// arguments are; without <sys/sdt.h> there are none.
//
//   submit(aiocb, operation, descriptor, length)       a request was accepted
//   complete(aiocb, operation, result, engine)          it has ended; the result is -errno for an
//                                                       error
//   notify(how, signal or channel, value)               its end is told: how is SIGEV_SIGNAL,
//                                                       SIGEV_THREAD or SIGEV_EC
//   fallback(counter, descriptor)                       an engine passed it on: which counter of
//                                                       sigevec_get_stats tells why
//
// aiocb is a null pointer for an ev_* call. Operations and engines are numbers of stats_file.hpp,
// in this order.
#pragma once

#include "config.h"
#include "runtime/stats.hpp"
#include "runtime/trace.hpp"

#ifdef HAVE_SYS_SDT_H
#include <sys/sdt.h>
#define SIGEVEC_PROBE2(name, a, b) DTRACE_PROBE2(libsigevec, name, a, b)
#define SIGEVEC_PROBE3(name, a, b, c) DTRACE_PROBE3(libsigevec, name, a, b, c)
#define SIGEVEC_PROBE4(name, a, b, c, d) DTRACE_PROBE4(libsigevec, name, a, b, c, d)
#else
// Nothing is evaluated, but what is there only for a probe counts as used.
#define SIGEVEC_PROBE2(name, a, b) static_cast<void>(sizeof(a) + sizeof(b))
#define SIGEVEC_PROBE3(name, a, b, c) static_cast<void>(sizeof(a) + sizeof(b) + sizeof(c))
#define SIGEVEC_PROBE4(name, a, b, c, d)                                                           \
	static_cast<void>(sizeof(a) + sizeof(b) + sizeof(c) + sizeof(d))
#endif

namespace sigevec {

// An engine declines a request for the reason that the counter tells. id: what a trace calls it; or
// 0.
inline void passed_on(stats::Counter why, int fd, uint64_t id)
{
	stats::count(why);
	if (trace::on())
		trace::put({.step = trace::Step::fallback,
			    .id = id,
			    .operation = 0,
			    .kind = 0,
			    .detail = static_cast<uint8_t>(why),
			    .fd = fd,
			    .value = 0,
			    .offset = 0,
			    .aiocb = nullptr});
	SIGEVEC_PROBE2(fallback, static_cast<int>(why), fd);
}

} // namespace sigevec
