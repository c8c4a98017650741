import base64
import hashlib
from pathlib import Path

import pytest

from servegen.builders.wheels import split
from servegen.errors import BuildError


def wheel(tree: Path, name: str, files: dict[str, str], entry_points: str = "") -> None:
    """An installed wheel with a RECORD, as uv leaves it."""
    info = tree / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    content = {**files, f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\n"}
    if entry_points:
        content[f"{info.name}/entry_points.txt"] = entry_points
    rows = []
    for path, text in content.items():
        file = tree / path
        if not path.startswith(".."):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text)}")
    (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,"]) + "\n")


def paths(entries):
    return {e.path for e in entries}


def test_every_wheel_gets_its_own_files(tmp_path):
    wheel(tmp_path, "One_Pkg", {"one/__init__.py": "", "one/a.py": "a = 1"})
    wheel(tmp_path, "two", {"two.py": ""})
    found = split(tmp_path, "/usr/bin/python3.11")
    assert set(found) == {"one-pkg", "two"}
    assert "opt/servegen/site-packages/one/a.py" in paths(found["one-pkg"])
    assert "opt/servegen/site-packages/two.py" not in paths(found["one-pkg"])


def test_scripts_are_written_for_the_images_interpreter(tmp_path):
    files = {"one.py": "", "bin/one": "#!/build/host/python\n"}
    wheel(tmp_path, "one", files, "[console_scripts]\none = one:main\nTwo = one:group.run [extra]\n")
    entries = {e.path: e for e in split(tmp_path, "/usr/bin/python3.11")["one"]}
    script = entries["opt/servegen/bin/one"]
    assert script.data is not None
    assert script.data.startswith(b"#!/usr/bin/python3.11\n")
    assert script.mode == 0o755
    assert b"group.run()" in (entries["opt/servegen/bin/Two"].data or b"")
    record = next(e for p, e in entries.items() if p.endswith("RECORD"))
    assert b"bin/one" not in (record.data or b"")


def test_a_path_of_two_wheels_with_equal_content_is_in_both(tmp_path):
    wheel(tmp_path, "full", {"shared/a.py": "a"})
    wheel(tmp_path, "skinny", {"shared/a.py": "a"})
    found = split(tmp_path, "/p")
    assert "opt/servegen/site-packages/shared/a.py" in paths(found["full"]) & paths(found["skinny"])


def test_a_path_of_two_wheels_with_other_content_is_refused(tmp_path):
    wheel(tmp_path, "one", {"shared.py": "a"})
    wheel(tmp_path, "two", {"shared.py": "b"})
    with pytest.raises(BuildError, match=r"shared\.py is in one and in two"):
        split(tmp_path, "/p")


@pytest.mark.parametrize("path", ["../outside.py", "/etc/passwd"])
def test_a_wheel_that_reaches_outside_is_refused(tmp_path, path):
    wheel(tmp_path / "tree", "evil", {"evil.py": ""})
    with (tmp_path / "tree/evil-1.dist-info/RECORD").open("a") as record:
        record.write(f"{path},sha256=x,1\n")
    with pytest.raises(BuildError, match="outside"):
        split(tmp_path / "tree", "/p")


def test_a_file_that_record_names_but_is_absent_is_refused(tmp_path):
    wheel(tmp_path, "one", {"one.py": ""})
    (tmp_path / "one.py").unlink()
    with pytest.raises(BuildError, match="does not hold"):
        split(tmp_path, "/p")


def test_tests_of_named_wheels_stay_out_and_are_not_listed(tmp_path):
    files = {"a/__init__.py": "", "a/tests/test_a.py": "1", "a/b/tests/data/x.csv": "2", "a/tests.py": "3"}
    wheel(tmp_path, "one", files)
    wheel(tmp_path, "two", {"two/tests/__init__.py": ""})
    found = split(tmp_path, "/p", untested=("one",))
    site = "opt/servegen/site-packages"
    names = {f"{site}/{name}" for name in ("a/__init__.py", "a/tests.py", "one-1.dist-info/METADATA")}
    assert paths(found["one"]) == {*names, f"{site}/one-1.dist-info/RECORD"}
    record = next(e for e in found["one"] if e.path.endswith("RECORD")).data or b""
    listed = {line.split(b",")[0].decode() for line in record.splitlines()}
    assert {f"{site}/{path}" for path in listed} == paths(found["one"])
    assert f"{site}/two/tests/__init__.py" in paths(found["two"])
