// SPDX-License-Identifier: MIT
#include "fabric.hpp"

#include "config.h"

#include "sigevec/fabric.h"
#include "tool.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <iterator>
#include <unistd.h>
#include <utility>

#if defined HAVE_LIBFABRIC
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#endif

namespace tool {

#if defined HAVE_LIBFABRIC

namespace {

// What libsigevec_fabric knows of; others are listed if libfabric has them.
constexpr const char *known[] = {"verbs;ofi_rxm", "tcp;ofi_rxm", "shm", "efa"};

template <class F> F *symbol(void *library, const char *name)
{
	return reinterpret_cast<F *>(dlsym(library, name));
}

// What is had of libfabric, which the tool is not linked with.
struct Libfabric {
	decltype(::fi_getinfo) *getinfo = nullptr;
	decltype(::fi_freeinfo) *freeinfo = nullptr;
	decltype(::fi_version) *version = nullptr;

	bool load()
	{
		void *l = dlopen("libfabric.so.1", RTLD_NOW | RTLD_LOCAL);
		if (l == nullptr)
			return false;
		getinfo = symbol<decltype(::fi_getinfo)>(l, "fi_getinfo");
		freeinfo = symbol<decltype(::fi_freeinfo)>(l, "fi_freeinfo");
		version = symbol<decltype(::fi_version)>(l, "fi_version");
		return getinfo != nullptr && freeinfo != nullptr && version != nullptr;
	}
};

struct Seen {
	std::string name;
	uint64_t caps = 0;
	bool datagrams = false; // reliable ones
};

std::vector<Seen> all_of(const Libfabric &l)
{
	std::vector<Seen> v;
	struct fi_info *all = nullptr;
	l.getinfo(FI_VERSION(1, 17), nullptr, nullptr, 0, nullptr, &all);
	for (const struct fi_info *i = all; i != nullptr; i = i->next) {
		const char *name = i->fabric_attr->prov_name;
		auto at = std::find_if(v.begin(), v.end(),
				       [name](const Seen &s) { return s.name == name; });
		if (at == v.end())
			at = v.insert(at, {name});
		at->caps |= i->caps;
		at->datagrams = at->datagrams || i->ep_attr->type == FI_EP_RDM;
	}
	if (all != nullptr)
		l.freeinfo(all);
	return v;
}

// "" if there is an endpoint; then *facts is what it says.
std::string attempt(decltype(::fabric_open) *open, decltype(::fabric_stat) *stat,
		    const std::string &name, std::string *facts)
{
	int fd = open(name.c_str(), nullptr, nullptr, FABRIC_CLOEXEC);
	if (fd < 0)
		return errno == ENODEV ? "it has no descriptor to wait with (FI_WAIT_FD)"
				       : strerror(errno);
	struct fabric_stat s = {};
	if (stat(fd, &s) == 0)
		*facts = "messages of " + std::to_string(s.largest) + " bytes, " +
			 std::to_string(s.window) + " without being received; waits by " +
			 s.waits_by;
	close(fd);
	return "";
}

std::string shortcoming(const Seen *s)
{
	if (s == nullptr)
		return "libfabric does not find it here (no device, no driver, or built without)";
	if (!s->datagrams)
		return "it has no endpoint of reliable datagrams (FI_EP_RDM)";
	if ((s->caps & FI_RMA) == 0)
		return "it has no one-sided transfers (FI_RMA)";
	return "";
}

// Beside libsigevec, or wherever the dynamic linker finds it.
void *load_ours()
{
	constexpr const char *name = "libsigevec_fabric.so.1";
	std::string path = library_path();
	path = path.substr(0, path.rfind('/') + 1) + name;
	void *l = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
	return l != nullptr ? l : dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

std::vector<std::string> abilities(const Seen &s)
{
	std::vector<std::string> v;
	if (s.datagrams)
		v.emplace_back("reliable-datagrams");
	for (auto [bit, word] : {std::pair{uint64_t{FI_MSG}, "messages"},
				 {uint64_t{FI_RMA}, "one-sided"},
				 {uint64_t{FI_ATOMIC}, "atomic"},
				 {uint64_t{FI_LOCAL_COMM}, "this-machine"},
				 {uint64_t{FI_REMOTE_COMM}, "other-machines"}})
		if ((s.caps & bit) != 0)
			v.emplace_back(word);
	return v;
}

} // namespace

FabricReport report_fabric()
{
	FabricReport r;
	Libfabric l;
	void *ours = load_ours();
	auto *open =
		ours != nullptr ? symbol<decltype(::fabric_open)>(ours, "fabric_open") : nullptr;
	auto *stat =
		ours != nullptr ? symbol<decltype(::fabric_stat)>(ours, "fabric_stat") : nullptr;
	if (open == nullptr || stat == nullptr)
		r.missing = "libsigevec_fabric.so.1 is not installed";
	else if (!l.load())
		r.missing = "libfabric.so.1 is not installed";
	if (!r.missing.empty())
		return r;
	r.version =
		std::to_string(FI_MAJOR(l.version())) + "." + std::to_string(FI_MINOR(l.version()));
	std::vector<Seen> seen = all_of(l);
	std::vector<std::string> names(std::begin(known), std::end(known));
	for (const Seen &s : seen)
		if (std::find(names.begin(), names.end(), s.name) == names.end())
			names.push_back(s.name);
	for (const std::string &name : names) {
		auto at = std::find_if(seen.begin(), seen.end(),
				       [&name](const Seen &s) { return s.name == name; });
		const Seen *s = at != seen.end() ? &*at : nullptr;
		FabricProvider p{name, false, shortcoming(s), {}};
		if (s != nullptr)
			p.can = abilities(*s);
		std::string facts;
		if (p.reason.empty())
			p.reason = attempt(open, stat, name, &facts);
		p.works = p.reason.empty();
		if (p.works)
			p.reason = facts;
		r.providers.push_back(p);
	}
	return r;
}

#else

FabricReport report_fabric()
{
	return {"built without libfabric", "", {}};
}

#endif

} // namespace tool
