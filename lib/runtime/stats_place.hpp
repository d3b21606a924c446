// SPDX-License-Identifier: MIT
//
// The file of SIGEVEC_STATS: what the variable says, and a descriptor of a file that can be mapped
// without danger.
//
// Mapped memory that loses its file ends a program by SIGBUS, and counts that another user can
// write are no figures. So a file is only taken when it is a regular one of this process's user,
// with one name, which nobody else may write to, on a file system that no other process serves, and
// all of its memory is there. Of everything else no statistics are kept, and the program never
// hears of it.
#pragma once

#include <cstddef>

namespace sigevec::stats_place {

// Off; this process's own file, removed at its exit; a folder for a file of each process, which are
// kept; or one file for all processes.
enum class Mode { off, process, folder, shared };
Mode mode();

// Of the file, in bytes: with a trace, if one is asked for.
size_t size();

// The file with all its memory, or -1. Not async-signal-safe.
int open();

// Removes the name of this process's own file, if it has one that open() made. Not for a child that
// has not called open() itself.
void remove_name();

} // namespace sigevec::stats_place
