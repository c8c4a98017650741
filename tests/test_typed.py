from dataclasses import dataclass

import pytest

from servegen.typed import typed


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    size: int
    share: float = 0.5
    note: str | None = None
    whole: bool = False


def test_a_json_object_becomes_the_value():
    assert typed(Row, {"name": "a", "size": 1, "share": 1}) == Row(name="a", size=1, share=1)
    assert typed(Row, {"name": "a", "size": 1, "note": None}).note is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "Row must be an object"),
        ([["name", "a"]], "Row must be an object"),
        ({"name": "a"}, "lacks size"),
        ({"name": "a", "size": 1, "other": 1}, "unknown entries other"),
        ({"name": None, "size": 1}, "name must be text"),
        ({"name": 3, "size": 1}, "name must be text, not '3'"),
        ({"name": "a", "size": "x"}, "size must be a whole number"),
        ({"name": "a", "size": True}, "size must be a whole number"),
        ({"name": "a", "size": 1, "share": "1"}, "share must be a number"),
        ({"name": "a", "size": 1, "whole": 0}, "whole must be true or false"),
        ({"name": "a", "size": 1, "note": []}, "note must be text"),
    ],
)
def test_what_does_not_fit_is_named(value, message):
    with pytest.raises(ValueError, match=message):
        typed(Row, value)
