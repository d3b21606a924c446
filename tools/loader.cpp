// SPDX-License-Identifier: MIT
#include "loader.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <sys/auxv.h>
#include <utility>

namespace tool {

namespace {

constexpr size_t most_objects = 1000, most_names = 4000, most_folders = 64, most_path = 4096;

std::string folder_of(const std::string &path)
{
	size_t slash = path.rfind('/');
	return slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
}

std::string real_path(const std::string &path)
{
	char *real = realpath(path.c_str(), nullptr);
	std::string all = real != nullptr ? real : path;
	free(real);
	return all;
}

// Where the libraries of this system are: beside its dynamic linker, in one of the folders that
// ld.so has built in.
const std::vector<std::string> &default_folders()
{
	static const std::vector<std::string> v = [] {
		std::string beside = folder_of(real_path(own_program().interpreter));
		std::vector<std::string> all = {beside};
		if (!beside.starts_with("/usr"))
			all.push_back("/usr" + beside);
		for (const char *f : {"/lib64", "/usr/lib64", "/lib", "/usr/lib"})
			all.emplace_back(f);
		return all;
	}();
	return v;
}

// "lib64", "lib/x86_64-linux-gnu"
std::string library_word()
{
	std::string beside = default_folders()[0];
	return beside.substr(beside.starts_with("/usr/") ? 5 : 1);
}

void replace(std::string &s, const std::string &name, const std::string &value)
{
	for (const std::string &written : {"${" + name + "}", "$" + name})
		for (size_t at = 0;
		     (at = s.find(written, at)) != std::string::npos && s.size() < most_path;
		     at += value.size())
			s.replace(at, written.size(), value);
}

// The folders of a list as in DT_RUNPATH. An empty one is the current folder.
std::vector<std::string> folders_in(const std::string &list, const char *separators,
				    const std::string &origin)
{
	std::vector<std::string> v;
	for (size_t at = 0; !list.empty() && at <= list.size() && v.size() < most_folders;) {
		size_t end = std::min(list.find_first_of(separators, at), list.size());
		std::string folder = list.substr(at, end - at);
		auto *platform = reinterpret_cast<const char *>(getauxval(AT_PLATFORM));
		replace(folder, "ORIGIN", origin);
		replace(folder, "LIB", library_word());
		replace(folder, "PLATFORM", platform != nullptr ? platform : "");
		v.push_back(folder.empty() ? "." : folder);
		at = end + 1;
	}
	return v;
}

// The table that ldconfig(8) makes of the system's libraries: names, and where they are.
class Cache {
public:
	Cache()
	{
		auto file = RegularFile::open("/etc/ld.so.cache");
		if (!file)
			return;
		std::string all = file->part(0, 16 << 20);
		constexpr std::string_view magic = "glibc-ld.so.cache1.1";
		// Before it there may be a table in the format of old systems.
		size_t begin = all.find(magic);
		if (begin != std::string::npos)
			read(std::string_view(all).substr(begin));
	}

	std::vector<std::string> find(const std::string &name) const
	{
		auto found = paths_.find(name);
		return found == paths_.end() ? std::vector<std::string>{} : found->second;
	}

private:
	void read(std::string_view table)
	{
		constexpr size_t header = 48, entry = 24;
		auto word = [&](size_t at) {
			uint32_t v = 0;
			if (at + sizeof v <= table.size())
				memcpy(&v, table.data() + at, sizeof v);
			return v;
		};
		auto text = [&](size_t at) {
			auto some = table.substr(std::min(at, table.size()), 4096);
			return std::string(some.substr(0, some.find('\0')));
		};
		for (size_t i = 0; i < word(20) && header + (i + 1) * entry <= table.size(); i++)
			paths_[text(word(header + i * entry + 4))].push_back(
				text(word(header + i * entry + 8)));
	}

	std::map<std::string, std::vector<std::string>> paths_;
};

class Search {
public:
	explicit Search(const Program &p)
	    : main_{p.path, p.file->status(), p.elf}, origin_(folder_of(real_path(p.path)))
	{
		const char *folders = getenv("LD_LIBRARY_PATH");
		// The dynamic linker does not look at it for a privileged program.
		if (folders != nullptr && p.privileges.empty())
			environment_ = folders_in(folders, ":;", origin_);
	}

	Loaded run()
	{
		add_needed(main_, {});
		// Who comes later is found while the list grows.
		for (size_t i = 0; i < loaded_.objects.size() && i < most_objects; i++) {
			Object by = loaded_.objects[i];
			add_needed(by, inherited_[i]);
		}
		return std::move(loaded_);
	}

private:
	// What `by' needs; `above' are the folders of DT_RPATH of those that loaded it.
	void add_needed(const Object &by, const std::vector<std::string> &above)
	{
		std::string origin = folder_of(real_path(by.path));
		std::vector<std::string> rpath, own = folders_in(by.elf.runpath, ":", origin);
		if (by.elf.runpath.empty()) {
			rpath = folders_in(by.elf.rpath, ":", origin);
			rpath.insert(rpath.end(), above.begin(), above.end());
			rpath.resize(std::min(rpath.size(), most_folders));
		}
		for (const std::string &name : by.elf.needed)
			if (!name.empty() && names_.size() < most_names &&
			    names_.insert(name).second)
				add(name, rpath, own);
	}

	void add(const std::string &name, const std::vector<std::string> &rpath,
		 const std::vector<std::string> &runpath)
	{
		if (loaded_.objects.size() >= most_objects)
			return;
		auto found = find(name, rpath, runpath);
		if (!found) {
			loaded_.missing.push_back(name);
			return;
		}
		if (files_.emplace(found->status.st_dev, found->status.st_ino).second) {
			loaded_.objects.push_back(std::move(*found));
			inherited_.push_back(rpath);
		}
	}

	std::optional<Object> find(const std::string &name, const std::vector<std::string> &rpath,
				   const std::vector<std::string> &runpath)
	{
		if (name.find('/') != std::string::npos)
			return look_at(name);
		for (const auto *folders : {&rpath, &std::as_const(environment_), &runpath})
			if (auto o = find_in(*folders, name))
				return o;
		for (const std::string &path : cache_.find(name))
			if (auto o = look_at(path))
				return o;
		return find_in(default_folders(), name);
	}

	static std::optional<Object> find_in(const std::vector<std::string> &folders,
					     const std::string &name)
	{
		for (const std::string &folder : folders)
			if (auto o = look_at(folder + "/" + name))
				return o;
		return {};
	}

	// Of another machine or class, or no library at all: the search goes on.
	static std::optional<Object> look_at(const std::string &path)
	{
		auto file = RegularFile::open(path);
		auto elf = file ? read_elf(*file, is_any_aio) : std::nullopt;
		if (!elf || !is_native(*elf))
			return {};
		return Object{path, file->status(), std::move(*elf)};
	}

	Object main_;
	std::string origin_;
	std::vector<std::string> environment_;
	Cache cache_;
	Loaded loaded_;
	std::vector<std::vector<std::string>>
		inherited_; // for each object, the folders of DT_RPATH above it
	std::set<std::string> names_;
	std::set<std::pair<dev_t, ino_t>> files_;
};

} // namespace

bool Object::is(const std::string &name) const
{
	struct stat st;
	return stat(name.c_str(), &st) == 0 && st.st_dev == status.st_dev &&
	       st.st_ino == status.st_ino;
}

Loaded list_loaded(const Program &p)
{
	return Search(p).run();
}

} // namespace tool
