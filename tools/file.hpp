// SPDX-License-Identifier: MIT
//
// Files that somebody else may have made: opened only if they are regular, and read in parts of a
// size that is known before.
//
// Nothing is mapped, for a file that is cut off meanwhile would end the tool. A name may lead to a
// FIFO, which would never open, or to a device, which does something when it is opened: what a name
// leads to is looked at before.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/stat.h>

namespace tool {

class RegularFile {
public:
	RegularFile(const RegularFile &) = delete;
	RegularFile &operator=(const RegularFile &) = delete;
	~RegularFile();

	// Nothing with errno: EISDIR for a folder, EINVAL for what else is no regular file. A
	// relative name begins in `folder'; with `exactly' it is the file's own and no symbolic
	// link.
	static std::shared_ptr<const RegularFile> open(const std::string &name);
	static std::shared_ptr<const RegularFile> open_exactly(int folder, const std::string &name);

	// Of the moment when it was opened.
	const struct stat &status() const { return status_; }
	int descriptor() const { return fd_; }

	// Up to `most' bytes from a place on; fewer at the end of the file, or when all files
	// together have been read for too long.
	std::string part(uint64_t offset, uint64_t most) const;
	// Where data come next, at `offset' or after a hole; nothing after the last.
	std::optional<uint64_t> data_from(uint64_t offset) const;

	// Whether part() has given less because of the limit on all files together.
	static bool too_much();

private:
	RegularFile(int fd, const struct stat &status) : fd_(fd), status_(status) {}
	static std::shared_ptr<const RegularFile> open_at(int folder, const std::string &name,
							  int flags);

	int fd_;
	struct stat status_;
};

} // namespace tool
