// SPDX-License-Identifier: MIT
#include "elf.hpp"

#include <cstring>
#include <elf.h>
#include <link.h>
#include <map>

namespace tool
{

namespace
{

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

constexpr uint64_t most_symbols = 1u << 22;

template <class T> class Reader
{
public:
	explicit Reader(const std::string &file) : file_(file)
	{
	}

	bool read(Elf &e)
	{
		typename T::Ehdr h;
		if (!at(0, h))
			return false;
		e.machine = h.e_machine;
		e.type = h.e_type;
		for (unsigned i = 0; i < h.e_phnum; i++) {
			typename T::Phdr p;
			if (!at(h.e_phoff + uint64_t{i} * h.e_phentsize, p))
				return false;
			segments_.push_back(p);
		}
		for (const auto &p : segments_)
			if (p.p_type == PT_INTERP)
				e.interpreter = string(p.p_offset);
		return read_dynamic(e);
	}

private:
	template <class V> bool at(uint64_t offset, V &v) const
	{
		if (offset > file_.size() || file_.size() - offset < sizeof v)
			return false;
		memcpy(&v, file_.data() + offset, sizeof v);
		return true;
	}

	std::string string(uint64_t offset) const
	{
		size_t end = offset < file_.size() ? file_.find('\0', offset) : std::string::npos;
		return end == std::string::npos ? "" : file_.substr(offset, end - offset);
	}

	// The place in the file of what will be at an address; past the end of the file when there is none.
	uint64_t place(uint64_t address) const
	{
		for (const auto &p : segments_)
			if (p.p_type == PT_LOAD && address >= p.p_vaddr && address - p.p_vaddr < p.p_filesz)
				return p.p_offset + (address - p.p_vaddr);
		return UINT64_MAX;
	}

	bool read_dynamic(Elf &e)
	{
		const typename T::Phdr *d = nullptr;
		for (const auto &p : segments_)
			if (p.p_type == PT_DYNAMIC)
				d = &p;
		e.dynamic = d != nullptr;
		if (d == nullptr)
			return true;
		std::vector<uint64_t> needed;
		typename T::Dyn entry;
		for (uint64_t o = d->p_offset; o - d->p_offset < d->p_filesz && at(o, entry) && entry.d_tag != DT_NULL;
		     o += sizeof entry) {
			if (entry.d_tag == DT_NEEDED)
				needed.push_back(entry.d_un.d_val);
			else
				dynamic_[static_cast<int64_t>(entry.d_tag)] = entry.d_un.d_val;
		}
		strings_ = place(value(DT_STRTAB));
		for (uint64_t n : needed)
			e.needed.push_back(dynamic_string(n));
		read_versions();
		read_symbols(e);
		return true;
	}

	uint64_t value(int64_t tag) const
	{
		auto found = dynamic_.find(tag);
		return found == dynamic_.end() ? UINT64_MAX : found->second;
	}

	std::string dynamic_string(uint64_t offset) const
	{
		return strings_ == UINT64_MAX ? "" : string(strings_ + offset);
	}

	// Names of the versions that are asked for of other libraries.
	void read_versions()
	{
		uint64_t o = place(value(DT_VERNEED));
		Elf64_Verneed need; // both classes have the same
		for (uint64_t i = 0; i < value(DT_VERNEEDNUM) && at(o, need); i++) {
			uint64_t a = o + need.vn_aux;
			Elf64_Vernaux aux;
			for (unsigned k = 0; k < need.vn_cnt && at(a, aux); k++) {
				versions_[aux.vna_other] = dynamic_string(aux.vna_name);
				if (aux.vna_next == 0)
					break;
				a += aux.vna_next;
			}
			if (need.vn_next == 0)
				break;
			o += need.vn_next;
		}
	}

	// The table has no length of its own: a hash table tells.
	uint64_t symbol_count() const
	{
		uint32_t header[4];
		if (uint64_t o = place(value(DT_HASH)); at(o, header))
			return header[1];
		uint64_t o = place(value(DT_GNU_HASH));
		if (!at(o, header))
			return 0;
		uint64_t buckets = o + 16 + uint64_t{header[2]} * sizeof(typename T::Word);
		uint64_t chains = buckets + uint64_t{header[0]} * 4;
		uint32_t last = 0, n = 0;
		for (uint64_t i = 0; i < header[0] && at(buckets + i * 4, n); i++)
			last = n > last ? n : last;
		if (last < header[1])
			return header[1]; // nothing is defined
		for (uint64_t i = last; at(chains + (i - header[1]) * 4, n); i++)
			if ((n & 1) != 0)
				return i + 1;
		return last;
	}

	void read_symbols(Elf &e)
	{
		uint64_t table = place(value(DT_SYMTAB)), versions = place(value(DT_VERSYM));
		uint64_t count = symbol_count();
		typename T::Sym s;
		for (uint64_t i = 1; i < count && i < most_symbols && at(table + i * sizeof s, s); i++) {
			uint16_t v = 0;
			std::string version;
			if (versions != UINT64_MAX && at(versions + i * 2, v))
				if (auto found = versions_.find(v & 0x7fff); found != versions_.end())
					version = found->second;
			e.symbols.push_back({dynamic_string(s.st_name), version, s.st_shndx != SHN_UNDEF});
		}
	}

	const std::string &file_;
	std::vector<typename T::Phdr> segments_;
	std::map<int64_t, uint64_t> dynamic_;
	std::map<unsigned, std::string> versions_;
	uint64_t strings_ = UINT64_MAX;
};

} // namespace

std::optional<Elf> read_elf(const std::string &content)
{
	if (content.size() < EI_NIDENT || content.compare(0, SELFMAG, ELFMAG) != 0)
		return {};
	Elf e{};
	e.wide = content[EI_CLASS] == ELFCLASS64;
	constexpr char order = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
	e.own_order = content[EI_DATA] == order;
	if (!e.own_order)
		return e;
	bool ok = e.wide ? Reader<Wide>(content).read(e) : Reader<Narrow>(content).read(e);
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
