// SPDX-License-Identifier: MIT
#include "fabric/endpoint.hpp"

#include "base/syscalls.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sys/random.h>
#include <utility>

namespace sigevec::fabric {

namespace {

constexpr uint64_t linger = 5000000000;  // ns, for what is under way when it is closed
constexpr uint64_t again = 100000000;    // and until who has not said what has come is asked again
constexpr uint64_t good_bye = 200000000; // and for telling peers of it
constexpr int moment_ms = 1, look_ms = 200;
constexpr size_t most_read = 32; // of the provider's completions in a round

void unlink(Op *o)
{
	if (!o->posted)
		return;
	Peer *p = o->peer;
	Op **list = o->orphan ? &p->orphans : &p->posted;
	(o->before != nullptr ? o->before->after : *list) = o->after;
	if (o->after != nullptr)
		o->after->before = o->before;
	o->posted = false;
}

void count(Endpoint *e, const Op *o)
{
	struct fabric_stat &f = e->figures;
	uint64_t n = o->size;
	if (o->does == Op::Does::message) {
		f.sent++;
		f.sent_bytes += n;
	} else if (o->does == Op::Does::put) {
		f.puts++;
		f.put_bytes += n;
	} else if (o->does == Op::Does::get) {
		f.gets++;
		f.get_bytes += n;
	}
}

// What is told once the lock is released: who is woken by it, on this processor, wants the lock
// next.
struct Told {
	struct End {
		Request *request;
		ssize_t result;
	} ends[most_read];
	size_t count;
	uint32_t receivers;

