# SPDX-License-Identifier: MIT OR Apache-2.0
"""Puts the library into the wheel, and names the systems that it runs on.

NETFD_LIBRARY in the environment names a libnetfd that is built already. Without
it `make` builds one from the sources, where there is cargo; where there is none,
what `make` has left in target/package is taken. With NETFD_SYSTEM_LIBRARY=1 the
wheel carries none, for systems that have libnetfd.so.0 installed.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import struct
import subprocess
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SONAME = "libnetfd.so.0"

# What every manylinux system has (PEP 600), as far as libnetfd could need it.
EVERYWHERE = re.compile(
    r"(libc|libm|libdl|librt|libpthread)\.so\.\d+|libgcc_s\.so\.1|ld-linux[-\w]*\.so\.\d+"
)


class Elf:
    """As much of a shared library as its tag needs: 64 bits, little-endian."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self._data = file.read()
        if self._data[:6] != b"\x7fELF\2\1":
            raise ValueError(f"{path} is no 64-bit ELF file")
        self._dynamic: list[tuple[int, int]] = []
        self._loads: list[tuple[int, int, int]] = []
        (at,) = struct.unpack_from("<Q", self._data, 32)
        size, count = struct.unpack_from("<HH", self._data, 54)
        for header in range(at, at + size * count, size):
            kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", self._data, header)
            if kind == 1:  # PT_LOAD
                self._loads.append((address, offset, length))
            elif kind == 2:  # PT_DYNAMIC
                for entry in range(offset, offset + length, 16):
                    self._dynamic.append(struct.unpack_from("<qQ", self._data, entry))

    def _offset(self, address: int) -> int:
        for start, offset, length in self._loads:
            if start <= address < start + length:
                return offset + address - start
        raise ValueError(f"nothing is at {address:#x}")

    def _text(self, index: int) -> str:
        start = self._offset(dict(self._dynamic)[5]) + index  # DT_STRTAB
        return self._data[start : self._data.index(b"\0", start)].decode()

    def needed(self) -> list[str]:
        return [self._text(value) for tag, value in self._dynamic if tag == 1]

    def soname(self) -> str:
        return next((self._text(value) for tag, value in self._dynamic if tag == 14), "")

    def versions(self) -> list[str]:
        """The versions of other libraries' symbols that it asks for: GLIBC_2.34, ..."""
        found = []
        table = dict(self._dynamic)
        at = self._offset(table[0x6FFFFFFE])  # DT_VERNEED
        for _ in range(table[0x6FFFFFFF]):  # DT_VERNEEDNUM
            _, count, _, first, after = struct.unpack_from("<HHIII", self._data, at)
            entry = at + first
            for _ in range(count):
                _, _, _, name, step = struct.unpack_from("<IHHII", self._data, entry)
                found.append(self._text(name))
                entry += step
            at += after
        return found


def tag(path: str) -> str:
    """py3-none-manylinux_2_N_ARCH, N being the oldest glibc that will do."""
    library = Elf(path)
    if library.soname() != SONAME:
        raise ValueError(f"{path} is no {SONAME} but {library.soname() or 'without a soname'}")
    foreign = [name for name in library.needed() if not EVERYWHERE.fullmatch(name)]
    if foreign:
        raise ValueError(f"{path} needs what not every Linux has: {', '.join(foreign)}")
    minors = [
        int(match[1])
        for match in (
            re.fullmatch(r"GLIBC_2\.(\d+)(?:\.\d+)?", name) for name in library.versions()
        )
        if match
    ]
    if not minors:
        raise ValueError(f"{path} asks for no version of glibc: musl's, or linked statically?")
    return f"py3-none-manylinux_2_{max([5, *minors])}_{platform.machine()}"


def find(root: str) -> str:
    """A libnetfd.so, built if need be."""
    named = os.environ.get("NETFD_LIBRARY")
    if named:
        return named
    sources = next(
        (
            folder
            for folder in (os.path.join(root, ".."), os.path.join(root, "rust"))
            if os.path.exists(os.path.join(folder, "cbindgen.toml"))
        ),
        None,
    )
    if sources is None:
        raise RuntimeError("neither the sources of libnetfd are here nor NETFD_LIBRARY names one")
    if shutil.which(os.environ.get("CARGO", "cargo")):
        subprocess.run(["make", "-C", sources], check=True)
    built = sorted(glob.glob(os.path.join(sources, "target", "package", "libnetfd.so.*")))
    if not built:
        raise RuntimeError("building libnetfd takes cargo; or have NETFD_LIBRARY name one")
    return built[-1]


class LibraryHook(BuildHookInterface):  # type: ignore[type-arg]
    """For wheels. An editable install looks for the library as `netfd` says."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get("NETFD_SYSTEM_LIBRARY") == "1":
            return
        library = find(self.root)
        build_data["pure_python"] = False
        build_data["tag"] = tag(library)
        build_data["force_include"][os.path.abspath(library)] = f"netfd/{SONAME}"
