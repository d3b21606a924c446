// SPDX-License-Identifier: MIT
#include "device.hpp"

#include "sigevec/dma.h"

#include <cerrno>
#include <climits>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tool {

namespace {

bool exists(const std::string &path)
{
	struct stat s;
	return stat(path.c_str(), &s) == 0;
}

std::string driver_of(const std::string &folder)
{
	char target[PATH_MAX];
	ssize_t n = readlink((folder + "/device/driver").c_str(), target, sizeof target);
	std::string path(target, n > 0 ? static_cast<size_t>(n) : 0);
	return path.substr(path.rfind('/') + 1);
}

// What the library says of the device's queue, with a region of its own for a moment.
void attempt(const std::string &name, unsigned queue, DeviceReport *report)
{
	constexpr size_t size = size_t{1} << 20;
	dma_mem_t mem;
	struct dma_stat s;
	if (dma_alloc(&mem, size, 0) != 0) {
		report->reason = "there is no memory for a region";
		return;
	}
	if (dma_attach(mem, name.c_str(), queue, 0) == 0 && dma_stat(mem, &s) == 0) {
		report->works = s.attached == dma_attached_to_device;
		report->reason = s.attached_reason;
		dma_detach(mem, name.c_str(), queue);
	} else {
		report->reason = errno == EBUSY ? "the queue is another's" : "it cannot be tried";
	}
	dma_free(mem, size);
}

} // namespace

int report_device(const std::string &name, DeviceReport *report)
{
	if (name.empty() || name.size() >= IF_NAMESIZE || name.find('/') != std::string::npos)
		return EINVAL;
	if (if_nametoindex(name.c_str()) == 0)
		return ENODEV;
	std::string folder = "/sys/class/net/" + name;
	*report = {driver_of(folder), 0, false, "", {}};
	while (exists(folder + "/queues/rx-" + std::to_string(report->queues)))
		report->queues++;
	unsigned last = report->queues > 0 ? report->queues - 1 : 0;
	attempt(name, last, report);
	// All other flows need a queue of their own.
	if (report->queues < 2)
		report->commands = {"ethtool -L " + name + " combined 2"};
	std::string queue = std::to_string(last != 0 ? last : 1);
	for (const std::string &c :
	     {"ethtool -G " + name + " tcp-data-split on", "ethtool -X " + name + " equal " + queue,
	      "ethtool -N " + name + " flow-type tcp4 dst-port PORT action " + queue})
		report->commands.push_back(c);
	return 0;
}

} // namespace tool
