import ast
import subprocess
import sys
from pathlib import Path

import servegen.server

FOLDER = Path(servegen.server.__file__).parent


def test_the_server_imports_nothing_else_of_servegen():
    for file in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
                if node.module == "servegen":
                    modules = [f"servegen.{n.name}" for n in node.names if n.name != "__version__"]
            elif isinstance(node, ast.Import):
                modules = [n.name for n in node.names]
            else:
                continue
            for module in modules:
                if module.split(".")[0] == "servegen" and module != "servegen":
                    assert module.startswith("servegen.server"), f"{file.name} imports {module}"


def test_the_application_needs_neither_mlflow_nor_pandas_nor_bentoml():
    code = (
        "import sys; import servegen.server.app, servegen.server.hosting, servegen.server.runtimes.uvicorn;"
        "print([m for m in ('mlflow', 'pandas', 'bentoml', 'numpy', 'starlette') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_settings_read_the_environment():
    readers = [
        f.name for f in FOLDER.rglob("*.py") if "environ[" in f.read_text() or "getenv" in f.read_text()
    ]
    assert [f.name for f in FOLDER.rglob("*.py") if "os.environ" in f.read_text()] == ["settings.py"]
    assert readers == []
