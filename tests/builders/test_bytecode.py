import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from servegen.builders.bytecode import Compiler, Interpreter, LocalPython, compiled, inside, magic_of
from servegen.oci.tar import Entry
from servegen.progress import Silent
from servegen.values.image import Base, Platform

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


NATIVE = Platform(os="linux", architecture={"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()])
FOREIGN = Platform(os="linux", architecture="arm64" if NATIVE.architecture == "amd64" else "amd64")
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"


def base(python: str = MINOR, build: str = "native") -> Base:
    return Base(
        name="debian:x",
        digest=f"sha256:{build}",
        interpreter=f"/usr/bin/python{python}",
        python=python,
        build=build,
        layers=(),
    )


def choose(target: Platform, of: Base, **bases: Base) -> Compiler | None:
    known = {NATIVE if name == "native" else FOREIGN: each for name, each in bases.items()}
    return Compiler.choose(of, target, known, "/nonexistent", Silent())


def test_the_image_is_compiled_by_its_own_python_where_that_runs():
    assert choose(NATIVE, base()) == Compiler(build="native", python=MINOR, base=base())


def test_an_image_for_another_machine_is_compiled_by_the_base_of_this_one():
    """So that layers without machine code are the same blobs for all platforms."""
    there = base(build="foreign")
    assert choose(FOREIGN, there, native=base(), foreign=there) == choose(NATIVE, base())


def test_alone_it_is_compiled_by_a_python_of_this_machine_or_not_at_all():
    found = choose(FOREIGN, base(build="foreign"))
    assert found is not None
    assert found.build == f"cpython-{platform.python_version()}"
    assert found.local is not None
    assert found.local.magic == int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little")
    assert choose(FOREIGN, base("3.99")) is None


def test_a_python_of_this_machine_compiles(tmp_path):
    source = tmp_path / "m.py"
    source.write_text("X = 1\n")
    local = LocalPython.find(MINOR, None, Silent())
    assert local is not None
    made = compiled(
        [Entry(path="a/m.py", source=source)], Interpreter.local(local, MINOR), tmp_path / "pyc", Silent()
    )
    assert made[0].source is not None
    assert made[0].source.read_bytes()[:4] == importlib.util.MAGIC_NUMBER


def test_what_bytecode_begins_with_is_read_from_the_bases_library(tmp_path):
    library = tmp_path / f"usr/lib/python{MINOR}/importlib"
    assert magic_of(base(), tmp_path) is None
    library.mkdir(parents=True)
    (library / "_bootstrap_external.py").write_text("MAGIC_NUMBER = (3495).to_bytes(2, 'little') + b'x'\n")
    assert magic_of(base(), tmp_path) == 3495
