// SPDX-License-Identifier: MIT
// Who is above whom: the tables by which a floor calls what is above it, all in one place.
// Constants, so that nothing is to be registered, and the compiler sees through them when it
// optimises the library as a whole.
#include "channel/channel.hpp"
#include "dma/by_readers.hpp"
#include "dma/receiver.hpp"
#include "dma/request.hpp"
#include "engine/driver.hpp"
#include "ether/device.hpp"
#include "remote/device.hpp"
#include "request/request.hpp"
#include "ring_channel/ring_channel.hpp"
#include "runtime/helper.hpp"
#include "source/source.hpp"
#include "submit/cancel.hpp"

namespace sigevec {

constinit const helper::DriverOps helper::driver_ops = {
	driver::create, driver::prepare, driver::run, driver::on_driver_thread, driver::look_later,
};

constinit const dma::UseOps dma::use_ops = {dma::ended, dma::describe, dma::drop};

namespace {

void cancel_all(Channel *c)
{
	cancel::of_channel(c, true, nullptr);
}

} // namespace

constinit const channel::Outside channel::outside = {
	cancel_all,
	source::readable,
	dma::by_readers::arrived,
	dma::receiver::look,
};

constinit const channel::RingOps channel::ring_ops = {
	ring_channel::next,
	ring_channel::arrived,
	ring_channel::end,
	ring_channel::moderate,
	ring_channel::watch,
	ring_channel::end_armed,
	ring_channel::close_in_child,
	ring_channel::close_spares_in_child,
};

namespace {

ether::Device *of_ether(dma::Device *d)
{
	return static_cast<ether::Device *>(d);
}

remote::Device *of_remote(dma::Device *d)
{
	return static_cast<remote::Device *>(d);
}

bool is_remote(const dma::Device *d)
{
	return d->kind == dma::Device::Kind::remote;
}

dma::Device *find_device(uint64_t cookie)
{
	if (dma::Device *d = ether::device::find(cookie); d != nullptr)
		return d;
	return remote::device::find(cookie);
}

} // namespace

constinit const dma::DeviceOps dma::device_ops = {
	find_device,
	[](dma::Device *d, dma::Region *r, size_t slot) {
		return is_remote(d) ? remote::device::attach(of_remote(d), r, slot)
				    : ether::device::attach(of_ether(d), r, slot);
	},
	[](dma::Device *d) {
		is_remote(d) ? remote::device::detach(of_remote(d))
			     : ether::device::detach(of_ether(d));
	},
	ether::device::sweep,
	ether::device::any,
	remote::device::any,
	[](const dma::Device *d) -> uint64_t {
		return is_remote(d) ? 0
				    : ether::device::dropped(static_cast<const ether::Device *>(d));
	},
	ether::device::stat,
	[](dma::Association *a, const dma::receive::Want &w, dma::Arrival *x) {
		return is_remote(a->device) ? remote::device::take(a, w, x)
					    : ether::device::take(a, x);
	},
	[](dma::Device *d) { return is_remote(d) || ether::device::refill(of_ether(d)); },
	[](dma::Device *d) { return !is_remote(d) && ether::device::failed(of_ether(d)); },
	[](dma::Device *d, uint32_t seen, const struct timespec *limit) {
		return remote::device::sleep(of_remote(d), seen, limit);
	},
};

} // namespace sigevec
