// SPDX-License-Identifier: MIT
//
// sigevec bench: glibc's POSIX AIO, or the kernel's own AIO by libaio, against the library's and
// each of its engines, on the user's own file or folder.
#include "bench_results.hpp"
#include "measure.hpp"
#include "text.hpp"
#include "tool.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tool {

namespace {

constexpr Work all_work[] = {
	{"read, cached, depth 1", false, false, 1},
	{"read, cached, depth 32", false, false, 32},
	{"read, O_DIRECT, depth 1", false, true, 1},
	{"read, O_DIRECT, depth 32", false, true, 32},
	{"write, buffered, depth 32", true, false, 32},
	{"write, O_DIRECT, depth 32", true, true, 32},
};

// The user's file, which is only read, or one of our own in the user's folder, which vanishes with
// the descriptor.
class Target {
public:
	~Target()
	{
		if (fd_ >= 0)
			close(fd_);
	}

	// False: a complaint has been made.
	bool open(const char *path, const BenchOptions &o)
	{
		struct stat st;
		if (stat(path, &st) != 0)
			return complain("bench", path) == 0;
		own_ = S_ISDIR(st.st_mode);
		// Some devices do something when they are opened.
		if (!own_ && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
			errno = EINVAL;
			return complain("bench", path) == 0;
		}
		fd_ = own_ ? make(path, o.size)
			   : ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		off_t end = fd_ >= 0 ? lseek(fd_, 0, SEEK_END) : -1;
		if (end < 0)
			return complain("bench", path) == 0;
		if (static_cast<uint64_t>(end) < o.block)
			return complain("bench", path, "the file is smaller than a block") == 0;
		// A larger file might not stay in the cache.
		place = {"/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_),
			 std::min<uint64_t>(static_cast<uint64_t>(end), o.size), o.block};
		return warm() || complain("bench", path) == 0;
	}

	bool may_be_written() const { return own_; }

	Place place;

private:
	static int make(const char *folder, uint64_t size)
	{
		std::string name = std::string(folder) + "/sigevec-bench.XXXXXX";
		int fd = mkostemp(name.data(), O_CLOEXEC);
		if (fd < 0)
			return -1;
		unlink(name.c_str());
		std::vector<char> part(1 << 20, 'x');
		for (uint64_t at = 0; at < size; at += part.size()) {
			size_t n = static_cast<size_t>(std::min<uint64_t>(part.size(), size - at));
			if (write(fd, part.data(), n) != static_cast<ssize_t>(n) ||
			    (at + n == size && fsync(fd) != 0)) {
				close(fd);
				return -1;
			}
		}
		return fd;
	}

	bool warm() const
	{
		std::vector<char> part(1 << 20);
		for (uint64_t at = 0; at < place.size; at += part.size())
			if (pread(fd_, part.data(), part.size(), static_cast<off_t>(at)) < 0)
				return false;
		return true;
	}

