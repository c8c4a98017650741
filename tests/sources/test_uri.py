from pathlib import Path

import pytest

from servegen.errors import ModelURIError
from servegen.sources.uri import (
    FolderURI,
    LoggedModelURI,
    RegistryURI,
    RemoteURI,
    RunURI,
    parse,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("models:/iris/3", RegistryURI(name="iris", version="3")),
        ("models:/iris@champion", RegistryURI(name="iris", alias="champion")),
        ("models:/iris/latest", RegistryURI(name="iris")),
        ("models:/iris/LATEST", RegistryURI(name="iris")),
        ("models:/iris/Production", RegistryURI(name="iris", stage="Production")),
        ("models:/main.ml.iris@champion", RegistryURI(name="main.ml.iris", alias="champion")),
        ("models:/Fraud Détection@été", RegistryURI(name="Fraud Détection", alias="été")),
        ("models:/a@b@c", RegistryURI(name="a@b", alias="c")),
        ("models:/m-0123abc", LoggedModelURI(model_id="m-0123abc")),
        ("runs:/0f3c/model", RunURI(run_id="0f3c", path="model")),
        ("runs:/0f3c/a/b", RunURI(run_id="0f3c", path="a/b")),
        ("file:///tmp/my%20model", FolderURI(path=Path("/tmp/my model"))),
        ("./saved", FolderURI(path=Path("saved"))),
        ("/abs/saved", FolderURI(path=Path("/abs/saved"))),
        ("s3://bucket/path", RemoteURI(location="s3://bucket/path")),
        (
            "mlflow-artifacts:/1/models/m-1/artifacts",
            RemoteURI(location="mlflow-artifacts:/1/models/m-1/artifacts"),
        ),
    ],
)
def test_every_form_of_model_uri_is_told_apart(text, wanted):
    assert parse(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "foo:/x",
        "models:",
        "models:/",
        "models://host/iris/3",
        "models:/iris",
        "models:/iris/",
        "models:/@champion",
        "models:/iris@",
        "models:/iris/3/4",
        "runs:/0f3c",
        "runs:/",
        "file://otherhost/x",
        "models:/iris\n/3",
    ],
)
def test_what_mlflow_knows_no_form_for_is_refused_with_a_hint(text):
    with pytest.raises(ModelURIError) as caught:
        parse(text)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
