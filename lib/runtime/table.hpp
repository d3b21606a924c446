// SPDX-License-Identifier: MIT
//
// Descriptors out of the helper's table into the program's.
//
// By a pidfd of the driver's thread, where there are such (Linux 6.9): whatever else its number is
// by then, the call fails and does nothing. Elsewhere by a pair of sockets that is made for one
// file, to which the driver sends; its identity is compared before it is read. Either number
// belongs to the thread that uses it (engine/program_thread.cpp); nobody else does.
#pragma once

#include <cstdint>
#include <sys/types.h>

namespace sigevec::table {

pid_t thread_of_helper();

class Way {
public:
	// By the thread that is to use it, or before that runs. False: no descriptor could be had.
	bool set_up();
	// The same file's number in the program's table, close-on-exec, or -errno.
	int fetch(int inner);

	// Whether the driver has to send what is fetched.
	bool by_socket() const { return by_socket_; }

	// It is not needed any more.
	void close();
	// In a child of fork: what is the parent's. forget: after close_in_child.
	void close_in_child();
	void forget();

private:
	bool reopen();

	int number_ = -1;            // in the program's table: a pidfd
	uint64_t dev_ = 0, ino_ = 0; // of the pidfd
	bool by_socket_ = false;
	bool shared_ = false; // there is one table
};

// The same once, by any thread: a number in the program's table, or -errno.
int bring(int inner);

} // namespace sigevec::table