	int fd_ = -1;
	bool own_ = false;
};

class Progress {
public:
	Progress(bool wanted, size_t steps)
	    : shown_(wanted && isatty(STDERR_FILENO) != 0), steps_(steps)
	{
	}
	~Progress()
	{
		if (shown_)
			print(stderr, "\r\033[K");
	}
	void step(const Work &w, const Side &s, double seconds)
	{
		if (shown_)
			print(stderr, "\r\033[K%3.0f %%  %.0f s left  %s: %s",
			      100.0 * static_cast<double>(done_) / static_cast<double>(steps_),
			      static_cast<double>(steps_ - done_) * seconds, w.name, s.name);
		fflush(stderr);
		done_++;
	}

private:
	bool shown_;
	size_t steps_, done_ = 0;
};

std::vector<Result> measure_all(const Target &t, const BenchOptions &o)
{
	std::vector<Result> results;
	for (const Work &w : all_work)
		if (!w.write || t.may_be_written())
			results.push_back({w, {}, {}});
	Progress progress(!o.quiet, results.size() * o.rounds * side_count);
	for (unsigned round = 0; round < o.rounds; round++)
		for (Result &r : results)
			for (size_t i = 0; i < side_count; i++) {
				size_t side =
					(i + round) % side_count; // nobody is always the first
				const Side &s = o.compared->sides[side];
				progress.step(r.work, s, o.seconds);
				Outcome outcome = measure(r.work, s, t.place, o.seconds);
				if (outcome.rate > 0)
					r.runs[side].push_back(outcome.rate);
				else
					r.error[side] = outcome.error;
			}
	return results;
}

// 4096, 64k, 1M
std::optional<uint64_t> bytes(const char *s, uint64_t least, uint64_t most)
{
	char *end = nullptr;
	errno = 0;
	uint64_t v = strtoull(s, &end, 10), unit = 1;
	if (*end == 'k' || *end == 'K')
		unit = 1 << 10;
	else if (*end == 'm' || *end == 'M')
		unit = 1 << 20;
	else if (*end == 'g' || *end == 'G')
		unit = 1 << 30;
	end += unit != 1 ? 1 : 0;
	if (*s < '0' || *s > '9' || *end != '\0' || errno != 0 || v > most / unit ||
	    v * unit < least)
		return {};
	return v * unit;
}

// nullptr, or what is wrong with the value.
const char *set(BenchOptions &o, int c, const char *value)
{
	switch (c) {
	case 'j':
		o.json = true;
		return nullptr;
	case 'q':
		o.quiet = true;
		return nullptr;
	case 'l':
		o.compared = &libaio;
		return nullptr;
	case 'o':
		o.svg = value;
		return nullptr;
	case 's': {
		char *end = nullptr;
		o.seconds = strtod(value, &end);
		return end != value && *end == '\0' && o.seconds >= 0.01 && o.seconds <= 3600
			       ? nullptr
			       : "not a number of seconds from 0.01 to 3600";
	}
	case 'r': {
		auto n = number(value, 1, 1000);
		o.rounds = static_cast<unsigned>(n.value_or(0));
		return n ? nullptr : "not a number from 1 to 1000";
	}
	case 'b': {
		auto n = bytes(value, 512, 16 << 20);
		o.block = n.value_or(0);
		return n && (*n & (*n - 1)) == 0 ? nullptr : "not a power of two from 512 to 16M";
	}
	default: {
		auto n = bytes(value, 1 << 16, uint64_t{1} << 50);
		o.size = n.value_or(0);
		return n ? nullptr : "not a number of bytes from 64k on";
	}
	}
}

int bench(int argc, char **argv)
{
	Options options(bench_command, argc, argv, "jqlo:s:r:b:S:",
			{{"json", no_argument, nullptr, 'j'},
			 {"quiet", no_argument, nullptr, 'q'},
			 {"libaio", no_argument, nullptr, 'l'},
			 {"svg", required_argument, nullptr, 'o'},
			 {"seconds", required_argument, nullptr, 's'},
			 {"rounds", required_argument, nullptr, 'r'},
			 {"block", required_argument, nullptr, 'b'},
			 {"size", required_argument, nullptr, 'S'}});
	BenchOptions o;
	if (auto over = options.read([&](int c) { return set(o, c, optarg); }); over)
		return *over;
	if (options.rest() + 1 < argc)
		return usage(bench_command);
	const char *path = options.rest() < argc ? argv[options.rest()] : ".";
	if (o.size < o.block)
		return complain("bench", "--size", "it is smaller than a block", exit_usage);
	Target target;
	if (!target.open(path, o))
		return exit_failed;
	Output svg;
	if (o.svg != nullptr && !svg.open(o.svg))
		return complain("bench", o.svg);
	int status = 0;
	auto results = measure_all(target, o);
	if (o.json)
		print_json(results, path, o);
	else
		print_table(results, o);
	if (o.svg != nullptr && !write_svg(results, o, svg))
		status = complain("bench", o.svg);
	bool any = std::any_of(results.begin(), results.end(),
			       [](const Result &r) { return !r.runs[1].empty(); });
	return finish_output("bench", any ? status : exit_failed);
}

} // namespace

const Command bench_command = {
	"bench", bench,
	"[--seconds S] [--rounds N] [--block BYTES] [--size BYTES] [--libaio] [--json] [--quiet] "
	"[--svg FILE] [FILE|FOLDER]",
	"compare glibc's AIO with the library's on your own disk",
	"  -s, --seconds S       length of one measurement (0.3)\n"
	"  -r, --rounds N        measurements of each kind, whose median counts (3)\n"
	"  -b, --block BYTES     of one request, a power of two (4096; 64k, 1M)\n"
	"  -S, --size BYTES      of the file that is made in FOLDER, and at most of FILE (64M)\n"
	"  -l, --libaio          of a program on libaio, the kernel's own AIO with the library's\n"
	"  -j, --json            the figures as JSON\n"
	"  -q, --quiet           no progress on standard error\n"
	"  -o, --svg FILE        a chart as well\n"
	"FILE is only read. In FOLDER (the current one if nothing is named) a file without a name "
	"is made.\n"};

} // namespace tool
