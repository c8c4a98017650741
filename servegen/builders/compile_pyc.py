"""Runs inside the target's Python and compiles what standard input lists.

Each line is `source<TAB>target<TAB>path in the image`. Standard library only. The bytecode is unchecked-hash
(PEP 552), so that neither time nor place of the build is in it.
"""

import os
import py_compile
import sys


def main() -> None:
    """Compile every listed file; one that does not compile, such as a template, is left out."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for line in sys.stdin:
        source, target, path = line.rstrip("\n").split("\t")
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120 - pathlib takes longer to import
        try:
            py_compile.compile(source, target, path, doraise=True, invalidation_mode=mode, quiet=2)
        except (py_compile.PyCompileError, ValueError, RecursionError, OverflowError):
            continue


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    main()
