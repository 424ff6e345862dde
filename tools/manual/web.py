"""The reference as one HTML file."""

import html
import os
import re

from header import field_name, is_failure
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
from text import capital, full_stop, small, tokens

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #5a636d; --paper: #fdfdfc; --soft: #f1f2ef; --line: #d8dad5; --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe3e6; --dim: #9aa4ad; --paper: #14171a; --soft: #1e2327; --line: #343b41; --link: #7cb8f5; }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1.5rem 1rem 6rem; max-width: 50rem; font: 1rem/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { font-size: 2rem; margin: 0; }
h2 { margin: 3.5rem 0 1rem; padding-bottom: .3rem; border-bottom: 2px solid var(--line); }
h3 { margin: 2.8rem 0 .8rem; font-size: 1.2rem; }
h4 { margin: 1.4rem 0 .4rem; font-size: .95rem; color: var(--dim); }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9em; }
pre { overflow-x: auto; margin: 1rem 0; padding: .8rem 1rem; background: var(--soft); border-radius: .4rem; line-height: 1.45; }
h3 code { font-size: 1em; }
h3 a.self { color: inherit; }
var { font-style: italic; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem 1.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 1rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-size: .85rem; }
td:first-child { white-space: nowrap; }
td:last-child { min-width: 11rem; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.dim, .follows { color: var(--dim); }
.follows { font-size: .92rem; }
nav ul { margin: 0; padding: 0; list-style: none; }
nav .topics { columns: 15rem; column-gap: 1.5rem; margin-top: 1.5rem; }
nav section { break-inside: avoid; margin: 0 0 1.2rem; }
nav h4 { margin: 0 0 .2rem; }
nav li { overflow-wrap: anywhere; }
nav .parts li { display: inline-block; margin: 0 1.2rem .3rem 0; }
@media (max-width: 36rem) {
  dd { margin-left: 1rem; }
}
"""


class Reference:
    """The reference in the making."""

    def __init__(self, header):
        self.header, self.lines, self.names = header, [], set()

    def put(self, *lines):
        self.lines += lines

    def mark(self, text, own=""):
        """A text with its marks as HTML."""
        out = ""
        for kind, part in tokens(text):
            shown = html.escape(part)
            if kind == "":
                out += re.sub(r"&quot;(.*?)&quot;", r"“\1”", shown).replace("&#x27;", "’")
            elif kind == "code":
                name = re.match(r"\*?(\w+)$", part)
                is_name = name and name.group(1) in self.names
                out += f"<var>{shown}</var>" if is_name else f"<code>{shown}</code>"
            elif kind == "call" and part[:-2] in self.header.functions and part[:-2] != own:
                out += f'<a href="#{part[:-2]}"><code>{shown}</code></a>'
            elif kind == "constant" and part in self.header.constants:
                out += f'<a href="#{part}"><code>{shown}</code></a>'
            else:
                out += f"<code>{shown}</code>"
        return out

    def say(self, *said, own="", kind=""):
        if not said:
            return
        opened = f'<p class="{kind}">' if kind else "<p>"
        self.put(opened + " ".join(self.mark(text, own) for text in said) + "</p>")

    def pairs(self, rows, own=""):
        self.put("<dl>")
        for tag, text in rows:
            self.put(f"<dt>{tag}</dt>", f"<dd>{self.mark(text, own)}</dd>")
        self.put("</dl>")

    def table(self, heads, rows, kinds=()):
        self.put(
            '<div class="scroll"><table>',
            "<thead><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr></thead>",
            "<tbody>",
        )
        for identity, cells in rows:
            opened = f'<tr id="{identity}">' if identity else "<tr>"
            cells = [
                f'<td class="{kind}">{cell}</td>' if kind else f"<td>{cell}</td>"
                for cell, kind in zip(cells, kinds or [""] * len(cells))
            ]
            self.put(opened + "".join(cells) + "</tr>")
        self.put("</tbody></table></div>")

    def index(self):
        self.put('<nav aria-label="Contents">', '<ul class="parts">')
        for name in [name for name, _, _ in self.header.overview if name] + ["Example"]:
            self.put(f'<li><a href="#{anchor(name)}">{name}</a></li>')
        for name in ("Constants", "Errors", "Structs"):
            self.put(f'<li><a href="#{anchor(name)}">{name}</a></li>')
        self.put("</ul>", '<div class="topics">')
        for title, pages in self.header.topics:
            self.put("<section>", f"<h4>{title}</h4>", "<ul>")
            for name in [name for page in pages for name in page]:
                self.put(
                    f'<li><a href="#{name}" title="{html.escape(self.header.functions[name].summary)}"><code>{name}</code></a></li>'
                )
            self.put("</ul>", "</section>")
        self.put("</div>", "</nav>")

    def overview(self):
        for name, text, items in self.header.overview:
            if name:
                self.put(f'<h3 id="{anchor(name)}">{name}</h3>')
            self.say(text)
            if items:
                self.pairs(
                    [(f"<code>{html.escape(tag)}</code>", full_stop(doc)) for tag, doc in items]
                )
        self.put('<h3 id="example">Example</h3>')
        self.say(self.header.example_text)
        self.put("<pre><code>" + html.escape("\n".join(self.header.example)) + "</code></pre>")

    def function(self, name):
        header, function = self.header, self.header.functions[name]
        self.names = set(function.names)
        self.put(
            f'<section aria-labelledby="{name}">',
            f'<h3 id="{name}"><a class="self" href="#{name}"><code>{name}</code></a></h3>',
        )
        self.put("<pre><code>" + self.prototype(function) + "</code></pre>")
        for number, text in enumerate(function.paragraphs):
            self.say(f"{name}() {small(text)}" if number == 0 else text, own=name)
        if function.parameters:
            self.pairs(
                [
                    (f"<var>{arg}</var>", full_stop(capital(text)))
                    for arg, text in function.parameters
                ],
                name,
            )
        if function.notes:
            self.say(*note_sentences(function), own=name)
        structs = [
            struct for struct in header.structs if f"struct {struct} *" in function.prototype
        ]
        if structs:
            links = ", ".join(
                f'<a href="#struct-{struct}"><code>struct {struct}</code></a>' for struct in structs
            )
            self.put(f"<p>The fields: {links}.</p>")
        if function.returned:
            self.put("<h4>Return value</h4>")
            for said in returned_paragraphs(header, [name]):
                self.say(*said, own=name)
        failures = header.page_failures([name])
        if failures or any(besides(header, [name])):
            self.put("<h4>Errors</h4>")
        if failures:
            rows = [
                ("", [self.mark(code), self.mark(full_stop(capital(reasons[0][1])), name)])
                for code, reasons in failures
            ]
            self.table(["code", "when"], rows)
        self.say(*besides(header, [name]), own=name)
        self.put("<h4>Threads</h4>")
        safety = "AS-Safe, MT-Safe." if is_signal_safe(function) else "MT-Safe."
        for said in thread_paragraphs([function]):
            self.say(safety, *said, own=name)
        owed = list(owed_paragraphs(header, [name]))
        if owed:
            self.put("<h4>Caveats</h4>")
            for said in owed:
                self.say(*said, own=name)
        if function.follows:
            self.say(*follows_sentences([function]), own=name, kind="follows")
        self.put("</section>")

    def prototype(self, function):
        """As in the header, types linked."""
        head = f"{function.result} {function.name}(".replace("* ", "*")
        flat = head + ", ".join(function.arguments or ["void"]) + ");"
        if len(flat) > 76:
            flat = head + (",\n" + " " * len(head)).join(function.arguments) + ");"
        shown = html.escape(flat)
        for struct in self.header.structs:
            shown = re.sub(
                rf"struct {struct}\b", f'<a href="#struct-{struct}">struct {struct}</a>', shown
            )
        return shown

    def constants(self):
        header = self.header
        self.put('<h2 id="constants">Constants</h2>')
        rows = [
            (name, [f"<code>{name}</code>", value, self.mark(doc)])
            for name, (value, doc) in header.constants.items()
            if not is_failure(name)
        ]
        self.table(["name", "value", ""], rows, ["", "number", ""])
        self.put('<h2 id="errors">Errors</h2>')
        self.say(
            "What a negative result means where a function’s own list says no more. netfd_strerror() has a text for each."
        )
        rows = [
            (name, [f"<code>{name}</code>", value, self.mark(doc)])
            for name, (value, doc) in header.constants.items()
            if is_failure(name)
        ]
        rows += [
            ("", [f"<code>{code}</code>", "", self.mark(full_stop(capital(doc)))])
            for code, doc in sorted(header.meanings.items())
        ]
        self.table(["code", "value", ""], rows, ["", "number", ""])

    def structs(self):
        header = self.header
        self.put('<h2 id="structs">Structs</h2>')
        self.say(
            "Offsets and sizes are in bytes, where pointers have 64 bits. New fields come at the end only."
        )
        for name, (doc, fields) in header.structs.items():
            size, places = header.layout[name]
            self.names = {field_name(field) for field, _ in fields}
            self.put(
                f'<h3 id="struct-{name}"><a class="self" href="#struct-{name}"><code>struct {name}</code></a> <span class="dim">{size} bytes</span></h3>'
            )
            for text in doc:
                self.say(text)
            self.put(
                "<pre><code>" + html.escape("\n".join(struct_lines(name, fields))) + "</code></pre>"
            )
            rows = []
            for field, text in fields:
                at, bytes_ = places[field_name(field)]
                rows.append(("", [f"<var>{field_name(field)}</var>", at, bytes_, self.mark(text)]))
            self.table(["field", "at", "bytes", ""], rows, ["", "number", "number", ""])

    def make(self):
        header = self.header
        self.put(
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>netfd {header.version}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<header>",
            "<h1>netfd</h1>",
            f'<p class="dim">Sockets in blocking style, for threads and fibers: the reference of version {header.version}.</p>',
            "</header>",
            "<main>",
        )
        self.index()
        self.put('<h2 id="overview">Overview</h2>')
        self.overview()
        for title, pages in header.topics:
            self.put(f'<h2 id="{anchor("topic " + title)}">{title}</h2>')
            for name in [name for page in pages for name in page]:
                self.function(name)
        self.constants()
        self.structs()
        self.put("</main>", "</body>", "</html>")
        return "\n".join(self.lines) + "\n"


def anchor(title):
    return title.lower().replace(" ", "-")


def make_html(header, folder):
    with open(os.path.join(folder, "netfd.html"), "w", encoding="utf-8") as file:
        file.write(Reference(header).make())
