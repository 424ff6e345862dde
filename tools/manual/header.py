"""What include/netfd.h says, in parts."""

import os
import re
import textwrap

from text import BARE, CODE, PASSED_ON, comment_lines, fail, manuals_in, paragraphs, sentences, verb

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

# What belongs together, in the order of the reference. The first function of a
# tuple names the page that it shares with the others.
TOPICS = [
    ("Sockets", ["sys_socket", "attach", "detach", "destroy", "shutdown"]),
    (
        "Listening and accepting",
        ["listen", "listen_packet", "listen_fds", "listen_stream", "accept"],
    ),
    ("Connecting", ["dial", "connect", "resolve"]),
    ("Reading and writing", [("read", "readv"), ("write", "writev"), "wait"]),
    ("Files and copying", ["sendfile", "copy"]),
    ("Messages", ["recvfrom", "sendto", "recvmsg", "sendmsg", "recvmmsg", "sendmmsg"]),
    ("Unix sockets", ["send_fds", "recv_fds", "peer_cred"]),
    ("Deadlines", [("now", "after"), ("set_deadline", "set_read_deadline", "set_write_deadline")]),
    (
        "Ending calls",
        [
            ("cancel_new", "cancel_fire", "cancel_fired", "cancel_free"),
            "set_cancel",
            "set_interruptible",
        ],
    ),
    ("Addresses", [("local_addr", "remote_addr"), "addr_format", "addr_parse"]),
    ("Fibers", ["go", "serve", "sleep", "yield", "in_fiber", "block"]),
    ("Wait groups", [("group_new", "group_add", "group_done", "group_wait", "group_free")]),
    ("Errors", ["strerror", "last_error", "error_text"]),
    ("Looking inside", ["stats", "dump", "version"]),
]

# What those that share a page do together, for NAME.
SHARED = {
    "netfd_read": "read from a descriptor, parking until something is there",
    "netfd_write": "write all of it, parking while there is no room",
    "netfd_now": "the time, and points in time that lie ahead",
    "netfd_set_deadline": "set the deadlines of a descriptor",
    "netfd_cancel_new": "tokens that end calls, once and for good",
    "netfd_local_addr": "tell the addresses of a socket's ends",
    "netfd_group_new": "wait for the work of threads and fibers",
}


