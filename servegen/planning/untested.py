"""Whose tests an image does without; a part of the layers' keys, and the rule by which they are filled."""

from __future__ import annotations

from collections.abc import Collection

TESTED = ("numpy", "pandas", "scikit-learn", "scipy")
"""Distributions that nothing but their own tests imports `tests` folders of: nearly all tests of an image.

A rule for every wheel would break those that offer such a folder to their users.
"""
FOLDER = "tests"


def is_test(path: str, name: str, untested: Collection[str]) -> bool:
    """Whether the file `path` of `name` stays out of an image without the tests of `untested`."""
    return name in untested and FOLDER in path.split("/")[:-1]
