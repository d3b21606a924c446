// SPDX-License-Identifier: MIT
//
// A file system of regular files whose reads, writes and fsyncs the test holds back
// and lets go: FUSE, served by a child process. It makes "while the transfer is under
// way" a state that a test can stay in, where a disk would give no such moment.
//
// Every name that is a number is a file; from 1000 on they say that they are empty, whatever is in
// them, and from 2000 on all have one inode number. The child dies with the test, and the kernel
// then fails what is still held, so that nothing is left stuck.
#ifndef CONTRACT_HELD_FILE_SYSTEM_HPP
#define CONTRACT_HELD_FILE_SYSTEM_HPP

#include "support.hpp"

#include <linux/fuse.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include <map>

namespace contract {

enum Operation { held_read, held_write, held_fsync, operations };

/// Shared between the test and the serving process.
struct HeldState {
	struct Entry {
		int operation;
		uint64_t file;
		uint64_t offset;
		unsigned arrival, answer; // moments, counted from 1
	};
	std::array<std::atomic<bool>, operations> hold;
	std::array<std::atomic<unsigned>, operations> arrived;
	std::atomic<unsigned> released, moment, entries;
	std::array<Entry, 4096> log;
};

/// Answers the kernel's requests. Runs in a process of its own.
class HeldServer {
public:
	HeldServer(int fuse, HeldState &state) : fuse_(fuse), state_(state) {}
	[[noreturn]] void run()
	{
		std::vector<char> buffer(1 << 21);
		for (;;) {
			pollfd ready{fuse_, POLLIN, 0};
			poll(&ready, 1, waiting_.empty() ? -1 : 1);
			if ((ready.revents & POLLIN) != 0) {
				const ssize_t size = read(fuse_, buffer.data(), buffer.size());
				if (size <= 0 && errno == ENODEV)
					_exit(0);
				if (size > 0)
					accept({buffer.data(), static_cast<size_t>(size)});
			}
			std::list<Waiting> waiting;
			waiting.swap(waiting_);
			for (Waiting &request : waiting)
				answer_or_hold(std::move(request));
		}
	}

private:
	struct Waiting {
		std::string message;
		int operation;
		unsigned entry;
	};

	template <class T> static T const &argument(const std::string &message)
	{
		return *reinterpret_cast<const T *>(message.data() + sizeof(fuse_in_header));
	}
	static const fuse_in_header &header(const std::string &message)
	{
		return *reinterpret_cast<const fuse_in_header *>(message.data());
	}

	void reply(const std::string &message, int error, const void *data = nullptr,
		   size_t size = 0)
	{
		fuse_out_header out{static_cast<uint32_t>(sizeof out + size), -error,
				    header(message).unique};
		std::string bytes(reinterpret_cast<const char *>(&out), sizeof out);
		bytes.append(static_cast<const char *>(data), size);
		if (write(fuse_, bytes.data(), bytes.size()) < 0 && errno == ENODEV)
			_exit(0);
	}
	template <class T> void reply_with(const std::string &message, T const &data)
	{
		reply(message, 0, &data, sizeof data);
	}

	fuse_attr attributes(uint64_t node)
	{
		fuse_attr attr{};
		attr.ino = node >= first_node + same_inode ? same_inode : node;
		attr.nlink = 1;
		attr.blksize = 4096;
		attr.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0600;
		const bool says = node != FUSE_ROOT_ID &&
				  (node < first_node + sizeless || node >= first_node + same_inode);
		attr.size = says ? files_[node].size() : 0;
		return attr;
	}

	void accept(std::string message)
	{
		switch (header(message).opcode) {
		case FUSE_READ:
			return arrive(std::move(message), held_read);
		case FUSE_WRITE:
			return arrive(std::move(message), held_write);
		case FUSE_FSYNC:
			return arrive(std::move(message), held_fsync);
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			return; // these expect no answer
		default:
			return answer_other(message);
		}
	}

