"""A package index that wants a login: it is used, and it is written nowhere."""

import pytest

from servegen.builders.wheels import install
from servegen.errors import LockError
from servegen.job import indexes, serving
from servegen.lockers import lock, merged_requirements
from servegen.lockers.lockfile import dump
from servegen.locking import lock_options, tell_of_sources
from servegen.values.lock import Lock, PlatformLock
from tests.distributions import sdist, wheel

USER, PASSWORD = "deploy-user", "s3cr3t-Pa55w0rd"


class Log:
    """Keeps all that a user could see."""

    def __init__(self):
        self.lines = []

    def step(self, text):
        self.lines.append(text)

    warn = step

    def program(self, argv):
        self.lines.extend(argv)

    def bytes(self, task, done, total):
        self.lines.append(task)


def by_url(index, folder):
    return {}, {"index_url": index.url_with(f"{USER}:{PASSWORD}")}


def by_extra_url(index, folder):
    return {}, {"index_url": index.url, "extra_index_urls": (index.url_with(f"{USER}:{PASSWORD}"),)}


def by_named_variables(index, folder):
    env = {"UV_INDEX_OURS_USERNAME": USER, "UV_INDEX_OURS_PASSWORD": PASSWORD}
    return env, {"extra_index_urls": (f"ours={index.url}",)}


def by_netrc(index, folder):
    netrc = folder.cache / "netrc"
    netrc.parent.mkdir(exist_ok=True)
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    netrc.chmod(0o600)
    return {"NETRC": str(netrc)}, {"index_url": index.url}


def by_pips_settings(index, folder):
    return {"PIP_INDEX_URL": index.url_with(f"{USER}:{PASSWORD}")}, {}


def by_the_models_own_variables(index, folder):
    text = (folder.path / "requirements.txt").read_text()
    url = index.url_with("${INDEX_USER}:${INDEX_TOKEN}")
    folder.write("requirements.txt", f"--index-url {url}\n{text}")
    return {"INDEX_USER": USER, "INDEX_TOKEN": PASSWORD}, {}


WAYS = [by_url, by_extra_url, by_named_variables, by_netrc, by_pips_settings, by_the_models_own_variables]


@pytest.mark.parametrize("way", WAYS)
def test_a_login_is_used_and_is_in_no_lock_log_argument_wheel_or_cache(folder, index, tmp_path, way):
    index.login = f"{USER}:{PASSWORD}"
    wheel(index.folder, "private_wheel"), sdist(index.folder, "private_source")
    folder.write("requirements.txt", "mlflow==3.17.2\nprivate-wheel\nprivate-source\n")
    env, values = way(index, folder)
    given = {"UV_DEFAULT_INDEX": index.url} if way is by_named_variables else {}
    (tmp_path / "out").mkdir()
    job, model, log = folder.job(env | given, **values), folder.model(), Log()
    locked = lock(merged_requirements(model, serving(job.config)), model, lock_options(job, model), log)
    install(locked.packages, locked, indexes(job, model), tmp_path / "out/tree", log)
    assert {"private_wheel.py", "private_source.py"} <= {p.name for p in (tmp_path / "out/tree").glob("*.py")}
    whole = Lock(pin=model.pin, platforms=(PlatformLock(environment=locked, base=()),))
    seen = [*log.lines, dump(whole), locked.inputs]
    assert not [text for text in seen if PASSWORD in text or USER in text]
    files = [p for top in (folder.cache, tmp_path / "out") for p in top.rglob("*") if p.is_file()]
    found = [p for p in files if PASSWORD.encode() in p.read_bytes() and p.name != "netrc"]
    assert found == []
    assert len(files) > 20


@pytest.mark.parametrize("login", [None, f"{USER}:wrong-{PASSWORD}"])
def test_an_index_that_refuses_is_named_without_the_login(folder, index, login):
    index.login = f"{USER}:{PASSWORD}"
    url = index.url_with(login) if login else index.url
    with pytest.raises(LockError, match=r"wants a login \(HTTP 401\)") as caught:
        folder.lock(index_url=url)
    error = caught.value
    assert index.url.removesuffix("/simple") in str(error)
    assert PASSWORD not in f"{error} {error.hint} {error.details}"
    assert "UV_INDEX_<NAME>_USERNAME" in error.hint


def test_a_login_in_the_models_own_files_is_refused_since_they_are_in_the_image(folder, index):
    folder.write("requirements.txt", f"--extra-index-url {index.url_with('me:hunter2')}\nmlflow==3.17.2\n")
    with pytest.raises(LockError, match="hold the login of a package index") as caught:
        folder.lock(index_url=index.url)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(LockError, match="hold the login of a package index"):
        folder.lock(wheelhouses=(str(folder.path),))


def test_a_variable_that_is_not_set_is_named(folder, index):
    url = index.url_with("me:${INDEX_TOKEN}")
    folder.write("requirements.txt", f"--index-url {url}\nmlflow==3.17.2\n")
    with pytest.raises(LockError, match=r"\$\{INDEX_TOKEN\}, which is not set"):
        folder.lock()


def test_indexes_of_the_model_add_to_those_of_this_machine(folder, index, tmp_path, versions):
    folder.write("requirements.txt", f"--extra-index-url {index.url}\nmlflow==3.17.2\n")
    empty = index.url.replace("/simple", "/none")
    assert versions(folder.lock({"UV_INDEX": empty, "UV_DEFAULT_INDEX": empty}))["mlflow-skinny"] == "3.17.2"


def test_an_index_named_on_the_command_line_comes_before_the_models(folder, index, versions):
    folder.write("requirements.txt", "--index-url http://127.0.0.1:9/simple\nmlflow==3.17.2\n")
    assert versions(folder.lock(index_url=index.url))["mlflow-skinny"] == "3.17.2"


def test_a_folder_of_wheels_leaves_the_models_indexes_alone(folder, distributions, versions):
    folder.write("requirements.txt", "--index-url http://127.0.0.1:9/simple\nmlflow==3.17.2\n")
    assert versions(folder.lock(wheelhouses=(str(distributions),)))["mlflow-skinny"] == "3.17.2"


def test_a_login_on_the_command_line_is_warned_of_without_showing_it(folder, index):
    log = Log()
    job = folder.job(extra_index_urls=(index.url_with(f"{USER}:{PASSWORD}"),))
    tell_of_sources(job, folder.model(), log)
    assert any("login in the URL" in line for line in log.lines)
    assert PASSWORD not in " ".join(log.lines)


def test_what_replaces_condas_packages_is_told(folder, index):
    log = Log()
    folder.write("conda.yaml", "dependencies:\n- python=3.11.7\n- pytorch=2.1\n")
    tell_of_sources(folder.job(conda_map={"PyTorch": "torch"}), folder.model(), log)
    assert log.lines == ["from the package index instead of conda: torch==2.1.*"]
