// SPDX-License-Identifier: MIT
#include "tool.hpp"

#include "text.hpp"

#include "config.h"
#include "sigevec/info.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>
#include <utility>

namespace tool {

int complain(const char *command, const std::string &what, int status)
{
	return complain(command, what, strerror(errno), status);
}

int complain(const char *command, const std::string &what, const std::string &why, int status)
{
	print(stderr, "sigevec %s: %s: %s\n", command, what, why);
	return status;
}

int usage(const Command &c)
{
	print(stderr, "usage: sigevec %s %s\nTry 'sigevec %s --help'.\n", c.name, c.synopsis,
	      c.name);
	return exit_usage;
}

void print_help(const Command &c)
{
	print(stdout, "usage: sigevec %s %s\n%s.\n\n", c.name, c.synopsis, c.summary);
	print(stdout, c.help);
	print(stdout, "  -h, --help            this text\n  -V, --version         the "
		      "version\n\nMore: man 1 sigevec\n");
}

void print_version()
{
	print(stdout, "sigevec (libsigevec) " PACKAGE_VERSION "\n");
}

Options::Options(const Command &c, int argc, char **argv, const char *letters,
		 std::vector<option> list)
    : command_(c), argc_(argc), argv_(argv), letters_(letters), list_(std::move(list))
{
	letters_.insert(letters_.begin() + (*letters == '+' ? 1 : 0),
			':'); // what lacks its value is told apart
	letters_ += "hV";
	list_.push_back({"help", no_argument, nullptr, 'h'});
	list_.push_back({"version", no_argument, nullptr, 'V'});
	list_.push_back({nullptr, 0, nullptr, 0});
	optind = 1;
	opterr = 0; // getopt would print the word as it is
}

int Options::next(int *status)
{
	int c = getopt_long(argc_, argv_, letters_.c_str(), list_.data(), nullptr);
	switch (c) {
	case -1:
		return 0;
	case 'h':
		print_help(command_);
		*status = finish_output(command_.name, 0);
		return -1;
	case 'V':
		print_version();
		*status = finish_output(command_.name, 0);
		return -1;
	case '?':
	case ':':
		*status = refuse(c);
		return -1;
	default:
		return last_ = c;
	}
}

// Of a cluster of letters getopt has not left the word yet.
int Options::refuse(int c)
{
	bool is_long = strncmp(argv_[optind - 1], "--", 2) == 0;
	std::string word = is_long || optopt == 0 ? argv_[optind - 1]
						  : std::string{'-', static_cast<char>(optopt)};
	complain(command_.name, word,
		 c == ':'                 ? "it wants a value"
		 : is_long && optopt != 0 ? "it takes no value"
					  : "no such option");
	return usage(command_);
}

int Options::wrong(const char *why) const
{
	std::string name;
	for (const option &o : list_)
		if (o.name != nullptr && o.val == last_)
			name.append("--").append(o.name);
	if (optarg != nullptr)
		name.append(" ").append(optarg);
	return complain(command_.name, name, why, exit_usage);
}

int Options::rest() const
{
	return optind;
}

Output::~Output()
{
	if (file_ != nullptr)
		fclose(file_);
}

bool Output::open(const char *path)
{
	int fd = ::open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
	file_ = fd >= 0 ? fdopen(fd, "w") : nullptr;
	return file_ != nullptr;
}

FILE *Output::begin()
{
	// Only files have an end to be cut off.
	failed_ = ftruncate(fileno(file_), 0) != 0 && errno != EINVAL;
	return file_;
}

bool Output::finish()
{
	int error = failed_ || ferror(file_) != 0 || fflush(file_) != 0 ? errno : 0;
	if (fclose(std::exchange(file_, nullptr)) != 0 && error == 0)
		error = errno;
	errno = error;
	return error == 0;
}

std::optional<unsigned long> number(const char *s, unsigned long least, unsigned long most)
{
	char *end = nullptr;
	errno = 0;
	unsigned long v = strtoul(s, &end, 10);
	if (*s < '0' || *s > '9' || *end != '\0' || errno != 0 || v < least || v > most)
		return {};
	return v;
}

std::optional<double> seconds(const char *s)
{
	char *end = nullptr;
	double v = strtod(s, &end);
	if (end == s || *end != '\0' || !(v >= 0.01) || v > 1e6)
		return {};
	return v;
}

void sleep_for(double seconds)
{
	struct timespec t;
	t.tv_sec = static_cast<time_t>(seconds);
	t.tv_nsec = static_cast<long>((seconds - std::floor(seconds)) * 1e9);
	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

double time_of(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

namespace {

std::string neighbour_path(const std::string &name)
{
	std::string path = library_path();
	size_t slash = path.rfind('/');
	if (slash == std::string::npos)
		return "";
	path = path.substr(0, slash) + "/" + name;
	return access(path.c_str(), R_OK) == 0 ? path : "";
}

} // namespace

std::string libaio_library_path()
{
	return neighbour_path("libsigevec_aio.so.1");
}

std::string libevent_library_path()
{
	return neighbour_path("libsigevec_event.so.1");
}

std::string user_name(uid_t user)
{
	const struct passwd *p = getpwuid(user);
	return p != nullptr ? p->pw_name : std::to_string(user);
}

std::string library_path()
{
	Dl_info info;
	if (dladdr(reinterpret_cast<void *>(sigevec_get_engine), &info) == 0)
		return {};
	char *real = realpath(info.dli_fname, nullptr);
	std::string path = real != nullptr ? real : "";
	free(real);
	return path;
}

std::optional<std::string> read_file(const std::string &path, size_t most)
{
	int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return {};
	std::string all;
	char part[65536];
	ssize_t n = 0;
	while (all.size() < most && (n = read(fd, part, sizeof part)) > 0)
		all.append(part, static_cast<size_t>(n));
	int error = errno;
	close(fd);
	errno = error;
	if (all.size() < most && n < 0)
		return {};
	return all;
}

std::string first_line(const std::string &path)
{
	std::string all = read_file(path, 65536).value_or("");
	return all.substr(0, all.find('\n'));
}

std::optional<std::string> status_field(const std::string &process, const std::string &name)
{
	std::string status = read_file("/proc/" + process + "/status", 65536).value_or("");
	size_t at = status.find("\n" + name + ":");
	if (at == std::string::npos)
		return {};
	size_t from = at + 2 + name.size();
	return status.substr(from, status.find('\n', from) - from);
}

int finish_output(const char *command, int status)
{
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return status;
	return complain(command, "standard output");
}

} // namespace tool
