// SPDX-License-Identifier: MIT
// bench_startup PROGRAM [ROUNDS]: how long an empty PROGRAM takes from posix_spawn to its end, in
// turns without and with LD_PRELOAD=$SIGEVEC_LIB. Prints the medians in microseconds. bench/startup
// calls it.

#include "measure.hpp"

#include <spawn.h>
#include <sys/wait.h>

using namespace bench;

namespace {

std::vector<char *> pointers(std::vector<std::string> &words)
{
	std::vector<char *> result;
	for (auto &word : words)
		result.push_back(word.data());
	result.push_back(nullptr);
	return result;
}

double microseconds(const std::string &program, std::vector<std::string> environment)
{
	std::vector<std::string> words{program};
	auto argv = pointers(words), envp = pointers(environment);
	pid_t child = 0;
	int status = 0;

	Stopwatch watch;
	if (int error = posix_spawn(&child, program.c_str(), nullptr, nullptr, argv.data(),
				    envp.data()))
		die("posix_spawn", error);
	require(waitpid(child, &status, 0) == child, "waitpid");
	double elapsed = watch.seconds();
	if (status != 0)
		die("the program failed", 0);
	return elapsed * 1e6;
}

} // namespace

int main(int argc, char **argv)
{
	const char *library = std::getenv("SIGEVEC_LIB");
	if (argc < 2 || library == nullptr) {
		std::fprintf(stderr, "usage: SIGEVEC_LIB=LIBRARY bench_startup PROGRAM [ROUNDS]\n");
		return 2;
	}
	unsigned rounds = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 500;
	std::string preload = std::string("LD_PRELOAD=") + library;
	std::vector<double> without, with;

	for (unsigned i = 0; i < rounds + 20; i++) {
		double a = microseconds(argv[1], {}), b = microseconds(argv[1], {preload});
		if (i < 20) // the first few warm the cache
			continue;
		without.push_back(a);
		with.push_back(b);
	}
	std::printf("startup/without %.6g us\nstartup/with %.6g us\nstartup/added %.6g us\n",
		    median(without), median(with), median(with) - median(without));
	return 0;
}
