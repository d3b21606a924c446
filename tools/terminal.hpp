// SPDX-License-Identifier: MIT
//
// A terminal as a screen that is drawn again and again, and its keys one by one.
#pragma once

#include <termios.h>

namespace tool {

// From here to the end of the object's life the terminal shows a screen of its own, gives keys as
// they are pressed and cuts lines at its edge; then it is what it was. SIGINT, SIGTERM and SIGHUP
// end wait_for_key.
class Terminal {
public:
	Terminal();
	~Terminal();
	Terminal(const Terminal &) = delete;
	Terminal &operator=(const Terminal &) = delete;

	// Standard input and output are one.
	static bool is_there();

	unsigned lines() const;

	static constexpr int no_key = 0, end = -1;
	// A key that is pressed within so many seconds; no_key; end: a signal, or the terminal is
	// gone.
	int wait_for_key(double seconds);

private:
	struct termios before_;
};

} // namespace tool