	void arrive(std::string message, int operation)
	{
		const unsigned entry = state_.entries % state_.log.size();
		const uint64_t offset =
			operation == held_fsync ? 0 : argument<fuse_write_in>(message).offset;
		state_.log[entry] = {operation, header(message).nodeid - first_node, offset,
				     ++state_.moment, 0};
		++state_.entries;
		++state_.arrived[static_cast<size_t>(operation)];
		answer_or_hold({std::move(message), operation, entry});
	}
	void answer_or_hold(Waiting request)
	{
		if (state_.hold[static_cast<size_t>(request.operation)])
			return waiting_.push_back(std::move(request));
		state_.log[request.entry].answer = ++state_.moment;
		std::string &file = files_[header(request.message).nodeid];
		if (request.operation == held_fsync)
			return reply(request.message, 0);
		if (request.operation == held_read)
			return answer_read(request.message, file);
		const auto &in = argument<fuse_write_in>(request.message);
		if (file.size() < in.offset + in.size)
			file.resize(in.offset + in.size);
		memcpy(&file[in.offset],
		       request.message.data() + sizeof(fuse_in_header) + sizeof in, in.size);
		reply_with(request.message, fuse_write_out{in.size, 0});
	}
	void answer_read(const std::string &message, const std::string &file)
	{
		const auto &in = argument<fuse_read_in>(message);
		const size_t offset = std::min<size_t>(in.offset, file.size());
		reply(message, 0, file.data() + offset,
		      std::min<size_t>(in.size, file.size() - offset));
	}

	void answer_other(const std::string &message)
	{
		const uint64_t node = header(message).nodeid;
		switch (header(message).opcode) {
		case FUSE_INIT:
			return answer_init(message);
		case FUSE_LOOKUP:
			return answer_lookup(message);
		case FUSE_GETATTR:
			return reply_with(message, fuse_attr_out{3600, 0, 0, attributes(node)});
		case FUSE_SETATTR:
			if ((argument<fuse_setattr_in>(message).valid & FATTR_SIZE) != 0)
				files_[node].resize(argument<fuse_setattr_in>(message).size);
			return reply_with(message, fuse_attr_out{3600, 0, 0, attributes(node)});
		case FUSE_OPEN: {
			fuse_open_out out{};
			out.open_flags =
				FOPEN_DIRECT_IO; // each request of the library is one of ours
			return reply_with(message, out);
		}
		case FUSE_RELEASE:
			++state_.released;
			return reply(message, 0);
		default:
			return reply(message, ENOSYS);
		}
	}
	void answer_init(const std::string &message)
	{
		const auto &in = argument<fuse_init_in>(message);
		fuse_init_out out{};
		out.major = FUSE_KERNEL_VERSION;
		out.minor = std::min<uint32_t>(in.minor, FUSE_KERNEL_MINOR_VERSION);
		out.max_readahead = in.max_readahead;
		out.flags = in.flags &
			    (FUSE_BIG_WRITES | FUSE_ASYNC_READ | FUSE_MAX_PAGES | FUSE_ASYNC_DIO);
		out.max_background = 1000;
		out.congestion_threshold = 1000;
		out.max_write = 1 << 20;
		out.max_pages = 256;
		out.time_gran = 1;
		reply_with(message, out);
	}
	void answer_lookup(const std::string &message)
	{
		fuse_entry_out out{};
		out.nodeid = first_node + std::strtoull(&argument<char>(message), nullptr, 10);
		out.entry_valid = out.attr_valid = 3600;
		out.attr = attributes(out.nodeid);
		reply_with(message, out);
	}

