// SPDX-License-Identifier: MIT
//
// Kernel AIO for the tests, and the test module's DMA engine, which can be made to hold what it
// has.
#ifndef KMOD_TRANSFERS_HPP
#define KMOD_TRANSFERS_HPP

#include <libaio.h>

namespace kmod {

struct Aio {
	io_context_t context{};
	std::deque<iocb> requests; // those that are going on do not move

	explicit Aio(int n = 16) { BOOST_TEST_REQUIRE(io_setup(n, &context) == 0); }
	Aio(const Aio &) = delete;
	~Aio() { io_destroy(context); }

	iocb &prepare(int fd, io_iocb_cmd command, void *p, size_t n, off_t offset)
	{
		iocb &r = requests.emplace_back();
		memset(&r, 0, sizeof r);
		r.aio_fildes = fd;
		r.aio_lio_opcode = short(command);
		r.u.c.buf = p; // for vectors: the array, its length
		r.u.c.nbytes = n;
		r.u.c.offset = offset;
		return r;
	}
	void submit(int fd, io_iocb_cmd command, void *p, size_t n, off_t offset)
	{
		iocb *r = &prepare(fd, command, p, n, offset);
		BOOST_TEST_REQUIRE(io_submit(context, 1, &r) == 1);
	}
	std::vector<io_event> reap(size_t n)
	{
		std::vector<io_event> v(n);
		// What the kernel has yet to do for a ring of an earlier case interrupts the wait.
		for (size_t have = 0; have < n;) {
			const long left = long(n - have);
			const int k = io_getevents(context, left, left, &v[have], nullptr);
			BOOST_TEST_REQUIRE((k > 0 || k == -EINTR));
			have += size_t(std::max(k, 0));
		}
		return v;
	}
	/// The result, or what the submission said.
	long run(int fd, io_iocb_cmd command, void *p, size_t n, off_t offset)
	{
		iocb *r = &prepare(fd, command, p, n, offset);
		const int k = io_submit(context, 1, &r);
		return k == 1 ? long(reap(1)[0].res) : k;
	}
};

inline constexpr const char *no_engine =
	"this kernel has no DMA engine (CONFIG_DMA_ENGINE), so the test module has none";

/// As long as it lives, or until let_go, the DMA engine of the test module does nothing. False:
/// there is none, and transfers go on.
class Held {
public:
	static constexpr const char *hold = "/sys/module/sigevec_test/parameters/hold";
	static constexpr const char *fail = "/sys/module/sigevec_test/parameters/fail";

	Held() : held_(write_to(hold, "1")) {}
	~Held() { let_go(); }
	explicit operator bool() const { return held_; }
	void let_go()
	{
		if (held_)
			write_to(hold, "0");
		held_ = false;
	}

private:
	bool held_;
};

} // namespace kmod

#endif
