import os

import pytest

from servegen.config import Config, environment, find, read
from servegen.errors import ConfigError
from servegen.job import lock_file


def write(tmp_path, text):
    file = tmp_path / "servegen.yaml"
    file.write_text(text)
    return file


def test_an_empty_file_means_the_defaults(tmp_path):
    assert read(write(tmp_path, "")) == Config()


def test_values_arrive_with_their_types(tmp_path):
    config = read(
        write(
            tmp_path,
            "model: models:/iris@champion\npython: 3.10\nrequirements: [a==1, b]\nallow_no_signature: yes\n"
            "deploy:\n  replicas: 3\n  labels: {team: 007}\n  autoscaling: {min_replicas: 1}\n"
            "  tolerations:\n  - {key: gpu, operator: Exists}\n",
        )
    )
    assert config.python == "3.10"
    assert config.requirements == ("a==1", "b")
    assert config.allow_no_signature is True
    assert config.deploy.replicas == 3
    assert config.deploy.labels == {"team": "007"}
    assert config.deploy.autoscaling.min_replicas == 1
    assert config.deploy.tolerations[0].key == "gpu"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modell: x", "servegen.yaml:1: unknown key 'modell'"),
        ("model: x\nmodel: y", "servegen.yaml:2: 'model' is given twice"),
        ("- a", "the file must be a mapping"),
        ("model: [a]", "model must be text, not a list"),
        ("deploy:\n  replicas: many", "servegen.yaml:2: deploy.replicas must be a whole number, not 'many'"),
        ("deploy:\n  dev: maybe", "deploy.dev must be true or false"),
        ("requirements: a", "requirements must be a list"),
        ("deploy:\n  labels: [a]", "deploy.labels must be a mapping"),
        ("a: [", "servegen.yaml:1"),
        ("model: null\nbuilder: null", "builder must be text"),
        ("deploy:\n  replicas: 0777", "servegen.yaml:2: deploy.replicas must be a whole number, not '0777'"),
        ("deploy: {replicas: 1:30}", "deploy.replicas must be a whole number"),
        ("deploy: {replicas: !!int abc}", "deploy.replicas must be a whole number"),
        ("deploy: {dev: !!bool maybe}", "deploy.dev must be true or false"),
        ("deploy: !!python/object:os.system {}", "has the tag tag:yaml.org,2002:python/object:os.system"),
        ("model: !secret x", "servegen.yaml:1: model has the tag !secret"),
        ("[" * 5000, "nested too deeply"),
        ("deploy: {affinity: &a {x: *a}}", "refers to what it is in"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        read(write(tmp_path, text))
    assert message in str(caught.value)
    assert caught.value.hint


def test_the_cache_follows_the_environment(tmp_path):
    assert environment({"HOME": "/h"}).cache.as_posix() == "/h/.cache/servegen"
    assert environment({"HOME": "/h", "XDG_CACHE_HOME": "/c"}).cache.as_posix() == "/c/servegen"
    assert environment({"HOME": "/h", "SERVEGEN_CACHE_DIR": "/s"}).cache.as_posix() == "/s"


def test_tokens_of_forges_are_those_that_their_own_tools_read_and_ours_is_for_all():
    own = {"GH_TOKEN": "hub", "GITLAB_TOKEN": " lab\n", "GITEA_TOKEN": ""}
    found = environment(own)
    assert found.forge_tokens == {"github": "hub", "gitlab": "lab"}
    assert environment({**own, "GITHUB_TOKEN": "first"}).forge_tokens["github"] == "first"
    ours = environment({**own, "SERVEGEN_FORGE_TOKEN": "ours"})
    assert ours.forge_tokens == dict.fromkeys(("github", "gitlab", "gitea"), "ours")
    # No program that is started gets it, and no message shows it.
    assert "SERVEGEN_FORGE_TOKEN" not in ours.variables
    assert "ours" not in repr(ours)


def test_an_index_that_pip_is_set_to_is_used_by_uv_too(tmp_path):
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://index.example/simple\n")
    found = environment({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})
    assert found.variables["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    own = environment(
        {"HOME": str(tmp_path), "PIP_INDEX_URL": "https://a.example", "UV_DEFAULT_INDEX": "https://b.example"}
    )
    assert own.variables["UV_DEFAULT_INDEX"] == "https://b.example"


def test_registry_logins_are_looked_for_where_docker_and_podman_keep_them():
    files = environment(
        {"HOME": "/h", "DOCKER_CONFIG": "/d", "REGISTRY_AUTH_FILE": "/r", "XDG_RUNTIME_DIR": "/x"}
    )
    assert [str(f) for f in files.credential_files] == [
        "/r",
        "/d/config.json",
        "/x/containers/auth.json",
        "/h/.config/containers/auth.json",
    ]


def test_certificates_of_registries_are_looked_for_where_docker_and_podman_keep_them():
    folders = environment({"HOME": "/h", "DOCKER_CONFIG": "/d"}).certificate_folders
    assert [str(folder.parent) for folder in folders] == [
        "/etc/docker",
        "/d",
        "/h/.config/docker",
        "/etc/containers",
        "/h/.config/containers",
    ]


def test_a_folder_without_servegen_yaml_has_none(tmp_path):
    assert find(tmp_path) is None


@pytest.mark.parametrize(
    "put", [lambda p: p.mkdir(), os.mkfifo, lambda p: p.symlink_to("absent")], ids=["folder", "pipe", "link"]
)
def test_a_servegen_yaml_that_is_no_file_is_not_passed_over(tmp_path, put):
    put(tmp_path / "servegen.yaml")
    with pytest.raises(ConfigError, match="is no file"):
        find(tmp_path)


ENVIRONMENTS = """\
model: models:/iris@champion
deploy:
  namespace: models
  resources: {cpu: 500m, memory: 1Gi}
  image_pull_secrets: [a, b]
  env: {LEVEL: info, MODE: fast}
environments:
  staging: {}
  prod:
    model: models:/iris@prod
    deploy:
      resources: {memory: 2Gi}
      image_pull_secrets: [c]
      env: {LEVEL: warn}
  alone:
    deploy: {environment: null, namespace: iris}
"""


def test_an_environment_changes_what_it_names_and_nothing_else(tmp_path):
    config = read(write(tmp_path, ENVIRONMENTS), "prod")
    assert config.model == "models:/iris@prod"
    assert config.deploy.environment == "prod"
    assert config.deploy.namespace == "models"
    assert (config.deploy.resources.cpu, config.deploy.resources.memory) == ("500m", "2Gi")
    assert config.deploy.image_pull_secrets == ("c",)
    assert config.deploy.env == {"LEVEL": "warn", "MODE": "fast"}


def test_without_an_environment_the_file_is_read_as_it_is(tmp_path):
    config = read(write(tmp_path, ENVIRONMENTS))
    assert (config.model, config.deploy.environment) == ("models:/iris@champion", None)


def test_an_environment_may_leave_names_as_they_are(tmp_path):
    deploy = read(write(tmp_path, ENVIRONMENTS), "alone").deploy
    assert (deploy.environment, deploy.namespace) == (None, "iris")


def test_a_file_without_environments_takes_any_as_part_of_the_name(tmp_path):
    assert read(write(tmp_path, "model: x"), "qa").deploy.environment == "qa"
    assert read(write(tmp_path, ""), "qa").deploy.environment == "qa"


def test_an_unknown_environment_is_refused_with_those_that_exist(tmp_path):
    with pytest.raises(ConfigError, match="has no environment 'prd'") as caught:
        read(write(tmp_path, ENVIRONMENTS), "prd")
    assert caught.value.hint == "those it has: staging, prod, alone"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("environments:\n  prod:\n    apt: [x]", "servegen.yaml:3: unknown key 'environments.prod.apt'"),
        (
            "environments:\n  prod:\n    deploy: {replicas: many}",
            "servegen.yaml:3: environments.prod.deploy.replicas must be a whole number",
        ),
        ("environments: [prod]", "environments must be a mapping"),
    ],
)
def test_a_mistake_in_an_environment_is_named_where_it_stands_whichever_is_chosen(tmp_path, text, message):
    for chosen in (None, "staging"):
        with pytest.raises(ConfigError) as caught:
            read(write(tmp_path, text), chosen)
        assert message in str(caught.value)


