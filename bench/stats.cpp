// SPDX-License-Identifier: MIT
// bench_stats LIBRARY FILE [SECONDS]: what statistics cost. Loads the library twice, once with
// SIGEVEC_STATS and once without, and reads cached blocks of FILE at depth 1 with both in short
// turns, so that whatever else the machine does falls on both. Prints the nanoseconds of each and
// the median of the turns' ratios.

#include "measure.hpp"

#include <dlfcn.h>
#include <sys/stat.h>

using namespace bench;

namespace {

struct Library {
	int (*read)(aiocb *);
	int (*error)(const aiocb *);
	int (*suspend)(const aiocb *const *, int, const timespec *);
	ssize_t (*get_result)(aiocb *);
};

template <class F> void find(void *library, F &f, const char *name)
{
	f = reinterpret_cast<F>(dlsym(library, name));
	if (f == nullptr)
		die(name, ENOSYS);
}

// A copy under a name of its own: the dynamic linker loads a file once.
Library load(const std::string &path)
{
	std::string copy = "/tmp/sigevec-bench.XXXXXX";
	File to(mkstemp(copy.data()));
	File from(open(path.c_str(), O_RDONLY));
	char part[65536];
	for (ssize_t n; (n = read(from.get(), part, sizeof part)) > 0;)
		require(write(to.get(), part, static_cast<std::size_t>(n)) == n, "write");
	void *handle = dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
	unlink(copy.c_str());
	if (handle == nullptr)
		die(dlerror(), ENOEXEC);
	Library l;
	find(handle, l.read, "aio_read");
	find(handle, l.error, "aio_error");
	find(handle, l.suspend, "aio_suspend");
	find(handle, l.get_result, "aio_return");
	return l;
}

void read_one(const Library &l, const File &file, char *data, off_t offset)
{
	auto cb = request(file, data, block, offset);
	const aiocb *one = &cb;
	require(l.read(&cb) == 0, "aio_read");
	while (l.error(&cb) == EINPROGRESS)
		l.suspend(&one, 1, nullptr);
	require(l.get_result(&cb) == block, "aio_return");
}

double nanoseconds_each(const Library &l, const File &file, char *data, Blocks &blocks)
{
	constexpr unsigned count = 500;
	Stopwatch watch;
	for (unsigned i = 0; i < count; i++)
		read_one(l, file, data, blocks.next());
	return watch.seconds() * 1e9 / count;
}

} // namespace

int main(int argc, char **argv)
{
	if (argc < 3) {
		std::fputs("usage: bench_stats LIBRARY FILE [SECONDS]\n", stderr);
		return 2;
	}
	// Two copies have more thread-local variables than the dynamic linker keeps room for.
	if (getenv("GLIBC_TUNABLES") == nullptr) {
		setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=8192", 1);
		execv("/proc/self/exe", argv);
	}
	File file(open(argv[2], O_RDONLY));
	struct stat st;
	require(fstat(file.get(), &st) == 0 && st.st_size >= static_cast<off_t>(block),
		"a file of a block or more");
	Blocks blocks(1, static_cast<std::uint32_t>(st.st_size / block));
	auto data = buffer(block);
	Library on = load(argv[1]), off = load(argv[1]);
	for (const Library *l : {&on, &off}) {
		setenv("SIGEVEC_STATS", l == &on ? "1" : "0", 1);
		read_one(*l, file, data.get(), 0); // reads the environment
	}
	if (access(("/dev/shm/sigevec-" + std::to_string(geteuid()) + "/" +
		    std::to_string(getpid()))
			   .c_str(),
		   F_OK) != 0)
		die("no statistics are kept", ENOENT);

	std::vector<double> with, without, ratio;
	Stopwatch watch;
	double end = argc > 3 ? std::atof(argv[3]) : 10;
	for (unsigned turn = 0; watch.seconds() < end; turn++) {
		const Library *order[] = {turn % 2 == 0 ? &on : &off, turn % 2 == 0 ? &off : &on};
		double time[2];
		for (unsigned i = 0; i < 2; i++)
			time[i] = nanoseconds_each(*order[i], file, data.get(), blocks);
		with.push_back(time[turn % 2]);
		without.push_back(time[1 - turn % 2]);
		ratio.push_back(with.back() / without.back());
	}
	std::printf("cached-read/on %.1f ns\ncached-read/off %.1f ns\ncached-read/ratio %.4f\n",
		    median(with), median(without), median(ratio));
	return 0;
}
