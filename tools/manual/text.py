"""Texts: paragraphs, sentences, and what in them is a name."""

import re
import sys

CODE = r"(?:-E[A-Z0-9]+|NETFD_E[A-Z]+)"
# What is returned that nobody can list: of the kernel, or of a callback.
PASSED_ON = r"what (?:(?:else )?[a-z0-9_]+\(2\)|`control` returned)"
# Reasons that say no more than the code does.
BARE = re.compile(
    r"|not attached|destroyed (?:before or )?meanwhile|too many callers|no lookup|if asked for.*"
)

TOKEN = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|(?P<call>\b[A-Za-z_]\w*\(\))"
    r"|(?P<manual>\b[a-z_][a-z0-9_]*\([1-8]\))"
    rf"|(?P<constant>{CODE}\b|\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9](?:=\w+)?|\bSIG[A-Z]{{3,}}|\bNULL\b)"
)


def fail(why):
    sys.exit(f"manual: {why}")


def comment_lines(comment):
    """Its lines without the stars, indentation kept."""
    return [re.sub(r"^ ?\* ?", "", line).rstrip() for line in comment.strip("\n").split("\n")]


def paragraphs(lines):
    """Runs of lines between empty ones, each as one text."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    return [" ".join(block.split()) for block in blocks if block.strip()]


def sentences(text):
    """The sentences of a paragraph."""
    end = r"(?:(?<=[.!?])|(?<=\.[)\"]))\s+(?=[A-Z`\"(]|netfd_|errno)"
    return re.split(end, text) if text else []


def capital(text):
    """With a capital, unless it begins with a name."""
    word = re.match(r"[a-z][a-z]*(?=[ ,;:.]|$|n't)", text)
    is_name = word is None or word.group() in ("errno", "fd")
    return text if is_name else text[0].upper() + text[1:]


def small(text):
    """Without the capital of a sentence."""
    return text[0].lower() + text[1:] if re.match(r"[A-Z][a-z]*[ ,']", text) else text


def full_stop(text):
    return text if text.endswith((".", "!", "?", ":")) else text + "."


def verb(word):
    """ "reads" as the infinitive."""
    if re.search(r"(ch|sh|ss|x)es$", word):
        return word[:-2]
    return word[:-3] + "y" if word.endswith("ies") else word[:-1]


def tokens(text):
    """(kind, text) of a text; kind "" is prose."""
    at = 0
    for match in TOKEN.finditer(text):
        if match.start() > at:
            yield "", text[at : match.start()]
        yield match.lastgroup, match.group(match.lastgroup)
        at = match.end()
    if at < len(text):
        yield "", text[at:]


def manuals_in(text):
    found = {
        (section, name) for name, section in re.findall(r"\b([a-z_][a-z0-9_]*)\(([1-8])\)", text)
    }
    return sorted(found)