class Function:
    """One function, and what its comment says in parts."""

    def __init__(self, name, prototype, comment):
        self.name = name
        self.must_use = prototype.startswith("NETFD_MUST_USE")
        self.prototype = " ".join(prototype.replace("NETFD_MUST_USE", "").split())
        head, _, rest = self.prototype.partition(name + "(")
        self.result = head.strip()
        self.arguments = [] if rest == "void)" else split_arguments(rest[:-1])
        self.names = set(re.findall(r"\b(\w+)(?=[,)]|$)", ",".join(self.arguments)))
        self.names |= set(re.findall(r"\(\*(\w+)\)", rest))
        self.comment = comment
        self.split_comment()

    def split_comment(self):
        lines = comment_lines(self.comment)
        if "# Safety" in lines:
            at = lines.index("# Safety")
            lines, safety = lines[:at], lines[at + 1 :]
            self.safety = " ".join(paragraphs(safety))
        else:
            self.safety = ""
        tags = [i for i, line in enumerate(lines) if line.startswith("@")]
        first = tags[0] if tags else len(lines)
        tail = first
        if tags:
            tail = next((i for i in range(tags[-1], len(lines)) if not lines[i]), len(lines))
        before, after = lines[:first], lines[tail:]
        if not tags:  # the last paragraph is about threads
            text = paragraphs(lines)
            before, after = ["\n\n".join(text[:-1])], [text[-1]]
        self.paragraphs = paragraphs("\n".join(before).split("\n"))
        summary = sentences(self.paragraphs[0])[0]
        if len(self.paragraphs) > 1 and self.paragraphs[0] == summary:
            self.paragraphs[:2] = [" ".join(self.paragraphs[:2])]
        if not re.match(r"[A-Z][a-z]+s ", summary + " ") and not re.match(
            r"[A-Z][a-z]+s\.$", summary
        ):
            fail(f"{self.name}: its comment does not begin with a verb: {summary}")
        self.parameters, self.returned = [], ""
        for start, end in zip(tags, tags[1:] + [tail]):
            text = " ".join(" ".join(lines[start:end]).split())
            kind, _, text = text.partition(" ")
            if kind == "@return":
                self.returned = text
            else:
                name, _, text = text.partition(" ")
                if name not in self.names:
                    fail(f"{self.name}: it has no argument {name}")
                self.parameters.append((name, text))
        self.threads, self.follows, self.notes = [], [], []
        for sentence in [s for text in paragraphs(after) for s in sentences(text)]:
            if re.match(r"Any thread|Each thread|For the calling thread", sentence):
                self.threads.append(sentence)
            elif sentence.startswith("Follows "):
                self.follows.append(sentence[len("Follows ") :])
            else:
                self.notes.append(sentence)
        if not self.threads:
            fail(f"{self.name}: which threads may call it?")
        self.split_returned()

    def split_returned(self):
        """What comes back, and the failures with their reasons."""
        begins = re.search(
            r"(?:^|[,;] )(?:or,? )?(?:where none (?:was sent|was written|was|did), )?"
            rf"(?={CODE}|{PASSED_ON}|as netfd_)",
            self.returned,
        )
        at = begins.start() if begins else len(self.returned)
        self.success = self.returned[:at]
        listed = self.returned[begins.end() :] if begins else ""
        self.heirs, self.failures, self.passed_on, self.remarks = [], [], [], []
        kernel = re.search(r"(?:^|[,;] )(?:or )?(?=what (?:else )?[a-z0-9_]+\(2\))", listed)
        if kernel:
            text = listed[kernel.end() :]
            text, _, remark = text.partition(". ")
            self.remarks += [remark] if remark else []
            self.passed_on.append(text)
            listed = listed[: kernel.start()]
        if not self.success and re.match(r"as netfd_\w+\(\)", listed):
            self.success = re.split(rf"[,;] (?:and )?(?={CODE})", listed)[0]
        for item in re.split(rf"[,;] (?:or |and )?(?={CODE}|{PASSED_ON})", listed):
            heir = re.match(r"as (netfd_\w+)\(\)", item)
            codes = re.match(rf"({CODE}(?: or {CODE})*) ?(.*)", item)
            if heir:
                self.heirs.append(heir.group(1))
            elif codes:
                reason, _, remark = codes.group(2).rstrip(" ,").partition("; ")
                self.remarks += [remark] if remark else []
                for code in codes.group(1).split(" or "):
                    self.failures.append((code, reason))
            elif item.startswith("what "):
                self.passed_on.insert(0, item)
            elif item:
                fail(f"{self.name}: what failure is this: {item}")

    @property
    def summary(self):
        """For NAME: without a subject, short."""
        text = sentences(self.paragraphs[0])[0].rstrip(".")
        text = re.split(r"[:;]|, as in|, as netfd_", text)[0]
        text = re.sub(r", and (\w+s)\b", lambda match: ", and " + verb(match.group(1)), text)
        if len(text) > 68:
            text = text.split(",")[0]
        first, _, rest = text.partition(" ")
        return (verb(first).lower() + " " + rest).strip()

    @property
    def text(self):
        return " ".join(self.comment.split())


