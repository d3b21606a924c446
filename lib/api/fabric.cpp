// SPDX-License-Identifier: MIT
//
// What libsigevec_fabric has of this library (remote/interface.hpp).
#include "base/memory_order.hpp"
#include "base/socket_option.hpp"
#include "channel/channel.hpp"
#include "dma/region.hpp"
#include "remote/device.hpp"
#include "runtime/helper.hpp"
#include "runtime/process.hpp"
#include "runtime/thread.hpp"
#include "submit/check.hpp"
#include "submit/submit.hpp"

#include <cerrno>

using namespace sigevec;

namespace {

// The driver starts it, whose table it then has. Providers need more stack than the library does.
struct Start : helper::Errand {
	Start(void *(*m)(void *), const char *n) : Errand(run_it), main(m), name(n) {}
	static void run_it(helper::Errand *e)
	{
		auto *s = static_cast<Start *>(e);
		s->error = start_program_thread(s->main, helper::running(), s->name);
	}
	void *(*main)(void *);
	const char *name;
	int error = EAGAIN;
};

int start_inside(void *(*main)(void *), const char *name)
{
	Start s(main, name);
	return helper::run_inside(&s) ? s.error : EAGAIN;
}

void enter()
{
	helper::enter_helper_thread(helper::running());
}

remote::Endpoint *find(int fd, int *error)
{
	*error = dma::association::check_socket(fd);
	remote::Device *d = *error == 0 ? remote::device::find(socket_cookie(fd)) : nullptr;
	if (d == nullptr && (*error == 0 || *error == ENOTSOCK))
		*error = ENOTSUP;
	return d != nullptr ? d->endpoint : nullptr;
}

int hold(const void *p, size_t size, remote::Held *h)
{
	dma::Region *r = dma::region::around(p, size);
	if (r == nullptr)
		return EFAULT;
	uint32_t unit = r->pieces.hold(p, size);
	if (unit == dma::no_unit)
		return r->pieces.can_hold() ? EINVAL : EAGAIN;
	dma::region::add_request(r);
	*h = {static_cast<uint16_t>(dma::region::index_of(r)), unit};
	return 0;
}

void let_go(const remote::Held &h)
{
	dma::Region *r = dma::region::at(h.region);
	r->pieces.unhold(h.unit);
	dma::region::remove_request(r);
}

bool stays(const void *p, size_t size)
{
	const dma::Region *r = dma::region::around(p, size);
	return r != nullptr && r->mapping != nullptr;
}

bool may_be_cut(const void *p, size_t size)
{
	const dma::Region *r = dma::region::around(p, size);
	return r != nullptr && r->of_file;
}

bool store(void *to, const void *from, size_t n)
{
	return dma::region::store(dma::region::around(to, n), to, from, n);
}

int region_of(dma_mem_t mem)
{
	dma::Region *r = dma::region::find(mem);
	return r != nullptr ? static_cast<int>(dma::region::index_of(r)) : -1;
}

int begin(int fd, ec_t ec, void *data, Request **r)
{
	Call c{};
	c.op = Op::send;
	c.fd = fd;
	c.event.notify = SIGEV_EC;
	c.event.signo = ec;
	c.event.value.sival_ptr = data;
	return submit::create_elsewhere(c, r);
}

void abandon(Request *r)
{
	Channel *c = r->channel.load(mo::relaxed);
	if (requests::abandon(r))
		channel::return_credit(c);
}

bool cancelled(const Request *r)
{
	return r->get_state() != State::queued;
}

constinit const remote::Host host = {
	remote::version,
	process::ensure,
	start_inside,
	enter,
	helper::hold,
	remote::device::adopt,
	find,
	hold,
	let_go,
	dma::region::join,
	stays,
	may_be_cut,
	store,
	region_of,
	begin,
	abandon,
	cancelled,
	submit::end_elsewhere,
};

} // namespace

SIGEVEC_EXPORT const remote::Host *sigevec_fabric_host(unsigned version)
{
	return version == remote::version ? &host : nullptr;
}
