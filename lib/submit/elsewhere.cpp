// SPDX-License-Identifier: MIT
//
// Requests that no engine carries out, but libsigevec_fabric (remote/interface.hpp).
#include "channel/wakeup.hpp"
#include "completion/completion.hpp"
#include "remote/device.hpp"
#include "request/stats_detail.hpp"
#include "runtime/process.hpp"
#include "submit/submit_impl.hpp"

#include <cerrno>

namespace sigevec::submit {

namespace {

// 0 and *r; an errno of the call; or 0 and nullptr: it has been cancelled already, and told.
int create(const Call &c, Request **r)
{
	Descriptor d{};
	d.kind = Kind::socket;
	*r = requests::create(c, d);
	if (*r == nullptr)
		return refuse(c, EAGAIN);
	note_request(c, *r);
	stats_detail::handed_over(*r);
	if (c.event.channel == nullptr || wakeup::install(c.event.channel))
		return 0;
	bool told = !requests::abandon(*r);
	*r = nullptr;
	return told ? 0 : refuse(c, EAGAIN);
}

} // namespace

int send_elsewhere(const Call &c)
{
	Request *r;
	if (int e = create(c, &r); e != 0 || r == nullptr)
		return e;
	if (ssize_t result = remote::device::start(r); result != 0)
		end_elsewhere(r, result);
	return 0;
}

void end_elsewhere(Request *r, ssize_t result)
{
	if (r->change(State::queued, State::running))
		completion::finish(r, result);
	else
		requests::release(r);
}

int create_elsewhere(Call &c, Request **r)
{
	if (!process::ensure() || requests::full())
		return EAGAIN;
	if (int e = prepare_event(c.event); e != 0)
		return e;
	note_submitted(c);
	return create(c, r);
}

} // namespace sigevec::submit
