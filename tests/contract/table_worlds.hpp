// SPDX-License-Identifier: MIT
//
// What is left in a descriptor after a call, and threads whose waiting can be seen. A part of
// table.hpp.
#ifndef CONTRACT_TABLE_WORLDS_HPP
#define CONTRACT_TABLE_WORLDS_HPP

namespace contract {

// ----------------------------------------------------------------- what is left

inline int queued_out(int fd)
{
	int bytes = 0;
	return ioctl(fd, TIOCOUTQ, &bytes) == 0 ? bytes : 0;
}
/// What was sent over a network has arrived, or never will.
inline void let_arrive(int fd)
{
	if (fd < 0 || !is_tcp(fd))
		return;
	for (int i = 0; i < 200 && queued_out(fd) != 0; ++i)
		usleep(100);
}
/// So has what was put into a terminal, which passes it on by a thread of the kernel's; `taken`
/// bytes of it were read.
inline void let_arrive(World &world, size_t taken)
{
	let_arrive(world.fd);
	let_arrive(world.peer);
	if (world.fd < 0 || isatty(world.fd) == 0)
		return;
	for (int n = 0, i = 0;
	     i < 400 && ioctl(world.fd, FIONREAD, &n) == 0 && size_t(n) + taken < world.put; ++i)
		usleep(50);
}
inline bool is_a(int fd, int option, int value)
{
	int got = 0;
	socklen_t length = sizeof got;
	return getsockopt(fd, SOL_SOCKET, option, &got, &length) == 0 && got == value;
}
inline std::string connections_left(int listener)
{
	int count = 0, error = 0;
	set_nonblocking(listener);
	for (int s; (s = accept(listener, nullptr, nullptr)) >= 0; ++count)
		close(s);
	error = errno;
	return std::to_string(count) + " connections, " + error_name(error);
}
inline std::string without_stuffing(const std::string &all)
{
	const size_t first = all.find_first_not_of("f|");
	return first == all.npos ? "" : all.substr(first);
}
/// Takes all that can be read without waiting; what filled the way before is not shown.
inline std::string drained(int fd, size_t skip)
{
	const bool socket = is_a(fd, SO_ACCEPTCONN, 0);
	if (is_a(fd, SO_ACCEPTCONN, 1))
		return connections_left(fd);
	const int flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return error_name(errno);
	if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH) != 0)
		return "";
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	std::string all, out;
	std::vector<char> piece(size_t{1} << 18);
	const bool packets = socket && !is_a(fd, SO_TYPE, SOCK_STREAM);
	for (int empty = 0; empty < 3 && all.size() < (size_t{1} << 24);) {
		const ssize_t n = socket ? recv(fd, piece.data(), piece.size(), MSG_DONTWAIT)
					 : read(fd, piece.data(), piece.size());
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			out = " " + error_name(errno);
		if (n < 0)
			break;
		if (n == 0)
			out = " end";
		if (n == 0 && !packets)
			break;
		empty += n == 0;
		all.append(piece.data(), size_t(n));
		if (packets)
			all += '|';
	}
	fcntl(fd, F_SETFL, flags);
	return shown(skip != 0 ? without_stuffing(all) : all) + out;
}
inline std::string looked_at(int fd, size_t skip)
{
	if (fd < 0)
		return "";
	pollfd p{fd, POLLIN | POLLPRI | POLLRDHUP, 0};
	poll(&p, 1, 0);
	int there = -1;
	if (skip == 0)
		ioctl(fd, FIONREAD, &there);
	int error = -1;
	socklen_t length = sizeof error;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	std::string out = poll_bits(p.revents) + " " + std::to_string(there);
	if (error > 0)
		out += " pending " + error_name(error);
	return out + " " + drained(fd, skip);
}
inline std::string left_in(World &world, ssize_t taken)
{
	let_arrive(world, size_t(std::max(taken, ssize_t{0})));
	std::string out;
	if (world.look)
		return world.look(world);
	if (world.stuffed != 0)
		out += "; got: " + shown(without_stuffing(world.got));
	if (world.fd >= 0)
		out += "; left: " + looked_at(world.fd, 0);
	if (world.peer >= 0)
		out += "; at the peer: " + looked_at(world.peer, world.stuffed);
	return out;
}

// ---------------------------------------------------------------------- judges

/// A thread that does one thing after another. Whether it waits in a system call can be seen from
/// outside.
class Hand {
public:
	Hand() : thread_([this] { loop(); })
	{
		while (id_ == 0)
			sched_yield();
	}
	~Hand()
	{
		give([] {}, true);
		thread_.join();
	}
	void begin(std::function<void()> work) { give(std::move(work), false); }
	bool done() const { return done_; }
	void join()
	{
		std::unique_lock lock(mutex_);
		changed_.wait(lock, [&] { return done_.load(); });
	}
	/// True when it waits in a system call, false when it has come to the end of its work.
	bool waits()
	{
		for (int seen = 0; seen < 3;) {
			if (done_)
				return false;
			seen = asleep() ? seen + 1 : 0;
			if (seen > 0 && seen < 3)
				usleep(100);
			else
				sched_yield();
		}
		return !done_;
	}
	/// Ends the system call with EINTR.
	void interrupt()
	{
		while (!done_) {
			pthread_kill(thread_.native_handle(), SIGUSR1);
			for (int i = 0; i < 20 && !done_; ++i)
				usleep(50);
		}
	}

private:
	bool asleep() const
	{
		char path[64], text[128] = "";
		snprintf(path, sizeof path, "/proc/self/task/%d/syscall", int(id_));
		const Fd file(open(path, O_RDONLY | O_CLOEXEC));
		if (read(file, text, sizeof text - 1) <= 0 || text[0] < '0' || text[0] > '9')
			return false;
		return atoi(text) != SYS_futex && thread_state(id_) == 'S';
	}
	void give(std::function<void()> work, bool last)
	{
		std::lock_guard const lock(mutex_);
		work_ = std::move(work);
		last_ = last;
		done_ = false;
		changed_.notify_all();
	}
	void loop()
	{
		sigset_t pipe;
		sigemptyset(&pipe);
		sigaddset(&pipe, SIGPIPE);
		pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
		id_ = thread_id();
		std::unique_lock lock(mutex_);
		for (bool last = false; !last;) {
			changed_.wait(lock, [&] { return !done_; });
			last = last_;
			lock.unlock();
			work_();
			lock.lock();
			done_ = true;
			changed_.notify_all();
		}
	}
	std::mutex mutex_;
	std::condition_variable changed_;
	std::function<void()> work_;
	std::atomic<pid_t> id_{0};
	std::atomic<bool> done_{true};
	bool last_ = false;
	std::thread thread_;
};

inline std::atomic<int> broken_pipes{0};
struct CountSignals {
	CountSignals()
	{
		struct sigaction action {};
		action.sa_handler = [](int) { ++broken_pipes; };
		sigaction(SIGPIPE, &action, nullptr);
		action.sa_handler = [](int) {};
		sigaction(SIGUSR1, &action, nullptr);
	}
};
BOOST_TEST_GLOBAL_FIXTURE(CountSignals);

} // namespace contract

#endif
