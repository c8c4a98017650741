import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from servegen.errors import RenderError
from servegen.kube import yaml
from tests.kube.hazards import HAZARDS

PRINTABLE = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff\ufffe\uffff")
    | st.sampled_from("\n\t:#'\"{}[]&*!|>%@`-?, 0123456789eE.+~")
)
VALUES = st.recursive(
    PRINTABLE | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("text", HAZARDS)
def test_strings_that_look_like_something_else_stay_strings(text):
    document = {"value": text, "list": [text], text: "key"}
    assert pyyaml.safe_load(yaml.dump(document)) == document


@given(st.dictionaries(PRINTABLE, VALUES, max_size=5))
def test_whatever_is_written_reads_back_equal(document):
    assert pyyaml.safe_load(yaml.dump(document)) == document


@pytest.mark.parametrize("text", ["iris", "apps/v1", "models:/iris@champion", "/tmp", "a-b_c.d"])
def test_ordinary_names_are_written_plain(text):
    assert yaml.dump({"value": text}) == f"---\nvalue: {text}\n"


@pytest.mark.parametrize("text", ["1e3", "8e1", "N", "0o17", "1.0", "12:30", "a b", "500m", "~"])
def test_whatever_a_go_reader_may_change_is_quoted(text):
    assert yaml.dump({text: text}) == f'---\n"{text}": "{text}"\n'


def test_several_lines_are_written_as_a_block():
    assert yaml.dump({"text": "one: {{ a }}\n\n  two\n"}) == "---\ntext: |\n  one: {{ a }}\n\n    two\n"


@pytest.mark.parametrize(
    "char", ["\x00", "\r", "\x1b", "\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ufeff", "\ud800"]
)
def test_characters_that_readers_change_are_refused_with_their_place(char):
    with pytest.raises(RenderError, match=rf"spec\.env\[0\]\.value .*U\+{ord(char):04X}"):
        yaml.dump({"spec": {"env": [{"value": f"a{char}b"}]}})
    with pytest.raises(RenderError, match="a key of spec"):
        yaml.dump({"spec": {char: "a"}})


@pytest.mark.parametrize("value", [0.5, None, float("inf")])
def test_values_without_an_exact_form_are_refused(value):
    with pytest.raises(RenderError, match=r"spec\.x"):
        yaml.dump({"spec": {"x": value}})


def test_keys_that_are_not_text_are_refused():
    with pytest.raises(RenderError, match="False, not a text"):
        yaml.dump({"spec": {False: "a"}})


def test_equal_parts_are_written_out_twice_and_order_is_kept():
    shared = {"b": 1, "a": 2}
    assert yaml.dump({"z": shared, "x": shared}) == "---\nz:\n  b: 1\n  a: 2\nx:\n  b: 1\n  a: 2\n"


@pytest.mark.parametrize(
    ("text", "huge"),
    [
        ("a: &a [1, 2]\nb: *a\n", False),
        ("a: &a {b: *a}\n", True),
        ("\n".join(["x0: &x0 [1, 1]", *(f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]" for n in range(1, 40))]), True),
    ],
)
def test_what_stands_for_more_than_memory_holds_is_seen_before_anybody_walks_through_it(text, huge):
    assert yaml.is_huge(pyyaml.safe_load(text)) == huge
