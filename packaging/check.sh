#!/bin/sh
# Installs into a folder of its own, and builds and runs consumers from there:
# C from C99 to C23 and C++ from C++17 to C++23 by every compiler that is
# there, by pkg-config, statically, and by CMake. `make check` calls it.
set -u
cd "$(dirname "$0")/.." || exit 1
at=$(mktemp -d)
trap 'rm -rf "$at"' EXIT
passed=0 failed=0

# A claim, and the command that shows it.
holds() {
    claim=$1
    shift
    if "$@" >"$at/said" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $claim"
        sed 's/^/    /' "$at/said"
    fi
}

prefix=/opt/netfd
holds 'make install' make -s install DESTDIR="$at/root" PREFIX=$prefix
lib=$at/root$prefix/lib
export LD_LIBRARY_PATH="$lib" PKG_CONFIG_PATH="$lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$at/root"

cat >"$at/consumer.c" <<'C'
#include <netfd.h>
#include <string.h>

static void serve(void *arg) {
    int fd = netfd_accept(*(int *)arg, NULL, NULL);
    char byte;
    if (fd >= 0 && netfd_read(fd, &byte, 1) == 1 && netfd_write(fd, &byte, 1) == 1) netfd_destroy(fd);
}

int main(void) {
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    char text[64], byte = 'x';
    int listener = netfd_listen("tcp", "127.0.0.1:0", NULL);
    if (strcmp(netfd_version(), NETFD_VERSION) != 0 || listener < 0) return 1;
    if (netfd_local_addr(listener, (struct sockaddr *)&at, &len) != 0) return 2;
    if (netfd_addr_format((struct sockaddr *)&at, len, text, sizeof text) < 0) return 3;
    if (netfd_go(serve, &listener) != 0) return 4;
    int fd = netfd_dial("tcp", text, NULL);
    if (fd < 0 || netfd_write(fd, &byte, 1) != 1 || netfd_read(fd, &byte, 1) != 1) return 5;
    return netfd_destroy(fd) == 0 && netfd_destroy(listener) == 0 && byte == 'x' ? 0 : 6;
}
C

warn='-Wall -Wextra -Wpedantic -Werror'
for way in 'gcc c99' 'gcc c11' 'gcc c17' 'gcc c2x' 'clang c99' 'clang c11' 'clang c17' 'clang c2x' \
    'g++ c++17' 'g++ c++20' 'g++ c++23' 'clang++ c++17' 'clang++ c++20' 'clang++ c++2b'; do
    set -- $way
    command -v "$1" >/dev/null || { echo "skipped: $1 is not there"; continue; }
    case $1 in *++) language=c++ ;; *) language=c ;; esac
    holds "$way: builds" sh -c "$1 -std=$2 -x $language $warn $at/consumer.c -o $at/consumer \$(pkg-config --cflags --libs netfd)"
    holds "$way: runs" "$at/consumer"
    rm -f "$at/consumer"
done

cat >"$at/consumer.cpp" <<'C'
#include <netfd.hpp>
#include <string_view>

int main() {
    std::error_code ec;
    const netfd::listener door = netfd::listen("tcp", "127.0.0.1:0", {}, ec);
    const netfd::cancel_source stop(ec);
    const netfd::group all(ec);
    door.set_cancel(stop, ec);
    all.go([&] {
        std::error_code ended;
        netfd::serve(door, [](const netfd::conn &peer) {
            char buf[16];
            std::error_code error;
            while (const std::size_t n = peer.read(buf, error)) peer.write({buf, n}, error);
        }, {}, ended);
    }, ec);
    if (ec || std::string_view(netfd_version()) != NETFD_VERSION) return 1;
    const netfd::conn peer = netfd::dial("tcp", door.local_addr(ec).text(), {}, ec);
    peer.set_deadline(std::chrono::seconds(10), ec);
    char buf[5];
    if (peer.write("hello", ec) != 5 || peer.read_full(buf, ec) != 5) return 2;
    peer.close(ec);
    stop.fire();
    all.wait({}, nullptr, ec);
    if (ec || std::string_view(buf, 5) != "hello") return 3;
#ifdef __cpp_exceptions
    try {
        (void)netfd::dial("pigeon", "x");
        return 4;
    } catch (const std::system_error &error) {
        if (error.code() != netfd::errc::unknown_network) return 5;
    }
#endif
}
C

