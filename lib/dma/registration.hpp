// SPDX-License-Identifier: MIT
//
// A region's memory and the driver's ring (engine/ring_regions.cpp): registered when the region is
// made, so that it is pinned and that files and sends without a copy need not look up its pages;
// dropped with it.
#pragma once

namespace sigevec::dma {

struct Region;

namespace registration {

// For a region that is just being made: registers it, starting the driver if need be. Nothing is
// lost if that cannot be.
void begin(Region *r);
// For one that is no more.
void end(Region *r);
// In the child of fork: its parent's ring is not its own. The first request that goes through one
// of its own sees to it.
void after_fork(Region *r);

} // namespace registration
} // namespace sigevec::dma
