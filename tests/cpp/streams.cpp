// What moves bytes: buffers of every kind, streams, files, descriptors, packets.
#include "check.hpp"

#if __cplusplus >= 202002L
#include <span>
#endif

using netfd::bytes;
using netfd::const_bytes;

static_assert(!std::is_constructible_v<const_bytes, char (&)[8]>, "how much of it is not known");
static_assert(!std::is_constructible_v<const_bytes, std::nullptr_t>);
static_assert(!std::is_constructible_v<bytes, const std::string &>);
static_assert(!std::is_constructible_v<bytes, const char (&)[8]>);
static_assert(!std::is_constructible_v<bytes, std::vector<int> &>, "what it is as bytes is the caller's to say");
static_assert(!std::is_constructible_v<bytes, std::vector<bool> &>);
static_assert(!std::is_constructible_v<bytes, const_bytes>);
static_assert(std::is_convertible_v<bytes, const_bytes>);

static void whatever_holds_bytes_is_a_buffer()
{
    char chars[8] = {};
    unsigned char octets[7] = {};
    const unsigned char octets_to_read[2] = {1, 2};
    std::array<std::byte, 3> array{};
    std::vector<signed char> vector(5);
    std::string string("four");
    CHECK(bytes(chars).size() == 8 && bytes(octets).size() == 7 && bytes(array).size() == 3);
    CHECK(bytes(vector).size() == 5 && bytes(string).size() == 4 && bytes(chars, 2).size() == 2);
    CHECK(const_bytes(octets).size() == 7 && const_bytes(octets_to_read).size() == 2);
    CHECK(const_bytes(array).size() == 3 && const_bytes(vector).size() == 5);
    CHECK(const_bytes(bytes(chars)).size() == 8 && const_bytes(chars, 2).size() == 2);
    CHECK(bytes().empty() && const_bytes().empty());
#if __cplusplus >= 202002L
    CHECK(bytes(std::span(chars)).size() == 8 && bytes(std::span(chars, 3)).size() == 3);
    CHECK(const_bytes(std::span<const signed char>(vector)).size() == 5);
    CHECK(const_bytes(std::as_bytes(std::span(chars))).size() == 8);
#endif
}

static void text_is_a_buffer_without_its_nul()
{
    const char *pointer = "pointer";
    const std::string string("string");
    CHECK(const_bytes("literal").size() == 7 && const_bytes(pointer).size() == 7);
    CHECK(const_bytes(string).size() == 6 && const_bytes(std::string_view("view")).size() == 4);
}

static void a_buffer_is_cut_and_never_grows()
{
    const const_bytes text = "abcdef";
    CHECK(text.first(2).size() == 2 && text.first(9).size() == 6);
    CHECK(text.drop(4).size() == 2 && text.drop(4).data() == text.data() + 4 && text.drop(9).empty());
    char room[4];
    CHECK(bytes(room).first(9).size() == 4 && bytes(room).drop(3).data() == bytes(room).data() + 3);
}

static void what_is_written_is_read_and_the_end_is_nothing()
{
    const pair ends = make_pair();
    CHECK(ends.first.write("hello", fine()) == 5);
    ends.first.shutdown(SHUT_WR, fine());
    std::array<char, 16> buf{};
    CHECK(ends.second.read(buf, fine()) == 5);
    CHECK(std::string_view(buf.data(), 5) == "hello");
    CHECK(ends.second.read(buf, fine()) == 0);
}

static void several_buffers_go_as_one()
{
    const pair ends = make_pair();
    const std::string path = "/index.html";
    CHECK(ends.first.writev({"GET ", path, std::string_view("\r\n")}, fine()) == 17);
    char head[4];
    std::vector<char> rest(20);
    CHECK(ends.second.readv({head, rest}, fine()) == 17);
    CHECK(std::string_view(head, 4) == "GET " && std::string_view(rest.data(), 13) == "/index.html\r\n");
    std::error_code ec;
    const bytes one(head);
    CHECK(ends.second.readv({&one, std::size_t{INT_MAX} + 1}, ec) == 0);
    CHECK(ec == std::errc::invalid_argument);
    const std::vector<const_bytes> many(3000, const_bytes("x"));
    CHECK(ends.first.writev(many, fine()) == 3000);
}

