// SPDX-License-Identifier: MIT
//
// Addresses: what programs and peers give, in the one form by which peers are told apart.
#include "fabric/endpoint.hpp"

#include <cerrno>
#include <cstring>
#include <netinet/in.h>

namespace sigevec::fabric {

namespace {

// Of an address that is known by its numbers: those, and nothing of what stands beside them.
socklen_t copy_numbers(const struct sockaddr_storage *from, struct sockaddr_storage *to)
{
	to->ss_family = from->ss_family;
	if (from->ss_family == AF_INET) {
		auto *f = reinterpret_cast<const struct sockaddr_in *>(from);
		auto *t = reinterpret_cast<struct sockaddr_in *>(to);
		t->sin_port = f->sin_port;
		t->sin_addr = f->sin_addr;
		return sizeof *t;
	}
	auto *f = reinterpret_cast<const struct sockaddr_in6 *>(from);
	auto *t = reinterpret_cast<struct sockaddr_in6 *>(to);
	t->sin6_port = f->sin6_port;
	t->sin6_addr = f->sin6_addr;
	t->sin6_scope_id = f->sin6_scope_id;
	return sizeof *t;
}

} // namespace

int read_address(const Endpoint *e, const void *given, size_t length, struct sockaddr_storage *name,
		 socklen_t *name_length)
{
	*name = {};
	if (length < sizeof(sa_family_t) || length > sizeof *name)
		return EINVAL;
	struct sockaddr_storage all = {};
	memcpy(&all, given, length);
	sa_family_t own;
	memcpy(&own, e->name, sizeof own);
	if (all.ss_family != own)
		return EAFNOSUPPORT;
	if (own == AF_INET || own == AF_INET6) {
		*name_length = copy_numbers(&all, name);
	} else {
		*name = all;
		*name_length = static_cast<socklen_t>(length);
	}
	return length < *name_length || *name_length > most_name ? EINVAL : 0;
}

} // namespace sigevec::fabric
