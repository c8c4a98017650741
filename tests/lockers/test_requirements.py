from dataclasses import replace

import pytest

from servegen.errors import LockError
from servegen.lockers import Serving, merged_requirements
from servegen.values.model import Flavor


def names(lines):
    return {line.split("=")[0].split(">")[0] for line in lines}


def test_the_skinny_mlflow_of_the_same_version_replaces_the_full_one(model):
    lines = merged_requirements(model, Serving(runtime="uvicorn"))
    assert "mlflow-skinny==3.17.2" in lines
    assert "mlflow==3.17.2" not in lines


def test_a_flavor_that_needs_the_full_mlflow_keeps_it(model):
    spark = replace(model, flavors=(*model.flavors, Flavor(name="spark", version=None)))
    assert "mlflow==3.17.2" in merged_requirements(spark, Serving(runtime="uvicorn"))


@pytest.mark.parametrize(
    ("choice", "wanted"), [("skinny", "mlflow-skinny==3.17.2"), ("full", "mlflow==3.17.2")]
)
def test_the_choice_of_mlflow_is_followed(model, choice, wanted):
    assert wanted in merged_requirements(model, Serving(runtime="uvicorn", mlflow=choice))


def test_bentoml_is_added_for_its_runtime_only(model):
    assert "bentoml" in names(merged_requirements(model, Serving(runtime="bentoml")))
    assert "bentoml" not in names(merged_requirements(model, Serving(runtime="uvicorn")))


def test_the_models_own_versions_of_numpy_and_pandas_win(with_requirements):
    lines = merged_requirements(
        with_requirements("mlflow==3.17.2", "numpy==2.4.6"), Serving(runtime="uvicorn")
    )
    assert "numpy==2.4.6" in lines
    assert "numpy" not in lines
    assert "pandas" in lines


def test_what_only_installs_other_packages_is_left_out(with_requirements):
    lines = merged_requirements(with_requirements("pip==24", "setuptools", "six"), Serving(runtime="uvicorn"))
    assert "six" in lines
    assert not {"pip", "setuptools"} & names(lines)


def test_markers_stay(with_requirements):
    line = 'mlflow==3.17.2 ; python_version >= "3.10"'
    assert f"mlflow-skinny{line.removeprefix('mlflow')}" in merged_requirements(
        with_requirements(line), Serving(runtime="uvicorn")
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--index-url https://me:secret@host/simple", "option"),
        ("not a requirement!", "cannot be read"),
        ("./local/folder", "not in the model folder"),
        ("-e .", "is a folder of the machine"),
        ("--editable=./lib", "is a folder of the machine"),
        ("/home/me/six-1.0-py3-none-any.whl", "not in the model folder"),
        ("file:///home/me/six-1.0-py3-none-any.whl", "not in the model folder"),
        ("six @ file:///home/me/six-1.0-py3-none-any.whl", "not in the model folder"),
        ("six @ ../six-1.0-py3-none-any.whl#sha256=" + "a" * 64, "not in the model folder"),
        ("wheels/absent-1.0-py3-none-any.whl", "not in the model folder"),
        ("git+https://host/repo.git", "built from a repository"),
        ("six @ git+https://me:secret@host/repo.git@v1", "built from a repository"),
        ("six @ https://host/six-1.0.tar.gz", "no wheel"),
        ("six @ https://me:secret@host/six-1.0-py3-none-any.whl", "login or a query"),
        ("--pre", "option"),
        ("scikit-learn==", "cannot be read"),
        ("плохо !", "cannot be read"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_without_its_secrets(with_requirements, line, said):
    with pytest.raises(LockError, match=said) as caught:
        merged_requirements(with_requirements(line), Serving(runtime="uvicorn"))
    assert "secret" not in str(caught.value)


def test_grpcio_is_brought_where_the_server_speaks_grpc(model):
    assert "grpcio" in names(merged_requirements(model, Serving(runtime="uvicorn", grpc=True)))
    assert "grpcio" not in names(merged_requirements(model, Serving(runtime="uvicorn")))
