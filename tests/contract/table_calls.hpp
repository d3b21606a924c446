// SPDX-License-Identifier: MIT
//
// A call that can be made in two ways: by hand, as the system call itself, and as a request of the
// library's, in every form that the library has for it. What it came to is a text, so that two ends
// of it can be compared and shown.
//
// A part of table.hpp, which says how the tables work.
#ifndef CONTRACT_TABLE_CALLS_HPP
#define CONTRACT_TABLE_CALLS_HPP

namespace contract {

// ----------------------------------------------------------------------- text

inline std::string error_name(int error)
{
	const char *const name = strerrorname_np(error);
	return name != nullptr ? name : std::to_string(error);
}
/// Short data as it is, long data by its length and a sum.
inline std::string shown(std::string_view data)
{
	std::string out;
	if (data.size() > 64) {
		uint32_t sum = 2166136261u;
		for (unsigned char c : data)
			sum = (sum ^ c) * 16777619u;
		return std::to_string(data.size()) + " bytes #" + std::to_string(sum);
	}
	for (unsigned char c : data) {
		char text[8];
		snprintf(text, sizeof text, c >= ' ' && c < 127 ? "%c" : "\\x%02x", c);
		out += text;
	}
	return "\"" + out + "\"";
}
inline std::string bits(unsigned value,
			std::initializer_list<std::pair<unsigned, const char *>> names)
{
	std::string out;
	for (const auto &[bit, name] : names)
		if ((value & bit) != 0) {
			out += (out.empty() ? "" : "|") + std::string(name);
			value &= ~bit;
		}
	if (value != 0 || out.empty())
		out += (out.empty() ? "" : "|") + std::to_string(value);
	return out;
}
inline std::string message_flags(int flags)
{
	return bits(unsigned(flags), {{MSG_DONTWAIT, "DONTWAIT"},
				      {MSG_PEEK, "PEEK"},
				      {MSG_WAITALL, "WAITALL"},
				      {MSG_TRUNC, "TRUNC"},
				      {MSG_OOB, "OOB"},
				      {MSG_ERRQUEUE, "ERRQUEUE"},
				      {MSG_CTRUNC, "CTRUNC"},
				      {MSG_EOR, "EOR"},
				      {MSG_MORE, "MORE"},
				      {MSG_NOSIGNAL, "NOSIGNAL"},
				      {unsigned(MSG_CMSG_CLOEXEC), "CMSG_CLOEXEC"},
				      {MSG_CONFIRM, "CONFIRM"},
				      {MSG_DONTROUTE, "DONTROUTE"},
				      {MSG_ZEROCOPY, "ZEROCOPY"},
				      {MSG_FASTOPEN, "FASTOPEN"},
				      {MSG_SYN, "SYN"},
				      {MSG_FIN, "FIN"},
				      {MSG_RST, "RST"}});
}
inline std::string poll_bits(int events)
{
	return bits(unsigned(events), {{POLLIN, "IN"},
				       {POLLPRI, "PRI"},
				       {POLLOUT, "OUT"},
				       {POLLRDHUP, "RDHUP"},
				       {POLLERR, "ERR"},
				       {POLLHUP, "HUP"},
				       {POLLNVAL, "NVAL"},
				       {POLLRDNORM, "RDNORM"},
				       {POLLRDBAND, "RDBAND"},
				       {POLLWRNORM, "WRNORM"},
				       {POLLWRBAND, "WRBAND"},
				       {POLLMSG, "MSG"}});
}

// ----------------------------------------------------------------- operations

/// One call with its arguments, without the descriptor.
struct Op {
	enum Type {
		read,
		write,
		readv,
		writev,
		fsync,
		fdsync,
		recv,
		send,
		recvfrom,
		sendto,
		recvmsg,
		sendmsg,
		accept,
		connect,
		poll
	};
	enum Memory {
		good,
		null,
		straddling
	}; // the second half of straddling memory does not exist

	Type type;
	size_t size = 0;
	int flags = 0;
	Memory memory = good;
	off_t offset = 0;
	size_t control = 0; // recvmsg: room for control data
	socklen_t name_room = sizeof(sockaddr_storage);
	short events = 0;

