import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from servegen.builders.bytecode import Interpreter, compiled, inside
from servegen.oci.tar import Entry
from servegen.progress import Silent

PROGRAM = Path(compiled.__code__.co_filename).with_name("compile_pyc.py")


@pytest.fixture
def interpreter() -> Interpreter:
    """This Python, in the place of an image's."""
    tag = sys.implementation.cache_tag
    return Interpreter(argv=(sys.executable, "-S", str(PROGRAM)), home=Path(sys.base_prefix), tag=tag)


def test_bytecode_lies_beside_its_source_and_names_the_path_in_the_image(tmp_path, interpreter):
    source = tmp_path / "a.py"
    source.write_text("def f():\n    return 1\n")
    entries = compiled([Entry(path="opt/x/a.py", source=source)], interpreter, tmp_path / "out", Silent())
    assert [e.path for e in entries] == [f"opt/x/__pycache__/a.{interpreter.tag}.pyc"]
    data = entries[0].source.read_bytes()
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:8] == b"\x01\0\0\0", "unchecked-hash: neither time nor size of the source is in it"
    assert b"/opt/x/a.py" in data
    assert str(tmp_path).encode() not in data


def test_the_same_source_gives_the_same_bytes_in_any_company(tmp_path, interpreter):
    for i, text in enumerate(
        ["x = {'b', 'a', 'c'}\nif y in {'p', 'q'}: pass\n", "import os\nself = 1\n", "x = 'self'\n"]
    ):
        (tmp_path / f"{i}.py").write_text(text)
    entries = [Entry(path=f"m/{i}.py", source=tmp_path / f"{i}.py") for i in range(3)]
    together = compiled(entries, interpreter, tmp_path / "one", Silent())
    alone = [compiled([e], interpreter, tmp_path / e.path, Silent())[0] for e in reversed(entries)]
    assert [e.source.read_bytes() for e in together] == [e.source.read_bytes() for e in reversed(alone)]


def test_tests_and_what_does_not_compile_are_left_out(tmp_path, interpreter):
    (tmp_path / "good.py").write_text("1")
    (tmp_path / "template.py").write_text("{{ not python }}}")
    entries = [
        Entry(path="p/tests/good.py", source=tmp_path / "good.py"),
        Entry(path="p/template.py", source=tmp_path / "template.py"),
        Entry(path="p/data.txt", source=tmp_path / "good.py"),
    ]
    assert compiled(entries, interpreter, tmp_path / "out", Silent()) == []


def test_links_are_followed_inside_the_image_only(tmp_path):
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3.11").write_text("")
    (tmp_path / "usr/bin/python3").symlink_to("/usr/bin/python3.11")
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "out").symlink_to("../../../etc")
    assert inside(tmp_path, "/bin/python3") == tmp_path / "usr/bin/python3.11"
    assert inside(tmp_path, "/out/passwd") == tmp_path / "etc/passwd"


def test_the_compiler_program_needs_nothing_but_the_standard_library():
    done = subprocess.run([sys.executable, "-I", "-S", str(PROGRAM)], input="", text=True, check=False)
    assert done.returncode == 0
