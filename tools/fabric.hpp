// SPDX-License-Identifier: MIT
//
// The ways to other machines that libfabric has here, and what an endpoint (fabric_open) could do
// on each. libsigevec_fabric and libfabric are loaded for this alone, and asked by trying.
#pragma once

#include <string>
#include <vector>

namespace tool {

struct FabricProvider {
	std::string name; // libfabric's
	bool works;       // fabric_open takes it
	std::string reason;
	std::vector<std::string> can; // of libfabric's words: messages, one-sided, ...
};

struct FabricReport {
	std::string missing; // why nothing can be said; "" otherwise
	std::string version; // libfabric's
	std::vector<FabricProvider> providers;
};

FabricReport report_fabric();

} // namespace tool
