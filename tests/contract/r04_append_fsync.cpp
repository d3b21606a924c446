// SPDX-License-Identifier: MIT
//
// Rule 4: with O_APPEND, writes land in the order of the calls; aio_fsync covers every
// request on that descriptor queued before it, whatever its priority. (held_file.cpp
// shows the same where the test decides when a write gets through, and that aio_fsync
// stalls nobody else.)
#define BOOST_TEST_MODULE r04_append_fsync
#include "support.hpp"

namespace {

/// Sizes from one byte to above the limits where an implementation might change its way of working.
size_t uneven_size(int i) {
    static size_t const sizes[] = {1, 5000, 17, 70000, 4096, 3, 300000, 512, 1, 65536};
    return sizes[i % 10];
}

std::vector<FileKind> appendable_kinds() {
    std::vector<FileKind> kinds;
    for (FileKind const& kind : file_kinds())
        if ((kind.flags & O_DIRECT) == 0) kinds.push_back(kind);
    return kinds;
}

Request& start_fsync(int fd, int op = O_SYNC) {
    Request& request = keep(fd, 0);
    BOOST_TEST_REQUIRE(aio_fsync(op, &request.cb) == 0);
    return request;
}

}  // namespace

BOOST_AUTO_TEST_CASE(appends_of_any_size_land_in_the_order_of_the_calls) {
    for (FileKind const& kind : appendable_kinds()) {
        BOOST_TEST_CONTEXT("file: " << kind.name) {
            File file = make_file(kind, O_APPEND);
            std::vector<Request*> writes;
            std::string expected;
            for (int i = 0; i < 100; ++i) {
                expected += pattern(uneven_size(i), i);
                writes.push_back(&start_write(file.fd, pattern(uneven_size(i), i)));
            }
            for (Request* request : writes) BOOST_TEST(finish(*request) == ok(static_cast<ssize_t>(request->size)));
            BOOST_TEST((file.content() == expected));
        }
    }
}

BOOST_AUTO_TEST_CASE(direct_appends_land_in_the_order_of_the_calls) {
    for_each_file_kind([](FileKind const& kind) {
        File file = make_file(kind, O_APPEND);
        std::vector<Request*> writes;
        std::string expected;
        for (int i = 0; i < 200; ++i) {
            std::string const block = pattern(4096 * (1 + i % 3), i);
            expected += block;
            writes.push_back(&start_write(file.fd, block));
        }
        for (Request* request : writes) BOOST_TEST(finish(*request) == ok(static_cast<ssize_t>(request->size)));
        BOOST_TEST((file.content() == expected));
    });
}

BOOST_AUTO_TEST_CASE(the_offset_means_nothing_to_an_append) {
    File file = disk_file(O_APPEND);
    Request& first = start_write(file.fd, "one", 777);
    Request& second = start_write(file.fd, "two", 0);
    BOOST_TEST(finish(first) == ok(3));
    BOOST_TEST(finish(second) == ok(3));
    BOOST_TEST(file.content() == "onetwo");
}

BOOST_AUTO_TEST_CASE(a_list_of_appends_lands_in_list_order) {
    for (FileKind const& kind : appendable_kinds()) {
        File file = make_file(kind, O_APPEND);
        std::vector<aiocb*> list;
        std::string expected;
        for (int i = 0; i < 50; ++i) {
            expected += pattern(uneven_size(i), i);
            list.push_back(&writing(file.fd, pattern(uneven_size(i), i)).cb);
            list.back()->aio_lio_opcode = LIO_WRITE;
        }
        BOOST_TEST(lio_listio(LIO_WAIT, list.data(), 50, nullptr) == 0);
        BOOST_TEST((file.content() == expected), "file: " << kind.name);
    }
}

