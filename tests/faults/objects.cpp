// SPDX-License-Identifier: MIT
//
// A scenario's own files and sockets, and what is left of them, of threads and of descriptors at
// its end.
#ifdef __x86_64__
#include "scenario.hpp"

#include <algorithm>
#include <cstdlib>
#include <dirent.h>
#include <sstream>
#include <string>

namespace faults {

static std::vector<Object> objects;

void remember(int fd)
{
	struct stat s;
	if (raw(SYS_fstat, fd, &s) == 0)
		objects.push_back({s.st_dev, s.st_ino});
}

int own(int fd)
{
	if (fd < 0) {
		wrong("the scenario's own call fails: %s", strerrorname_np(-fd));
		raw(SYS_exit_group, 3);
	}
	remember(fd);
	return fd;
}

int file(const char *name, int flags, size_t size, unsigned char first)
{
	std::string path =
		std::string("/var/tmp/sigevec-faults-") + std::to_string(raw(SYS_getpid)) + name;
	raw(SYS_unlink, path.c_str());
	const int w = own(raw(SYS_open, path.c_str(), O_CREAT | O_RDWR, 0600));
	std::vector<unsigned char> data(size);
	for (size_t i = 0; i < size; i++)
		data[i] = static_cast<unsigned char>(first + i / 512 + i);
	put(w, data.data(), size);
	const int fd = own(raw(SYS_open, path.c_str(), flags));
	raw(SYS_close, w);
	raw(SYS_unlink, path.c_str());
	return fd;
}

void pipe(int fd[2], int flags)
{
	if (raw(SYS_pipe2, fd, flags) != 0)
		wrong("the scenario's own pipe");
	remember(fd[0]);
}

void pair(int fd[2], int type)
{
	if (raw(SYS_socketpair, AF_UNIX, type, 0, fd) != 0)
		wrong("the scenario's own pair of sockets");
	remember(fd[0]);
	remember(fd[1]);
}

void close_all(std::initializer_list<int> fds)
{
	for (int fd : fds)
		raw(SYS_close, fd);
}

void put(int fd, const void *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		const long n =
			raw(SYS_write, fd, static_cast<const char *>(data) + done, size - done);
		if (n <= 0 && n != -EINTR) {
			wrong("the scenario's own write fails: %s", strerrorname_np(int(-n)));
			return;
		}
		done += n > 0 ? n : 0;
	}
}

bool take(int fd, void *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		const long n = raw(SYS_read, fd, static_cast<char *>(data) + done, size - done);
		if (n <= 0 && n != -EINTR)
			return false;
		done += n > 0 ? n : 0;
	}
	return true;
}

// ------------------------------------------------------------------- what is left

static bool is_own(const char *path)
{
	struct stat s;
	if (stat(path, &s) != 0)
		return false;
	for (const Object &o : objects)
		if (o.device == s.st_dev && o.inode == s.st_ino)
			return true;
	return false;
}

/// The scenario's own objects, in whichever table; returns one of them, or "".
static std::string held()
{
	std::string found;
	DIR *tasks = opendir("/proc/self/task");
	while (const dirent *t = readdir(tasks)) {
		const std::string folder = std::string("/proc/self/task/") + t->d_name + "/fd";
		DIR *fds = opendir(folder.c_str());
		if (fds == nullptr)
			continue;
		while (const dirent *d = readdir(fds)) {
			const std::string path = folder + "/" + d->d_name;
			char link[100] = "";
			if (is_own(path.c_str()) &&
			    readlink(path.c_str(), link, sizeof link - 1) > 0)
				found = path.substr(11) + " is " + link;
		}
		closedir(fds);
	}
	closedir(tasks);
	return found;
}

static unsigned threads()
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned n = 0;
	while (readdir(tasks) != nullptr)
		n++;
	closedir(tasks);
	return n - 2;
}

/// What kinds of descriptors the program has.
static std::vector<std::string> kinds()
{
	DIR *fds = opendir("/proc/self/fd");
	std::vector<std::string> v;
	while (const dirent *d = readdir(fds)) {
		char link[200] = "";
		const std::string path = std::string("/proc/self/fd/") + d->d_name;
		if (readlink(path.c_str(), link, sizeof link - 1) <= 0 || atoi(d->d_name) < 3)
			continue;
		const std::string kind = link;
		if (atoi(d->d_name) != dirfd(fds))
			v.push_back(kind.starts_with("anon_inode")
					    ? kind
					    : kind.substr(0, kind.find(':')));
	}
	closedir(fds);
	std::sort(v.begin(), v.end());
	return v;
}

static std::vector<std::string> may_be_left()
{
	std::istringstream stream(shared->may_be_left);
	std::vector<std::string> v;
	for (std::string w; stream >> w;)
		v.push_back(w);
	std::sort(v.begin(), v.end());
	return v;
}

static bool too_much_is_left()
{
	if (!shared->limited)
		return false;
	const std::vector<std::string> is = kinds(), may = may_be_left();
	return threads() > shared->most_threads ||
	       !std::includes(may.begin(), may.end(), is.begin(), is.end());
}

static void tell_rest()
{
	std::string all;
	for (const std::string &k : kinds())
		all += k + " ";
	snprintf(shared->left, sizeof shared->left, "%s", all.c_str());
	shared->threads = threads();
}

void look_for_what_is_left()
{
	std::string found;
	stage("what is left");
	for (unsigned i = 0; i < 1500; i++) {
		found = held();
		if (found.empty() && !too_much_is_left())
			break;
		nap(10000);
	}
	if (!found.empty())
		wrong("left open: %s", found.c_str());
	tell_rest();
}

} // namespace faults
#endif
