// SPDX-License-Identifier: MIT
//
// sigevec info --device: whether a network device can put what it receives into a region
// (dma_attach), and what its administrator can do for that.
#pragma once

#include <string>
#include <vector>

namespace tool {

struct DeviceReport {
	std::string driver; // "": it has none
	unsigned queues;    // of reception
	bool works;
	std::string reason;
	std::vector<std::string> commands; // of ethtool, that make it ready
};

// Found out by trying it with the device's last queue. 0, or an errno: there is no such device.
int report_device(const std::string &name, DeviceReport *report);

} // namespace tool
