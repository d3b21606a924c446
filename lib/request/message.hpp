// SPDX-License-Identifier: MIT
//
// What has come with a message beside its data.
#pragma once

#include "request/request.hpp"

namespace sigevec::message {

// Stores the results of recvmsg with the caller. Before the end is published.
void fill_caller(const Message *m);

// Notes the descriptors that have come with a message, and closes them if they are still what they
// were. By threads with the program's table.
void note_received(Message *m);
void close_received(Message *m);

} // namespace sigevec::message
