// SPDX-License-Identifier: MIT
#include "elf.hpp"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <link.h>
#include <map>
#include <set>
#include <tuple>

namespace tool {

namespace {

struct Narrow {
	using Ehdr = Elf32_Ehdr;
	using Phdr = Elf32_Phdr;
	using Dyn = Elf32_Dyn;
	using Sym = Elf32_Sym;
	using Word = Elf32_Word;
};
struct Wide {
	using Ehdr = Elf64_Ehdr;
	using Phdr = Elf64_Phdr;
	using Dyn = Elf64_Dyn;
	using Sym = Elf64_Sym;
	using Word = Elf64_Xword;
};

// What is larger is no program that anybody has made to be run: the largest tables of real ones are
// a tenth of these.
constexpr uint64_t most_segments = 64 << 10, most_dynamic = 64 << 10, most_versions = 1 << 20,
		   most_table = 64 << 20; // bytes
constexpr size_t most_path = 4096, most_paths = 64 << 10, most_name = 64, most_needed = 1000,
		 most_found = 256;

// A table of the file, and values out of it.
class Part {
public:
	Part() = default;
	Part(const RegularFile &file, uint64_t offset, uint64_t size)
	    : bytes_(file.part(offset, size))
	{
	}

	template <class V> bool at(uint64_t offset, V &v) const
	{
		if (offset > bytes_.size() || bytes_.size() - offset < sizeof v)
			return false;
		memcpy(&v, bytes_.data() + offset, sizeof v);
		return true;
	}

	// Up to its zero; "" when it is longer than that.
	std::string_view string(uint64_t offset, size_t most) const
	{
		if (offset >= bytes_.size())
			return {};
		auto some = std::string_view(bytes_).substr(offset, most + 1);
		size_t end = some.find('\0');
		return end == std::string_view::npos ? std::string_view{} : some.substr(0, end);
	}

