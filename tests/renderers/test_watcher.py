from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from servegen.cli import servegen
from servegen.errors import ConfigError, RenderError
from servegen.kube import restricted, strict
from servegen.kube.versions import NEWEST, OLDEST
from servegen.planning.watcher import LIMIT, plan
from servegen.renderers.watcher import build, render, stream
from servegen.values.network import Peer

FILES = {
    ".": "model: models:/a@live\n",
    "b/c": "model: models:/b@live\n",
    "b-c": "x: {{ }} ': \\n",
    "é": "#\n",
}


def watcher(**changes):
    given = {
        "image": "ghcr.io/me/servegen:1",
        "name": None,
        "namespace": "ml",
        "deploys_to": (None, "other"),
        "schedule": None,
        "ingress": None,
        "kube_version": None,
    }
    texts = changes.pop("texts", FILES)
    return plan(texts, **(given | changes))


def kinds(objects):
    return [one["kind"] for one in objects]


def of_kind(objects, kind):
    return next(one for one in objects if one["kind"] == kind)


def pod(objects):
    found = restricted.pod_spec(objects[-1])
    assert found is not None
    return found


def test_a_receiver_is_a_deployment_behind_a_service():
    objects = build(watcher())
    assert kinds(objects) == [
        "ServiceAccount",
        "ConfigMap",
        "Role",
        "RoleBinding",
        "Role",
        "RoleBinding",
        "Service",
        "Deployment",
    ]
    (container,) = pod(objects)["containers"]
    assert container["args"][-2:] == ["--listen", "0.0.0.0:8080"]
    assert objects[-1]["spec"]["strategy"] == {"type": "Recreate"}


def test_a_schedule_makes_it_a_cron_job_that_looks_once():
    objects = build(watcher(schedule="*/10 * * * *"))
    assert kinds(objects)[-1] == "CronJob"
    assert "Service" not in kinds(objects)
    spec = objects[-1]["spec"]
    assert (spec["schedule"], spec["concurrencyPolicy"]) == ("*/10 * * * *", "Forbid")
    (container,) = pod(objects)["containers"]
    assert container["args"][-1] == "--once"
    assert "livenessProbe" not in container


@pytest.mark.parametrize(
    "schedule",
    ["0,30 8-18/2 ? jan-MAR mon-fri", "*/10 0 1 1 0", "59 23 31 12 6", "5/15 * * * SUN", "@midnight"],
)
def test_schedules_as_kubernetes_takes_them(schedule):
    assert build(watcher(schedule=schedule))[-1]["spec"]["schedule"] == schedule


def test_who_only_commits_gets_no_rights_in_the_cluster():
    objects = build(watcher(deploys_to=()))
    assert not {"Role", "RoleBinding"} & set(kinds(objects))
    assert pod(objects)["automountServiceAccountToken"] is False


def test_rights_are_roles_of_the_namespaces_that_are_deployed_to():
    objects = build(watcher())
    assert [one["metadata"]["namespace"] for one in objects if one["kind"] == "Role"] == ["ml", "other"]
    rules = of_kind(objects, "Role")["rules"]
    assert not any("*" in (*one["verbs"], *one["resources"], *one["apiGroups"]) for one in rules)
    assert not any("secrets" in one["resources"] for one in rules)
    subjects = [one["subjects"] for one in objects if one["kind"] == "RoleBinding"]
    assert subjects == [[{"kind": "ServiceAccount", "name": "servegen-watch", "namespace": "ml"}]] * 2


def test_every_file_is_mounted_where_it_was_and_the_pod_follows_changes():
    objects = build(watcher())
    data = of_kind(objects, "ConfigMap")["data"]
    mounts = {
        one["mountPath"]: data[one["subPath"]]
        for one in pod(objects)["containers"][0]["volumeMounts"]
        if "subPath" in one
    }
    assert mounts == {
        "/models/servegen.yaml": FILES["."],
        "/models/b/c/servegen.yaml": FILES["b/c"],
        "/models/b-c/servegen.yaml": FILES["b-c"],
        "/models/é/servegen.yaml": FILES["é"],
    }
    assert all(key.isascii() and not key.startswith("..") and len(key) < 254 for key in data)
    changed = build(watcher(texts={**FILES, ".": "model: models:/a@other\n"}))
    assert changed[-1]["spec"]["template"]["metadata"] != objects[-1]["spec"]["template"]["metadata"]


def test_secrets_are_named_and_never_written():
    spec = pod(build(watcher()))
    assert spec["containers"][0]["envFrom"] == [{"secretRef": {"name": "servegen-watch"}}]
    assert [one["secret"]["secretName"] for one in spec["volumes"] if "secret" in one] == [
        "servegen-watch-registry"
    ]
    assert "Secret" not in kinds(build(watcher()))


def test_a_network_policy_lets_in_whom_it_names():
    policy = of_kind(build(watcher(ingress=("mlflow", "10.1.0.0/16"))), "NetworkPolicy")["spec"]
    assert watcher(ingress=("mlflow",)).ingress == (Peer(namespace="mlflow"),)
    assert len(policy["ingress"][0]["from"]) == 3
    closed = of_kind(build(watcher(ingress=(), schedule="@hourly")), "NetworkPolicy")["spec"]
    assert closed["ingress"] == []


