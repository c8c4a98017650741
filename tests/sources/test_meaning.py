"""What a real MLflow store in an SQLite file says of names, versions and their runs."""

from pathlib import Path

import mlflow
import pytest

from servegen.errors import ModelStoreError
from servegen.progress import Silent
from servegen.sources import StoreOptions, resolve
from servegen.sources.aliases import meanings
from servegen.sources.overwritten import content_digest
from servegen.sources.runs import metrics_beside, params_beside, version_facts
from servegen.sources.tagging import Deployed, write
from servegen.sources.uri import RegistryURI
from tests.recorder import Recorder

IMAGE = f"registry.example.com/ml/iris@sha256:{'4' * 64}"


@pytest.fixture(scope="module")
def store(store_folder) -> tuple[str, Path]:
    """Tracking URI of a store with `iris` in versions 1 and 2, nine others, and one without a version."""
    folder = store_folder
    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    # A registry in a database looks a logged model up where the process says.
    mlflow.set_tracking_uri(uri)
    experiment = client.create_experiment("e", artifact_location=str(folder / "artifacts"))
    client.create_registered_model("iris")
    for number in (1, 2):
        run = client.create_run(experiment, tags={"team": "botany"})
        client.log_metric(run.info.run_id, "accuracy", 0.5)
        client.log_metric(run.info.run_id, "accuracy", 0.9 + number / 100)
        client.log_param(run.info.run_id, "depth", number)
        model = client.create_logged_model(experiment, name="model", source_run_id=run.info.run_id)
        source = Path(model.artifact_location)
        source.mkdir(parents=True)
        (source / "MLmodel").write_text("flavors: {python_function: {python_version: 3.11.7}}\n")
        (source / "requirements.txt").write_text("mlflow==3.17.2")
        uri_of_model = f"models:/{model.model_id}"
        client.create_model_version("iris", uri_of_model, run.info.run_id, model_id=model.model_id)
    client.log_metric(
        run.info.run_id, "f1", 0.8, model_id=model.model_id, dataset_name="holdout", dataset_digest="d1"
    )
    client.set_registered_model_alias("iris", "champion", "1")
    for number in range(9):
        client.create_registered_model(f"other-{number}")
        client.create_model_version(f"other-{number}", str(source))
        client.set_registered_model_alias(f"other-{number}", "live", "1")
    client.create_registered_model("bare")
    mlflow.set_tracking_uri(None)
    return uri, folder


def meant(store, *uris: RegistryURI) -> list[str | None]:
    found = meanings(uris, store[0], None)
    return [found[uri].version or found[uri].why for uri in uris]


def test_names_mean_versions_and_what_means_nothing_says_why(store):
    client = mlflow.MlflowClient(store[0])
    client.transition_model_version_stage("iris", "1", "Production")
    asked = (
        RegistryURI(name="iris", alias="champion"),
        RegistryURI(name="iris"),
        RegistryURI(name="iris", stage="production"),
        RegistryURI(name="iris", version="2"),
        RegistryURI(name="iris", alias="nobody"),
        RegistryURI(name="iris", stage="Staging"),
        RegistryURI(name="bare"),
        RegistryURI(name="absent", alias="champion"),
    )
    assert meant(store, *asked) == [
        "1",
        "2",
        "1",
        "2",
        "the alias is not set",
        "no version is in that stage",
        "the model has no version",
        "there is no such registered model",
    ]
    staged = meanings(asked[2:3], store[0], None)[asked[2]]
    assert (staged.pin, staged.since is not None) == ("models:/iris/1", True)


def test_many_models_are_one_call(store, monkeypatch):
    calls = []
    for name in ("search_registered_models", "get_registered_model"):
        inner = getattr(mlflow.MlflowClient, name)

        def counted(self, *args, inner=inner, name=name, **kwargs):
            calls.append(name)
            return inner(self, *args, **kwargs)

        monkeypatch.setattr(mlflow.MlflowClient, name, counted)
    asked = [RegistryURI(name=f"other-{number}", alias="live") for number in range(9)]
    assert meant(store, *asked) == ["1"] * 9
    assert calls == ["search_registered_models"]
    calls.clear()
    assert meant(store, *asked[:2]) == ["1"] * 2
    assert calls == ["get_registered_model"] * 2


def test_a_registry_that_is_silent_is_an_error_of_the_store(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ModelStoreError, match="does not answer"):
        meanings([RegistryURI(name="iris")], "http://127.0.0.1:9", None)


def test_two_versions_are_set_side_by_side(store):
    before, after = version_facts("iris", ("1", "2"), store[0], None)
    assert after.run_tags == {"team": "botany"}
    metrics = {one.name: (one.before, one.after) for one in metrics_beside(before, after)}
    assert metrics == {"accuracy": (0.91, 0.92), "f1 (holdout)": (None, 0.8)}
    assert [(one.before, one.after, one.changed) for one in params_beside(before, after)] == [
        ("1", "2", True)
    ]
    assert all(one.before is None for one in metrics_beside(None, after))


def test_a_run_that_was_deleted_leaves_the_version_without_metrics(store):
    client = mlflow.MlflowClient(store[0])
    version = client.create_model_version("bare", str(store[1]), "0" * 32)
    (facts,) = version_facts("bare", (version.version,), store[0], None)
    assert (facts.run_id, dict(facts.metrics)) == ("0" * 32, {})
    client.delete_model_version("bare", version.version)


def test_tags_tell_where_a_version_is_and_keep_those_of_other_environments(store):
    recorder = Recorder()
    for environment in ("staging", "production"):
        made = Deployed(
            version=RegistryURI(name="iris", version="1"),
            image=IMAGE,
            environment=environment,
            time="2026-11-26T10:00:00Z",
        )
        assert write(made, store[0], None, recorder)
    assert recorder.warnings == []
    (facts,) = version_facts("iris", ("1",), store[0], None)
    assert facts.tags == {
        "servegen.image": IMAGE,
        "servegen.environments.production": f"2026-11-26T10:00:00Z {IMAGE}",
        "servegen.environments.staging": f"2026-11-26T10:00:00Z {IMAGE}",
    }


def test_a_version_that_cannot_be_tagged_is_a_warning_that_says_why(store):
    recorder = Recorder()
    absent = Deployed(
        version=RegistryURI(name="iris", version="99"),
        image=IMAGE,
        environment="staging",
        time="2026-11-26T10:00:00Z",
        commit="a1b2",
    )
    assert not write(absent, store[0], None, recorder)
    (warning,) = recorder.warnings
    assert "models:/iris/99 got no tags" in warning
    assert "not found" in warning
    assert "--no-tags" in warning


def test_a_version_that_was_overwritten_in_place_has_another_digest(store, tmp_path):
    options = StoreOptions(tracking_uri=store[0], registry_uri=None, cache=tmp_path)
    pin = resolve("models:/iris/2", options, Silent()).pin
    assert content_digest("iris", "2", options) == pin.digest
    newest = max(store[1].glob("artifacts/models/m-*/artifacts"), key=lambda one: one.stat().st_ctime_ns)
    (newest / "requirements.txt").write_text("mlflow==3.17.1")
    assert content_digest("iris", "2", options) != pin.digest