for way in 'g++ c++17' 'g++ c++20' 'g++ c++23' 'g++ c++20 -fno-exceptions -fno-rtti' \
    'clang++ c++17' 'clang++ c++20' 'clang++ c++2b'; do
    set -- $way
    command -v "$1" >/dev/null || { echo "skipped: $1 is not there"; continue; }
    compiler=$1 standard=$2
    shift 2
    holds "netfd.hpp, $way: builds" sh -c "$compiler -std=$standard $* $warn -Wconversion -Wshadow -pthread \
        $at/consumer.cpp -o $at/consumer \$(pkg-config --cflags --libs netfd)"
    holds "netfd.hpp, $way: runs" "$at/consumer"
    rm -f "$at/consumer"
done

# Of the libraries that go with the archive only the C library's own stay shared.
holds 'static: builds' sh -c "cc $warn $at/consumer.c -o $at/static \$(pkg-config --cflags netfd) \
    $lib/libnetfd.a \$(pkg-config --static --libs-only-l netfd | sed 's/-lnetfd//')"
holds 'static: runs without the shared library' env -u LD_LIBRARY_PATH "$at/static"

if command -v cmake >/dev/null; then
    mkdir "$at/cmake"
    cat >"$at/cmake/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.13)
project(consumer C CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(netfd 0.1 REQUIRED)
add_executable(shared ../consumer.c)
target_link_libraries(shared PRIVATE netfd::netfd)
add_executable(static ../consumer.c)
target_link_libraries(static PRIVATE netfd::netfd_static)
add_executable(shared_cpp ../consumer.cpp)
target_link_libraries(shared_cpp PRIVATE netfd::netfd)
add_executable(static_cpp ../consumer.cpp)
target_link_libraries(static_cpp PRIVATE netfd::netfd_static)
C
    holds 'cmake: configures' cmake -S "$at/cmake" -B "$at/cmake/build" -DCMAKE_PREFIX_PATH="$at/root$prefix"
    holds 'cmake: builds' cmake --build "$at/cmake/build"
    holds 'cmake: netfd::netfd runs' env -u LD_LIBRARY_PATH "$at/cmake/build/shared"
    holds 'cmake: netfd::netfd_static runs' "$at/cmake/build/static"
    holds 'cmake: netfd.hpp with netfd::netfd runs' env -u LD_LIBRARY_PATH "$at/cmake/build/shared_cpp"
    holds 'cmake: netfd.hpp with netfd::netfd_static runs' "$at/cmake/build/static_cpp"
    echo 'find_package(netfd 0.2 REQUIRED)' >>"$at/cmake/CMakeLists.txt"
    holds 'cmake: another minor version is refused' sh -c "! cmake -S $at/cmake -B $at/cmake/build"
else
    echo 'skipped: cmake is not there'
fi

objdump -T "$lib/libnetfd.so" >"$at/symbols"
holds 'every exported symbol has the version NETFD_0' sh -c "grep ' netfd_' $at/symbols | grep -v NETFD_0 | (! grep .)"
holds 'all of them are those of the header' sh -c "
    sed -n 's/.*NETFD_0 *\(netfd_.*\)/\1/p' $at/symbols | sort >$at/exported
    grep -o '\bnetfd_[a-z0-9_]*(' include/netfd.h | tr -d '(' | sort -u >$at/named
    comm -23 $at/exported $at/named | (! grep .)"
holds 'nothing else is exported' sh -c "
    nm -D --defined-only $lib/libnetfd.so | grep -v ' netfd_\| A NETFD_0' | (! grep .)"
holds 'every exported function has a manual page, and so has the library' sh -c "
    test -s $at/exported && cd $at/root$prefix/share/man && grep -q NETFD_WORKERS man7/netfd.7 &&
    while read -r name; do
        test -s man3/\$name.3 || echo \$name
    done <$at/exported | (! grep .)"
holds 'the links lead to the library' test -f "$lib/libnetfd.so.0" -a -L "$lib/libnetfd.so"

holds 'the ABI is the one on record, or has more' sh packaging/abi.sh
grep skipped "$at/said"

if command -v cargo-cinstall >/dev/null; then
    . packaging/cinstall.sh
else
    echo 'skipped: cargo-c is not there'
fi

holds 'make uninstall' make -s uninstall DESTDIR="$at/root" PREFIX=$prefix
holds 'and leaves no file' sh -c "find $at/root ! -type d | (! grep .)"

echo "$passed passed, $failed failed"
test "$failed" -eq 0 -a "$passed" -gt 0
