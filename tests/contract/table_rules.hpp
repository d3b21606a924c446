// SPDX-License-Identifier: MIT
//
// Where the contract wants something else than the system call does, and what is known to fail. A
// part of table.hpp.
#ifndef CONTRACT_TABLE_RULES_HPP
#define CONTRACT_TABLE_RULES_HPP

namespace contract {

// ----------------------------------------------------------------------- rules

/// Where the contract wants something else than the system call does.
struct Rule {
	const char *sentence;
	bool (*applies)(const Scene &, const Op &, const Form &);
	void (*prepare)(World &);                          // the judge's descriptor
	std::string (*expect)(const std::string &by_hand); // the judge's outcome
	int flags = 0;                                     // more flags of the judge's call
};
inline void without_limits(World &world)
{
	const timeval none{0, 0};
	for (int option : {SO_RCVTIMEO, SO_SNDTIMEO})
		setsockopt(world.subject(), SOL_SOCKET, option, &none, sizeof none);
}
inline void without_nonblock(World &world)
{
	const int flags = fcntl(world.subject(), F_GETFL);
	if (flags >= 0)
		fcntl(world.subject(), F_SETFL, flags & ~O_NONBLOCK);
}
inline bool of_sockets(const Scene &, const Op &op, const Form &form)
{
	return op.of_sockets() && op.type != Op::poll && !form.is_synchronous();
}
inline const Rule rules[] = {
	{"These calls wait for data or room even when the descriptor is O_NONBLOCK; only "
	 "MSG_DONTWAIT makes them end with EAGAIN.",
	 of_sockets, without_nonblock, nullptr},
	{"Requests of section 3 do not look at SO_RCVTIMEO/SO_SNDTIMEO.", of_sockets,
	 without_limits, nullptr},
	{"MSG_ERRQUEUE and MSG_OOB do what recv(2) does (they do not wait).", // but where recv(2)
									      // does not know the
									      // flag
	 [](const Scene &, const Op &op, const Form &form) {
		 return !form.is_synchronous() && op.receives() &&
			(op.flags & (MSG_ERRQUEUE | MSG_OOB)) != 0;
	 },
	 nullptr, nullptr, MSG_DONTWAIT},
	{"A bad or wrongly opened descriptor is accepted and reported through aio_error (EBADF), "
	 "except in aio_fsync and aio_cancel, "
	 "which fail at once.",
	 [](const Scene &, const Op &op, const Form &) { return op.is_sync(); }, nullptr,
	 [](const std::string &by_hand) {
		 return by_hand == "EBADF" ? "refused with EBADF" : by_hand;
	 }},
	{"Everything else arrives as its event, errors of the descriptor included (of ev_poll: "
	 "EBADF for what poll calls POLLNVAL).",
	 [](const Scene &, const Op &op, const Form &) { return op.type == Op::poll; }, nullptr,
	 [](const std::string &by_hand) { return by_hand == "NVAL" ? "EBADF" : by_hand; }},
	{"(aio_send(3)) EINVAL at the call: flags of aio_accept() has unknown ones.",
	 [](const Scene &, const Op &op, const Form &) {
		 return op.type == Op::accept && (op.flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0;
	 },
	 nullptr, [](const std::string &) { return std::string("refused with EINVAL"); }},
};

// ----------------------------------------------------------------- known cells

/// "KIND/STATE/CALL/FORM" with the wildcards of fnmatch; engines: a list of words, or "" for all.
struct Known {
	enum When {
		always,
		at_times,
		never_returns
	}; // the last: the program would hang, the cell is not run
	const char *cell;
	const char *engines;
	const char *what;
	When when = always;
};
extern const std::vector<Known> known_cells;

inline std::string engine_name()
{
	static std::string const name = [] {
		char const *const text = getenv("SIGEVEC_ENGINE");
		if (text != nullptr)
			return std::string(text);
		errno = 0;
		syscall(SYS_io_uring_setup, 0, nullptr);
		return std::string(errno == EPERM || errno == ENOSYS ? "refused" : "default");
	}();
	return name;
}
inline bool has_word(std::string_view list, std::string_view word)
{
	while (!list.empty()) {
		const size_t end = std::min(list.find(' '), list.size());
		if (list.substr(0, end) == word)
			return true;
		list.remove_prefix(std::min(end + 1, list.size()));
	}
	return false;
}

/// SIGEVEC_TABLE in the environment, a list of words: "all", every cell and not a sample; "strict",
/// nothing is known to fail.
inline bool table_mode(const char *word)
{
	static const char *const text = getenv("SIGEVEC_TABLE");
	return text != nullptr && has_word(text, word);
}

/// Counts how the known cells did.
class Tally {
public:
	const Known *find(const std::string &cell)
	{
		if (table_mode("strict"))
			return nullptr;
		for (const Known &known : known_cells) // the first line that says so
			if ((*known.engines == '\0' || has_word(known.engines, engine_name())) &&
			    fnmatch(known.cell, cell.c_str(), 0) == 0)
				return &known;
		return nullptr;
	}
	void count(const Known *known, bool failed)
	{
		if (known == nullptr)
			return;
		Numbers &n = numbers_[known];
		++n.cells;
		n.failures += failed;
	}
	/// Known to fail, and all of it passed.
	std::vector<std::string> passed() const
	{
		std::vector<std::string> out;
		for (const auto &[known, n] : numbers_)
			if (known->when == Known::always && n.failures == 0)
				out.push_back(known->cell);
		return out;
	}
	unsigned cells = 0, failures = 0, unsteady = 0;

private:
	struct Numbers {
		unsigned cells = 0, failures = 0;
	};
	std::map<const Known *, Numbers> numbers_;
};
inline Tally tally;

} // namespace contract

#endif
