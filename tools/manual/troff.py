"""Manual pages."""

import os
import re
import textwrap
import time

from header import ROOT, SHARED, field_name, is_failure
from phrases import (
    besides,
    follows_sentences,
    is_signal_safe,
    note_sentences,
    owed_paragraphs,
    returned_paragraphs,
    struct_lines,
    thread_paragraphs,
)
from text import capital, full_stop, manuals_in, sentences, small, tokens


def roff(text):
    """Text with nothing in it that troff takes for its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"(?<=[a-z])\\-(?=[a-z])", "-", text)
    text = text.replace("~", "\\(ti").replace("^", "\\(ha").replace("`", "\\(ga")
    return text.replace('"', "\\(dq").replace("'", "\\(aq")


def prose(text):
    """Likewise, with quotes and apostrophes as in print."""
    text = roff(text).replace("\\(aq", "'")
    text = re.sub(r"\\\(dq(.*?)\\\(dq", r"\\(lq\1\\(rq", text)
    return text


def marked(text, names, own):
    """A text with its marks as troff's fonts."""
    out = ""
    for kind, part in tokens(text):
        if kind == "":
            out += prose(part)
        elif kind == "code":
            argument = re.match(r"\*?(\w+)$", part)
            font = "I" if argument and argument.group(1) in names else "B"
            out += f"\\f{font}{roff(part)}\\fP"
        elif kind == "call":
            name = part[:-2]
            is_ours = name.startswith("netfd_") and name not in own
            out += f"\\%\\fB{roff(name)}\\fP" + ("(3)" if is_ours else "()")
        elif kind == "manual":
            name, section = part[:-1].split("(")
            out += f"\\%\\fB{roff(name)}\\fP({section})"
        elif part == "NULL":
            out += part
        else:
            out += f"\\%\\fB{roff(part)}\\fP"
    # At its beginning \\% keeps a word whole; inside it is where it may break.
    out = re.sub(r"(\(|\\\(lq)\\%", r"\\%\1", out)
    return re.sub(r"(?<=[^\s])\\%", "", out)


def filled(text):
    """In lines that are easy to compare, none of which looks like a request."""
    lines = textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False)
    return ["\\&" + line if line.startswith((".", "'")) else line for line in lines]


class Page:
    """A page in the making."""

    def __init__(self, header, title, section, names=(), own=()):
        self.names, self.own = set(names), own
        self.lines = [
            "'\\\" t",
            f'.\\" Made from include/netfd.h {header.version} by tools/manual; change it there.',
            '.\\" SPDX-License-Identifier: MIT OR Apache-2.0',
            f'.TH {title} {section} {date()} "netfd {header.version}" "Netfd Manual"',
        ]

    def heading(self, title):
        self.lines.append(f".SH {title}")

    def subheading(self, title):
        self.lines.append(f'.SS "{roff(title)}"')

    def say(self, *said):
        for text in said:
            for sentence in sentences(text):
                self.lines += filled(marked(sentence, self.names, self.own))

    def paragraph(self, *said):
        if said and not self.lines[-1].startswith((".SH", ".SS")):
            self.lines.append(".P")
        self.say(*said)

    def item(self, tag, *said):
        self.lines.append(".TP")
        self.lines.append(tag)
        self.say(*said)

    def code(self, lines):
        self.lines += [".P", ".in +4n", ".EX"]
        for line in lines:
            line = roff(line)
            self.lines.append("\\&" + line if line.startswith((".", "'")) else line)
        self.lines += [".EE", ".in"]

    def write(self, path):
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(self.lines) + "\n")


def date():
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        epoch = os.stat(os.path.join(ROOT, "include", "netfd.h")).st_mtime
    return time.strftime("%Y-%m-%d", time.gmtime(int(epoch)))


def bold_italic(text):
    """A declaration in pieces: bold, italic for names, bold, and so on."""
    pieces, at = [], 0
    for match in re.finditer(r"(?<=\(\*)\w+(?=\))|\b(?!void\b)\w+(?=$|[,)])", text):
        pieces += [text[at : match.start()], match.group()]
        at = match.end()
    return pieces + [text[at:]]


