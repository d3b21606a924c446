// SPDX-License-Identifier: MIT
//
// What the contract tests share: descriptors that close themselves, requests that
// stay valid, streams and files of every kind, and waiting with a limit that only
// catches hangs; threads and processes are in processes.hpp.
//
// Nothing here knows which library or which engine carries the requests out.
// A program includes this file once, after defining BOOST_TEST_MODULE.
#ifndef CONTRACT_SUPPORT_HPP
#define CONTRACT_SUPPORT_HPP

#include "files.hpp"
#include "requests.hpp"
#include "streams.hpp"

#include <sys/wait.h>

#include <fstream>

#include "processes.hpp"

using namespace contract;

#endif