BOOST_AUTO_TEST_CASE(each_threads_appends_stay_in_its_order_and_whole) {
    File file = disk_file(O_APPEND);
    auto submit = [&](char from) {
        std::vector<Request*> writes;
        for (char c = from; c < from + 26; ++c) writes.push_back(&writing(file.fd, std::string(5000, c)));
        for (Request* request : writes)
            if (aio_write(&request->cb) != 0) abort();
        for (Request* request : writes) eventually([&] { return !request->pending(); });
    };
    std::thread lower(submit, 'a'), upper(submit, 'A');
    lower.join();
    upper.join();
    std::string const got = file.content();
    BOOST_TEST_REQUIRE(got.size() == 52u * 5000u);
    std::string order[2];
    for (size_t i = 0; i < got.size(); i += 5000) {
        BOOST_TEST_REQUIRE((got.substr(i, 5000) == std::string(5000, got[i])));
        order[got[i] >= 'a'] += got[i];
    }
    BOOST_TEST(order[0] == "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    BOOST_TEST(order[1] == "abcdefghijklmnopqrstuvwxyz");
}

BOOST_AUTO_TEST_CASE(when_fsync_is_done_everything_queued_before_it_is_done) {
    for_each_file_kind([](FileKind const& kind) {
        for (int op : {O_SYNC, O_DSYNC}) {
            File file = make_file(kind);
            std::vector<Request*> writes;
            for (int i = 0; i < 64; ++i) writes.push_back(&start_write(file.fd, pattern(65536, i), i * 65536));
            Request& sync = start_fsync(file.fd, op);
            BOOST_TEST(eventually([&] { return !sync.pending(); }));
            for (Request* request : writes) BOOST_TEST(!request->pending());
            BOOST_TEST(finish(sync) == ok(0));
            for (Request* request : writes) BOOST_TEST(finish(*request) == ok(65536));
        }
    });
}

// glibc sorts the queue of a descriptor by priority, and the fsync with it.
BOOST_AUTO_TEST_CASE(fsync_covers_requests_of_every_priority, BETTER_THAN_GLIBC) {
    for_each_file_kind([](FileKind const& kind) {
        File file = make_file(kind);
        for (int round = 0; round < 10; ++round) {
            std::vector<Request*> writes;
            for (int priority = 0; priority <= 20; ++priority) {
                writes.push_back(&writing(file.fd, pattern(65536), priority * 65536));
                writes.back()->cb.aio_reqprio = priority;
                BOOST_TEST_REQUIRE(aio_write(&writes.back()->cb) == 0);
            }
            Request& sync = start_fsync(file.fd);
            BOOST_TEST(eventually([&] { return !sync.pending(); }));
            for (Request* request : writes) BOOST_TEST(!request->pending());
            BOOST_TEST(finish(sync) == ok(0));
            for (Request* request : writes) finish(*request);
        }
    });
}

BOOST_AUTO_TEST_CASE(several_fsyncs_on_one_descriptor_all_complete) {
    File file = disk_file();
    std::vector<Request*> requests;
    for (int i = 0; i < 20; ++i) {
        requests.push_back(&start_write(file.fd, "x", i));
        requests.push_back(&start_fsync(file.fd, i % 2 == 0 ? O_SYNC : O_DSYNC));
    }
    for (size_t i = 0; i < requests.size(); ++i) BOOST_TEST(finish(*requests[i]) == ok(i % 2 == 0 ? 1 : 0));
}

BOOST_AUTO_TEST_CASE(fsync_after_a_failed_write_still_succeeds) {
    File file = disk_file();
    Request& bad = writing(file.fd, "x");
    bad.cb.aio_buf = reinterpret_cast<void*>(8);
    BOOST_TEST_REQUIRE(aio_write(&bad.cb) == 0);
    Request& sync = start_fsync(file.fd);
    BOOST_TEST(finish(bad) == failed(EFAULT));
    BOOST_TEST(finish(sync) == ok(0));
}

BOOST_AUTO_TEST_CASE(fsync_lets_later_requests_through) {
    File file = disk_file();
    Request& before = start_write(file.fd, pattern(1 << 20));
    Request& sync = start_fsync(file.fd);
    Request& after = start_write(file.fd, "after", 1 << 20);
    BOOST_TEST(finish(after) == ok(5));
    BOOST_TEST(finish(sync) == ok(0));
    BOOST_TEST(finish(before) == ok(1 << 20));
}

BOOST_AUTO_TEST_CASE(fsync_of_what_cannot_be_synchronised_is_reported) {
    for (StreamMaker make : stream_kinds) {
        Stream s = make();
        BOOST_TEST_CONTEXT("stream: " << s.name) {
            Request& request = keep(s.writer, 0);
            BOOST_TEST(finish_or_refused(aio_fsync(O_SYNC, &request.cb), request.cb) == failed(EINVAL));
        }
    }
}

BOOST_AUTO_TEST_CASE(fsync_covers_a_list_submitted_before_it) {
    File file = disk_file();
    std::vector<aiocb*> list;
    for (int i = 0; i < 64; ++i) {
        list.push_back(&writing(file.fd, pattern(16384, i), i * 16384).cb);
        list.back()->aio_lio_opcode = LIO_WRITE;
    }
    BOOST_TEST_REQUIRE(lio_listio(LIO_NOWAIT, list.data(), 64, nullptr) == 0);
    Request& sync = start_fsync(file.fd);
    BOOST_TEST(eventually([&] { return !sync.pending(); }));
    for (aiocb* cb : list) BOOST_TEST(aio_error(cb) == 0);
    BOOST_TEST(finish(sync) == ok(0));
}