def synopsis(function):
    """The prototype, in lines that end where a terminal does."""
    head = f"{function.result} {function.name}(".replace("* ", "*")
    arguments = function.arguments or ["void"]
    lines, line = [], head
    for number, argument in enumerate(arguments):
        part = argument + (");" if number == len(arguments) - 1 else ",")
        if len(line) + len(part) + 1 > 66 and line != head:
            lines.append(line)
            line = " " * len(head)
        line += part if line.strip() in ("", head.strip()) else " " + part
    lines.append(line)
    shown = []
    for line in lines:
        pieces = bold_italic(line)
        if function.arguments == []:
            pieces = [line]
        quoted = ['"' + roff(piece) + '"' for piece in pieces]
        shown.append(".BI " + " ".join(quoted[:-1] if pieces[-1] == "" else quoted))
    return shown


def list_of_failures(page, header, functions):
    for code, reasons in header.page_failures(functions):
        said = []
        for names, reason in reasons:
            text = full_stop(capital(reason))
            said.append(f"({', '.join(name + '()' for name in names)}) {text}" if names else text)
        page.item(f"\\fB{roff(code)}\\fP", said[0])
        for text in said[1:]:
            page.lines.append(".IP")
            page.say(text)


def function_page(header, names):
    functions = [header.functions[name] for name in names]
    arguments = set().union(*(function.names for function in functions))
    fields = {field_name(f) for s in header.structs_of(names) for f, _ in header.structs[s][1]}
    page = Page(header, names[0], 3, arguments | fields, names)
    page.heading("NAME")
    about = SHARED[names[0]] if len(names) > 1 else functions[0].summary
    page.lines.append(
        ", ".join("\\%" + roff(name) for name in names) + " \\- " + prose(about.replace("`", ""))
    )
    page.heading("LIBRARY")
    page.lines.append("The netfd library\n.RI ( libnetfd ,\\~ \\-lnetfd )")
    page.heading("SYNOPSIS")
    page.lines.append(".nf")
    if any("mmsghdr" in function.prototype for function in functions):
        page.lines.append(
            '.BR "#define _GNU_SOURCE" "             /* See feature_test_macros(7) */"'
        )
    page.lines += [".B #include <netfd.h>", ".P"]
    for function in functions:
        page.lines += synopsis(function)
    page.lines.append(".fi")

    page.heading("DESCRIPTION")
    for function in functions:
        for number, text in enumerate(function.paragraphs):
            if number == 0:
                text = f"{function.name}() {small(text)}"
            page.paragraph(text)
        for name, text in function.parameters:
            page.item(f"\\fI{roff(name)}\\fP", full_stop(capital(text)))
        if function.notes:
            page.paragraph(*note_sentences(function))
    for name in header.structs_of(names):
        struct_section(page, header, name)
    constants = header.constants_of(names)
    if constants:
        page.subheading("Constants")
        for name in constants:
            page.item(f"\\fB{name}\\fP", header.constants[name][1])

    if any(function.returned for function in functions):
        page.heading("RETURN VALUE")
        for said in returned_paragraphs(header, names):
            page.paragraph(*said)
    if header.page_failures(names) or any(besides(header, names)):
        page.heading("ERRORS")
        list_of_failures(page, header, names)
        page.paragraph(*besides(header, names))

    page.heading("ATTRIBUTES")
    page.say("For an explanation of the terms see attributes(7).")
    page.lines += [".TS", "allbox;", "lbx lb lb", "l l l.", "Interface\tAttribute\tValue"]
    page.lines += thread_rows(functions)
    page.lines += [".TE"]
    for said in thread_paragraphs(functions):
        page.paragraph(*said)

    page.heading("STANDARDS")
    page.say("None.", *follows_sentences(functions))
    owed = list(owed_paragraphs(header, names))
    if owed:
        page.heading("CAVEATS")
        for said in owed:
            page.paragraph(*said)
    see_also(
        page,
        [("3", name) for name in header.related(names)] + header.manuals(names) + [("7", "netfd")],
    )
    return page


