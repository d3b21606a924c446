// SPDX-License-Identifier: MIT
//
// sigevec check: does a program use POSIX AIO or libaio, through which symbols, and will the
// preload take hold?
#include "loader.hpp"
#include "program.hpp"
#include "text.hpp"
#include "tool.hpp"

#include "json.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace tool {

namespace {

struct Use {
	std::string symbol, version, object;
};

struct Verdict {
	std::vector<Program> chain; // a script, its interpreter, ...; the last one is what is run
	std::vector<Use> uses;
	std::vector<std::string> own_functions; // that the program defines itself
	std::vector<std::string> notes;
	bool takes_hold = false;
	std::string reason;

	const Program &program() const { return chain.back(); }
	bool posix = false, libaio = false; // which of them are used
	bool by_name = false;               // no import, but the names are in the file
	bool good() const { return takes_hold && !uses.empty(); }
};

// Of what a file that somebody made for it can say.
constexpr size_t most_uses = 200, most_missing = 50;

void collect(const Elf &e, const std::string &object, Verdict &v)
{
	for (const Symbol &s : e.symbols)
		if (!s.defined && v.uses.size() < most_uses) {
			v.uses.push_back({s.name, s.version, object});
			(is_libaio(s.name) ? v.libaio : v.posix) = true;
		}
}

// A program of this system: whom the dynamic linker loads, and who of them asks for AIO.
void look_inside(Verdict &v)
{
	const Program &p = v.program();
	std::string library = library_path();
	Loaded l = list_loaded(p);
	collect(p.elf, p.path, v);
	for (const Object &o : l.objects)
		if (!o.is(library))
			collect(o.elf, o.path, v);
	for (const Symbol &s : p.elf.symbols)
		if (s.defined && is_aio(s.name))
			v.own_functions.push_back(s.name);
	for (size_t i = 0; i < l.missing.size() && i < most_missing; i++)
		v.notes.push_back("its library " + l.missing[i] + " was not found");
	if (l.missing.size() > most_missing)
		v.notes.push_back("and " + std::to_string(l.missing.size() - most_missing) +
				  " others");
	v.by_name = v.uses.empty() && mentions_aio(*p.file);
	bool libevent = std::any_of(l.objects.begin(), l.objects.end(), [](const Object &o) {
		return o.path.find("/libevent") != std::string::npos;
	});
	if (libevent)
		v.notes.emplace_back(
			"it loads libevent: with 'sigevec run --libevent' its bufferevents make "
			"fewer system calls; its plain events, and "
			"what it makes of bufferevents by functions of its own, stay libevent's");
	bool linked =
		std::any_of(p.elf.needed.begin(), p.elf.needed.end(),
			    [](const std::string &n) { return n.starts_with("libsigevec.so"); });
	if (linked)
		v.notes.emplace_back("it is linked with libsigevec and needs no preload");
	v.takes_hold = true;
	v.reason = "the dynamic linker loads " + library;
	if (v.libaio) {
		std::string aio = libaio_library_path();
		v.reason += aio.empty() ? "" : " and " + aio;
		v.notes.emplace_back("system calls of kernel AIO by instructions of its own, and "
				     "libaio found by dlopen, are out of reach");
	}
	if (!v.own_functions.empty()) {
		v.takes_hold = false;
		v.reason = "the program has functions of these names itself, which come before the "
			   "library's: " +
			   v.own_functions[0];
	}
	if (!p.privileges.empty() && !linked) {
		v.takes_hold = false;
		v.reason = "the program is privileged (" + p.privileges +
			   "): the dynamic linker ignores a preload with a path. Link it with the "
			   "library, or see "
			   "ld.so.preload in "
			   "sigevec(7)";
	}
}

void judge(Verdict &v)
{
	const Program &p = v.program();
	switch (p.kind) {
	case ProgramKind::dynamic:
		look_inside(v);
		break;
	case ProgramKind::static_:
		v.by_name = mentions_aio(*p.file);
		v.reason = "nothing can be preloaded into a statically linked program; link it "
			   "with the library";
		break;
	case ProgramKind::foreign_loader:
		collect(p.elf, p.path, v);
		v.reason = "this library is for the C library of this system";
		break;
	case ProgramKind::foreign:
		if (p.elf.own_order)
			collect(p.elf, p.path, v);
		v.reason = "this library is for another architecture; it must be built for the "
			   "program's";
		break;
	case ProgramKind::library:
		collect(p.elf, p.path, v);
		v.takes_hold = true;
		v.reason = "in a program that can be preloaded; check the program";
		break;
	case ProgramKind::script:
	case ProgramKind::other:
		v.reason = "it cannot be run";
		break;
	}
	if (RegularFile::too_much())
		v.notes.emplace_back(
			"not everything was looked at: the files are larger than programs are");
	if (!p.executable && p.kind == ProgramKind::dynamic)
		v.notes.emplace_back("it has no execute permission");
}

// Follows scripts to what runs them. False: a complaint has been made.
bool follow(const std::string &name, Verdict &v)
{
	constexpr size_t most = 4; // as the kernel
	std::string path = find_program(name);
	for (;;) {
		auto p = path.empty() ? std::nullopt : look_at_program(path);
		if (!p) {
			if (path.empty())
				errno = ENOENT;
			complain("check", path.empty() ? name : path, exit_usage);
			return false;
		}
		v.chain.push_back(std::move(*p));
		if (v.program().kind != ProgramKind::script || v.chain.size() > most)
			return true;
		path = find_program(v.program().interpreter);
	}
}

void print_text(const Verdict &v)
{
	for (const Program &p : v.chain)
		print(stdout, "%s: %s%s%s\n", p.path, p.description,
		      p.privileges.empty() ? "" : ", ", p.privileges);
	if (v.program().kind == ProgramKind::static_)
		print(stdout, "uses POSIX AIO: %s\n",
		      v.by_name ? "perhaps; it has the names of its functions"
				: "no sign of it, if it is not stripped");
	else if (!v.posix)
		print(stdout, "uses POSIX AIO: %s\n",
		      v.by_name ? "perhaps; it imports no such function, but has their names (for "
				  "dlsym?)"
				: "no");
	else
		print(stdout, "uses POSIX AIO: yes\n");
	if (v.libaio)
		print(stdout, "uses libaio: yes\n");
	for (const Use &u : v.uses)
		print(stdout, "  %s%s%s\t%s\n", u.symbol, u.version.empty() ? "" : "@", u.version,
		      u.object);
	print(stdout, "preload takes hold: %s; %s\n", v.takes_hold ? "yes" : "no", v.reason);
	for (const std::string &n : v.notes)
		print(stdout, "note: %s\n", n);
}

void print_json(const Verdict &v)
{
	Json j(stdout);
	j.object().array("files");
	for (const Program &p : v.chain) {
		j.object().text("path", p.path).text("is", p.description);
		if (p.privileges.empty())
			j.null("privileges");
		else
			j.text("privileges", p.privileges);
		j.end();
	}
	j.end().boolean("uses_aio", v.posix)
		.boolean("uses_libaio", v.libaio)
		.boolean("names_aio", v.by_name)
		.array("symbols");
	for (const Use &u : v.uses)
		j.object()
			.text("name", u.symbol)
			.text("version", u.version)
			.text("object", u.object)
			.end();
	j.end().boolean("preload", v.takes_hold).text("reason", v.reason).array("notes");
	for (const std::string &n : v.notes)
		j.text(nullptr, n);
	j.end().end();
}

int check(int argc, char **argv)
{
	Options options(check_command, argc, argv, "j", {{"json", no_argument, nullptr, 'j'}});
	bool json = false;
	auto over = options.read([&](int) -> const char * {
		json = true;
		return nullptr;
	});
	if (over)
		return *over;
	if (options.rest() + 1 != argc)
		return usage(check_command);
	Verdict v;
	if (!follow(argv[options.rest()], v))
		return exit_usage;
	judge(v);
	if (json)
		print_json(v);
	else
		print_text(v);
	return finish_output("check", v.good() ? exit_yes : exit_no);
}

} // namespace

const Command check_command = {
	"check", check, "[--json] PROGRAM",
	"say whether a program uses POSIX AIO or libaio and can be preloaded",
	"  -j, --json            the same as JSON\n"};

} // namespace tool
