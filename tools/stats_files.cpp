// SPDX-License-Identifier: MIT
#include "stats_files.hpp"

#include "runtime/stats_folder.hpp"
#include "tool.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <dirent.h>
#include <unistd.h>

namespace tool {

namespace {

namespace folders = sigevec::stats_folder;

// Of a user's, in all his folders together.
constexpr unsigned most_entries = 4096;

// What is in an open folder, sorted. Of one that somebody has filled not everything.
std::vector<std::string> names_in(int folder)
{
	std::vector<std::string> v;
	int own = folders::open_at(folder, ".", O_RDONLY | O_DIRECTORY);
	DIR *d = own >= 0 ? fdopendir(own) : nullptr;
	if (d == nullptr) {
		if (own >= 0)
			close(own);
		return v;
	}
	while (v.size() < most_entries) {
		const struct dirent *e = readdir(d);
		if (e == nullptr)
			break;
		v.emplace_back(e->d_name);
	}
	closedir(d);
	std::sort(v.begin(), v.end());
	return v;
}

// An open folder, or none.
class Folder {
public:
	explicit Folder(int fd) : fd_(fd) {}
	~Folder()
	{
		if (fd_ >= 0)
			close(fd_);
	}
	Folder(const Folder &) = delete;
	Folder &operator=(const Folder &) = delete;
	operator int() const { return fd_; }

private:
	int fd_;
};

// As folders::file_name() makes them.
bool is_of_process(const std::string &name)
{
	size_t at = name.find('@');
	return number(name.substr(0, at).c_str(), 1, 1u << 30).has_value() &&
	       (at == std::string::npos || number(name.c_str() + at + 1, 1, UINT32_MAX));
}

// left: how many more of this user's.
void visit(int folder, const std::string &path, uid_t owner, const EntryFunction &f, unsigned &left)
{
	for (const std::string &name : names_in(folder)) {
		if (left == 0)
			return;
		left--;
		if (is_of_process(name))
			f({folder, name, path + "/" + name, owner});
	}
}

// root: "", or what leads to another root.
void visit_user(uid_t user, const EntryFunction &f, const std::string &root = "")
{
	std::string path = root + folders::name_of(user).text;
	Folder folder(folders::open_folder(AT_FDCWD, path.c_str(), user));
	if (folder < 0)
		return;
	unsigned left = most_entries;
	visit(folder, path, user, f, left);
	for (const std::string &name : names_in(folder)) {
		if (left == 0)
			return;
		Folder run(name.starts_with(folders::run_prefix)
				   ? folders::open_folder(folder, name.c_str(), user)
				   : -1);
		if (run >= 0)
			visit(run, path + "/" + name, user, f, left);
	}
}

// Better is less.
unsigned rank(uid_t owner)
{
	return owner == geteuid() ? 0 : owner == 0 ? 1 : 2;
}

} // namespace

std::shared_ptr<const RegularFile> StatsEntry::open() const
{
	auto file = RegularFile::open_exactly(folder, name);
	if (file && !folders::is_file_of(file->status(), owner)) {
		errno = EPERM;
		return nullptr;
	}
	return file;
}

bool StatsEntry::remove() const
{
	return unlinkat(folder, name.c_str(), 0) == 0;
}

void for_each_entry(const EntryFunction &f)
{
	Folder all(folders::open_at(AT_FDCWD, folders::shared_memory, O_RDONLY | O_DIRECTORY));
	if (all < 0)
		return;
	visit_user(geteuid(), f);
	constexpr std::string_view prefix = folders::prefix;
	for (const std::string &name : names_in(all)) {
		if (!name.starts_with(prefix))
			continue;
		auto user = number(name.c_str() + prefix.size(), 0, UINT32_MAX - 1);
		if (user && *user != geteuid() &&
		    name == std::string(prefix) + std::to_string(*user))
			visit_user(static_cast<uid_t>(*user), f);
	}
}

void for_each_entry_in(const std::string &folder, const EntryFunction &f)
{
	Folder opened(folders::open_folder(AT_FDCWD, folder.c_str(), geteuid()));
	unsigned left = most_entries;
	if (opened >= 0)
		visit(opened, folder, geteuid(), f, left);
}

std::optional<Found> find_process(uint32_t pid)
{
	std::optional<Found> best;
	unsigned best_rank = 0;
	bool exists = is_process(pid);
	// Of one that has ended, or may not be asked, the number is all that is known.
	ProcessId id = id_of(pid).value_or(ProcessId{pid, own_pid_namespace()});
	std::string name = folders::file_name(id.number, id.name_space).text;
	std::string number = std::to_string(pid);
	auto look = [&](const StatsEntry &e) {
		if (exists && !speaks_for(e.owner, pid))
			return;
		auto file = e.name == name || e.name == number ? e.open() : nullptr;
		auto figures = file ? read_figures(*file) : std::nullopt;
		if (!figures || figures->pid != pid)
			return;
		// What is of the process itself comes before what an earlier one with its number
		// has left.
		unsigned r =
			rank(e.owner) + (exists && state_of(*figures) != State::running ? 10 : 0);
		if (!best || r < best_rank) {
			best = {e.path, file};
			best_rank = r;
		}
	};
	for_each_entry(look);
	// A container's /dev/shm is another one.
	std::string process = "/proc/" + number;
	struct stat st;
	if (!best && stat(process.c_str(), &st) == 0)
		visit_user(st.st_uid, look, process + "/root");
	return best;
}

std::string make_run_folder()
{
	std::string name;
	if (Folder own(folders::open_own()); own >= 0) {
		name = std::string(folders::name_of(geteuid()).text) + "/" + folders::run_prefix;
	} else {
		const char *folder = getenv("TMPDIR");
		name = std::string(folder != nullptr && folder[0] == '/' ? folder : "/tmp") +
		       "/sigevec-run.";
	}
	name += "XXXXXX";
	return mkdtemp(name.data()) != nullptr ? name : "";
}

} // namespace tool