	bool is_vector() const { return type == readv || type == writev; }
	bool is_message() const { return type == recvmsg || type == sendmsg; }
	bool is_sync() const { return type == fsync || type == fdsync; }
	/// A request of the socket family, or a one-call request (api.md, section 3).
	bool of_sockets() const { return type >= recv; }
	bool receives() const
	{
		return type == read || type == readv || type == recv || type == recvfrom ||
		       type == recvmsg;
	}
	bool sends() const
	{
		return type == write || type == writev || type == send || type == sendto ||
		       type == sendmsg;
	}

	std::string name() const
	{
		static constexpr const char *names[] = {
			"read",      "write",   "readv",  "writev",   "fsync",
			"fdatasync", "recv",    "send",   "recvfrom", "sendto",
			"recvmsg",   "sendmsg", "accept", "connect",  "poll"};
		std::string out = std::string(names[type]) + "(";
		if (type == poll)
			return out + poll_bits(events) + ")";
		if (receives() || sends())
			out += std::to_string(size);
		if (memory != good)
			out += memory == null ? " of NULL" : " half bad";
		if (offset != 0)
			out += " at " + std::to_string(offset);
		if (flags != 0)
			out += (out.back() == '(' ? "" : ",") +
			       (type == accept ? std::to_string(flags) : message_flags(flags));
		if (control != 0)
			out += ",control " + std::to_string(control);
		if (type == recvfrom || type == recvmsg)
			if (name_room != sizeof(sockaddr_storage))
				out += ",name " + std::to_string(name_room);
		return out + ")";
	}
};

// ----------------------------------------------------------------------- calls

/// A buffer whose bytes beyond what the call may touch can be looked at.
class Memory {
public:
	Memory(const Op &op) : size_(std::min(op.size, size_t{1} << 22))
	{
		const size_t page = 4096;
		if (op.memory == Op::straddling) {
			mapped_ = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			mprotect(static_cast<char *>(mapped_) + page, page, PROT_NONE);
			size_ = op.size / 2;
			start_ = static_cast<char *>(mapped_) + page - size_;
		} else if (op.memory == Op::good) {
			own_ = std::make_unique<char[]>(size_ + 1);
			start_ = own_.get();
		} else
			size_ = 0;
		for (size_t i = 0; i < size_; ++i)
			start_[i] = op.sends() ? char('a' + i % 23) : '?';
	}
	Memory(const Memory &) = delete;
	~Memory()
	{
		if (mapped_ != nullptr)
			munmap(mapped_, 8192);
	}
	char *start() const { return start_; }
	std::string_view text() const { return {start_, size_}; }

private:
	size_t size_;
	char *start_ = nullptr;
	void *mapped_ = nullptr;
	std::unique_ptr<char[]> own_;
};

/// An operation on a descriptor: made by hand, or started by a Form (table_forms.hpp). It must stay
/// until it has ended.
struct Call {
	Op op;
	int fd;
	Memory memory;
	iovec parts[2]{};
	msghdr message{};
	alignas(cmsghdr) char control[512]{};
	sockaddr_storage name{};
	socklen_t name_length = 0;
	Outcome by_hand_outcome{};

	Call(const Op &o, int descriptor, const sockaddr_storage &to, socklen_t to_length)
	    : op(o), fd(descriptor), memory(o)
	{
		const size_t first = op.size / 3;
		parts[0] = {memory.start(), first};
		parts[1] = {memory.start() == nullptr ? nullptr : memory.start() + first,
			    op.size - first};
		message.msg_iov = parts;
		message.msg_iovlen = 2;
		message.msg_control = op.control != 0 ? control : nullptr;
		message.msg_controllen = op.control;
		if (op.sends() || op.type == Op::connect) {
			name = to;
			name_length = to_length;
		} else
			name_length = op.name_room;
		if (op.type == Op::recvmsg || (op.type == Op::sendmsg && name_length != 0)) {
			message.msg_name = &name;
			message.msg_namelen = name_length;
		}
	}
	Call(const Call &) = delete;

	sockaddr *where() { return reinterpret_cast<sockaddr *>(&name); }

	/// The judge: the call itself, in the calling thread.
	void by_hand()
	{
		errno = 0;
		const ssize_t result = made_by_hand();
		by_hand_outcome = {result < 0 ? errno : 0, result};
	}

