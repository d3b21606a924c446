// SPDX-License-Identifier: MIT
#include "terminal.hpp"

#include "text.hpp"

#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace tool {

namespace {

volatile sig_atomic_t ended;

void note_end(int)
{
	ended = 1;
}

void do_nothing(int)
{
}

void on_signal(int signal, void (*f)(int))
{
	struct sigaction a = {};
	a.sa_handler = f;
	sigemptyset(&a.sa_mask);
	sigaction(signal, &a, nullptr); // no SA_RESTART: poll is to return
}

} // namespace

bool Terminal::is_there()
{
	return isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
}

Terminal::Terminal()
{
	tcgetattr(STDIN_FILENO, &before_);
	for (int s : {SIGINT, SIGTERM, SIGHUP})
		on_signal(s, note_end);
	on_signal(SIGWINCH, do_nothing); // its size is asked for each time
	struct termios raw = before_;
	raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
	// Stopped, it would leave the terminal as it is now.
	raw.c_cc[VSUSP] = _POSIX_VDISABLE;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	// The other screen, without a cursor and without the wrapping of lines.
	print(stdout, "\033[?1049h\033[?25l\033[?7l");
}

Terminal::~Terminal()
{
	print(stdout, "\033[?7h\033[?25h\033[?1049l");
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

unsigned Terminal::lines() const
{
	struct winsize w;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row != 0 ? w.ws_row : 24;
}

int Terminal::wait_for_key(double seconds)
{
	struct pollfd p = {STDIN_FILENO, POLLIN, 0};
	if (ended != 0)
		return end;
	int n = poll(&p, 1, static_cast<int>(std::ceil(seconds * 1000)));
	if (ended != 0 || (n < 0 && errno != EINTR))
		return end;
	if (n <= 0)
		return no_key; // time has passed, or the window has another size
	unsigned char key;
	ssize_t got = read(STDIN_FILENO, &key, 1);
	return got == 1 ? key : end;
}

} // namespace tool
