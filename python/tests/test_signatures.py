# SPDX-License-Identifier: MIT OR Apache-2.0
"""netfd._ffi says what include/netfd.h says: each function, constant and struct."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import tempfile
import unittest
from typing import Any

from netfd import _ffi

HEADER = os.environ.get(
    "NETFD_HEADER",
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "include", "netfd.h"),
)

# As they are on LP64, which is what the wheel is for.
SCALARS: dict[str, Any] = {
    "void": None,
    "int": ctypes.c_int,
    "unsigned int": ctypes.c_uint,
    "ssize_t": ctypes.c_ssize_t,
    "size_t": ctypes.c_size_t,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "socklen_t": ctypes.c_uint32,
    "pid_t": ctypes.c_int,
    "uid_t": ctypes.c_uint,
    "gid_t": ctypes.c_uint,
}
STRUCTS: dict[str, Any] = {
    "netfd_error": _ffi.Error,
    "netfd_listen_config": _ffi.ListenConfig,
    "netfd_dial_config": _ffi.DialConfig,
    "netfd_stats": _ffi.Stats,
}


def code() -> str:
    """The header without comments and preprocessor lines."""
    with open(HEADER, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", file.read(), flags=re.S)
    return re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.M)


def prototypes() -> dict[str, tuple[str, list[str]]]:
    """name: result, parameters, as text."""
    found: dict[str, tuple[str, list[str]]] = {}
    flat = re.sub(r"struct\s+\w+\s*\{.*?\}\s*;", " ", code(), flags=re.S)
    flat = re.sub(r"\bNETFD_MUST_USE\b", " ", flat)
    flat = re.sub(r"\s+", " ", flat)
    for statement in flat.split(";"):
        match = re.search(r"([\w ]+?[ *]+)(netfd_\w+)\((.*)\)\s*$", statement)
        if match:
            result, name, parameters = match.groups()
            found[name] = (result.strip(), split(parameters))
    return found


def split(parameters: str) -> list[str]:
    """At the commas that are in no parentheses."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(parameters):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(parameters[start:at].strip())
            start = at + 1
    parts.append(parameters[start:].strip())
    return [] if parts == ["void"] else parts


def allowed(text: str, named: bool = True) -> list[Any]:
    """The ctypes types that may stand for a C type."""
    if "(*" in text:
        return [_ffi.Control] if text.startswith("int (*control)(int fd, const char *") else []
    plain = re.sub(r"\bconst\b", "", text).strip()
    if named and "*" not in plain:
        plain = plain.rsplit(" ", 1)[0]
    elif named:
        plain = plain[: plain.rindex("*") + 1]
    plain = re.sub(r"\s+", " ", plain).strip()
    if not plain.endswith("*"):
        return [SCALARS[plain]]
    target = plain[:-1].strip()
    if target == "char":
        # A buffer to be filled has no NUL of its own yet.
        return [ctypes.c_char_p] if "const" in text else [ctypes.c_void_p]
    if target.startswith("struct "):
        known = STRUCTS.get(target[7:])
        return [ctypes.c_void_p] if known is None else [ctypes.POINTER(known)]
    return [ctypes.c_void_p] if target == "void" else [ctypes.POINTER(SCALARS[target])]


