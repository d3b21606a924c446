// SPDX-License-Identifier: MIT
//
// soak SECONDS [SEED]: workers use all capabilities; they are killed, stopped and let go on, and
// ended, at any moment. What a worker said was synchronised is in its file afterwards; who is asked
// to end has no descriptor, thread or memory more than at its beginning.
//
// Not here: a clock that is set, which would be the whole machine's; and a file system that is full
// is /dev/full. SIGKILL takes no page from the kernel's cache, so what a loss of power would do to
// the files is not seen.
#include "soak.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace soak {

namespace {

constexpr unsigned worker_count = 3;
constexpr uint64_t most_records = 4096; // of one log, which is then begun anew

struct Worker {
	pid_t pid = 0;
	int told = -1;
	std::string path;
	uint64_t seed = 0, records = 0; // known to be there
};

struct Counts {
	unsigned long killed = 0, stopped = 0, ended = 0, records = 0;
};

double now()
{
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

void start(Worker *w, Random &random)
{
	int p[2];
	REQUIRE(pipe2(p, O_CLOEXEC) == 0);
	if (w->records >= most_records || w->seed == 0) {
		w->records = 0;
		w->seed = random() | 1;
		REQUIRE(unlink(w->path.c_str()) == 0 || errno == ENOENT);
	}
	std::string seed = std::to_string(w->seed), next = std::to_string(w->records);
	w->pid = fork();
	REQUIRE(w->pid >= 0);
	if (w->pid == 0) {
		// Until it can be asked to end.
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGTERM);
		sigprocmask(SIG_BLOCK, &set, nullptr);
		dup2(p[1], STDIN_FILENO); // any number that is there after exec
		execl("/proc/self/exe", "soak", "--worker", w->path.c_str(), seed.c_str(),
		      next.c_str(), nullptr);
		_exit(2);
	}
	close(p[1]);
	w->told = p[0];
	fcntl(w->told, F_SETFL, O_NONBLOCK);
}

// Numbers come in order, each after its record has been synchronised.
void listen(Worker *w, Counts *counts)
{
	uint64_t number;
	ssize_t n;
	while ((n = read(w->told, &number, sizeof number)) == sizeof number) {
		REQUIRE(number == w->records);
		w->records++;
		counts->records++;
	}
	REQUIRE(n <= 0);
}

void check(const Worker &w)
{
	unsigned char is[record_size], expected[record_size];
	int fd = open(w.path.c_str(), O_RDONLY | O_CLOEXEC);
	REQUIRE(fd >= 0 || w.records == 0);
	for (uint64_t i = 0; i < w.records; i++) {
		REQUIRE(pread(fd, is, record_size, static_cast<off_t>(i * record_size)) ==
			record_size);
		make_record(expected, i, w.seed);
		REQUIRE(memcmp(is, expected, record_size) == 0);
	}
	if (fd >= 0)
		close(fd);
}

int end_of(Worker *w, Counts *counts)
{
	int status;
	// The pipe must not be full meanwhile.
	while (waitpid(w->pid, &status, WNOHANG) == 0) {
		listen(w, counts);
		poll(nullptr, 0, 2);
	}
	listen(w, counts);
	close(w->told);
	check(*w);
	return status;
}

void end_well(Worker *w, Counts *counts)
{
	kill(w->pid, SIGTERM);
	int status = end_of(w, counts);
	counts->ended++;
	REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void disturb(Worker *w, Random &random, Counts *counts)
{
	switch (random() % 8) {
	case 0:
		kill(w->pid, SIGKILL);
		REQUIRE(WIFSIGNALED(end_of(w, counts)));
		counts->killed++;
		return start(w, random);
	case 1:
		end_well(w, counts);
		return start(w, random);
	default:
		kill(w->pid, SIGSTOP);
		poll(nullptr, 0, static_cast<int>(random() % 50));
		kill(w->pid, SIGCONT);
		counts->stopped++;
	}
}

int run(double seconds, uint64_t seed)
{
	const char *folder = getenv("TMPDIR");
	std::string where = std::string(folder != nullptr ? folder : "/tmp") + "/soak.XXXXXX";
	REQUIRE(mkdtemp(where.data()) != nullptr);
	printf("seed %lu, for %.0f seconds\n", static_cast<unsigned long>(seed), seconds);
	fflush(stdout);
	Random random(seed);
	Counts counts;
	Worker workers[worker_count];
	for (unsigned i = 0; i < worker_count; i++) {
		workers[i].path = where + "/" + std::to_string(i);
		start(&workers[i], random);
	}
	for (double end = now() + seconds; now() < end;) {
		poll(nullptr, 0, static_cast<int>(random() % 200));
		for (Worker &w : workers) {
			listen(&w, &counts);
			int status;
			if (waitpid(w.pid, &status, WNOHANG) != 0) {
				fprintf(stderr, "a worker has ended by itself: %#x\n", status);
				return 1;
			}
		}
		disturb(&workers[random() % worker_count], random, &counts);
	}
	for (Worker &w : workers) {
		end_well(&w, &counts);
		unlink(w.path.c_str());
	}
	rmdir(where.c_str());
	printf("%lu records, %lu killed, %lu stopped, %lu ended\n", counts.records, counts.killed,
	       counts.stopped, counts.ended);
	return 0;
}

} // namespace
} // namespace soak

int main(int argc, char **argv)
{
	using namespace soak;
	if (argc == 5 && strcmp(argv[1], "--worker") == 0) {
		int fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		REQUIRE(fd >= 0);
		return work({fd, STDIN_FILENO, strtoull(argv[4], nullptr, 10),
			     strtoull(argv[3], nullptr, 10)});
	}
	if (argc < 2 || atof(argv[1]) <= 0) {
		fprintf(stderr, "usage: soak SECONDS [SEED]\n");
		return 2;
	}
	return run(atof(argv[1]), argc > 2 ? strtoull(argv[2], nullptr, 10)
					   : static_cast<uint64_t>(time(nullptr)));
}
