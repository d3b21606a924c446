// SPDX-License-Identifier: MIT
#include "file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace tool {

namespace {

// Of all files of one run of the tool: a few seconds of reading, on a slow disk.
uint64_t left = uint64_t{1} << 30;
bool exhausted = false;

int close_with(int fd, int error)
{
	close(fd);
	errno = error;
	return -1;
}

} // namespace

RegularFile::~RegularFile()
{
	close(fd_);
}

std::shared_ptr<const RegularFile> RegularFile::open_at(int folder, const std::string &name,
							int flags)
{
	int seen = openat(folder, name.c_str(), O_PATH | O_CLOEXEC | flags);
	if (seen < 0)
		return nullptr;
	struct stat st;
	if (fstat(seen, &st) != 0)
		return close_with(seen, errno), nullptr;
	if (!S_ISREG(st.st_mode))
		return close_with(seen, S_ISDIR(st.st_mode) ? EISDIR : EINVAL), nullptr;
	// What has been looked at, whatever has the name now.
	std::string same = "/proc/self/fd/" + std::to_string(seen);
	int fd = ::open(same.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	close_with(seen, errno);
	if (fd < 0)
		return nullptr;
	// What is called /proc may be somebody else's.
	struct stat opened;
	if (fstat(fd, &opened) != 0 || opened.st_dev != st.st_dev || opened.st_ino != st.st_ino)
		return close_with(fd, EINVAL), nullptr;
	return std::shared_ptr<const RegularFile>(new RegularFile(fd, st));
}

std::shared_ptr<const RegularFile> RegularFile::open(const std::string &name)
{
	return open_at(AT_FDCWD, name, 0);
}

std::shared_ptr<const RegularFile> RegularFile::open_exactly(int folder, const std::string &name)
{
	return open_at(folder, name, O_NOFOLLOW);
}

std::string RegularFile::part(uint64_t offset, uint64_t most) const
{
	auto end = static_cast<uint64_t>(status_.st_size);
	if (offset >= end)
		return {};
	most = std::min(most, end - offset);
	exhausted |= most > left;
	most = std::min(most, left);
	left -= most;
	std::string all(most, '\0');
	size_t got = 0;
	while (got < most) {
		ssize_t n =
			pread(fd_, all.data() + got, most - got, static_cast<off_t>(offset + got));
		if (n <= 0 && !(n < 0 && errno == EINTR))
			break;
		got += n > 0 ? static_cast<size_t>(n) : 0;
	}
	all.resize(got);
	return all;
}

std::optional<uint64_t> RegularFile::data_from(uint64_t offset) const
{
	off_t next = lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
	if (next >= 0)
		return static_cast<uint64_t>(next);
	// Some file systems have no idea of holes.
	bool ends = errno == ENXIO || offset >= static_cast<uint64_t>(status_.st_size);
	return ends ? std::nullopt : std::optional(offset);
}

bool RegularFile::too_much()
{
	return exhausted;
}

} // namespace tool
