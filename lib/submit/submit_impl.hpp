// SPDX-License-Identifier: MIT
//
// The submission's own files: submit.cpp (what engines carry out), elsewhere.cpp (what
// libsigevec_fabric does).
#pragma once

#include "submit/submit.hpp"

namespace sigevec::submit {

// Gives back what the call has been given already; its errno.
int refuse(const Call &c, int error);
void note_submitted(Call &c);
// So that aio_cancel or ev_cancel finds it.
void note_request(const Call &c, Request *r);
// What the notification needs, before anything is promised. 0 or the errno of the call.
int prepare_event(Event &e);

// ---- elsewhere.cpp

// A send to an interconnect, with its credit. 0 or the errno of the call.
int send_elsewhere(const Call &c);

} // namespace sigevec::submit