static void a_full_read_waits_for_all_of_it()
{
    const pair ends = make_pair();
    const in_thread writer([&] {
        for (const char *part : {"ab", "cd", "ef"}) {
            CHECK(ends.first.write(part, fine()) == 2);
            await_parked(1);
        }
        ends.first.shutdown(SHUT_WR, fine());
    });
    char buf[6];
    CHECK(ends.second.read_full(buf, fine()) == 6);
    CHECK(std::string_view(buf, 6) == "abcdef");
    CHECK(ends.second.read_full(buf, fine()) == 0); // the end, and nothing before it
}

static void a_full_read_that_ends_in_between_fails_and_tells_how_much()
{
    const pair ends = make_pair();
    ends.first.write("abc", fine());
    ends.first.shutdown(SHUT_WR, fine());
    std::error_code ec;
    char buf[6];
    CHECK(ends.second.read_full(buf, ec) == 3);
    CHECK(ec == netfd::errc::unexpected_end);
    CHECK(ends.second.read_full(bytes(), fine()) == 0);
}

static void a_write_that_is_stopped_tells_by_what_and_how_much_had_gone()
{
    const pair ends = make_pair();
    const std::vector<char> big(4 << 20);
    ends.first.set_write_deadline(20ms, fine());
    std::error_code ec;
    const std::size_t gone = ends.first.write(big, ec);
    CHECK(gone > 0 && gone < big.size());
    CHECK(ec == netfd::errc::deadline_exceeded);
    CHECK(ends.first.writev({big, "x"}, ec) == 0);
    CHECK(ec == netfd::errc::deadline_exceeded);
}

static void a_write_to_nobody_is_a_broken_pipe()
{
    const pair ends = make_pair();
    ends.second.close(fine());
    std::error_code ec;
    CHECK(ends.first.write("x", ec) == 0);
    CHECK(ec == std::errc::broken_pipe);
}

