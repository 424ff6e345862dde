"""What a page says of functions, as sentences."""

import re

from text import capital, full_stop, small


def thread_sentences(function):
    """Who may call it, as sentences."""
    said = []
    for text in function.threads:
        text = re.sub(r"^Any thread(?: or fiber)?", "It may be called in any thread or fiber", text)
        text = re.sub(r"^For the calling thread only", "It is for the calling thread only", text)
        text = re.sub(
            r"^Each thread has its own",
            "It may be called in any thread or fiber; each has a last failure of its own",
            text,
        )
        text = re.sub(r"; (never|parks|waits|takes|looks|may)\b", r"; it \1", text)
        said.append(full_stop(text))
    return said


def note_sentences(function):
    """The sentences behind the failures, with a subject."""
    return [re.sub(r"^Obeys", "It obeys", text) for text in function.notes]


def is_signal_safe(function):
    return any("signal handler" in text for text in function.threads)


def together(pairs):
    """Pairs of a name and a text: those of one text in one, ("a() and b()", True, text)."""
    said = {}
    for name, text in pairs:
        said.setdefault(text, []).append(name + "()")
    for text, names in said.items():
        several = len(names) > 1
        subject = ", ".join(names[:-1]) + " and " + names[-1] if several else names[0]
        yield subject, several, text


def returned_paragraphs(header, page):
    """RETURN VALUE, a list of sentences for each paragraph."""
    functions = [header.functions[name] for name in page]
    fallible = {
        f.name for f in functions if header.failures_of(f.name) or header.passed_on_of(f.name)
    }
    pairs = []
    for function in functions:
        like = re.match(r"as (netfd_\w+\(\))(.*)", function.success)
        if function.returned:
            text = f"the same as {like.group(1)}{like.group(2)}" if like else function.success
            pairs.append((function.name, (text, function.name in fallible and not like)))
    for subject, several, (text, may_fail) in together(pairs):
        verb_ = "return" if several else "returns"
        yield [full_stop(f"{'On success ' if may_fail else ''}{subject} {verb_} {text}")]
    remarks = [full_stop(capital(remark)) for function in functions for remark in function.remarks]
    if fallible:
        remarks.insert(
            0, "On failure a negative code is returned, one of those below; errno plays no part."
        )
    if any(function.must_use for function in functions):
        remarks.append("A compiler warns where the result is not looked at.")
    if remarks:
        yield remarks


def thread_paragraphs(functions):
    """Who may call them, a list of sentences for each paragraph."""
    pairs = [(function.name, tuple(thread_sentences(function))) for function in functions]
    for subject, several, said in together(pairs):
        if len(functions) > 1:
            said = [re.sub("^It ", subject + " ", text) for text in said]
        if several:
            said = [
                re.sub(r"\bit (never |)(park|wait|take|look)s", r"they \1\2", text) for text in said
            ]
        yield said


def owed_paragraphs(header, page):
    """CAVEATS, a sentence or two for each paragraph."""
    pairs = [(name, header.owed(name)) for name in page if header.owed(name)]
    for subject, _, text in together(pairs):
        yield [f"The behaviour of {subject} is undefined unless {small(text)}"]


def follows_sentences(functions):
    """STANDARDS."""
    for function in functions:
        for text in function.follows:
            text = re.sub(r"\bGo (?=`)", "Go's ", text).rstrip(".")
            yield full_stop(f"{function.name}() follows {text}")


def besides(header, page):
    """What a page's functions return that nobody can list."""
    said = {}
    for name in page:
        said.setdefault(", or ".join(header.passed_on_of(name)), name)
    subject = "they return" if len(page) > 1 and len(said) == 1 else "it returns"
    for text, name in said.items():
        who = f"{name}() returns" if len(said) > 1 else subject
        if text:
            besides_ = "Besides, " if header.page_failures(page) else ""
            yield full_stop(capital(f"{besides_}{who} {text}"))


def struct_lines(name, fields):
    """Its declaration, callbacks in several lines."""
    lines = [f"struct {name} {{"]
    for field, _ in fields:
        field = f"    {field};"
        head, callback, rest = field.partition(")(")
        if callback and len(field) > 60:
            indent = ",\n" + " " * len(head + callback)
            field = head + callback + rest.replace(", ", indent, 2).replace(indent, ", ", 1)
        lines += field.split("\n")
    return lines + ["};"]