def split_arguments(text):
    """A list of parameters at its commas, those of callbacks left alone."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


class Header:
    """All of include/netfd.h."""

    def __init__(self):
        with open(os.path.join(ROOT, "include", "netfd.h"), encoding="utf-8") as file:
            text = file.read()
        self.version = re.search(r'#define NETFD_VERSION "(.*)"', text).group(1)
        self.read_top(re.search(r"/\*\n(.*?)\n \*/", text, re.S).group(1))
        self.functions, self.structs, self.constants = {}, {}, {}
        for comment, code in re.findall(r"\n/\*\*\n(.*?)\n \*/\n(.*?)(?=\n/\*\*|\Z)", text, re.S):
            constant = re.match(r"#define (NETFD_\w+) (.*)", code)
            struct = re.match(r"struct (\w+) \{\n(.*?)\n\};", code, re.S)
            if constant:
                doc = " ".join(paragraphs(comment_lines(comment)))
                self.constants[constant.group(1)] = (constant.group(2), doc)
            elif struct:
                fields = re.findall(r"/\*\*\n(.*?)\n +\*/\n +(.*?);", struct.group(2), re.S)
                fields = [(" ".join(code.split()), self.field_text(doc)) for doc, code in fields]
                doc = paragraphs(comment_lines(comment))
                self.structs[struct.group(1)] = (doc, fields)
            else:
                prototype = " ".join(code.split(";")[0].split())
                name = re.search(r"\b(netfd_\w+)\(", prototype).group(1)
                self.functions[name] = Function(name, prototype, comment)
        self.read_pages()
        self.read_layout()

    @staticmethod
    def field_text(comment):
        lines = [re.sub(r"^ +\* ?", "", line) for line in comment.split("\n")]
        return " ".join(" ".join(lines).split())

    def read_top(self, comment):
        """Its paragraphs by heading; a list is a list of pairs."""
        self.overview, self.meanings, self.example = [], {}, []
        lines = comment_lines(comment)
        for block in re.split(r"\n\n(?=\S)", "\n".join(lines)):
            heading = re.match(r"([A-Z][a-z]+(?: [a-z]+)?)\. ", block)
            if "SPDX" in block or block.startswith("netfd:"):
                continue
            name = heading.group(1) if heading else ""
            text = block[heading.end() :] if heading else block
            prose, _, rest = text.partition("\n  ")
            prose, rest = " ".join(prose.split()), "  " + rest
            if name == "Example":
                self.example_text = prose
                self.example = textwrap.dedent(rest).split("\n")
                continue
            items = re.findall(r"^  (\S+) +(.*(?:\n {4,}.*)*)", rest, re.M)
            items = [(tag, " ".join(text.split())) for tag, text in items]
            if name == "Bad arguments":
                self.meanings.update(items)
            self.overview.append((name, prose, items))

    def meaning(self, code):
        """What a code means wherever it comes from."""
        if code in self.meanings:
            return self.meanings[code]
        return self.constants[code][1] if code in self.constants else ""

    def read_pages(self):
        """Which functions are on which page, and what is related."""
        self.topics, self.page_of, self.topic_of = [], {}, {}
        for title, entries in TOPICS:
            pages = [(entry,) if isinstance(entry, str) else entry for entry in entries]
            pages = [[f"netfd_{name}" for name in page] for page in pages]
            self.topics.append((title, pages))
            for page in pages:
                for name in page:
                    if name in self.page_of or name not in self.functions:
                        fail(f"TOPICS: {name} stands twice, or is not in the header")
                    self.page_of[name], self.topic_of[name] = page, title
        missing = set(self.functions) - set(self.page_of)
        if missing:
            fail(f"TOPICS has no {', '.join(sorted(missing))}")
        self.owner = {}  # of each struct: the function that tells of it
        for name in self.structs:
            takers = [f for f in self.functions.values() if f"struct {name} *" in f.prototype]
            if not takers:
                fail(f"no function takes a struct {name}")
            self.owner[name] = takers[0].name

    def read_layout(self):
        """Where the fields lie: {struct: (size, {field: (offset, size)})}."""
        self.layout = {}
        with open(os.path.join(ROOT, "abi", "lp64.txt"), encoding="utf-8") as file:
            text = file.read()
        for name, size, body in re.findall(
            r"^struct (\w+): (\d+) bytes\n((?:  .*\n?)*)", text, re.M
        ):
            # The name ends a declaration, but for what a function takes and how long an array is.
            rows = re.findall(r"  .*?(\w+)(?:\)\(.*\)|\[\w+\])?: at (\d+), (\d+) bytes", body)
            self.layout[name] = (size, {field: (at, bytes_) for field, at, bytes_ in rows})

    def structs_of(self, page):
        return [name for name in self.structs if self.owner[name] in page]

    def constants_of(self, page):
        """The constants that a page's functions are about, failures aside."""
        text = " ".join(self.functions[name].text for name in page)
        for name in self.structs_of(page):
            text += " ".join(doc for _, doc in self.structs[name][1])
        found = []
        for name in self.constants:
            family = "NETFD_ERROR_" if name.startswith("NETFD_ERROR_") else name + " "
            if is_failure(name) or name == "NETFD_NO_DEADLINE":
                continue
            if family in text + " " or re.search(rf"\b{name}\b", text):
                found.append(name)
        return found

    def failures_of(self, name, seen=()):
        """Of a function: {code: reason}, those of the functions it is like first."""
        function, found = self.functions[name], {}
        for heir in function.heirs:
            if heir not in seen:
                found.update(self.failures_of(heir, (*seen, name)))
        for code, reason in function.failures:
            like = re.match(r"as (netfd_\w+)\(\)(?:, )?", reason)
            if like and not reason[like.end() :]:
                reason = self.failures_of(like.group(1)).get(code, "")
            found[code] = "" if BARE.fullmatch(reason) else reason
        return found

    def passed_on_of(self, name, seen=()):
        """What else it returns, of the kernel or of callbacks."""
        function = self.functions[name]
        found = list(function.passed_on)
        for heir in function.heirs:
            if not found and heir not in seen:
                found = self.passed_on_of(heir, (*seen, name))
        return found

    def owed(self, name):
        """What its caller owes: the rest of "It is undefined what happens unless"."""
        text = self.functions[name].safety
        like = re.match(r"As for (netfd_\w+)\(\)\.$", text)
        return self.owed(like.group(1)) if like else text

    def page_failures(self, page):
        """[(code, [(functions, reason)])], sorted; what holds for all has no names."""
        table = {}
        fallible = [name for name in page if self.failures_of(name)]
        for name in fallible:
            for code, reason in self.failures_of(name).items():
                table.setdefault(code, {}).setdefault(reason, []).append(name)
        rows = []
        for code in sorted(table, key=lambda code: code.lstrip("-")):
            reasons = []
            for reason, names in table[code].items():
                reason = reason or self.meaning(code)
                if not reason:
                    fail(f"{names[0]}: {code} has no reason")
                reasons.append(([] if names == fallible else names, reason))
            rows.append((code, reasons))
        return rows

    def related(self, page):
        """Names of functions for SEE ALSO: of the same topic, or spoken of."""
        topic = self.topic_of[page[0]]
        names = set()
        for name in page:
            names |= set(re.findall(r"\b(netfd_\w+)\(\)", self.functions[name].text))
        for struct in self.structs_of(page):
            text = " ".join(doc for _, doc in self.structs[struct][1])
            names |= set(re.findall(r"\b(netfd_\w+)\(\)", text))
        pages = {self.page_of[name][0] for name in names}
        heads = {self.page_of[name][0] for name, title in self.topic_of.items() if title == topic}
        return sorted((names | (heads - pages)) - set(page))

    def manuals(self, page):
        """Other people's manual pages that a page speaks of."""
        text = " ".join(self.functions[name].text for name in page)
        return manuals_in(text)


def field_name(field):
    return re.search(r"\(\*(\w+)\)|(\w+)(?:\[\w+\])?$", field).group(1) or re.search(
        r"(\w+)(?:\[\w+\])?$", field
    ).group(1)


def is_failure(name):
    return re.match("NETFD_E[A-Z]+$", name)
