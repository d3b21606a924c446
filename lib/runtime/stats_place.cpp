// SPDX-License-Identifier: MIT
#include "runtime/stats_place.hpp"

#include "base/owned_fd.hpp"
#include "base/pending_signal.hpp"
#include "base/proc.hpp"
#include "base/sync.hpp"
#include "base/syscalls.hpp"
#include "runtime/config.hpp"
#include "runtime/stats_file.hpp"
#include "runtime/stats_folder.hpp"
#include "runtime/trace.hpp"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <sys/vfs.h>

namespace sigevec::stats_place {

using stats_file::File;
using stats_folder::FileName;
using stats_folder::open_at;

namespace {

// Whose file open() has made in the users' folder, and its name; "" without.
uid_t owner;
FileName name;

// Those of this machine's own disks and memory. What another process serves (FUSE, a network) it
// may cut, whoever seems to be the owner.
bool on_own_file_system(int fd)
{
	constexpr unsigned long known[] = {
		0x01021994, // tmpfs
		0xef53,     // ext2, ext3, ext4
		0x58465342, // XFS
		0x9123683e, // Btrfs
		0xf2f52010, // F2FS
		0x2fc12fc1, // ZFS
		0xca451a4e, // bcachefs
		0x794c7630, // overlayfs
	};
	struct statfs s;
	if (fstatfs(fd, &s) != 0)
		return false;
	for (unsigned long type : known)
		if (static_cast<unsigned long>(s.f_type) == type)
			return true;
	return false;
}

// The signal of a file that would become larger than RLIMIT_FSIZE goes to the thread that has made
// it so. It stays with us.
class NoSizeSignal {
public:
	NoSizeSignal()
	{
		sigemptyset(&signal_);
		sigaddset(&signal_, SIGXFSZ);
		change_signal_mask(SIG_BLOCK, &signal_, &saved_);
		sigset_t pending;
		was_pending_ = sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) != 0;
	}
	~NoSizeSignal()
	{
		int saved = errno;
		siginfo_t info;
		if (!was_pending_)
			sys::take_signal(sys::set_of(SIGXFSZ), &info);
		change_signal_mask(SIG_SETMASK, &saved_, nullptr);
		errno = saved;
	}
	NoSizeSignal(const NoSizeSignal &) = delete;
	NoSizeSignal &operator=(const NoSizeSignal &) = delete;

private:
	sigset_t signal_, saved_;
	bool was_pending_;
};

// All of its memory now: a full file system must not end the program later.
bool reserve(int fd)
{
	NoSizeSignal quiet;
	return syscall(SYS_fallocate, fd, 0, 0L, static_cast<long>(size())) == 0;
}

bool can_be_mapped(int fd)
{
	struct stat st;
	return sys::fstat(fd, &st) == 0 && stats_folder::is_file_of(st, geteuid()) &&
	       on_own_file_system(fd) && reserve(fd);
}

// Any file with something else in it is not ours to write to or to remove. One without a magic
// number is just being set up by another process.
bool holds_statistics(int fd)
{
	struct stat st;
	uint64_t word = 0;
	if (sys::fstat(fd, &st) != 0 || !stats_folder::is_file_of(st, geteuid()))
		return false;
	if (st.st_size == 0)
		return true;
	// Longer with a trace.
	return st.st_size >= static_cast<off_t>(sizeof(File)) &&
	       sys::pread(fd, &word, sizeof word, 0) == sizeof word &&
	       (word == stats_file::magic || (word == 0 && st.st_size == sizeof(File)));
}

// A file that has this name is of an earlier process with this number, or of this one before exec.
bool remove_earlier(int folder, const char *file)
{
	OwnedFd fd(open_at(folder, file, O_RDONLY | O_NONBLOCK));
	return fd >= 0 && holds_statistics(fd) && unlinkat(folder, file, 0) == 0;
}

FileName own_name()
{
	return stats_folder::file_name(static_cast<uint32_t>(getpid()),
				       proc::name_space("self/ns/pid"));
}

int make(int folder, const char *file)
{
	constexpr int flags = O_RDWR | O_CREAT | O_EXCL;
	int fd = open_at(folder, file, flags, 0600);
	if (fd < 0 && errno == EEXIST && remove_earlier(folder, file))
		fd = open_at(folder, file, flags, 0600);
	if (fd < 0 || can_be_mapped(fd))
		return fd;
	unlinkat(folder, file, 0);
	sys::close(fd);
	return -1;
}

constexpr unsigned most_left = 16;

// A process that ends by _exit, as children often do, leaves its file as one does that crashes.
// Keeps that within bounds: every process that adds one removes the oldest when there are many.
// Only of its own PID namespace (the names end as its own): which others have ended it cannot know.
void remove_oldest(int folder, const char *own_file)
{
	OwnedFd folder_of_list(open_at(folder, ".", O_RDONLY | O_DIRECTORY));
	DIR *list = folder_of_list >= 0 ? fdopendir(folder_of_list) : nullptr;
	if (list == nullptr)
		return;
	int own = folder_of_list.release(); // the list's
	const char *ending = own_file + strspn(own_file, "0123456789");
	unsigned left = 0;
	long oldest_time = LONG_MAX;
	char oldest[NAME_MAX + 1] = "";
	while (const struct dirent *e = readdir(list)) {
		struct stat st;
		char *end;
		long pid = strtol(e->d_name, &end, 10);
		if (strcmp(end, ending) != 0 || pid <= 0 || kill(static_cast<pid_t>(pid), 0) == 0 ||
		    errno != ESRCH || fstatat(own, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		left++;
		if (st.st_ctime < oldest_time) {
			oldest_time = st.st_ctime;
			snprintf(oldest, sizeof oldest, "%s", e->d_name);
		}
	}
	if (left > most_left)
		unlinkat(own, oldest, 0);
	closedir(list);
}

int open_own()
{
	OwnedFd folder(stats_folder::open_own());
	if (folder < 0)
		return -1;
	FileName file = own_name();
	remove_oldest(folder, file.text);
	int fd = make(folder, file.text);
	if (fd >= 0) {
		owner = geteuid();
		name = file;
	}
	return fd;
}

// Of the process's user, of root, or one in which everybody may make files but only remove his own.
bool is_fit(int folder)
{
	struct stat st;
	if (sys::fstat(folder, &st) != 0)
		return false;
	return (st.st_mode & S_ISVTX) != 0 ||
	       ((st.st_uid == geteuid() || st.st_uid == 0) && (st.st_mode & S_IWOTH) == 0);
}

int open_in_folder()
{
	// With its slash a symbolic link would be followed.
	char path[PATH_MAX];
	size_t n = strlen(config::stats_file);
	while (n > 1 && config::stats_file[n - 1] == '/')
		n--;
	if (n >= sizeof path)
		return -1;
	memcpy(path, config::stats_file, n);
	path[n] = '\0';
	OwnedFd folder(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
	return folder >= 0 && is_fit(folder) ? make(folder, own_name().text) : -1;
}

int open_shared()
{
	OwnedFd fd(open_at(AT_FDCWD, config::stats_file, O_RDWR | O_CREAT | O_NONBLOCK, 0644));
	return fd >= 0 && holds_statistics(fd) && can_be_mapped(fd) ? fd.release() : -1;
}

} // namespace

Mode mode()
{
	const char *s = config::stats_file;
	if (s == nullptr || *s == '\0' || strcmp(s, "0") == 0)
		return Mode::off;
	if (strcmp(s, "1") == 0)
		return Mode::process;
	return s[strlen(s) - 1] == '/' ? Mode::folder : Mode::shared;
}

size_t size()
{
	return sizeof(File) + trace::size();
}

int open()
{
	name.text[0] = '\0';
	switch (mode()) {
	case Mode::process:
		return open_own();
	case Mode::folder:
		return open_in_folder();
	case Mode::shared:
		return open_shared();
	case Mode::off:
		break;
	}
	return -1;
}

void remove_name()
{
	if (name.text[0] == '\0')
		return;
	OwnedFd folder(stats_folder::open_of(owner));
	if (folder >= 0)
		unlinkat(folder, name.text, 0);
}

} // namespace sigevec::stats_place