	/// What it came to, all that the caller can see of it.
	std::string told(const Outcome &end)
	{
		if (end.error != 0 || end.result < 0)
			return error_name(end.error) + touched();
		switch (op.type) {
		case Op::accept:
			return "a descriptor " + accepted(int(end.result));
		case Op::poll:
			return poll_bits(int(end.result));
		default:
			return std::to_string(end.result) + touched() + message_told();
		}
	}

private:
	ssize_t made_by_hand()
	{
		char *const at = memory.start();
		ssize_t r;
		switch (op.type) {
		case Op::read:
			r = pread(fd, at, op.size, op.offset);
			return r < 0 && errno == ESPIPE ? ::read(fd, at, op.size) : r;
		case Op::write:
			r = pwrite(fd, at, op.size, op.offset);
			return r < 0 && errno == ESPIPE ? ::write(fd, at, op.size) : r;
		case Op::readv:
			r = preadv(fd, parts, 2, op.offset);
			return r < 0 && errno == ESPIPE ? ::readv(fd, parts, 2) : r;
		case Op::writev:
			r = pwritev(fd, parts, 2, op.offset);
			return r < 0 && errno == ESPIPE ? ::writev(fd, parts, 2) : r;
		case Op::fsync:
			return ::fsync(fd);
		case Op::fdsync:
			return ::fdatasync(fd);
		case Op::recv:
			return ::recv(fd, at, op.size, op.flags);
		case Op::send:
			return ::send(fd, at, op.size, op.flags);
		case Op::recvfrom:
			return ::recvfrom(fd, at, op.size, op.flags, where(), &name_length);
		case Op::sendto:
			return ::sendto(fd, at, op.size, op.flags,
					name_length != 0 ? where() : nullptr, name_length);
		case Op::recvmsg:
			return ::recvmsg(fd, &message, op.flags);
		case Op::sendmsg:
			return ::sendmsg(fd, &message, op.flags);
		case Op::accept:
			return accept4(fd, nullptr, nullptr, op.flags);
		case Op::connect:
			return ::connect(fd, where(), name_length);
		case Op::poll:
			break;
		}
		pollfd p{fd, op.events, 0};
		return ::poll(&p, 1, -1) < 0 ? -1 : p.revents;
	}
	std::string touched() const { return op.receives() ? " " + shown(memory.text()) : ""; }
	std::string name_told() const
	{
		std::string out = " name family " + std::to_string(name.ss_family);
		// The port or the path differs from pair to pair; that there is one does not.
		if (name.ss_family == AF_INET)
			out += reinterpret_cast<const sockaddr_in *>(&name)->sin_port != 0
				       ? " port"
				       : " no port";
		return out;
	}
	std::string message_told()
	{
		if (op.type == Op::recvfrom)
			return name_told();
		if (op.type != Op::recvmsg)
			return "";
		return " flags " + message_flags(message.msg_flags) + " namelen " +
		       std::to_string(message.msg_namelen) + name_told() + " control " +
		       std::to_string(message.msg_controllen) + control_told();
	}
	std::string control_told()
	{
		std::string out;
		if (message.msg_controllen == 0 || message.msg_control == nullptr)
			return out;
		for (cmsghdr *c = CMSG_FIRSTHDR(&message); c != nullptr;
		     c = CMSG_NXTHDR(&message, c)) {
			out += " [" + std::to_string(c->cmsg_level) + "," +
			       std::to_string(c->cmsg_type) + "," + std::to_string(c->cmsg_len);
			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
				out += descriptors_told(c);
			out += "]";
		}
		return out;
	}
	static std::string descriptors_told(cmsghdr *c)
	{
		std::string out;
		for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
			const int flags = fcntl(fd, F_GETFD);
			out += flags < 0                   ? " no descriptor"
			       : (flags & FD_CLOEXEC) != 0 ? " cloexec"
							   : " inherited";
			close(fd);
		}
		return out;
	}
	static std::string accepted(int fd)
	{
		std::string const out =
			std::string((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 ? "cloexec"
									   : "inherited") +
			((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 ? " nonblocking" : "");
		const Fd own(fd);
		char text[16];
		const ssize_t n = ::recv(fd, text, sizeof text, MSG_DONTWAIT);
		return out + (n < 0 ? " " + error_name(errno) : " " + shown({text, size_t(n)}));
	}
};

} // namespace contract

#endif
