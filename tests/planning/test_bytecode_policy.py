"""Which files of an image get bytecode."""

import pytest

from servegen.planning import bytecode
from servegen.planning.bytecode import has_bytecode, policy

SITE = "opt/servegen/site-packages"


@pytest.mark.parametrize("path", ["numpy/core/x.py", "mlflow/sklearn/__init__.py", "gitlab/a.py"])
def test_what_a_server_imports_is_compiled(path):
    assert has_bytecode(f"{SITE}/{path}", SITE)


@pytest.mark.parametrize("path", ["numpy/tests/x.py", "mlflow/server/app.py", "databricks/sdk/a.py"])
def test_what_no_server_imports_is_not(path):
    assert not has_bytecode(f"{SITE}/{path}", SITE)


def test_a_model_server_in_another_folder_is_compiled_whatever_it_is_called():
    assert has_bytecode("srv/app/servegen/server/app.py", SITE)


def test_another_rule_is_another_part_of_the_layers_keys(monkeypatch):
    before = policy()
    monkeypatch.setattr(bytecode, "IDLE", (*bytecode.IDLE, "pandas/"))
    assert policy() != before