	static constexpr uint64_t first_node = 100, sizeless = 1000, same_inode = 2000;
	int fuse_;
	HeldState &state_;
	std::map<uint64_t, std::string> files_;
	std::list<Waiting> waiting_;
};

/// Mounted for the whole program, before the library has threads or rings.
class HeldFileSystem {
public:
	HeldFileSystem()
	{
		instance_ = this;
		directory_ = temp_name("/tmp");
		fuse_.reset(open("/dev/fuse", O_RDWR | O_CLOEXEC));
		if (fuse_ < 0)
			skip_program("no /dev/fuse, or no right to use it");
		// A mount of this process alone: it is gone with the process.
		if (unshare(CLONE_NEWNS) != 0 ||
		    mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
			skip_program("no right to mount");
		std::string const options =
			"fd=" + std::to_string(fuse_) + ",rootmode=40000,user_id=0,group_id=0";
		mkdir(directory_.c_str(), 0700);
		if (mount("contract", directory_.c_str(), "fuse", 0, options.c_str()) != 0) {
			rmdir(directory_.c_str());
			skip_program("no FUSE file systems");
		}
		void *const shared = mmap(nullptr, sizeof(HeldState), PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		state_ = new (shared) HeldState{};
		serve();
	}
	~HeldFileSystem()
	{
		release_all();
		umount2(directory_.c_str(), MNT_DETACH);
		kill(server_, SIGKILL);
		wait_for(server_);
		rmdir(directory_.c_str());
	}

	Fd open_file(int number, int flags = O_RDWR)
	{
		Fd fd(open((directory_ + "/" + std::to_string(number)).c_str(), flags | O_CLOEXEC));
		BOOST_TEST_REQUIRE(fd >= 0);
		return fd;
	}
	void hold(Operation operation) { state_->hold[operation] = true; }
	void release_all()
	{
		for (auto &hold : state_->hold)
			hold = false;
	}
	unsigned arrived(Operation operation) const { return state_->arrived[operation]; }
	unsigned released() const { return state_->released; }
	/// What the kernel asked for since `from`, in order of arrival; answered entries only are
	/// complete.
	std::vector<HeldState::Entry> log(unsigned from) const
	{
		return {state_->log.begin() + from, state_->log.begin() + state_->entries};
	}
	unsigned log_position() const { return state_->entries; }
	static HeldFileSystem &get() { return *instance_; }
	void use() { instance_ = this; }

private:
	void serve()
	{
		fflush(nullptr);
		server_ = fork();
		if (server_ == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			prctl(PR_SET_NAME, "held-files");
			HeldServer(fuse_, *state_).run();
		}
		fuse_.reset();
	}

	std::string directory_;
	Fd fuse_;
	HeldState *state_ = nullptr;
	pid_t server_ = -1;
	static inline HeldFileSystem *instance_ = nullptr;
};
BOOST_TEST_GLOBAL_FIXTURE(HeldFileSystem);

/// Holds operations back while it lives.
struct Holding {
	HeldFileSystem &fs = HeldFileSystem::get();
	std::array<unsigned, operations> before;
	unsigned log_start = fs.log_position();
	explicit Holding(std::initializer_list<Operation> held)
	{
		for (size_t i = 0; i < operations; ++i)
			before[i] = fs.arrived(static_cast<Operation>(i));
		for (Operation operation : held)
			fs.hold(operation);
	}
	~Holding() { fs.release_all(); }
	unsigned arrived(Operation operation) const
	{
		return fs.arrived(operation) - before[operation];
	}
	bool reached(Operation operation, unsigned count = 1) const
	{
		return eventually([&] { return arrived(operation) >= count; });
	}
	void release() { fs.release_all(); }
};

inline int next_file()
{
	static int number;
	return ++number;
}
inline std::string file_content(int number, size_t bytes, off_t offset = 0)
{
	Fd fd = HeldFileSystem::get().open_file(number, O_RDONLY);
	std::string text(bytes, '\0');
	const ssize_t got = pread(fd, text.data(), bytes, offset);
	text.resize(got < 0 ? 0 : static_cast<size_t>(got));
	return text;
}
inline Request &start_fsync(int fd)
{
	Request &request = keep(fd, 0);
	BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &request.cb) == 0);
	return request;
}

/// A ring's own threads write to files in 64 lanes, by inode: there one file's write may wait for
/// another's.
inline bool writes_share_lanes()
{
	const char *const engine = getenv("SIGEVEC_ENGINE");
	return engine != nullptr && engine == std::string_view("uring");
}

/// Other descriptors of every kind get their work done.
inline void check_everything_else_works()
{
	for_each_stream([](Stream &s) {
		Request &read = start_read(s.reader, 4);
		BOOST_TEST(finish(start_write(s.writer, "ping")) == ok(4));
		BOOST_TEST(finish(read) == ok(4));
	});
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		alignas(4096) static char const page[4096] = {};
		if (writes_share_lanes())
			BOOST_TEST_REQUIRE(pwrite(file.fd, page, sizeof page, 0) == 4096);
		else
			BOOST_TEST(finish(start_write(file.fd, pattern(4096))) == ok(4096));
		BOOST_TEST(finish(start_fsync(file.fd)) == ok(0));
		BOOST_TEST(finish(start_read(file.fd, 4096)) == ok(4096));
	});
}

} // namespace contract

#endif