	void tell(Endpoint *e)
	{
		for (size_t i = 0; i < count; i++)
			host->finish(ends[i].request, ends[i].result);
		if (receivers != 0)
			futex_wake(e->receivers.came, static_cast<int>(receivers));
	}
};

void sent(Endpoint *e, Op *o, Told *t)
{
	unlink(o);
	transfer_over(o);
	count(e, o);
	bool stored = o->target == nullptr || host->store(o->target, o->data, o->size);
	o->peer->when.heard = o->does == Op::Does::get ? monotonic_ns() : o->peer->when.heard;
	if (Request *r = std::exchange(o->request, nullptr); r != nullptr) {
		e->told = true;
		t->ends[t->count++] = {r, stored ? static_cast<ssize_t>(o->size) : -EFAULT};
	}
	free_op(o);
}

// The provider says that something has failed. What is wrong with a key is no fault of the peer's.
void failed(Endpoint *e, Context *c, int error)
{
	if (c->what == Context::What::slot) {
		e->slots.given--;
		e->slots.idle.push(static_cast<Slot *>(c));
		return;
	}
	auto *o = static_cast<Op *>(c);
	Peer *p = o->peer;
	bool current = o->session == p->session.number;
	unlink(o);
	transfer_over(o);
	finish(o, -error);
	free_op(o);
	if (current && error != EACCES)
		lose(e, p, error);
}

bool read_errors(Endpoint *e)
{
	Guard<Mutex> g(e->lock);
	struct fi_cq_err_entry x = {};
	ssize_t n = fi_cq_readerr(e->provider.cq, &x, 0);
	if (n < 1)
		return false;
	if (x.op_context != nullptr)
		failed(e, static_cast<Context *>(x.op_context), provider::loss_of(x.err));
	return true;
}

void take_completions(Endpoint *e, const struct fi_cq_msg_entry *v, size_t n, Told *t)
{
	Guard<Mutex> g(e->lock);
	for (size_t i = 0; i < n; i++) {
		auto *c = static_cast<Context *>(v[i].op_context);
		if (c == nullptr)
			continue;
		if (c->what == Context::What::op)
			sent(e, static_cast<Op *>(c), t);
		else
			arrived(e, static_cast<Slot *>(c), v[i].len);
	}
	t->receivers = std::exchange(e->receivers.to_wake, 0);
}

// The provider does its work in this call, so the lock is not held meanwhile. True: there may be
// more.
bool read_completions(Endpoint *e)
{
	struct fi_cq_msg_entry v[most_read];
	ssize_t n = fi_cq_read(e->provider.cq, v, most_read);
	if (n == -FI_EAVAIL)
		return read_errors(e);
	if (n <= 0)
		return false;
	Told t;
	t.count = 0;
	take_completions(e, v, static_cast<size_t>(n), &t);
	t.tell(e);
	return n == most_read;
}

void give_room(Peer *p)
{
	if (p->state == Peer::State::ready && p->outgoing.empty() &&
	    p->flow.consumed + window - p->flow.granted >= window / 2)
		say(p, Kind::credit, 0);
}

void send_submitted(Endpoint *e)
{
	Guard<Mutex> g(e->lock);
	if (e->submitted.empty())
		return;
	for (List<Op> all = e->submitted.take_all(); Op *o = all.pop();)
		accept(e, o);
	for (Peer *p = e->peers; p != nullptr; p = p->next)
		pump(e, p);
}

bool under_way(const Endpoint *e)
{
	bool some = !e->submitted.empty();
	for (const Peer *p = e->peers; p != nullptr; p = p->next)
		some = some || !p->outgoing.empty() || !p->waiting.empty() || p->posted != nullptr;
	return some;
}

// Whether all that was sent has come: who closes a connection on which something has come and has
// not been read ends it for what it has sent, too.
bool all_acknowledged(const Endpoint *e, uint64_t now)
{
	bool all = true;
	for (Peer *p = e->peers; p != nullptr; p = p->next) {
		if (p->state != Peer::State::ready || p->flow.acknowledged >= p->flow.sent)
			continue;
		all = false;
		if (now - p->when.asked < again || !p->outgoing.empty())
			continue;
		p->when.asked = now;
		say(p, Kind::ping, 0);
	}
	return all;
}

// Of one that is being closed. True: it can go.
bool end(Endpoint *e, uint64_t now)
{
	bool over = !under_way(e) && (e->said_good_bye || all_acknowledged(e, now));
	if (!over && now < e->ends)
		return false;
	if (std::exchange(e->said_good_bye, true))
		return true;
	for (Peer *p = e->peers; p != nullptr; p = p->next)
		if (p->state == Peer::State::ready) {
			say(p, Kind::reset, e->life);
			pump(e, p);
		}
	e->ends = now + good_bye;
	return false;
}

void free_peers(Endpoint *e)
{
	while (Peer *p = e->peers) {
		e->peers = p->next;
		for (Op *o; (o = p->posted != nullptr ? p->posted : p->orphans) != nullptr;) {
			unlink(o);
			free_op(o);
		}
		end_probe(p);
		free(p);
	}
}

void free_slots(Endpoint *e)
{
	while (Slot *s = e->slots.every_slot) {
		e->slots.every_slot = s->every;
		free(s);
	}
	e->slots.arrived = e->slots.idle = {};
}

} // namespace

void changed(Endpoint *e)
{
	e->changes.fetch_add(1, mo::seq_cst);
	if (e->change_waiters.load(mo::seq_cst) != 0)
		futex_wake(e->changes, INT_MAX);
}

int wait_for_change(Endpoint *e, uint32_t seen, const struct timespec *limit)
{
	e->change_waiters.fetch_add(1, mo::seq_cst);
	int error = futex_wait(e->changes, seen, limit);
	e->change_waiters.fetch_sub(1, mo::seq_cst);
	return error;
}

void finish(Op *o, ssize_t result)
{
	if (Request *r = std::exchange(o->request, nullptr); r != nullptr)
		host->finish(r, result);
}

void free_op(Op *o)
{
	if (o->has_piece)
		host->let_go(o->held);
	free(o);
}

int open(Endpoint *e, const provider::Address &a)
{
	int error = provider::open(&e->provider, a);
	if (error != 0)
		return error;
	e->name_length = sizeof e->name;
	error = provider::name(&e->provider, e->name, &e->name_length);
	if (error == 0 && getrandom(&e->life, sizeof e->life, 0) != sizeof e->life)
		error = errno;
	if (error == 0) {
		give_slots(e);
		error = e->slots.given < offered_slots ? ENOMEM : 0;
	}
	if (error != 0) {
		provider::close(&e->provider);
		free_slots(e);
		return error;
	}
	e->life |= 1;
	strncpy(e->figures.provider, e->provider.info->fabric_attr->prov_name,
		sizeof e->figures.provider - 1);
	return 0;
}

void close(Endpoint *e)
{
	Guard<Mutex> g(e->lock);
	for (List<Op> all = e->submitted.take_all(); Op *o = all.pop();) {
		finish(o, -EBADF);
		free_op(o);
	}
	for (Peer *p = e->peers; p != nullptr; p = p->next)
		lose(e, p, EBADF);
	for (Export *x = e->exports; x != nullptr; x = x->next)
		withdraw(e, x);
	end_exports(e, ~uint64_t{0});
	provider::close(&e->provider);
	free_peers(e);
	free_slots(e);
	if (e->inner >= 0)
		sys::close(e->inner);
	e->inner = -1;
	e->state.store(Endpoint::unused, mo::release);
	changed(e);
	wake_receivers(e);
}

Round step(Endpoint *e)
{
	// What callers have left goes out first: the provider's own work takes longer.
	send_submitted(e);
	bool more = read_completions(e);
	Guard<Mutex> g(e->lock);
	give_slots(e);
	uint64_t now = monotonic_ns();
	for (Peer *p = e->peers; p != nullptr; p = p->next) {
		give_room(p);
		look_at_time(e, p, now);
		pump(e, p);
	}
	if (e->exports != nullptr)
		end_exports(e, now);
	look_at_untold(e, now);
	if (e->state.load(mo::relaxed) == Endpoint::closing) {
		if (e->ends == 0) {
			e->ends = now + linger;
			// Whoever it waits for, its memory is nobody's any more.
			for (Export *x = e->exports; x != nullptr; x = x->next)
				withdraw(e, x);
		}
		if (end(e, now))
			e->over = true; // the thread closes it, without the lock
	}
	return {more, std::exchange(e->told, false)};
}

int longest_sleep(Endpoint *e)
{
	Guard<Mutex> g(e->lock);
	if (e->state.load(mo::relaxed) == Endpoint::closing)
		return moment_ms;
	int ms = !e->slots.idle.empty() || e->slots.given < offered_slots
			 ? moment_ms
			 : look_at_untold(e, monotonic_ns());
	for (const Peer *p = e->peers; p != nullptr; p = p->next) {
		if (!p->outgoing.empty())
			return moment_ms;
		if (something_outstanding(p))
			ms = ms < 0 ? look_ms : ms;
	}
	for (const Export *x = e->exports; x != nullptr; x = x->next)
		if (x->withdrawal != 0)
			ms = ms < 0 ? look_ms : ms;
	return ms;
}

} // namespace sigevec::fabric
