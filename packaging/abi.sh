#!/bin/sh
# Compares the library that make has built with the ABI on record in abi/, by
# libabigail, and fails where a program that was linked before might not run
# on: a function that is gone, a type, a field, a soname or a version that is
# another. Functions that were added are fine; it is told that they are not on
# record yet. A struct that says its size may grow at its end, which only a
# reader of the report can tell from what breaks: that is to be recorded, too.
#
#   sh packaging/abi.sh            compares
#   sh packaging/abi.sh record     writes the record anew
#
# libabigail reads types from debug information, and Rust's would be full of
# what is nobody's business. So it gets the archive without any, linked with a
# file in C that has a pointer to each function of the header: what it sees is
# the library's symbols, and the types that C programs are compiled with.
set -eu
cd "$(dirname "$0")/.."
record=abi/$(uname -m)-linux.abi
if ! command -v abidiff >/dev/null; then
    echo 'skipped: libabigail is not installed'
    exit 0
fi
if [ ! -f "$record" ] && [ "${1:-}" != record ]; then
    echo "skipped: no ABI is on record for $(uname -m)"
    exit 0
fi
at=$(mktemp -d)
trap 'rm -rf "$at"' EXIT
archive=target/package/libnetfd.a

{
    echo '#include <netfd.h>'
    sed 's|/\*.*\*/||; /^ *\/\*/,/\*\//d' include/netfd.h | grep -o '\bnetfd_[a-z0-9_]*(' | tr -d '(' |
        sed 's/.*/extern __typeof__(\&&) const type_of_&; __typeof__(\&&) const type_of_& = \&&;/'
} >"$at/types.c"
(cd "$at" && cc -std=gnu99 -Wall -Wextra -Werror -g -fPIC -I "$OLDPWD/include" -c types.c -o types.o)
cp "$archive" "$at/libnetfd.a"
strip --strip-debug "$at/libnetfd.a"
{
    cat packaging/netfd.map
    echo 'types { global: type_of_netfd_*; };'
} >"$at/map"
soname=$(objdump -p target/package/libnetfd.so.* | sed -n 's/^ *SONAME *//p')
cc -shared -o "$at/library" "$at/types.o" "$at/libnetfd.a" -Wl,-soname,"$soname" \
    -Wl,--version-script="$at/map" -Wl,--gc-sections,-z,defs $(cat target/package/private)
abidw --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed --no-parameter-names --type-id-style hash \
    --out-file "$at/now" "$at/library"

functions() {
    grep -c "elf-symbol name='netfd_" "$1"
}
if [ "${1:-}" = record ]; then
    cp "$at/now" "$record"
    echo "$record: $(functions "$record") functions are on record"
    exit
fi
if ! abidiff --no-added-syms "$record" "$at/now"; then
    echo 'Does a program that was linked before run on? Only where a struct that says its size has grown at its'
    echo 'end: then sh packaging/abi.sh record, and CHANGELOG.md. If not, another soname, or take it back.'
    exit 1
fi
if ! abidiff "$record" "$at/now" >"$at/added"; then
    cat "$at/added"
    echo 'this was added; once it is meant to stay: sh packaging/abi.sh record'
fi
echo "$(functions "$at/now") functions, $(functions "$record") of them on record, and none has changed"