@pytest.mark.parametrize("version", [str(OLDEST), str(NEWEST)])
@pytest.mark.parametrize("schedule", [None, "@daily"])
def test_objects_are_valid_restricted_and_read_back_as_written(version, schedule):
    made = watcher(kube_version=version, schedule=schedule, ingress=("mlflow",))
    objects = build(made)
    assert [strict.problems(one, made.kube_version) for one in objects] == [()] * len(objects)
    assert restricted.violations_of(objects) == ()
    assert list(yaml.safe_load_all(stream(made))) == list(objects)
    assert set(render(made).paths) >= {"configmap.yaml", "role.yaml", "role-other.yaml"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image": None}, "no image of servegen"),
        ({"image": "ghcr.io/me/servegen"}, "another image tomorrow"),
        ({"image": "ghcr.io/me/servegen:latest"}, "another image tomorrow"),
        ({"image": "UPPER"}, "is not an image reference"),
        ({"namespace": None}, "no namespace is named"),
        ({"namespace": "A b"}, "'A b'"),
        ({"name": "x y"}, "'x y' cannot name"),
        ({"schedule": "* * *"}, "'\\* \\* \\*' is no schedule"),
        ({"schedule": "* * * * *\nx"}, "is no schedule"),
        *(
            ({"schedule": text}, "is no schedule")
            for text in (
                "60 * * * *",
                "* 24 * * *",
                "* * 0 * *",
                "* * * 13 *",
                "* * * * 7",
                "*/0 * * * *",
                "5-1 * * * *",
                "* * L * *",
                "* * * * 1#2",
                "* * * may-x *",
                "a * * * *",
                "*  * * *",
                "@often",
                "1,,2 * * * *",
            )
        ),
        ({"texts": {"a:b": "x"}}, "a:b has a colon"),
        ({"ingress": ("not a namespace",)}, "not a namespace"),
        ({"texts": {".": "x" * LIMIT, "a": "y"}}, "KiB together"),
    ],
)
def test_what_cannot_be_is_refused_with_what_it_is(changes, text):
    with pytest.raises(RenderError, match=text):
        watcher(**changes)


def test_a_change_of_mind_takes_the_other_files_away(tmp_path: Path):
    (tmp_path / "servegen.yaml").write_text("model: models:/a@live\ngit: {repo: ../config}\n")
    base = ["render", str(tmp_path), "--format", "watcher", "--watcher-image", "a/b:1", "-n", "ml"]
    out = tmp_path / "out"
    assert CliRunner().invoke(servegen, [*base, "-o", str(out)]).exit_code == 0
    names = {one.name for one in out.iterdir()}
    assert names == {"serviceaccount.yaml", "configmap.yaml", "service.yaml", "deployment.yaml"}
    assert (
        CliRunner().invoke(servegen, [*base, "-o", str(out), "--watcher-schedule", "@daily"]).exit_code == 0
    )
    assert {one.name for one in out.iterdir()} == {"serviceaccount.yaml", "configmap.yaml", "cronjob.yaml"}
    unread = CliRunner().invoke(servegen, [*base, "--gitops", "argo"])
    assert (unread.exit_code, "--gitops does nothing" in unread.output) == (2, True)
    wrong = CliRunner().invoke(servegen, ["render", "x/y:1", "--watcher-schedule", "@daily"])
    assert (wrong.exit_code, "add --format watcher" in wrong.output) == (2, True)


def test_only_the_environment_that_was_named_is_followed(tmp_path: Path):
    for name, environments in (
        ("iris", "{staging: {deploy: {namespace: s}}, live: {}}"),
        ("wine", "{live: {}}"),
    ):
        (tmp_path / name).mkdir()
        text = f"model: models:/{name}@live\nenvironments: {environments}\n"
        (tmp_path / name / "servegen.yaml").write_text(text)
    base = ["render", str(tmp_path), "--format", "watcher", "--watcher-image", "a/b:1", "-n", "ml"]

    def rendered(*more: str) -> tuple[list[str], list[str]]:
        done = CliRunner().invoke(servegen, [*base, *more])
        objects = list(yaml.safe_load_all(done.stdout))
        places = [one["metadata"]["namespace"] for one in objects if one["kind"] == "Role"]
        return places, pod(objects)["containers"][0]["args"]

    assert rendered("--env", "staging")[0] == ["s"]
    assert rendered("--env", "staging")[1][-4:-2] == ["--env", "staging"]
    assert rendered()[0] == ["ml", "s"]
    assert "--env" not in rendered()[1]
    unknown = CliRunner().invoke(servegen, [*base, "--env", "qa"]).exception
    assert isinstance(unknown, ConfigError)
    assert "no servegen.yaml has the environment 'qa'" in str(unknown)
    (tmp_path / "wine/servegen.yaml").write_text("model: [1]\n")
    spoilt = CliRunner().invoke(servegen, base).exception
    assert isinstance(spoilt, ConfigError)
    assert str(spoilt).startswith(f"in {tmp_path / 'wine'}: ")
