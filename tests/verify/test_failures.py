"""What a failed check tells the user."""

import json
from pathlib import Path

import pytest

from servegen.errors import SandboxError, VerifyError
from servegen.oci.image import ImageConfig, assemble
from servegen.oci.store import Store
from servegen.progress import Silent
from servegen.values.image import Image, ImageRef, Platform, StoredImage
from servegen.verify import Command, VerifyOptions, open_sandbox, replay, verify

PLATFORM = Platform.parse("linux/amd64")


@pytest.fixture
def stored(tmp_path: Path) -> StoredImage:
    """An image without layers: enough for everything but running it."""
    config = ImageConfig(
        platform=PLATFORM, entrypoint=("/usr/bin/python3.11", "-m", "servegen.server"), ports=(3000,)
    )
    descriptor = assemble(Store(tmp_path / "oci"), config, [])
    ref = ImageRef(registry="", repository="iris", tag="1", digest=descriptor.digest)
    return StoredImage(image=Image(ref=ref, platform=PLATFORM), store=tmp_path / "oci")


class Printing:
    """A sandbox in which every program prints the same; no real image fails in all these ways."""

    means = "namespace"
    isolated = True

    def __init__(self, text: str) -> None:
        self.text = text
        self.closed = False

    def argv(self, command: Command) -> list[str]:
        return ["/bin/sh", "-c", f"cat <<'END'\n{self.text}\nEND\nexit 1"]

    def close(self) -> None:
        self.closed = True


def check(stored, tmp_path, monkeypatch, result) -> VerifyError:
    sandbox = Printing(result if isinstance(result, str) else json.dumps(result))
    monkeypatch.setattr(replay, "open_sandbox", lambda *_, **__: _Opened(sandbox))
    options = VerifyOptions(scratch=tmp_path / "run", records=tmp_path / "records", env={})
    with pytest.raises(VerifyError) as caught:
        verify(stored, options, Silent())
    assert not (tmp_path / "records").exists(), "an image that failed is not recorded as tried"
    return caught.value


class _Opened:
    def __init__(self, sandbox: Printing) -> None:
        self.sandbox = sandbox

    def __enter__(self) -> Printing:
        return self.sandbox

    def __exit__(self, *_: object) -> None:
        self.sandbox.close()


def test_a_difference_shows_both_values_and_the_place(stored, tmp_path, monkeypatch):
    difference = {"path": "predictions[0]", "served": 1, "expected": 2}
    error = check(stored, tmp_path, monkeypatch, {"ok": False, "difference": difference})
    assert "the image answers 1, in-process predict answers 2 (at predictions[0])" in str(error)


def test_a_missing_module_is_named_in_the_hint(stored, tmp_path, monkeypatch):
    result = {
        "ok": False,
        "error": "ModuleNotFoundError: No module named 'lightgbm'",
        "log_tail": ["one", "two"],
    }
    error = check(stored, tmp_path, monkeypatch, result)
    assert "--add-requirement lightgbm" in error.hint
    assert error.details == "one\ntwo"


def test_a_check_that_dies_without_a_word_is_a_failure(stored, tmp_path, monkeypatch):
    assert "without a result" in str(check(stored, tmp_path, monkeypatch, ""))


def test_a_means_that_is_not_here_says_why(stored, tmp_path):
    config = replay.image_config(stored)
    with (
        pytest.raises(SandboxError) as caught,
        open_sandbox(
            stored, config, scratch=tmp_path / "run", env={"PATH": ""}, progress=Silent(), means="podman"
        ),
    ):
        pass
    assert "podman: not installed" in caught.value.details
    assert "--no-verify" in caught.value.hint


def test_an_unknown_means_is_refused(stored, tmp_path):
    config = replay.image_config(stored)
    with (
        pytest.raises(SandboxError),
        open_sandbox(stored, config, scratch=tmp_path / "run", env={}, progress=Silent(), means="magic"),
    ):
        pass


@pytest.mark.parametrize(
    "record", ["", "[]", '{"means": 3}', '{"means": "chroot", "load_seconds": "1"}', "[" * 100_000]
)
def test_a_damaged_record_is_not_taken_for_a_result(stored, tmp_path, monkeypatch, record):
    records = tmp_path / "records"
    records.mkdir()
    (records / f"{stored.image.ref.digest.removeprefix('sha256:')}.json").write_text(record)
    sandbox = Printing(json.dumps({"ok": False, "error": "was run"}))
    monkeypatch.setattr(replay, "open_sandbox", lambda *_, **__: _Opened(sandbox))
    options = VerifyOptions(scratch=tmp_path / "run", records=records, env={})
    with pytest.raises(VerifyError, match="was run"):
        verify(stored, options, Silent())
