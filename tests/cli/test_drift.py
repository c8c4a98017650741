"""What the table of `servegen drift` calls a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from servegen.cli import servegen
from servegen.errors import UncheckedError


def test_one_model_has_its_own_name_and_several_have_those_of_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def names(*arguments: str) -> list[str]:
        done = CliRunner().invoke(servegen, ["drift", "--no-cluster", "--json", *arguments])
        assert isinstance(done.exception, UncheckedError), done.output
        return [one["model"] for one in json.loads(done.stdout)]

    for folder, text in (
        (".", "model: models:/Iris flowers@champion\n"),
        ("a/try", "model: models:/iris@champion\ndeploy: {name: flowers}\n"),
        ("b/try", "model: runs:/0f3c/model\n"),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "servegen.yaml").write_text(text)
    assert names() == ["Iris flowers"]
    assert names("a") == ["flowers"]
    assert names("b/try") == ["try"]
    assert names("a", "b") == ["try", "try"]
    assert names("a/try", "--file", "servegen.yaml") == [tmp_path.name, "try"]
