// SPDX-License-Identifier: MIT
//
// What arrives at an associated socket without anybody calling sio_recv: for requests that wait,
// for the queue of DMA_LATEST, for async_io_notify.
#pragma once

#include "dma/association.hpp"

namespace sigevec::dma::deliver {

// What is to be done once the association's lock is released.
struct Outcome {
	Queue<Request> ended; // each with its result
	void (*notify)(int, void *) = nullptr;
	void *argument = nullptr;
	int fd = -1;
	bool came = false; // something has come of it
};

// With the association's lock held: receives as much as there is, room and demand for. arrived: the
// socket has said that there is something. Watches it again, if it has to wait.
void step(Association *a, Outcome *o, bool arrived);

// Without a lock.
void finish(const Outcome &o);

} // namespace sigevec::dma::deliver
