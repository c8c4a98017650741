import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegen.gitops.body import LONGEST, Change, Release, body, code, release
from servegen.gitops.promotion import Gate
from servegen.values.gitops import Record
from servegen.values.image import ImageRef

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
BEFORE = Release(
    version="7",
    image=f"ghcr.io/flowers/iris@{DIGEST}",
    pin="models:/iris/7",
    run_id="r7",
    image_bytes=120_400_000,
    metrics={"accuracy": 0.94, "loss": 0.25, "old": 1.0},
    requirements=("numpy==2.0.0", "scikit-learn==1.5.0", "six==1.0"),
)
AFTER = Release(
    version="8",
    image=f"ghcr.io/flowers/iris@{OTHER}",
    pin="models:/iris/8",
    run_id="r8",
    image_bytes=118_000_000,
    metrics={"accuracy": 0.95, "loss": 0.25, "drift": float("nan")},
    requirements=("numpy==2.1.0", "scikit-learn==1.5.0", "orjson==3.0"),
)
DIFF = "--- a/deployment.yaml\n+++ b/deployment.yaml\n@@ -1 +1 @@\n-  image: old\n+  image: new\n"
CHANGE = Change(
    model_name="iris",
    environment="prod",
    before=BEFORE,
    after=AFTER,
    diff=DIFF,
    gates=(
        Gate(name="verify", met=True, why="answers as in process"),
        Gate(name="latency", met=None, why=""),
    ),
    notes=("The alias models:/iris@champion has moved on to version 9, see https://example.com.",),
)
HOSTILE = (
    "a|b",
    "`; rm -rf",
    "``` \n```",
    "x\r/merge",
    "<img src=x onerror=alert(1)>",
    "@all",
    "[a](javascript:b)",
    "</details>",
    "a\\",
    "a\\|b",
    "\u202egnp",
    " padded ",
    "",
    "\n/approve",
    "![x](http://example.com/a.png)",
    "#1",
    "~~~",
    "&lt;",
    "é" * 500,
)


def test_a_reviewer_sees_what_changes():
    assert body(CHANGE) == (
        "Releases `iris` in `prod`: version `7` → `8`.\n\n"
        "> The alias `models:/iris@champion` has moved on to version 9, see `https://example.com.`\n\n"
        "|  | before | now |\n| --- | --- | --- |\n"
        "| Model | `models:/iris/7` | `models:/iris/8` |\n"
        "| Run | `r7` | `r8` |\n"
        f"| Image | `ghcr.io/flowers/iris@{DIGEST}` | `ghcr.io/flowers/iris@{OTHER}` |\n"
        "| Image size | 120.4 MB | 118.0 MB (-2.4 MB) |\n\n"
        "| check | result |  |\n| --- | --- | --- |\n"
        "| `verify` | passed | `answers as in process` |\n| `latency` | not made |  |\n\n"
        "| metric | before | now | change |\n| --- | --- | --- | --- |\n"
        "| `accuracy` | 0.94 | 0.95 | +0.01 |\n| `drift` | — | nan |  |\n"
        "| `loss` | 0.25 | 0.25 | = |\n| `old` | 1 | — |  |\n\n"
        "<details><summary>Requirements: 4 lines differ</summary>\n\n"
        "```diff\n-numpy==2.0.0\n+numpy==2.1.0\n+orjson==3.0\n-six==1.0\n```\n\n</details>\n\n"
        f"<details><summary>Rendered files</summary>\n\n```diff\n{DIFF}```\n\n</details>\n"
    )


def test_a_side_is_what_a_repository_records():
    image = ImageRef.parse(AFTER.image)
    record = Record(model_name="iris", version="8", image=image, pin=AFTER.pin, run_id=AFTER.run_id)
    made = release(
        record, image_bytes=AFTER.image_bytes, metrics=AFTER.metrics, requirements=AFTER.requirements
    )
    assert made == AFTER


def test_a_first_release_and_a_change_of_settings_say_so():
    first = Change(model_name="iris", environment=None, before=None, after=Release(version="1", image="i"))
    assert body(first).startswith("Releases `iris` for the first time: version `1`.\n")
    same = Change(model_name="iris", environment="dev", before=AFTER, after=AFTER)
    assert body(same).startswith("Changes how `iris` is deployed in `dev`; the version stays `8`.\n")
    assert "Requirements" not in body(same)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_value_breaks_out_of_its_cell_or_block(text):
    side = Release(
        version=text, image=text, pin=text, run_id=text, metrics={text: 1.0}, requirements=(text, "a==1")
    )
    made = body(
        Change(
            model_name=text,
            environment=text,
            before=Release(version="1", image="i", requirements=("b==1",)),
            after=side,
            diff=f"+{text}\n",
            gates=(Gate(name=text, met=False, why=text),),
            notes=(text,),
        )
    )
    outside, fence = [], ""
    for line in made.split("\n"):
        if fence:
            fence = "" if line == fence else fence
            assert not line.startswith("/")
        elif match := re.fullmatch("(`{3,})diff", line):
            fence = match[1]
        else:
            outside.append(line)
    assert not fence
    shown = "\n".join(outside)
    # What is left beside code has no sign of the value.
    bare = re.sub(r"`[^`\n]*`|<code>[^<\n]*</code>|&#\d+;", "", shown)
    assert not re.search(r"[`\\@\[\]!\r\u202e]|<(?!/?(details|summary)>)|onerror=.*>", bare)
    rows = [line for line in outside if line.startswith("|")]
    assert {line.count(" | ") for line in rows} <= {2, 3}
    assert all(re.sub("<code>.*?</code>|`[^`]*`", "", line).count("|") in (4, 5) for line in rows)
    assert not any(line.startswith("/") for line in outside)


@given(st.text())
def test_code_is_one_line_with_every_sign_escaped_or_harmless(text):
    made = code(text)
    assert "\n" not in made
    assert "|" not in made
    assert re.fullmatch(r"`[^`\\]+`|—|<code>(\w| |&#\d+;)+</code>", made)


def test_what_is_too_long_is_cut_and_counted():
    diff = "".join(f"+line {number} of a very long file\n" for number in range(10_000))
    made = body(Change(model_name="iris", environment=None, before=BEFORE, after=AFTER, diff=diff))
    assert LONGEST - 3_000 < len(made.encode()) <= LONGEST
    shown = made.count("+line")
    assert f"\n{10_000 - shown} further lines are not shown.\n" in made


def test_no_names_make_it_longer_than_forges_take():
    signs = {f"{number}" + "|`" * 300: float(number) for number in range(500)}
    side = Release(version="||" * 400, image="``" * 400, metrics=signs, requirements=("`" * 9_000,) * 1)
    hard = Change(
        model_name="|" * 900,
        environment="<" * 900,
        before=BEFORE,
        after=side,
        diff="`" * 100_000,
        gates=tuple(Gate(name="|" * 900, met=True, why="`" * 900) for _ in range(100)),
        notes=("*" * 5_000,) * 50,
    )
    made = body(hard)
    assert len(made.encode()) <= LONGEST
    assert made.startswith("Releases <code>")


def test_many_metrics_are_counted():
    many = Release(version="2", image="i", metrics={f"m{number:03}": 1.0 for number in range(100)})
    made = body(Change(model_name="iris", environment=None, before=None, after=many))
    assert "60 further metrics are not shown." in made
    assert made.count("| `m0") == 40
