// SPDX-License-Identifier: MIT
#include "channel/figures.hpp"

#include "base/memory_order.hpp"
#include "runtime/stats.hpp"

#include <initializer_list>

namespace sigevec::figures {

using stats_file::File;
using stats_file::Word;

stats_file::Channel *open(int fd, unsigned flags, uint64_t limit)
{
	File *f = stats::on();
	if (f == nullptr)
		return nullptr;
	for (stats_file::Channel &c : f->channel) {
		uint64_t unused = 0;
		if (c.used.load(mo::relaxed) != 0 ||
		    !c.used.compare_exchange_strong(unused, 1, mo::acquire))
			continue;
		c.fd.store(static_cast<uint64_t>(fd), mo::relaxed);
		c.flags.store(flags, mo::relaxed);
		c.limit.store(limit, mo::relaxed);
		for (Word *w :
		     {&c.pushed, &c.delivered, &c.refused, &c.dropped, &c.high_water, &c.admitted})
			w->store(0, mo::relaxed);
		c.used.store(2, mo::release);
		return &c;
	}
	return nullptr;
}

void close(stats_file::Channel *c)
{
	if (c != nullptr)
		c->used.store(0, mo::release);
}

} // namespace sigevec::figures
