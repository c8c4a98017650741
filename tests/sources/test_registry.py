"""Against a real MLflow store in an SQLite file."""

import os
import time
from pathlib import Path

import mlflow
import pytest

from servegen.errors import ModelError, ModelStoreError
from servegen.progress import Silent
from servegen.sources import StoreOptions, resolve
from servegen.sources.database import resolve_in_database
from servegen.sources.registry import resolve_with_mlflow
from servegen.sources.uri import RegistryURI, parse


@pytest.fixture(scope="module")
def store(store_folder) -> tuple[str, Path]:
    """Tracking URI of a store with the registered model `two words` in versions 1 and 2."""
    folder = store_folder
    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("e", artifact_location=str(folder / "artifacts"))
    run = client.create_run(experiment)
    client.create_registered_model("two words é")
    for number in (1, 2):
        source = folder / f"v{number}"
        source.mkdir()
        (source / "MLmodel").write_text(
            "flavors: {python_function: {python_version: 3.11.7}}\nsignature: {inputs: '[]'}\n"
        )
        (source / "requirements.txt").write_text("mlflow==3.17.2")
        (source / "weights").write_text(str(number))
        client.create_model_version("two words é", str(source), run.info.run_id)
    client.set_registered_model_alias("two words é", "champion", "1")
    return uri, folder


@pytest.fixture
def options(store, tmp_path) -> StoreOptions:
    return StoreOptions(tracking_uri=store[0], registry_uri=None, cache=tmp_path)


def test_alias_version_and_latest_are_pinned_to_versions(options):
    by_alias = resolve("models:/two words é@champion", options, Silent())
    assert by_alias.pin.resolved == "models:/two words é/1"
    assert (by_alias.pin.name, by_alias.pin.version) == ("two words é", "1")
    assert by_alias.pin.run_id
    latest = resolve("models:/two words é/latest", options, Silent())
    assert latest.pin.resolved == "models:/two words é/2"
    assert latest.pin.digest != by_alias.pin.digest


def test_a_moved_alias_is_seen(store, options):
    client = mlflow.MlflowClient(store[0])
    client.set_registered_model_alias("two words é", "moving", "1")
    time.sleep(2.1)
    assert resolve("models:/two words é@moving", options, Silent()).pin.version == "1"
    assert resolve("models:/two words é@moving", options, Silent()).pin.version == "1"
    client.set_registered_model_alias("two words é", "moving", "2")
    assert resolve("models:/two words é@moving", options, Silent()).pin.version == "2"


@pytest.mark.parametrize(
    "uri",
    [
        "models:/two words é@nobody",
        "models:/two words é/9",
        "models:/absent/latest",
        "models:/m-0",
        "runs:/0/model",
    ],
)
def test_what_is_not_in_the_store_is_an_error_that_names_it(options, uri):
    with pytest.raises(ModelError) as caught:
        resolve(uri, options, Silent())
    assert uri.partition(":/")[2].split("@")[0].split("/")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer_is_an_error_of_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    options = StoreOptions(tracking_uri="http://127.0.0.1:9", registry_uri=None, cache=tmp_path)
    with pytest.raises(ModelStoreError, match="does not answer"):
        resolve("models:/iris/1", options, Silent())


@pytest.mark.parametrize("chosen", [None, "http://127.0.0.1:9"])
def test_mlflow_keeps_the_stores_it_was_set_to(store, chosen):
    mlflow.set_tracking_uri(chosen)
    try:
        before = dict(os.environ)
        resolve_with_mlflow(RegistryURI(name="two words é", version="1"), store[0], store[0], "x")
        assert mlflow.is_tracking_uri_set() == bool(chosen)
        assert dict(os.environ) == before
    finally:
        mlflow.set_tracking_uri(None)


@pytest.mark.parametrize(
    ("uri", "tracking_uri"),
    [
        ("models:/iris/1", "http://u:hunter2@127.0.0.1:9"),
        ("models:/iris/1", "bogus://u:hunter2@127.0.0.1:9/db"),
        ("https://u:hunter2@127.0.0.1:9/x", None),
        ("s3://AKID:hunter2@bucket/x", None),
    ],
)
def test_no_error_of_a_store_shows_a_password(tmp_path, monkeypatch, uri, tracking_uri):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    options = StoreOptions(tracking_uri=tracking_uri, registry_uri=None, cache=tmp_path)
    with pytest.raises(ModelStoreError) as caught:
        resolve(uri, options, Silent())
    assert "hunter2" not in str(caught.value) + caught.value.hint + caught.value.details


def test_a_store_of_an_unknown_kind_is_said_to_be_one(tmp_path):
    options = StoreOptions(tracking_uri="bogus://127.0.0.1:9/db", registry_uri=None, cache=tmp_path)
    with pytest.raises(ModelStoreError, match="is no store that MLflow knows"):
        resolve("models:/iris@champion", options, Silent())


@pytest.mark.parametrize("text", ["two words é@champion", "two words é/2", "two words é/latest"])
def test_an_sqlite_store_read_directly_says_what_mlflow_says(store, text):
    uri = parse(f"models:/{text}")
    assert isinstance(uri, RegistryURI)
    found = resolve_in_database(uri, store[0])
    assert found is not None
    assert found == resolve_with_mlflow(uri, store[0], None, text)


@pytest.mark.parametrize("text", ["two words é@nobody", "two words é/7", "absent/1", "two words é/Staging"])
def test_what_an_sqlite_store_does_not_hold_is_left_to_mlflow(store, text):
    uri = parse(f"models:/{text}")
    assert isinstance(uri, RegistryURI)
    assert resolve_in_database(uri, store[0]) is None


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    assert resolve_in_database(RegistryURI(name="a", version="1"), f"sqlite:///{tmp_path}/m.db") is None
    assert not (tmp_path / "m.db").exists()