// A file without a name.
static int make_file(std::string_view content)
{
    char path[] = "/tmp/netfd-cpp-XXXXXX";
    const int file = ::mkstemp(path);
    CHECK(file >= 0 && ::unlink(path) == 0);
    CHECK(::write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    return file;
}

static void a_file_is_sent_whole_and_in_part()
{
    const pair ends = make_pair();
    const int file = make_file("0123456789");
    CHECK(ends.first.sendfile(file, 0, -1, fine()) == 10);
    CHECK(ends.first.sendfile(file, 7, 2, fine()) == 2);
    CHECK(ends.first.sendfile(file, 8, 100, fine()) == 2);
    CHECK(::lseek(file, 6, SEEK_SET) == 6);
    CHECK(ends.first.sendfile(file, -1, -1, fine()) == 4);
    char buf[64];
    CHECK(ends.second.read(buf, fine()) == 18);
    CHECK(std::string_view(buf, 18) == "012345678978896789");
    CHECK(::close(file) == 0);
}

static void a_copy_goes_to_the_end_or_as_far_as_it_is_told()
{
    const pair from = make_pair();
    const pair to = make_pair();
    from.first.write("abcdef", fine());
    CHECK(to.first.copy_from(from.second.fd(), 4, fine()) == 4);
    from.first.shutdown(SHUT_WR, fine());
    CHECK(to.first.copy_from(from.second.fd(), -1, fine()) == 2);
    char buf[16];
    CHECK(to.second.read(buf, fine()) == 6 && std::string_view(buf, 6) == "abcdef");
}

static void a_copy_that_is_stopped_tells_how_much_had_gone()
{
    const pair from = make_pair();
    const pair to = make_pair();
    from.first.write("abc", fine());
    from.second.set_read_deadline(20ms, fine());
    std::error_code ec;
    CHECK(to.first.copy_from(from.second.fd(), -1, ec) == 3);
    CHECK(ec == netfd::errc::deadline_exceeded);
}

static void descriptors_go_along_and_their_owner_is_said()
{
    const pair ends = make_pair();
    pair sent = make_pair();
    const int file = make_file("file");
    CHECK(ends.first.send_fds({sent.first.fd(), file}, "!", fine()) == 1);
    CHECK(::close(file) == 0);
    int fds[4];
    char byte;
    const netfd::received came = ends.second.recv_fds(fds, {&byte, 1}, fine());
    CHECK(came.size == 1 && came.fds == 2 && byte == '!');
    const netfd::conn copy(fds[0]);
    sent.second.write("x", fine());
    CHECK(copy.read({&byte, 1}, fine()) == 1);
    CHECK(::close(fds[1]) == 0);
}

static void a_unix_peer_is_known()
{
    const netfd::credentials peer = make_pair().first.peer_cred(fine());
    CHECK(peer.pid == ::getpid() && peer.uid == ::getuid() && peer.gid == ::getgid());
    std::error_code ec;
    const netfd::listener door = make_listener();
    CHECK(dial(door).peer_cred(ec).pid == 0);
    CHECK(ec == std::errc::operation_not_supported);
}

static void packets_name_the_other_end()
{
    const netfd::packet_conn here = netfd::listen_packet("udp", "127.0.0.1:0", {}, fine());
    const netfd::packet_conn there = netfd::listen_packet("udp", "127.0.0.1:0", {}, fine());
    CHECK(here.send_to("ping", there.local_addr(fine()), 0, fine()) == 4);
    char buf[16];
    netfd::address from;
    CHECK(there.recv_from(buf, from, 0, fine()) == 4);
    CHECK(from == here.local_addr(fine()) && std::string_view(buf, 4) == "ping");
    std::error_code ec;
    CHECK(there.recv_from(buf, from, MSG_DONTWAIT, ec) == 0);
    CHECK(ec == std::errc::operation_would_block && from == netfd::address());
}

static void a_dialed_packet_conn_reads_and_writes_messages()
{
    const netfd::packet_conn there = netfd::listen_packet("udp", "127.0.0.1:0", {}, fine());
    const netfd::packet_conn here(netfd::dial("udp", where(there), {}, fine()));
    CHECK(here.write("one", fine()) == 3 && here.write("", fine()) == 0 && here.write("three", fine()) == 5);
    char buf[16];
    CHECK(there.read(buf, fine()) == 3 && there.read(buf, fine()) == 0 && there.read(buf, fine()) == 5);
}

static void packets_go_in_batches()
{
    const netfd::packet_conn there = netfd::listen_packet("udp", "127.0.0.1:0", {}, fine());
    const netfd::packet_conn here(netfd::dial("udp", where(there), {}, fine()));
    char text[] = "abcdef";
    ::iovec parts[3] = {{text, 1}, {text + 1, 2}, {text + 3, 3}};
    std::array<::mmsghdr, 3> batch{};
    for (std::size_t at = 0; at < batch.size(); at++) {
        batch[at].msg_hdr.msg_iov = &parts[at];
        batch[at].msg_hdr.msg_iovlen = 1;
    }
    CHECK(here.sendmmsg(batch, 0, fine()) == 3);
    CHECK(batch[2].msg_len == 3);
    await([&] { return there.recvmmsg({batch.data(), 1}, MSG_PEEK, fine()) == 1; });
    std::size_t came = 0;
    while (came < 3)
        came += there.recvmmsg({batch.data() + came, 3 - came}, 0, fine());
    CHECK(batch[0].msg_len == 1);
}

static void messages_go_with_what_belongs_to_them()
{
    const pair ends = make_pair();
    char text[] = "message";
    ::iovec part{text, 7};
    ::msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    CHECK(ends.first.sendmsg(message, 0, fine()) == 7);
    CHECK(ends.second.recvmsg(message, MSG_PEEK, fine()) == 7);
    CHECK(ends.second.recvmsg(message, MSG_DONTWAIT, fine()) == 7);
    std::error_code ec;
    CHECK(ends.second.recvmsg(message, MSG_DONTWAIT, ec) == 0);
    CHECK(ec == std::errc::resource_unavailable_try_again);
}
