// SPDX-License-Identifier: MIT
//
// sigevec info: what works here, and the reason for each "no".
#include "text.hpp"
#include "tool.hpp"

#include "device.hpp"
#include "fabric.hpp"
#include "features.hpp"
#include "json.hpp"
#include "sigevec/info.h"

#include <cerrno>
#include <cstdio>
#include <sys/resource.h>
#include <sys/utsname.h>

namespace tool {

namespace {

struct Limit {
	const char *name;
	std::string value; // "unlimited", "" when it cannot be read
	const char *unit;
	const char *meaning;
};

std::string resource(int which)
{
	struct rlimit r;
	if (getrlimit(static_cast<__rlimit_resource_t>(which), &r) != 0)
		return {};
	return r.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(r.rlim_cur);
}

std::vector<Limit> limits()
{
	std::vector<Limit> v;
	struct sigevec_limits l;
	if (sigevec_get_limits(&l) == 0)
		v = {{"threads", std::to_string(l.threads), "",
		      "threads for blocking calls (SIGEVEC_THREADS)"},
		     {"requests", std::to_string(l.requests), "",
		      "requests outstanding (SIGEVEC_REQUESTS)"},
		     {"ring", std::to_string(l.ring), "", "entries of a ring (SIGEVEC_RING)"},
		     {"idle", std::to_string(l.idle), "s",
		      "until an idle thread ends (SIGEVEC_IDLE)"},
		     {"dma", std::to_string(l.dma), "bytes", "of all DMA regions (SIGEVEC_DMA)"}};
	v.push_back({"memlock", resource(RLIMIT_MEMLOCK), "bytes",
		     "locked memory; some kernels count rings (ulimit -l)"});
	v.push_back({"nofile", resource(RLIMIT_NOFILE), "", "descriptors (ulimit -n)"});
	v.push_back({"nproc", resource(RLIMIT_NPROC), "", "threads of this user (ulimit -u)"});
	v.push_back({"sigpending", resource(RLIMIT_SIGPENDING), "",
		     "signals in the queue (ulimit -i)"});
	v.push_back({"aio-nr", first_line("/proc/sys/fs/aio-nr"), "",
		     "of aio-max-nr in use by the whole system"});
	v.push_back({"aio-max-nr", first_line("/proc/sys/fs/aio-max-nr"), "",
		     "kernel-AIO requests of the whole system"});
	std::erase_if(v, [](const Limit &x) { return x.value.empty(); });
	return v;
}

std::vector<Feature> engines()
{
	std::vector<Feature> v;
	struct sigevec_engine e;
	for (unsigned i = 0; sigevec_get_engine(i, &e) == 0; i++)
		v.push_back({e.name, e.works != 0, e.reason});
	return v;
}

std::string kernel()
{
	struct utsname u;
	return uname(&u) == 0 ? std::string(u.sysname) + " " + u.release + " " + u.machine : "";
}

void print_features(const char *what, const std::vector<Feature> &v)
{
	for (const Feature &f : v)
		print(stdout, "%-7s %-16s %-4s %s\n", what, f.name, f.works ? "yes" : "no",
		      f.reason);
}

void print_text()
{
	print_version();
	print(stdout, "library %s\nkernel  %s\n\n", library_path(), kernel());
	// The names of engines are short, and programs read these lines.
	for (const Feature &f : engines())
		print(stdout, "engine %-8s %-4s %s\n", f.name, f.works ? "yes" : "no", f.reason);
	print(stdout, "\n");
	print_features("kernel", features());
	print(stdout, "\n");
	for (const Limit &l : limits())
		print(stdout, "limit   %-12s %-20s %s\n", l.name, (l.value + " " + l.unit),
		      l.meaning);
	print(stdout, "\n");
	print_features("module", {module()});
}

void write_features(Json &j, const char *name, const std::vector<Feature> &v)
{
	j.array(name);
	for (const Feature &f : v)
		j.object()
			.text("name", f.name)
			.boolean("works", f.works)
			.text("reason", f.reason)
			.end();
	j.end();
}

void print_json()
{
	Json j(stdout);
	j.object().text("library", library_path()).text("kernel", kernel());
	write_features(j, "engines", engines());
	write_features(j, "features", features());
	j.array("limits");
	for (const Limit &l : limits())
		j.object()
			.text("name", l.name)
			.text("value", l.value)
			.text("unit", l.unit)
			.text("meaning", l.meaning)
			.end();
	j.end();
	Feature m = module();
	j.object("module")
		.text("name", m.name)
		.boolean("works", m.works)
		.text("reason", m.reason)
		.end();
	j.end();
}

void print_device(const std::string &name, const DeviceReport &d)
{
	print(stdout, "device  %-16s %-4s %s\n", name, d.works ? "yes" : "no", d.reason);
	print(stdout, "device  %-16s %u queues of reception, %s\n", name, d.queues,
	      d.driver.empty() ? "without a driver" : "driver " + d.driver);
	for (const std::string &c : d.commands)
		print(stdout, "device  %-16s what makes it ready: %s\n", name, c);
}

void print_device_json(const std::string &name, const DeviceReport &d)
{
	Json j(stdout);
	j.object()
		.text("device", name)
		.boolean("works", d.works)
		.text("reason", d.reason)
		.text("driver", d.driver)
		.number("queues", d.queues);
	j.array("commands");
	for (const std::string &c : d.commands)
		j.object().text("command", c).end();
	j.end();
	j.end();
}

// Of one network device, and of nothing else.
int info_of_device(const std::string &name, bool json)
{
	DeviceReport d;
	if (int e = report_device(name, &d); e != 0) {
		errno = e;
		return complain("info", name);
	}
	if (json)
		print_device_json(name, d);
	else
		print_device(name, d);
	return finish_output("info", 0);
}

// "" in the list of what it can: nothing.
std::string together(const std::vector<std::string> &words)
{
	std::string all;
	for (const std::string &w : words)
		all += (all.empty() ? "" : ", ") + w;
	return all;
}

void print_fabric(const FabricReport &r)
{
	if (!r.missing.empty()) {
		print(stdout, "fabric  %-16s %-4s %s\n", "libfabric", "no", r.missing);
		return;
	}
	print(stdout, "fabric  %-16s %-4s version %s\n", "libfabric", "yes", r.version);
	for (const FabricProvider &p : r.providers) {
		print(stdout, "fabric  %-16s %-4s %s\n", p.name, p.works ? "yes" : "no", p.reason);
		if (!p.can.empty())
			print(stdout, "fabric  %-16s      libfabric says: %s\n", p.name,
			      together(p.can));
	}
}

void print_fabric_json(const FabricReport &r)
{
	Json j(stdout);
	j.object().text("libfabric", r.version).text("missing", r.missing);
	j.array("providers");
	for (const FabricProvider &p : r.providers)
		j.object()
			.text("name", p.name)
			.boolean("works", p.works)
			.text("reason", p.reason)
			.text("can", together(p.can))
			.end();
	j.end();
	j.end();
}

// Of interconnects, and of nothing else.
int info_of_fabric(bool json)
{
	FabricReport r = report_fabric();
	if (json)
		print_fabric_json(r);
	else
		print_fabric(r);
	return finish_output("info", 0);
}

int info(int argc, char **argv)
{
	Options options(info_command, argc, argv, "jd:f",
			{{"json", no_argument, nullptr, 'j'},
			 {"device", required_argument, nullptr, 'd'},
			 {"fabric", no_argument, nullptr, 'f'}});
	bool json = false, fabric = false;
	const char *device = nullptr;
	auto over = options.read([&](int c) -> const char * {
		if (c == 'd')
			device = optarg;
		else
			(c == 'f' ? fabric : json) = true;
		return nullptr;
	});
	if (over)
		return *over;
	if (options.rest() < argc || (fabric && device != nullptr))
		return usage(info_command);
	if (fabric)
		return info_of_fabric(json);
	if (device != nullptr)
		return info_of_device(device, json);
	if (json)
		print_json();
	else
		print_text();
	return finish_output("info", 0);
}

} // namespace

const Command info_command = {
	"info", info, "[--json] [--device IFNAME | --fabric]",
	"say what works here, and why the rest does not",
	"  -j, --json            the same as JSON\n"
	"  -d, --device IFNAME   of a network device: whether it can put what it "
	"receives into a region\n"
	"  -f, --fabric          of interconnects: libfabric's providers, what each can, and what "
	"is missing\n"};

} // namespace tool
