// SPDX-License-Identifier: MIT
#include "ether/program.hpp"

#include "base/owned_fd.hpp"
#include "base/sync.hpp"
#include "runtime/helper.hpp"
#include "runtime/table.hpp"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <linux/bpf.h>
#include <linux/if_link.h>

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

namespace sigevec::ether::program {

namespace {

constexpr unsigned most_queues = 4096;
constexpr size_t name_size = BPF_OBJ_NAME_LEN;

Program *programs = nullptr;

// Descriptor, or -1 with errno.
int bpf(int command, union bpf_attr &a)
{
	return static_cast<int>(syscall(SYS_bpf, command, &a, sizeof a));
}

// Descriptor, or -1 with errno: gives it to the helper. Its number there, or -errno.
int keep(int made)
{
	OwnedFd fd(made);
	return fd < 0 ? -errno : helper::hold(fd);
}

// "svec" and the namespace, in the characters that are allowed.
void make_name(char *name, uint64_t network)
{
	memcpy(name, "svec", 4);
	for (size_t i = 4; i + 1 < name_size; i++, network /= 36)
		name[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[network % 36];
	name[name_size - 1] = 0;
}

// Descriptor, or -1 with errno.
int make_map(const char *name)
{
	union bpf_attr a = {};
	a.map_type = BPF_MAP_TYPE_XSKMAP;
	a.key_size = sizeof(uint32_t);
	a.value_size = sizeof(int);
	a.max_entries = most_queues;
	memcpy(a.map_name, name, name_size);
	return bpf(BPF_MAP_CREATE, a);
}

struct bpf_insn instruction(unsigned code, unsigned to, unsigned from, int offset, int value)
{
	struct bpf_insn i = {};
	i.code = static_cast<uint8_t>(code);
	i.dst_reg = to & 15;
	i.src_reg = from & 15;
	i.off = static_cast<int16_t>(offset);
	i.imm = value;
	return i;
}

// return bpf_redirect_map(map, context->rx_queue_index, XDP_PASS);
int load(const char *name, int map)
{
	const struct bpf_insn code[] = {
		instruction(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1,
			    offsetof(struct xdp_md, rx_queue_index), 0),
		instruction(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map),
		instruction(0, 0, 0, 0, 0),
		instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, XDP_PASS),
		instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map),
		instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr a = {};
	a.prog_type = BPF_PROG_TYPE_XDP;
	a.expected_attach_type = BPF_XDP;
	a.insns = reinterpret_cast<uintptr_t>(code);
	a.insn_cnt = sizeof code / sizeof code[0];
	a.license = reinterpret_cast<uintptr_t>("MIT");
	memcpy(a.prog_name, name, name_size);
	a.prog_flags = BPF_F_XDP_HAS_FRAGS; // devices with large frames ask for it
	int fd = bpf(BPF_PROG_LOAD, a);
	if (fd < 0 && errno == EINVAL) {
		a.prog_flags = 0;
		fd = bpf(BPF_PROG_LOAD, a);
	}
	return fd;
}

// As make_map.
int attach(int program, unsigned ifindex, unsigned mode)
{
	union bpf_attr a = {};
	a.link_create.prog_fd = static_cast<uint32_t>(program);
	a.link_create.target_ifindex = ifindex;
	a.link_create.attach_type = BPF_XDP;
	a.link_create.flags = mode;
	return bpf(BPF_LINK_CREATE, a);
}

// 0 or an errno: both are the helper's from now on.
int hold(Program *p, int link, int map)
{
	p->link = keep(link);
	p->map = keep(map);
	if (p->link >= 0 && p->map >= 0)
		return 0;
	int error = p->link < 0 ? -p->link : -p->map;
	helper::close_inside(p->link);
	helper::close_inside(p->map);
	return error;
}

// 0 or an errno.
int create(Program *p, const char *name)
{
	OwnedFd map(make_map(name));
	if (map < 0)
		return errno;
	int link = -1;
	OwnedFd program(load(name, map));
	if (program >= 0) {
		link = attach(program, p->ifindex, XDP_FLAGS_DRV_MODE);
		p->generic = link < 0 && errno != EBUSY && errno != EEXIST && errno != EPERM;
		if (p->generic)
			link = attach(program, p->ifindex, XDP_FLAGS_SKB_MODE);
	}
	if (link >= 0)
		return hold(p, link, map.release());
	return errno == EEXIST ? EBUSY : errno;
}

// The kind of an object: link, program, map.
template <class Info> bool info_of(int fd, Info *info)
{
	*info = {};
	union bpf_attr a = {};
	a.info.bpf_fd = static_cast<uint32_t>(fd);
	a.info.info_len = sizeof *info;
	a.info.info = reinterpret_cast<uintptr_t>(info);
	return bpf(BPF_OBJ_GET_INFO_BY_FD, a) == 0;
}

int by_number(int command, uint32_t number)
{
	union bpf_attr a = {};
	a.link_id = number; // as prog_id and map_id
	return bpf(command, a);
}

// The map of a program of ours with this name, or -1.
int map_of(uint32_t program_number, const char *name)
{
	OwnedFd program(by_number(BPF_PROG_GET_FD_BY_ID, program_number));
	if (program < 0)
		return -1;
	struct bpf_prog_info info = {};
	uint32_t map_number = 0;
	info.nr_map_ids = 1;
	info.map_ids = reinterpret_cast<uintptr_t>(&map_number);
	union bpf_attr a = {};
	a.info.bpf_fd = static_cast<uint32_t>(program);
	a.info.info_len = sizeof info;
	a.info.info = reinterpret_cast<uintptr_t>(&info);
	bool ours = bpf(BPF_OBJ_GET_INFO_BY_FD, a) == 0 && info.nr_map_ids == 1 &&
		    memcmp(info.name, name, name_size) == 0;
	return ours ? by_number(BPF_MAP_GET_FD_BY_ID, map_number) : -1;
}

// What another process has attached. 0; ENOENT: nothing of ours; EPERM.
int adopt(Program *p, const char *name)
{
	union bpf_attr a = {};
	for (uint32_t number = 0;; number = a.next_id) {
		a = {};
		a.start_id = number;
		if (bpf(BPF_LINK_GET_NEXT_ID, a) != 0)
			return errno == EPERM ? EPERM : ENOENT;
		OwnedFd link(by_number(BPF_LINK_GET_FD_BY_ID, a.next_id));
		if (link < 0)
			continue;
		struct bpf_link_info info;
		bool here = info_of(link, &info) && info.type == BPF_LINK_TYPE_XDP &&
			    info.xdp.ifindex == p->ifindex;
		int map = here ? map_of(info.prog_id, name) : -1;
		if (map >= 0)
			return hold(p, link.release(), map);
	}
}

} // namespace

Program *join(unsigned ifindex, uint64_t network, int *error)
{
	Program *unused = nullptr;
	for (Program *p = programs; p != nullptr; p = p->next) {
		if (p->users == 0)
			unused = p;
		else if (p->ifindex == ifindex && p->network == network) {
			p->users++;
			return p;
		}
	}
	if (unused == nullptr) {
		unused = static_cast<Program *>(calloc(1, sizeof(Program)));
		if (unused == nullptr) {
			*error = ENOMEM;
			return nullptr;
		}
		unused->next = programs;
		programs = unused;
	}
	unused->ifindex = ifindex;
	unused->network = network;
	char name[name_size];
	make_name(name, network);
	// Another process may just begin with the device, or end.
	constexpr int attempts = 3;
	for (int i = 0; i < attempts; i++) {
		*error = create(unused, name);
		if (*error == EBUSY && (*error = adopt(unused, name)) == ENOENT)
			*error = EBUSY;
		if (*error == 0) {
			unused->users = 1;
			return unused;
		}
		if (*error != EBUSY)
			break;
	}
	return nullptr;
}

void leave(Program *p)
{
	if (--p->users != 0)
		return;
	helper::close_inside(p->link);
	helper::close_inside(p->map);
}

namespace {

// A call of the kernel's with the map, which is in the program's table for that long. 0 or an
// errno.
int with_map(const Program *p, int command, union bpf_attr &a)
{
	OwnedFd map(table::bring(p->map));
	if (map < 0)
		return -map;
	a.map_fd = static_cast<uint32_t>(map);
	return bpf(command, a) == 0 ? 0 : errno;
}

} // namespace

int give(const Program *p, unsigned queue, int socket)
{
	union bpf_attr a = {};
	a.key = reinterpret_cast<uintptr_t>(&queue);
	a.value = reinterpret_cast<uintptr_t>(&socket);
	return with_map(p, BPF_MAP_UPDATE_ELEM, a);
}

void take_back(const Program *p, unsigned queue)
{
	union bpf_attr a = {};
	a.key = reinterpret_cast<uintptr_t>(&queue);
	int saved = errno;
	with_map(p, BPF_MAP_DELETE_ELEM, a);
	errno = saved;
}

// What the parent has is in the helper's table, which is not here.
void after_fork()
{
	for (Program *p = programs; p != nullptr; p = p->next)
		p->users = 0;
}

} // namespace sigevec::ether::program