def thread_rows(functions):
    def row(names, attribute, value):
        names = [f"\\fB{roff(name)}\\fP()" for name in names]
        return ["T{", ".na", ".nh", ",\n".join(names), f"T}}\t{attribute}\t{value}"]

    env = [f.name for f in functions if "the environment" in " ".join(f.threads)]
    plain = [f.name for f in functions if f.name not in env]
    signals = [f.name for f in functions if is_signal_safe(f)]
    rows = row(plain, "Thread safety", "MT-Safe") if plain else []
    rows += row(env, "Thread safety", "MT-Safe env") if env else []
    return rows + (row(signals, "Signal safety", "AS-Safe") if signals else [])


def struct_section(page, header, name):
    doc, fields = header.structs[name]
    page.subheading(f"struct {name}")
    page.paragraph(*doc)
    page.code(struct_lines(name, fields))
    for field, text in fields:
        page.item(f"\\fI{roff(field_name(field))}\\fP", text)


def see_also(page, references):
    page.heading('"SEE ALSO"')
    references = sorted(set(references), key=lambda it: (it[0], it[1]))
    lines = [f".BR {name} ({section})" for section, name in references]
    page.lines += [line + " ," for line in lines[:-1]] + lines[-1:]
    page.lines = [re.sub(r"\) ,$", "),", line) for line in page.lines]


def overview_page(header):
    page = Page(header, "netfd", 7)
    page.heading("NAME")
    page.lines.append("netfd \\- sockets in blocking style, for threads and fibers")
    page.heading("LIBRARY")
    page.lines.append("The netfd library\n.RI ( libnetfd ,\\~ \\-lnetfd )")
    page.heading("SYNOPSIS")
    page.lines += [".nf", ".B #include <netfd.h>", ".P"]
    page.lines.append(".B cc server.c \\-o server $(pkg\\-config \\-\\-cflags \\-\\-libs netfd)")
    page.lines.append(".fi")
    page.heading("DESCRIPTION")
    later = {}
    for name, text, items in header.overview:
        if name == "Environment":
            later[name] = (text, items)
            continue
        if name:
            page.subheading(name)
        page.paragraph(text)
        for tag, doc in items:
            page.item(f"\\fB{roff(tag)}\\fP", full_stop(capital(doc)))
    page.subheading("Functions")
    for title, pages in header.topics:
        page.lines += [".TP", f"\\fI{title}\\fP"]
        names = [name for names in pages for name in names]
        page.lines += [f".BR {name} (3)" + ("," if name != names[-1] else "") for name in names]
    page.subheading("Constants")
    for name, (value, doc) in header.constants.items():
        if not is_failure(name):
            page.item(f"\\fB{name}\\fP", doc)
    page.heading("ERRORS")
    page.say("Codes of netfd's own, outside the range of errno:")
    for name, (value, doc) in header.constants.items():
        if is_failure(name):
            page.item(f"\\fB{name}\\fP ({roff(value)})", doc)
    page.heading("ENVIRONMENT")
    text, items = later["Environment"]
    page.say(text)
    for tag, doc in items:
        page.item(f"\\fB{roff(tag)}\\fP", full_stop(doc))
    page.heading("EXAMPLES")
    page.say(header.example_text)
    page.code(header.example)
    said = " ".join(text + " ".join(doc for _, doc in items) for _, text, items in header.overview)
    names = [
        ("3", name)
        for name in (
            "netfd_accept",
            "netfd_dial",
            "netfd_go",
            "netfd_last_error",
            "netfd_listen",
            "netfd_read",
            "netfd_serve",
        )
    ]
    see_also(page, names + manuals_in(said) + [("7", "socket"), ("7", "tcp"), ("7", "unix")])
    return page


def make_man(header, folder):
    os.makedirs(os.path.join(folder, "man3"), exist_ok=True)
    os.makedirs(os.path.join(folder, "man7"), exist_ok=True)
    overview_page(header).write(os.path.join(folder, "man7", "netfd.7"))
    for _, pages in header.topics:
        for names in pages:
            function_page(header, names).write(os.path.join(folder, "man3", names[0] + ".3"))
            for name in names[1:]:
                link = os.path.join(folder, "man3", name + ".3")
                if os.path.lexists(link):
                    os.remove(link)
                os.symlink(names[0] + ".3", link)
