import json

from click.testing import CliRunner

from servegen.cli import servegen
from servegen.config import read, schema


def test_the_starter_is_read_back_with_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = 'models:/Fraud "Détection": {{x}} # 1@champion'
    done = CliRunner().invoke(servegen, ["init", uri, "--image", "ghcr.io/me/fraud"])
    assert done.exit_code == 0
    config = read(tmp_path / "servegen.yaml")
    assert config.model == uri
    assert config.image == "ghcr.io/me/fraud"


def test_editors_find_the_schema_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(servegen, ["init", "models:/iris/1"])
    (first, *_) = (tmp_path / "servegen.yaml").read_text().splitlines()
    named = tmp_path / first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads(named.read_text()) == schema()
    printed = CliRunner().invoke(servegen, ["schema"]).stdout
    assert json.loads(printed) == schema()


def test_an_existing_file_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "servegen.yaml").write_text("mine")
    done = CliRunner().invoke(servegen, ["init", "models:/iris/1"])
    assert done.exit_code != 0
    assert (tmp_path / "servegen.yaml").read_text() == "mine"