	uint64_t size() const { return bytes_.size(); }

private:
	std::string bytes_;
};

template <class T> class Reader {
public:
	Reader(const RegularFile &file, bool (*wanted)(std::string_view))
	    : file_(file), wanted_(wanted)
	{
	}

	bool read(Elf &e)
	{
		typename T::Ehdr h;
		if (!Part(file_, 0, sizeof h).at(0, h))
			return false;
		e.machine = h.e_machine;
		e.type = h.e_type;
		uint64_t bytes = h.e_phnum * sizeof(typename T::Phdr);
		if (h.e_phnum != 0 &&
		    (h.e_phentsize != sizeof(typename T::Phdr) || bytes > most_segments))
			return false;
		Part table(file_, h.e_phoff, bytes);
		segments_.resize(h.e_phnum);
		for (unsigned i = 0; i < h.e_phnum; i++)
			if (!table.at(i * sizeof(typename T::Phdr), segments_[i]))
				return false;
		for (const auto &p : segments_)
			if (p.p_type == PT_INTERP)
				e.interpreter =
					Part(file_, p.p_offset, most_path).string(0, most_path);
		read_dynamic(e);
		return true;
	}

private:
	// The place in the file of what will be at an address; past the end of the file when there
	// is none.
	uint64_t place(uint64_t address) const
	{
		for (const auto &p : segments_)
			if (p.p_type == PT_LOAD && address >= p.p_vaddr &&
			    address - p.p_vaddr < p.p_filesz)
				return p.p_offset + (address - p.p_vaddr);
		return UINT64_MAX;
	}

	void read_dynamic(Elf &e)
	{
		const typename T::Phdr *d = nullptr;
		for (const auto &p : segments_)
			if (p.p_type == PT_DYNAMIC)
				d = &p;
		e.dynamic = d != nullptr;
		if (d == nullptr)
			return;
		std::vector<uint64_t> needed;
		typename T::Dyn entry;
		Part table(file_, d->p_offset, std::min<uint64_t>(d->p_filesz, most_dynamic));
		for (uint64_t o = 0; table.at(o, entry) && entry.d_tag != DT_NULL;
		     o += sizeof entry) {
			if (entry.d_tag != DT_NEEDED)
				dynamic_[static_cast<int64_t>(entry.d_tag)] = entry.d_un.d_val;
			else if (needed.size() < most_needed)
				needed.push_back(entry.d_un.d_val);
		}
		strings_ =
			Part(file_, place(value(DT_STRTAB)), std::min(value(DT_STRSZ), most_table));
		for (uint64_t n : needed)
			e.needed.emplace_back(strings_.string(n, most_path));
		e.rpath = strings_.string(value(DT_RPATH), most_paths);
		e.runpath = strings_.string(value(DT_RUNPATH), most_paths);
		read_versions();
		read_symbols(e);
	}

	uint64_t value(int64_t tag) const
	{
		auto found = dynamic_.find(tag);
		return found == dynamic_.end() ? UINT64_MAX : found->second;
	}

	// Names of the versions that are asked for of other libraries.
	void read_versions()
	{
		Part table(file_, place(value(DT_VERNEED)), most_versions);
		Elf64_Verneed need; // both classes have the same
		// Entries may lead back to earlier ones.
		uint64_t steps = table.size() / sizeof need;
		for (uint64_t i = 0, o = 0;
		     i < value(DT_VERNEEDNUM) && steps > 0 && table.at(o, need); i++, steps--) {
			read_version_names(table, o + need.vn_aux, need.vn_cnt, steps);
			if (need.vn_next == 0)
				break;
			o += need.vn_next;
		}
	}

	void read_version_names(const Part &table, uint64_t o, unsigned count, uint64_t &steps)
	{
		Elf64_Vernaux aux;
		for (unsigned k = 0; k < count && steps > 1 && table.at(o, aux); k++, steps--) {
			versions_[aux.vna_other] = strings_.string(aux.vna_name, most_name);
			if (aux.vna_next == 0)
				break;
			o += aux.vna_next;
		}
	}

	// The table has no length of its own: a hash table tells.
	uint64_t symbol_count() const
	{
		uint32_t header[4];
		if (Part(file_, place(value(DT_HASH)), sizeof header).at(0, header))
			return header[1];
		uint64_t o = place(value(DT_GNU_HASH));
		if (!Part(file_, o, sizeof header).at(0, header))
			return 0;
		uint64_t bytes = uint64_t{header[0]} * 4;
		uint64_t buckets =
			o + sizeof header + uint64_t{header[2]} * sizeof(typename T::Word);
		uint32_t last = 0, n = 0;
		Part heads(file_, buckets, std::min(bytes, most_table));
		for (uint64_t i = 0; heads.at(i * 4, n); i++)
			last = std::max(last, n);
		if (last < header[1])
			return header[1]; // nothing is defined
		// The last chain ends with an odd number.
		Part chain(file_, buckets + bytes + uint64_t{last - header[1]} * 4, 64 << 10);
		for (uint64_t i = 0; chain.at(i * 4, n); i++)
			if ((n & 1) != 0)
				return uint64_t{last} + i + 1;
		return last;
	}

	void read_symbols(Elf &e)
	{
		typename T::Sym s;
		uint64_t bytes = std::min(symbol_count() * sizeof s, most_table);
		Part table(file_, place(value(DT_SYMTAB)), bytes);
		Part versions(file_, place(value(DT_VERSYM)), table.size() / sizeof s * 2);
		std::set<std::tuple<std::string_view, std::string_view, bool>> found;
		for (uint64_t i = 1; table.at(i * sizeof s, s) && found.size() < most_found; i++) {
			std::string_view name = strings_.string(s.st_name, most_name);
			if (name.empty() || !wanted_(name))
				continue;
			uint16_t v = 0;
			std::string_view version;
			if (versions.at(i * 2, v))
				if (auto known = versions_.find(v & 0x7fff);
				    known != versions_.end())
					version = known->second;
			bool defined = s.st_shndx != SHN_UNDEF;
			if (found.emplace(name, version, defined).second)
				e.symbols.push_back(
					{std::string(name), std::string(version), defined});
		}
	}

	const RegularFile &file_;
	bool (*wanted_)(std::string_view);
	std::vector<typename T::Phdr> segments_;
	std::map<int64_t, uint64_t> dynamic_;
	std::map<unsigned, std::string_view> versions_;
	Part strings_;
};

} // namespace

std::optional<Elf> read_elf(const RegularFile &file, bool (*wanted)(std::string_view))
{
	std::string ident = file.part(0, EI_NIDENT);
	if (ident.size() < EI_NIDENT || ident.compare(0, SELFMAG, ELFMAG) != 0)
		return {};
	Elf e{};
	e.wide = ident[EI_CLASS] == ELFCLASS64;
	constexpr char order =
		__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
	e.own_order = ident[EI_DATA] == order;
	if (!e.own_order)
		return e;
	bool ok =
		e.wide ? Reader<Wide>(file, wanted).read(e) : Reader<Narrow>(file, wanted).read(e);
	return ok ? std::optional(e) : std::nullopt;
}

std::string machine_name(uint16_t machine, bool wide)
{
	switch (machine) {
	case EM_X86_64:
		return wide ? "x86-64" : "x32";
	case EM_386:
		return "i386";
	case EM_AARCH64:
		return "AArch64";
	case EM_ARM:
		return "ARM";
	case EM_RISCV:
		return wide ? "RISC-V 64" : "RISC-V 32";
	case EM_PPC64:
		return "PowerPC 64";
	case EM_S390:
		return "s390x";
	default:
		return "machine " + std::to_string(machine);
	}
}

} // namespace tool
