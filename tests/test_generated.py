"""Files in the repository that a program of the repository writes are what it writes today."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_manifests_are_what_the_examples_render_to(tmp_path):
    subprocess.run([sys.executable, ROOT / "models/render.py", tmp_path], check=True)
    assert tree(tmp_path) == tree(ROOT / "manifests"), "run `make manifests` and look at the difference"


@pytest.mark.parametrize("page", ["commands.md", "servegen-yaml.md", "exit-codes.md", "servegen.schema.json"])
def test_the_reference_is_what_the_program_says(tmp_path, page):
    subprocess.run([sys.executable, ROOT / "docs/generate.py", tmp_path], check=True)
    assert (tmp_path / page).read_text() == (ROOT / "docs/reference" / page).read_text(), "run `make docs`"
