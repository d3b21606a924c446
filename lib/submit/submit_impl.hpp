// SPDX-License-Identifier: MIT
//
// The submission's own files: submit.cpp (what engines carry out), sync.cpp (what waits for
// others), elsewhere.cpp (what libsigevec_fabric does).
#pragma once

#include "request/stats_detail.hpp"
#include "submit/submit.hpp"

namespace sigevec::submit {

// Gives back what the call has been given already; its errno.
int refuse(const Call &c, int error);
void note_submitted(Call &c);
// So that aio_cancel or ev_cancel finds it.
void note_request(const Call &c, Request *r);
// What the notification needs, before anything is promised. 0 or the errno of the call.
int prepare_event(Event &e);
// Why a number cannot be looked at: it is none, or what tells of it cannot be had.
int unknown(int error);
// The end of a request within its call. r: made for its notification, or nullptr. 0.
int ended(const Call &c, Kind kind, stats_detail::By engine, Request *r, ssize_t result);

// ---- elsewhere.cpp

// A send to an interconnect, with its credit. 0 or the errno of the call.
int send_elsewhere(const Call &c);

} // namespace sigevec::submit
