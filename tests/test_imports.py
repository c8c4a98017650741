"""Imports point one way: cli → pipeline → stages → {oci, kube} → values → errors; server stands alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "servegen"
LEAVES = {
    "errors",
    "progress",
    "process",
    "plugins",
    "redact",
    "scratch",
    "typed",
    "uv",
    "distributions",
    "__init__",
}
STAGES = {
    "sources",
    "lockers",
    "planning",
    "accelerate",
    "builders",
    "verify",
    "attest",
    "renderers",
    "targets",
}
ALLOWED = {
    "redact": set(),
    "scratch": set(),
    "typed": set(),
    "errors": {"redact"},
    "progress": set(),
    "plugins": set(),
    "process": {"progress"},
    "values": {"values"},
    "uv": {"errors", "process", "progress", "redact"},
    "distributions": {"errors", "progress", "scratch", "uv"},
    "oci": {"oci", "values", "scratch", "errors", "progress", "process"},
    "kube": {"kube", "values", "plugins", "errors", "progress"},
    "server": {"server", "__init__"},
    "sources": {"sources", "values", "redact", "scratch", "typed", "errors", "progress"},
    "lockers": {"lockers", "values", "distributions", "typed", "uv", "redact", "errors", "progress"},
    # The planner names what the objects and layers are called.
    "planning": {"planning", "kube", "values", "errors", "__init__"},
    # A builder carries out a plan, so it knows the plan's folders.
    "builders": {
        "builders",
        "planning",
        "oci",
        "values",
        "distributions",
        "uv",
        "process",
        "plugins",
        "scratch",
        "errors",
        "progress",
        "__init__",
    },
    # The proof runs the server's own code for inputs and answers.
    "accelerate": {
        "accelerate",
        "server",
        "values",
        "uv",
        "process",
        "scratch",
        "errors",
        "progress",
        "__init__",
    },
    "attest": {"attest", "oci", "values", "errors", "progress", "__init__"},
    "verify": {"verify", "oci", "values", "process", "scratch", "typed", "errors", "progress"},
    "renderers": {"renderers", "kube", "values", "plugins", "errors", "progress", "__init__"},
    "git": {"git", "process", "redact", "scratch", "errors", "progress"},
    "forges": {"forges", "values", "plugins", "errors", "progress"},
    # A layout is what a renderer writes, and reads it again.
    "gitops": {
        "gitops",
        "git",
        "renderers",
        "kube",
        "values",
        "process",
        "plugins",
        "redact",
        "errors",
        "progress",
    },
    "targets": {
        "targets",
        "reviewing",
        "renderers",
        "git",
        "gitops",
        "sources",
        "config",
        "kube",
        "values",
        "plugins",
        "redact",
        "errors",
        "progress",
    },
    "config": {"config", "values", "errors"},
    "charts": {"job", "kube", "oci", "values", "errors", "progress"},
    "outputs": {"oci", "values", "process", "errors", "progress"},
    "bentofolder": {"builders", "job", "lockers", "planning", "targets", "values", "errors"},
    "contextfolder": {
        "conversion",
        "builders",
        "job",
        "locking",
        "pipeline",
        "scratch",
        "errors",
        "progress",
    },
    "job": {
        "attest",
        "config",
        "kube",
        "lockers",
        "oci",
        "planning",
        "redact",
        "uv",
        "verify",
        "values",
        "errors",
        "progress",
    },
    "locking": {
        "builders",
        "config",
        "job",
        "lockers",
        "oci",
        "redact",
        "values",
        "errors",
        "progress",
    },
    "conversion": {"accelerate", "job", "values", "errors", "progress"},
    "pipeline": STAGES
    | {"conversion", "job", "locking", "images", "oci", "kube", "values", "errors", "progress"},
    "fleet": {"config", "job", "pipeline", "planning", "targets", "values", "errors", "progress"},
    "images": {"builders", "job", "oci", "verify", "values", "errors", "progress"},
    "rebase": {
        "attest",
        "builders",
        "images",
        "job",
        "lockers",
        "locking",
        "oci",
        "pipeline",
        "planning",
        "values",
        "errors",
        "progress",
    },
    "deployed": {
        "job",
        "kube",
        "pipeline",
        "planning",
        "sources",
        "targets",
        "values",
        "errors",
        "progress",
    },
    "validation": {"kube", "process", "values", "errors", "progress"},
    "drifting": {
        "git",
        "gitops",
        "job",
        "kube",
        "planning",
        "sources",
        "values",
        "errors",
        "progress",
    },
    "contents": {"attest", "job", "oci", "values", "errors", "progress"},
    # What a target hands on, as it is the one to know when a branch was pushed.
    "reviewing": {
        "config",
        "contents",
        "forges",
        "gitops",
        "job",
        "kube",
        "sources",
        "values",
        "errors",
        "progress",
    },
    "promoting": {
        "attest",
        "gitops",
        "images",
        "job",
        "kube",
        "oci",
        "planning",
        "sources",
        "targets",
        "values",
        "errors",
        "progress",
    },
    "progressive": {
        "deployed",
        "job",
        "kube",
        "pipeline",
        "planning",
        "targets",
        "values",
        "verify",
        "errors",
        "progress",
    },
    "watch": {
        "watch",
        "job",
        "pipeline",
        "planning",
        "sources",
        "targets",
        "values",
        "errors",
        "progress",
    },
    "acceleration": {"accelerate", "conversion", "job", "pipeline", "values", "errors", "progress"},
    "supplychain": {"attest", "images", "job", "oci", "errors", "progress"},
    "cli": {
        "cli",
        "gitops",
        "fleet",
        "watch",
        "renderers",
        "sources",
        "images",
        "rebase",
        "accelerate",
        "conversion",
        "acceleration",
        "deployed",
        "drifting",
        "git",
        "progressive",
        "promoting",
        "supplychain",
        "validation",
        "charts",
        "job",
        "locking",
        "pipeline",
        "config",
        "outputs",
        "bentofolder",
        "contextfolder",
        "planning",
        "kube",
        "targets",
        "redact",
        "errors",
        "progress",
        "values",
        "verify",
        "__init__",
    },
    "__init__": set(),
    "__main__": {"cli"},
}


def area(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "servegen":
            names = (
                [f"{node.module}.{a.name}" for a in node.names]
                if node.module == "servegen"
                else [node.module]
            )
            found.update(names)
        elif isinstance(node, ast.Import):
            found.update(a.name for a in node.names if a.name.split(".")[0] == "servegen")
    areas = {[*name.split("."), "__init__"][1] for name in found}
    return {a if (ROOT / a).is_dir() or (ROOT / f"{a}.py").exists() else "__init__" for a in areas}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    assert imported(path) <= ALLOWED[area(path)], (
        f"{path.relative_to(ROOT)} imports {imported(path) - ALLOWED[area(path)]}"
    )


def test_only_config_and_the_servers_settings_read_the_environment():
    readers = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and getattr(node.value, "id", "") == "os"
    }
    # enter.py hands its environment on to the program it starts, unread.
    assert readers <= {"config/environment.py", "server/settings.py", "verify/enter.py"}


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from servegen.cli import servegen\n"
        "servegen(['--help'], standalone_mode=False)\n"
        "heavy = {'mlflow', 'kubernetes', 'bentoml', 'pandas', 'numpy', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "package" in done.stdout
