// SPDX-License-Identifier: MIT
// bench_micro [--seconds S] [--dir DIR] [CASE...]: what single calls of POSIX AIO cost. Prints one
// line per figure: "name value unit". bench/run-micro runs it in turns with and without the preload
// and compares; bench/README.md says what each case shows. Called without a case it runs all; with
// --list it prints their names.

#include "measure.hpp"

#include <csignal>
#include <sys/socket.h>

#include <atomic>
#include <barrier>
#include <functional>
#include <thread>

using namespace bench;

namespace {

constexpr std::uint32_t file_blocks = 2048;
double seconds = 0.5;
std::string folder = ".";

void report(const std::string &name, double value, const char *unit)
{
	std::printf("%s %.6g %s\n", name.c_str(), value, unit);
}

// A file of file_blocks blocks, without a name, all in the cache; with O_DIRECT if asked for.
File make_file(int flags = 0)
{
	std::string name = folder + "/sigevec-bench.XXXXXX";
	File plain(mkstemp(name.data()));
	auto data = buffer(block);
	for (std::uint32_t i = 0; i < file_blocks; i++)
		require(write(plain.get(), data.get(), block) == block, "write");
	require(fsync(plain.get()) == 0, "fsync");
	File file(open(name.c_str(), O_RDWR | flags));
	unlink(name.c_str());
	return file;
}

// ---- one thread that keeps `depth` requests in flight, as fio does

using Submit = void (*)(aiocb &);

std::uint64_t pump(const File &file, unsigned depth, Submit submit, std::uint32_t seed,
		   const std::atomic<bool> *stop)
{
	Blocks blocks(seed, file_blocks);
	auto data = buffer(depth * block);
	std::vector<aiocb> requests(depth);
	std::vector<const aiocb *> list(depth);
	std::uint64_t done = 0;

	for (unsigned i = 0; i < depth; i++) {
		requests[i] = request(file, data.get() + i * block, block, blocks.next());
		list[i] = &requests[i];
		submit(requests[i]);
	}
	for (Stopwatch watch; stop ? !*stop : watch.seconds() < seconds;) {
		await(list);
		for (auto &cb : requests) {
			if (aio_error(&cb) == EINPROGRESS)
				continue;
			take(cb, block);
			done++;
			cb.aio_offset = blocks.next();
			submit(cb);
		}
	}
	for (auto &cb : requests)
		await(cb, block);
	return done;
}

void report_depth(const std::string &name, const File &file, unsigned depth, Submit submit)
{
	Stopwatch watch;
	auto done = pump(file, depth, submit, 1, nullptr);
	report(name, static_cast<double>(done) / watch.seconds(), "op/s");
}

void buffered_write()
{
	auto file = make_file();
	report_depth("buffered-write/depth-1", file, 1, submit_write);
	report_depth("buffered-write/depth-32", file, 32, submit_write);
}

// ---- a cached read against pread, in turns within one run

double nanoseconds_each(unsigned count, const std::function<void(off_t)> &call, Blocks &blocks)
{
	Stopwatch watch;
	for (unsigned i = 0; i < count; i++)
		call(blocks.next());
	return watch.seconds() * 1e9 / count;
}

void cached_read()
{
	constexpr unsigned rounds = 15, count = 10000;
	auto file = make_file();
	auto data = buffer(block);
	Blocks blocks(1, file_blocks);
	std::vector<double> plain, async, cost;

	for (unsigned i = 0; i < rounds; i++) {
		plain.push_back(nanoseconds_each(
			count,
			[&](off_t offset) {
				require(pread(file.get(), data.get(), block, offset) == block,
					"pread");
			},
			blocks));
		async.push_back(nanoseconds_each(
			count,
			[&](off_t offset) {
				auto cb = request(file, data.get(), block, offset);
				const aiocb *one = &cb;
				submit_read(cb);
				await({&one, 1});
				if (aio_return(&cb) != block)
					die("aio_return", aio_error(&cb));
			},
			blocks));
		cost.push_back(async.back() / plain.back());
	}
	report("cached-read/pread", median(plain), "ns");
	report("cached-read/aio", median(async), "ns");
	report("cached-read/cost", median(cost), "x-pread");
}

// ---- notifications

std::atomic<bool> ending;
std::atomic<unsigned> outstanding;
std::atomic<std::uint64_t> notified;

void on_thread(sigval value)
{
	auto &cb = *static_cast<aiocb *>(value.sival_ptr);
	take(cb, block);
	notified++;
	if (ending)
		outstanding--;
	else
		submit_read(cb);
}

void sigev_thread()
{
	constexpr unsigned depth = 64;
	auto file = make_file();
	auto data = buffer(depth * block);
	std::vector<aiocb> requests(depth);

	ending = false;
	notified = 0;
	outstanding = depth;
	Stopwatch watch;
	for (unsigned i = 0; i < depth; i++) {
		requests[i] =
			request(file, data.get() + i * block, block, static_cast<off_t>(i * block));
		requests[i].aio_sigevent.sigev_notify = SIGEV_THREAD;
		requests[i].aio_sigevent.sigev_notify_function = on_thread;
		requests[i].aio_sigevent.sigev_value.sival_ptr = &requests[i];
		submit_read(requests[i]);
	}
	while (watch.seconds() < seconds)
		usleep(1000);
	auto done = notified.load();
	auto elapsed = watch.seconds();
	ending = true;
	while (outstanding)
		usleep(1000);
	report("sigev-thread/depth-64", static_cast<double>(done) / elapsed, "op/s");
}

// Depth requests that announce themselves by a queued signal; the signals are taken with
// sigwaitinfo.
double signal_rate(const File &file, unsigned depth, const sigset_t &set)
{
	auto data = buffer(depth * block);
	std::vector<aiocb> requests(depth);
	Blocks blocks(1, file_blocks);
	std::uint64_t done = 0;
	siginfo_t info;

	Stopwatch watch;
	for (unsigned i = 0; i < depth; i++) {
		requests[i] = request(file, data.get() + i * block, block, blocks.next());
		requests[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
		requests[i].aio_sigevent.sigev_signo = SIGRTMIN;
		requests[i].aio_sigevent.sigev_value.sival_ptr = &requests[i];
		submit_read(requests[i]);
	}
	for (unsigned flying = depth; flying > 0;) {
		require(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_code == SI_ASYNCIO,
			"sigwaitinfo");
		auto &cb = *static_cast<aiocb *>(info.si_value.sival_ptr);
		take(cb, block);
		done++;
		cb.aio_offset = blocks.next();
		if (watch.seconds() < seconds)
			submit_read(cb);
		else
			flying--;
	}
	return static_cast<double>(done) / watch.seconds();
}

void sigev_signal()
{
	auto file = make_file();
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	report("sigev-signal/depth-1", signal_rate(file, 1, set), "op/s");
	report("sigev-signal/depth-32", signal_rate(file, 32, set), "op/s");
	pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

// ---- small transfers that are not files

void dev_zero()
{
	constexpr std::size_t size = 64;
	File zero(open("/dev/zero", O_RDONLY));
	auto data = buffer(size);
	std::uint64_t done = 0;
	Stopwatch watch;
	for (; watch.seconds() < seconds; done++) {
		auto cb = request(zero, data.get(), size, 0);
		submit_read(cb);
		await(cb, size);
	}
	report("dev-zero/64-bytes", watch.seconds() * 1e6 / static_cast<double>(done), "us");
}

// One message from end to end: a pending read on one side, then a write on the other.
void pass_message(const File &from, const File &to, char *data, std::size_t size)
{
	auto in = request(to, data, size, 0);
	auto out = request(from, data + block, size, 0);
	submit_read(in);
	submit_write(out);
	await(in, size);
	await(out, size);
}

void ping_pong()
{
	constexpr std::size_t size = 64;
	int ends[2];
	require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
	File left(ends[0]), right(ends[1]);
	auto data = buffer(2 * block);
	std::uint64_t done = 0;
	Stopwatch watch;
	for (; watch.seconds() < seconds; done++) {
		pass_message(left, right, data.get(), size);
		pass_message(right, left, data.get(), size);
	}
	report("socket-ping-pong/64-bytes", watch.seconds() * 1e6 / static_cast<double>(done),
	       "us");
}

// ---- many threads

std::uint64_t pread_loop(const File &file, std::uint32_t seed, const std::atomic<bool> &stop)
{
	Blocks blocks(seed, file_blocks);
	auto data = buffer(block);
	std::uint64_t done = 0;
	for (; !stop; done++)
		require(pread(file.get(), data.get(), block, blocks.next()) == block, "pread");
	return done;
}

// The sum of what `count` threads do in the time, each on a file of its own.
double threads_rate(unsigned count, int flags, bool with_aio)
{
	std::vector<File> files;
	for (unsigned i = 0; i < count; i++)
		files.push_back(make_file(flags));
	std::atomic<bool> stop = false;
	std::atomic<std::uint64_t> done = 0;
	std::barrier start(static_cast<std::ptrdiff_t>(count) + 1);
	std::vector<std::thread> threads;
	for (unsigned i = 0; i < count; i++)
		threads.emplace_back([&, i] {
			start.arrive_and_wait();
			done += with_aio ? pump(files[i], 8, submit_read, i, &stop)
					 : pread_loop(files[i], i, stop);
		});
	start.arrive_and_wait();
	Stopwatch watch;
	while (watch.seconds() < seconds)
		usleep(1000);
	stop = true;
	for (auto &thread : threads)
		thread.join();
	return static_cast<double>(done) / watch.seconds();
}

void scaling(const std::string &kind, int flags, bool with_aio)
{
	double one = threads_rate(1, flags, with_aio), eight = threads_rate(8, flags, with_aio);
	report("threads-" + kind + "/1-thread-1-file", one, "op/s");
	report("threads-" + kind + "/8-threads-8-files", eight, "op/s");
	report("threads-" + kind + "/growth", eight / one, "x-1-thread");
}

void threads()
{
	scaling("cached", 0, true);
	scaling("cached-pread", 0, false);
	scaling("direct", O_DIRECT, true);
}

// ---- lists and fsync

double list_rate(const File &file)
{
	constexpr unsigned count = 32;
	auto data = buffer(count * block);
	std::vector<aiocb> requests(count);
	std::vector<aiocb *> list(count);
	Blocks blocks(1, file_blocks);
	std::uint64_t done = 0;
	Stopwatch watch;
	for (; watch.seconds() < seconds; done += count) {
		for (unsigned i = 0; i < count; i++) {
			requests[i] = request(file, data.get() + i * block, block, blocks.next());
			requests[i].aio_lio_opcode = LIO_READ;
			list[i] = &requests[i];
		}
		require(lio_listio(LIO_WAIT, list.data(), count, nullptr) == 0, "lio_listio");
		for (auto &cb : requests)
			take(cb, block);
	}
	return static_cast<double>(done) / watch.seconds();
}

void lists()
{
	report("lio-32-reads/cached", list_rate(make_file()), "op/s");
	report("lio-32-reads/direct", list_rate(make_file(O_DIRECT)), "op/s");
}

void fsyncs()
{
	auto file = make_file();
	auto data = buffer(block);
	Blocks blocks(1, file_blocks);
	std::uint64_t done = 0;
	Stopwatch watch;
	for (; watch.seconds() < seconds; done++) {
		auto out = request(file, data.get(), block, blocks.next());
		auto sync = request(file, nullptr, 0, 0);
		submit_write(out);
		require(aio_fsync(O_SYNC, &sync) == 0, "aio_fsync");
		await(sync, 0);
		await(out, block);
	}
	report("write-and-fsync/depth-1", static_cast<double>(done) / watch.seconds(), "op/s");
}

struct Case {
	const char *name;
	void (*run)();
};

constexpr Case cases[] = {
	{"cached-read", cached_read},   {"buffered-write", buffered_write},
	{"sigev-thread", sigev_thread}, {"sigev-signal", sigev_signal},
	{"dev-zero", dev_zero},         {"socket-ping-pong", ping_pong},
	{"threads", threads},           {"lio-32-reads", lists},
	{"write-and-fsync", fsyncs},
};

void run(const std::string &name)
{
	auto found = std::find_if(std::begin(cases), std::end(cases),
				  [&](const Case &c) { return name == c.name; });
	if (found == std::end(cases)) {
		std::fprintf(stderr, "bench_micro: no case %s; see --list\n", name.c_str());
		std::exit(2);
	}
	found->run();
	std::fflush(stdout);
}

} // namespace

int main(int argc, char **argv)
{
	std::vector<std::string> chosen;
	for (int i = 1; i < argc; i++) {
		std::string word = argv[i];
		if (word == "--list") {
			for (const auto &c : cases)
				std::puts(c.name);
			return 0;
		}
		if (word == "--seconds" && i + 1 < argc)
			seconds = std::atof(argv[++i]);
		else if (word == "--dir" && i + 1 < argc)
			folder = argv[++i];
		else
			chosen.push_back(word);
	}
	if (chosen.empty())
		for (const auto &c : cases)
			chosen.emplace_back(c.name);
	for (const auto &name : chosen)
		run(name);
	return 0;
}
