// SPDX-License-Identifier: MIT
//
// Random ioctls, calls and mappings on the device, pools and dma-bufs. What they return does not
// matter: the kernel's log does. KMOD_SEED repeats a run.
#define BOOST_TEST_MODULE kmod_fuzz
#include "pool.hpp"

#include "transfers.hpp"

#include <bitset>
#include <linux/dma-buf.h>
#include <random>

namespace {

std::mt19937_64 random_bits;

uint64_t number()
{
	static constexpr uint64_t special[] = {0,
					       1,
					       2,
					       3,
					       4,
					       8,
					       16,
					       64,
					       4095,
					       4096,
					       4097,
					       8192,
					       1 << 20,
					       1u << 31,
					       ~0u,
					       uint64_t{1} << 40,
					       (uint64_t{1} << 40) + 4096,
					       uint64_t{1} << 63,
					       ~uint64_t{0},
					       ~uint64_t{0} - 4095};
	const uint64_t n = random_bits();
	return n % 4 == 0 ? n : n % 4 == 1 ? n % 70000 : special[n / 4 % std::size(special)];
}

struct Fuzz {
	std::vector<int> fds;
	std::vector<std::pair<void *, size_t>> maps;
	static constexpr size_t slots = 32;
	alignas(4096) char memory[slots][1 << 16];
	std::bitset<slots> busy;
	Aio aio{slots};

	int any() { return fds.empty() ? -1 : fds[random_bits() % fds.size()]; }
	void keep(int fd)
	{
		if (fd < 0)
			return;
		if (fds.size() < 40)
			return fds.push_back(fd);
		int &old = fds[random_bits() % fds.size()];
		close(std::exchange(old, fd));
	}
	void command()
	{
		static constexpr unsigned long known[] = {
			SIGEVEC_IOC_DEVICE_INFO, SIGEVEC_IOC_POOL_CREATE, SIGEVEC_IOC_POOL_INFO,
			SIGEVEC_IOC_POOL_EXPORT, SIGEVEC_IOC_POOL_RING,   SIGEVEC_IOC_POOL_MODERATE,
			SIGEVEC_IOC_POOL_LISTEN, DMA_BUF_IOCTL_SYNC};
		unsigned long c = known[random_bits() % std::size(known)];
		if (random_bits() % 8 == 0)
			c = _IOC(random_bits() % 4, SIGEVEC_IOC_MAGIC, random_bits() % 32,
				 random_bits() % 256);
		uint64_t argument[40];
		for (auto &a : argument)
			a = random_bits() % 2 ? 0 : number();
		auto *const words = reinterpret_cast<uint32_t *>(argument);
		for (int i = 0; i < 4; i++)
			words[random_bits() % 8] =
				uint32_t(random_bits() % 3 ? random_bits() % 70 : number());
		if (c == SIGEVEC_IOC_POOL_CREATE)
			argument[0] = number() % (8 << 20);
		const int n = ioctl(random_bits() % 3 ? any() : device(), c,
				    random_bits() % 50 ? argument : nullptr);
		if (n > 2 && (_IOC_NR(c) == 1 || _IOC_NR(c) == 0x11))
			keep(n);
	}
	/// Memory that no transfer is filling. Two devices that fill the same are the program's own
	/// affair, with any driver, but DMA-API debugging says so once and is silent from then on.
	int free_slot()
	{
		for (;;) {
			io_event e[slots];
			timespec none{};
			const int n = io_getevents(aio.context, busy.all() ? 1 : 0, slots, e,
						   busy.all() ? nullptr : &none);
			for (int i = 0; i < n; i++)
				busy.reset(size_t(e[i].data));
			for (size_t i = 0; i < slots; i++)
				if (!busy[i])
					return int(i);
		}
	}
	void transfer()
	{
		const size_t n = number() % sizeof memory[0];
		const off_t at = off_t(random_bits() % 3 ? number() % (1 << 20) : number());
		const int slot = free_slot();
		switch (random_bits() % 4) {
		case 0:
			(void)!pread(any(), memory[slot], n, at);
			break;
		case 1:
			(void)!pwrite(any(), memory[slot], n, at);
			break;
		default: {
			iocb r{}, *p = &r;
			(random_bits() % 2 ? io_prep_pread : io_prep_pwrite)(&r, any(),
									     memory[slot], n, at);
			r.data = reinterpret_cast<void *>(size_t(slot));
			if (random_bits() % 4 == 0)
				r.aio_rw_flags = int(random_bits() % 32);
			io_event e;
			if (io_submit(aio.context, 1, &p) != 1)
				break;
			busy.set(size_t(slot));
			if (random_bits() % 2)
				io_cancel(aio.context, p, &e);
		}
		}
	}
	void map()
	{
		const size_t n = (number() % (1 << 21) + 1 + 4095) / 4096 * 4096;
		const off_t at = off_t(random_bits() % 4 ? number() % (1 << 20) & ~4095ull
							 : number() & ~4095ull);
		void *const p = mmap(nullptr, n, int(random_bits() % 8),
				     random_bits() % 4 ? MAP_SHARED : MAP_PRIVATE, any(),
				     random_bits() % 4 == 0 ? off_t(SIGEVEC_RING_OFFSET) : at);
		if (p == MAP_FAILED)
			return;
		madvise(p, n, int(random_bits() % 26));
		mprotect(p, n, int(random_bits() % 4));
		if (maps.size() < 20) {
			maps.emplace_back(p, n);
			return;
		}
		auto &old = maps[random_bits() % maps.size()];
		munmap(old.first, old.second);
		old = {p, n};
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(random_calls_do_no_harm)
{
	const char *const seed = getenv("KMOD_SEED");
	const uint64_t s = seed ? strtoull(seed, nullptr, 0) : std::random_device{}();
	printf("KMOD_SEED=%llu\n", static_cast<unsigned long long>(s));
	random_bits.seed(s);
	static Fuzz f;
	f.keep(device());
	f.fds.push_back(create(1 << 20));
	f.fds.push_back(eventfd(0, EFD_NONBLOCK));
	for (int i = 0; i < 5000; i++) {
		switch (random_bits() % 8) {
		case 0:
			f.map();
			break;
		case 1:
		case 2:
		case 3:
			f.transfer();
			break;
		default:
			f.command();
		}
		if (random_bits() % 512 == 0 && fork() == 0)
			_exit(0);
		while (waitpid(-1, nullptr, WNOHANG) > 0)
			continue;
	}
}
