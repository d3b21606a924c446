// SPDX-License-Identifier: MIT
#include "fabric/provider.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>

namespace sigevec::fabric::provider {

namespace {

constexpr uint32_t api = FI_VERSION(1, 17);

// What libfabric calls the ways that an endpoint can go, best first.
constexpr const char *best[] = {"verbs;ofi_rxm", "tcp;ofi_rxm"};

// A name without its second half stands for the whole way.
const char *whole_name(const char *name)
{
	if (strcmp(name, "tcp") == 0)
		return "tcp;ofi_rxm";
	return strcmp(name, "verbs") == 0 ? "verbs;ofi_rxm" : name;
}

struct fi_info *wishes(const char *name)
{
	struct fi_info *h = fi_allocinfo();
	if (h == nullptr)
		return nullptr;
	h->caps = FI_MSG | FI_RMA;
	h->mode = FI_CONTEXT | FI_CONTEXT2;
	h->ep_attr->type = FI_EP_RDM;
	h->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	h->domain_attr->threading = FI_THREAD_DOMAIN;
	h->domain_attr->resource_mgmt = FI_RM_ENABLED;
	h->tx_attr->msg_order = h->rx_attr->msg_order = FI_ORDER_SAS;
	h->fabric_attr->prov_name = strdup(name);
	if (h->fabric_attr->prov_name != nullptr)
		return h;
	fi_freeinfo(h);
	return nullptr;
}

int ask(const struct fi_info *hints, const char *node, const char *service, struct fi_info **found)
{
	uint64_t flags = node != nullptr || service != nullptr ? FI_SOURCE : 0;
	int e = fi_getinfo(api, node, service, flags, hints, found);
	if (e == 0)
		return 0;
	if (e == -FI_ENODATA)
		return flags != 0 ? EADDRNOTAVAIL : ENODEV;
	return errno_of(e);
}

bool is_any(const struct fi_info *i)
{
	auto *a = static_cast<const struct sockaddr *>(i->src_addr);
	if (a == nullptr)
		return false;
	if (a->sa_family == AF_INET)
		return reinterpret_cast<const struct sockaddr_in *>(a)->sin_addr.s_addr ==
		       htonl(INADDR_ANY);
	return a->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_UNSPECIFIED(
		       &reinterpret_cast<const struct sockaddr_in6 *>(a)->sin6_addr);
}

// The first of this machine's addresses, in text. False: there is none.
bool first_address(const struct fi_info *hints, char *text, socklen_t size)
{
	struct fi_info *all = nullptr;
	if (ask(hints, nullptr, nullptr, &all) != 0)
		return false;
	const struct fi_info *i = all;
	while (i != nullptr && (i->src_addr == nullptr || is_any(i)))
		i = i->next;
	bool found = i != nullptr && getnameinfo(static_cast<const struct sockaddr *>(i->src_addr),
						 static_cast<socklen_t>(i->src_addrlen), text, size,
						 nullptr, 0, NI_NUMERICHOST) == 0;
	fi_freeinfo(all);
	return found;
}

// The best that this machine has, and not all of them: what peers are told is the address from
// which connections to them come, or ofi_rxm does not know who they are of. Of providers that give
// all of them ("net", "sockets") the first is asked for by its number. libfabric takes "0.0.0.0"
// with a service for 127.0.0.1, and without a node may want an address for the host's own name.
int ask_for_best(const struct fi_info *hints, const char *service, struct fi_info **found)
{
	int e = ask(hints, nullptr, service, found);
	char text[NI_MAXHOST];
	if (e == 0 && is_any(*found) && first_address(hints, text, sizeof text)) {
		fi_freeinfo(*found);
		return ask(hints, text, service, found);
	}
	return e == EADDRNOTAVAIL ? ask(hints, "0.0.0.0", service, found) : e;
}

// glibc takes the lower half of any number for the port.
bool is_beyond_ports(const char *service)
{
	if (service == nullptr || strspn(service, "0123456789") != strlen(service))
		return false;
	return strtoul(service, nullptr, 10) > UINT16_MAX;
}

int look(const char *name, const Address &a, struct fi_info **found)
{
	if (*name == 0) // which to libfabric is any name
		return ENODEV;
	if (is_beyond_ports(a.service))
		return EADDRNOTAVAIL;
	struct fi_info *h = wishes(name);
	if (h == nullptr)
		return ENOMEM;
	bool any = a.node == nullptr || strcmp(a.node, "0.0.0.0") == 0;
	int e = any ? ask_for_best(h, a.service, found) : ask(h, a.node, a.service, found);
	// libfabric says the same of an address that is none here, and of a provider that is not.
	struct fi_info *some = nullptr;
	if (e == EADDRNOTAVAIL && (e = ask(h, nullptr, nullptr, &some)) == 0) {
		fi_freeinfo(some);
		e = EADDRNOTAVAIL;
	}
	fi_freeinfo(h);
	return e;
}

int find(Provider *p, const Address &a)
{
	if (a.provider != nullptr)
		return look(whole_name(a.provider), a, &p->info);
	int e = ENODEV;
	for (const char *name : best)
		if ((e = look(name, a, &p->info)) == 0)
			return 0;
	return e;
}

int make_queue(Provider *p)
{
	struct fi_cq_attr c = {};
	c.format = FI_CQ_FORMAT_MSG;
	c.wait_obj = FI_WAIT_FD;
	c.size = 4096;
	if (int e = fi_cq_open(p->domain, &c, &p->cq, nullptr); e != 0)
		return e;
	return fi_control(&p->cq->fid, FI_GETWAIT, &p->wait_fd);
}

int make_endpoint(Provider *p)
{
	struct fi_av_attr v = {};
	v.type = FI_AV_TABLE;
	int e = fi_av_open(p->domain, &v, &p->av, nullptr);
	if (e == 0)
		e = fi_endpoint(p->domain, p->info, &p->ep, nullptr);
	if (e == 0)
		e = fi_ep_bind(p->ep, &p->av->fid, 0);
	if (e == 0)
		e = fi_ep_bind(p->ep, &p->cq->fid, FI_TRANSMIT | FI_RECV);
	return e == 0 ? fi_enable(p->ep) : e;
}

template <class T> void end(T **object)
{
	if (*object != nullptr)
		fi_close(&(*object)->fid);
	*object = nullptr;
}

} // namespace

int errno_of(ssize_t error)
{
	auto e = static_cast<int>(error < 0 ? -error : error);
	switch (e) {
	case FI_ENOEQ:
	case FI_ENOCQ:
	case FI_EOTHER:
	case FI_EAVAIL:
		return EIO;
	case FI_ENOKEY:
	case FI_EPERM:
		return EACCES;
	default:
		return e >= FI_ERRNO_OFFSET ? EIO : e;
	}
}

int loss_of(ssize_t error)
{
	switch (int e = errno_of(error)) {
	case EACCES:
	case EINVAL:
	case EMSGSIZE:
	case ENOMEM:
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ETIMEDOUT:
		return e;
	default:
		return ECONNRESET;
	}
}

int open(Provider *p, const Address &a)
{
	*p = {};
	p->wait_fd = -1;
	if (int e = find(p, a); e != 0)
		return e;
	int e = fi_fabric(p->info->fabric_attr, &p->fabric, nullptr);
	if (e == 0)
		e = fi_domain(p->fabric, p->info, &p->domain, nullptr);
	if (e == 0)
		e = make_queue(p);
	if (e == 0)
		e = make_endpoint(p);
	if (e == 0)
		return 0;
	close(p);
	// One that has no descriptor to wait with, or no such transfers after all.
	return e == -FI_ENOSYS || e == -FI_EOPNOTSUPP ? ENODEV : errno_of(e);
}

void close(Provider *p)
{
	end(&p->ep);
	end(&p->cq);
	end(&p->av);
	end(&p->domain);
	end(&p->fabric);
	if (p->info != nullptr)
		fi_freeinfo(p->info);
	p->info = nullptr;
	p->wait_fd = -1;
}

int name(const Provider *p, void *name, size_t *length)
{
	int e = fi_getname(&p->ep->fid, name, length);
	return e == 0 ? 0 : errno_of(e);
}

struct fid_mr *expose(Provider *p, void *memory, size_t size, bool read, bool write, uint64_t key,
		      int *error)
{
	uint64_t access = (read ? FI_REMOTE_READ : 0) | (write ? FI_REMOTE_WRITE : 0);
	struct fid_mr *m = nullptr;
	int e = fi_mr_reg(p->domain, memory, size, access, 0, key, 0, &m, nullptr);
	*error = e == 0 ? 0 : errno_of(e);
	return e == 0 ? m : nullptr;
}

uint64_t base_of(const Provider *p, const void *memory)
{
	bool by_address = (p->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
	return by_address ? reinterpret_cast<uintptr_t>(memory) : 0;
}

} // namespace sigevec::fabric::provider
