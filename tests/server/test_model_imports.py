import gc
import subprocess
import sys

from servegen.server.predictors.imports import hurried

CODE = """
import sys
from servegen.server.predictors.imports import hurried
with hurried():
    import mlflow.pyfunc
assert not any(type(finder).__module__.startswith("servegen") for finder in sys.meta_path)
assert "fastapi" not in sys.modules
import mlflow
assert mlflow.genai.evaluate.__module__.startswith("mlflow.genai")
from mlflow.gateway import config
"""


def test_what_no_prediction_needs_is_loaded_when_somebody_looks_at_it():
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_garbage_is_collected_again_afterwards():
    before = gc.get_threshold()
    with hurried():
        assert gc.get_threshold() > before
    assert gc.get_threshold() == before