def test_only_an_environment_with_another_image_has_a_lock_of_its_own(tmp_path):
    path = write(tmp_path, ENVIRONMENTS)
    config = read(path)
    names = {name: lock_file(path, config, name).name for name in (None, "staging", "prod", "alone")}
    assert names == {
        None: "servegen.lock",
        "staging": "servegen.lock",
        "prod": "servegen.prod.lock",
        "alone": "servegen.lock",
    }


RAW = """\
deploy:
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: "8e1", readOnly: true}
  - name: files
    configMap: {name: v1.35.2, defaultMode: 288}
  patches:
  - kind: Service
    spec: {type: null, ports: [{port: 80, name: "yes"}]}
"""


def test_parts_of_objects_are_taken_as_they_are_written(tmp_path):
    deploy = read(write(tmp_path, RAW)).deploy
    assert deploy.volumes == (
        {"name": "data", "persistentVolumeClaim": {"claimName": "8e1", "readOnly": True}},
        {"name": "files", "configMap": {"name": "v1.35.2", "defaultMode": 288}},
    )
    ports = [{"port": 80, "name": "yes"}]
    assert deploy.patches == ({"kind": "Service", "spec": {"type": None, "ports": ports}},)


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ("0440", "deploy.volumes[0].x[0] is 0440, which", "write 288"),
        ("0o440", "is 0o440", "write 288"),
        ("1.5", "is 1.5", 'quote it where text is meant: "1.5"'),
        ("8e1", "is 8e1", "quote it"),
        ("1_000", "is 1_000", "quote it"),
        ("1:30", "is 1:30", "quote it"),
        ("yes", "is yes", "write true or false, or quote it"),
        ("2026-01-02", "is 2026-01-02", "quote it"),
        (".nan", "is .nan", "quote it"),
        ("null", "must be a value", ""),
        ("!!python/name:os.system x", "has the tag", ""),
        ("!!binary aGk=", "has the tag", ""),
        ("!!float 1", "has the tag", ""),
    ],
)
def test_parts_of_objects_that_yaml_readers_disagree_about_are_refused(tmp_path, value, message, hint):
    with pytest.raises(ConfigError) as caught:
        read(write(tmp_path, f"deploy:\n  volumes:\n  - x: [{value}]\n"))
    assert "servegen.yaml:3: " in str(caught.value)
    assert message in str(caught.value)
    assert hint in caught.value.hint
