# What `cargo cinstall` installs is what `make install` does, path for path. A
# part of check.sh, which says what $at, $prefix and holds are.
#
# What may differ: only make makes symbol versions (cargo's linker script has no
# place for them), CMake's files and the man pages, and only make's netfd.pc
# names the licence.
made=$at/made cargo=$at/cargo several=$prefix/lib/any-linux-gnu
holds 'make install, in a libdir of several machines' make -s install DESTDIR="$made" PREFIX=$prefix LIBDIR=$several
holds 'cargo cinstall' cargo cinstall --locked --destdir "$cargo" --prefix $prefix --libdir $several

paths() {
    (cd "$1" && find . ! -type d | grep -v '/cmake/netfd/\|/share/man/' | sort)
}
paths "$made" >"$at/made.paths"
paths "$cargo" >"$at/cargo.paths"
holds 'cinstall: the same paths' diff "$at/made.paths" "$at/cargo.paths"
holds 'cinstall: at least the header, the archive, three names of the library, netfd.pc' \
    test "$(wc -l <"$at/cargo.paths")" -ge 6

# Files that a program is built with, word for word; the links, by where they lead.
holds 'cinstall: the same headers' diff -r "$made$prefix/include" "$cargo$prefix/include"
for name in libnetfd.so libnetfd.so.0; do
    holds "cinstall: $name leads to the same file" sh -c "
        test \"\$(basename \$(realpath $made$several/$name))\" = \"\$(basename \$(realpath $cargo$several/$name))\""
done

soname() {
    objdump -p "$1$several/libnetfd.so" | sed -n 's/^ *SONAME *//p'
}
holds 'cinstall: the same soname' test "$(soname "$made")" = "$(soname "$cargo")" -a -n "$(soname "$cargo")"

exported() {
    nm -D --defined-only --format=posix "$1$several/libnetfd.so" | sed 's/[@ ].*//' | grep -vx NETFD_0 | sort
}
archived() {
    nm -g --defined-only --format=posix "$1$several/libnetfd.a" 2>/dev/null | sed -n 's/^\(netfd_[a-z0-9_]*\) T .*/\1/p' | sort
}
for names in exported archived; do
    $names "$made" >"$at/made.names"
    $names "$cargo" >"$at/cargo.names"
    holds "cinstall: the same names, $names" diff "$at/made.names" "$at/cargo.names"
    holds "cinstall: and there are some, $names" grep -qx netfd_destroy "$at/cargo.names"
done

asked() {
    PKG_CONFIG_PATH="$1$several/pkgconfig" PKG_CONFIG_SYSROOT_DIR= pkg-config $2 ${3:-} netfd
}
for what in --cflags --libs '--libs --static' --modversion '--variable=prefix' '--variable=libdir' \
    '--variable=includedir'; do
    set -- $what
    holds "cinstall: pkg-config $what" test "$(asked "$made" "$@")" = "$(asked "$cargo" "$@")" -a -n "$(asked "$cargo" "$@")"
done

# A program that is linked with one runs with the other; where it was linked
# with make's the loader says that it misses the version, and goes on.
for linked in made cargo; do
    eval "from=\$$linked"
    holds "cinstall: links with what is $linked" cc "$at/consumer.c" -o "$at/consumer" \
        -I"$from$prefix/include" -L"$from$several" -lnetfd
    for run in "$made" "$cargo"; do
        holds "cinstall: linked with what is $linked, runs with ${run##*/}" \
            env LD_LIBRARY_PATH="$run$several" "$at/consumer"
    done
done
