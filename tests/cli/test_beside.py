"""The options that run a new version beside the one that serves."""

import pytest
from click.testing import CliRunner

from servegen.cli import servegen

DEPLOY = ("deploy", "models:/iris/8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*DEPLOY, "--canary", "ten"), "write a share such as 10"),
        ((*DEPLOY, "--canary", "0"), "write a share such as 10"),
        ((*DEPLOY, "--canary", "101"), "write a share such as 10"),
        ((*DEPLOY, "--canary", "50,10", "--analyze", "60"), "rising ones"),
        ((*DEPLOY, "--canary", "10,50"), "needs --analyze"),
        ((*DEPLOY, "--analyze", "60"), "add --canary"),
        ((*DEPLOY, "--canary", "10", "--blue-green"), "choose one"),
        ((*DEPLOY, "--blue-green", "--analyze", "60"), "--blue-green has --keep"),
        ((*DEPLOY, "--canary", "10", "--dry-run"), "no --dry-run"),
        (("promote", "iris"), "--canary or --blue-green"),
        (("rollback", "iris", "--canary", "--blue-green"), "--canary or --blue-green"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_done(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERVEGEN_CACHE_DIR", str(tmp_path))
    done = CliRunner().invoke(servegen, arguments)
    assert done.exit_code == 2, done.output
    assert says in " ".join(done.stderr.split())
