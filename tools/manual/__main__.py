"""The manual pages and the HTML reference, made from include/netfd.h.

    python3 tools/manual man FOLDER     netfd.7, and a page or a link for each function
    python3 tools/manual html FOLDER    netfd.html, which needs no other file

The header's comments are the one source; abi/lp64.txt adds where the fields of
structs lie. Needs Python and nothing else. What is made depends on these files
and on SOURCE_DATE_EPOCH alone; where that is not set the date is the header's.

A function's comment has, in this order:

    what it does: a sentence that begins with a verb, "Reads what is there."
    paragraphs, for DESCRIPTION
    @param name  text, for DESCRIPTION
    @return what comes back, or
      failures: "-EBADF not attached, NETFD_ECLOSED", each with or without its
      reason; "as netfd_read()" has the failures of that function, too; "what
      read(2) said" comes last
    sentences: "Any thread ..." is for ATTRIBUTES, "Follows ..." for STANDARDS,
      the others for DESCRIPTION
    # Safety, and what the caller owes, for CAVEATS

The comment on top has paragraphs with a heading ("Deadlines. Time is ..."),
lists ("  -EBADF  the number ...") and, behind "Example.", a program.
"""

import os
import sys

sys.dont_write_bytecode = True

from header import Header
from troff import make_man
from web import make_html


def main(arguments):
    makers = {"man": make_man, "html": make_html}
    if len(arguments) != 2 or arguments[0] not in makers:
        sys.exit(__doc__)
    os.makedirs(arguments[1], exist_ok=True)
    makers[arguments[0]](Header(), arguments[1])


if __name__ == "__main__":
    main(sys.argv[1:])
