// SPDX-License-Identifier: MIT
//
// Keys: who may use our memory, and that nobody may any more.
#include "fabric/endpoint.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace sigevec::fabric {

namespace {

constexpr uint64_t patience = 5000000000; // ns, for peers that do not answer but live

Export *find(Endpoint *e, const Key &key)
{
	Export *x = e->exports;
	while (x != nullptr && memcmp(&x->key, &key, sizeof key) != 0)
		x = x->next;
	return x;
}

// False: no memory, and nobody has been told that the key is good.
bool note_asker(Export *x, Peer *p)
{
	Asker *a = x->askers;
	while (a != nullptr && a->peer != p)
		a = a->next;
	if (a == nullptr) {
		a = static_cast<Asker *>(calloc(1, sizeof(Asker)));
		if (a == nullptr)
			return false;
		a->peer = p;
		a->next = x->askers;
		x->askers = a;
	}
	a->life = p->session.life;
	return true;
}

bool awaited(const Export *x)
{
	for (const Asker *a = x->askers; a != nullptr; a = a->next)
		if (a->told)
			return true;
	return false;
}

} // namespace

void asked(Endpoint *e, Peer *p, const Key &key, uint64_t number)
{
	Export *x = find(e, key);
	bool good = x != nullptr && x->withdrawal == 0 && note_asker(x, p);
	e->figures.refused += !good;
	say(p, Kind::answer, number, good ? 0 : EACCES);
}

void withdraw(Endpoint *e, Export *x)
{
	if (x->withdrawal != 0)
		return;
	x->withdrawal = ++e->numbers;
	x->until = monotonic_ns() + patience;
	e->figures.exported--;
	for (Asker *a = x->askers; a != nullptr; a = a->next) {
		Peer *p = a->peer;
		a->told = p->state == Peer::State::ready && p->session.life == a->life;
		if (a->told)
			say(p, Kind::revoke, x->withdrawal, 0, &x->key);
	}
}

void note_revoked(Endpoint *e, const Peer *p, uint64_t number)
{
	for (Export *x = e->exports; x != nullptr; x = x->next)
		for (Asker *a = x->askers; a != nullptr; a = a->next)
			if (x->withdrawal == number && a->peer == p)
				a->told = false;
}

void forget_asker(Endpoint *e, const Peer *p)
{
	for (Export *x = e->exports; x != nullptr; x = x->next)
		for (Asker *a = x->askers; a != nullptr; a = a->next)
			if (a->peer == p)
				a->told = false;
}

void remove_asker(Endpoint *e, const Peer *p)
{
	for (Export *x = e->exports; x != nullptr; x = x->next)
		for (Asker **place = &x->askers; *place != nullptr;) {
			Asker *a = *place;
			if (a->peer != p) {
				place = &a->next;
				continue;
			}
			*place = a->next;
			free(a);
		}
}

bool end_exports(Endpoint *e, uint64_t now)
{
	bool some = false;
	for (Export **place = &e->exports; *place != nullptr;) {
		Export *x = *place;
		if (x->withdrawal == 0 || (awaited(x) && now < x->until)) {
			some = some || x->withdrawal != 0;
			place = &x->next;
			continue;
		}
		*place = x->next;
		fi_close(&x->mr->fid);
		host->let_go(x->held);
		while (Asker *a = x->askers) {
			x->askers = a->next;
			free(a);
		}
		if (x->done != nullptr) {
			x->done->store(1, mo::release);
			futex_wake(*x->done, 1);
		}
		free(x);
	}
	return some;
}

} // namespace sigevec::fabric