class Signatures(unittest.TestCase):
    def test_the_header_is_read_whole(self) -> None:
        with open(HEADER, encoding="utf-8") as file:
            mentioned = set(
                re.findall(
                    r"^[^*/#\n]*\b(netfd_\w+)\($|^[^*/#\n]*\b(netfd_\w+)\(", file.read(), re.M
                )
            )
        names = {a or b for a, b in mentioned}
        self.assertGreaterEqual(len(prototypes()), 50)
        self.assertEqual(names - set(prototypes()), set())

    def test_each_function_is_declared_as_in_the_header(self) -> None:
        header = prototypes()
        for name, (result, arguments) in _ffi.FUNCTIONS.items():
            with self.subTest(name):
                self.assertIn(name, header)
                wanted_result, wanted = header[name]
                self.assertIn(result, allowed(wanted_result, named=False))
                self.assertEqual(len(arguments), len(wanted))
                for argument, text in zip(arguments, wanted):
                    self.assertIn(argument, allowed(text), text)

    def test_a_wrong_declaration_would_be_found(self) -> None:
        self.assertNotIn(ctypes.c_int, allowed("size_t len"))
        self.assertNotIn(ctypes.c_int64, allowed("int fd"))
        self.assertNotIn(ctypes.c_int, allowed("ssize_t", named=False))
        self.assertNotIn(ctypes.c_int, allowed("struct sockaddr *raddr"))

    def test_what_is_loaded_has_these_declarations(self) -> None:
        for name, (result, arguments) in _ffi.FUNCTIONS.items():
            function = getattr(_ffi.lib, name)
            self.assertEqual((function.restype, tuple(function.argtypes)), (result, arguments))

    def test_each_function_of_the_header_is_declared_or_left_out_with_a_reason(self) -> None:
        declared, left = set(_ffi.FUNCTIONS), set(_ffi.LEFT_OUT)
        self.assertEqual(declared & left, set())
        self.assertEqual(declared | left, set(prototypes()))
        self.assertTrue(all(_ffi.LEFT_OUT.values()))

    def test_calls_without_argtypes_take_what_ctypes_passes_rightly_by_itself(self) -> None:
        header = prototypes()
        for name in _ffi.QUICK:
            for text in header[name][1]:
                kind = allowed(text)[0]
                wide = not isinstance(kind, type(ctypes.c_int)) or ctypes.sizeof(kind) > 4
                pointer = "*" in text
                # An int over INT_MAX is never given for a size_t: MOST is below it.
                self.assertTrue(pointer or not wide or kind is ctypes.c_size_t, f"{name}: {text}")
        self.assertLess(_ffi.MOST, 1 << 31)
        self.assertEqual(_ffi.read.restype, _ffi.FUNCTIONS["netfd_read"][0])
        self.assertIsNone(_ffi.read.argtypes)
        self.assertIsNotNone(_ffi.lib.netfd_read.argtypes)

    def test_constants_are_the_header_s(self) -> None:
        with open(HEADER, encoding="utf-8") as file:
            text = file.read()
        numbers = dict(re.findall(r"^#define NETFD_(\w+) (-?\d+)$", text, re.M))
        self.assertGreaterEqual(len(numbers), 15)
        known = [name for name in numbers if hasattr(_ffi, name)]
        self.assertGreaterEqual(len(known), 12)
        for name in known:
            self.assertEqual(getattr(_ffi, name), int(numbers[name]), name)

    def test_structs_have_the_header_s_fields_in_order(self) -> None:
        for name, struct in STRUCTS.items():
            body = re.search(rf"struct {name}\s*\{{(.*?)\}}\s*;", code(), re.S)
            assert body is not None
            fields = []
            for line in filter(None, (part.strip() for part in body[1].split(";"))):
                line = re.sub(r"\s+", " ", line)
                pointer = re.search(r"\(\*(\w+)\)", line)
                last = pointer or re.search(r"(\w+)(?:\[\w+\])?$", line)
                assert last is not None
                fields.append(last[1])
            self.assertEqual([field for field, *_ in struct._fields_], fields)

    def test_structs_lie_in_memory_as_the_compiler_has_them(self) -> None:
        lines = []
        for name, struct in STRUCTS.items():
            for field, *_ in struct._fields_:
                lines.append(
                    f'printf("{name} {field} %zu %zu\\n", offsetof(struct {name}, {field}),'
                    f" sizeof(((struct {name} *)0)->{field}));"
                )
            lines.append(f'printf("{name} - %zu 0\\n", sizeof(struct {name}));')
        source = (
            f'#include "{os.path.abspath(HEADER)}"\n#include <stdio.h>\n'
            "int main(void) {" + "\n".join(lines) + "return 0; }\n"
        )
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "layout")
            with open(path + ".c", "w") as file:
                file.write(source)
            try:
                subprocess.run(["cc", path + ".c", "-o", path], check=True)
            except FileNotFoundError:
                self.skipTest("no C compiler")
            told = subprocess.run([path], check=True, capture_output=True, text=True).stdout
        for line in told.splitlines():
            name, field, at, size = line.split()
            struct = STRUCTS[name]
            if field == "-":
                self.assertEqual(ctypes.sizeof(struct), int(at), name)
                continue
            there = getattr(struct, field)
            self.assertEqual((there.offset, there.size), (int(at), int(size)), line)


if __name__ == "__main__":
    unittest.main()
