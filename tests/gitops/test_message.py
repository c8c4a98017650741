"""Messages for people, and trailers for programs."""

from dataclasses import replace

import pytest

from servegen.errors import ConfigError
from servegen.gitops import message
from servegen.gitops.releasing import record_of
from tests.kube.deployments import deployment

AFTER = record_of(deployment(environment="prod"))


def test_a_message_has_a_subject_a_sentence_and_trailers():
    before = replace(AFTER, version="6", image=AFTER.image.at("sha256:" + "b" * 64), replicas="2-8")
    subject, _, rest = message.deployed("iris", AFTER, before, ["A note."]).partition("\n\n")
    assert subject == f"chore(iris/prod): deploy {AFTER.pin} @ sha256:{'a' * 12}"
    sentence, note, trailers = rest.split("\n\n")
    assert sentence == f"Version 6 -> {AFTER.version}, image {'b' * 12} -> {'a' * 12}, replicas 2-8 -> 2-10."
    assert note == "A note."
    pairs = dict(line.split(": ", 1) for line in trailers.splitlines())
    assert pairs[message.PIN] == AFTER.pin
    assert pairs[message.IMAGE] == AFTER.image.pinned
    assert pairs[message.ENVIRONMENT] == "prod"
    assert "Servegen-Profile" not in pairs


def test_what_does_not_change_is_said_so():
    assert message.summary(AFTER, None).startswith("First release here")
    assert message.summary(AFTER, AFTER) == "The same model and image, with other settings."


def test_values_are_one_line_and_hold_no_login():
    with pytest.raises(ConfigError, match="line break"):
        message.deployed("iris", replace(AFTER, uri="models:/a\nServegen-Pin: x"), None)
    text = message.deployed("iris", replace(AFTER, uri="https://me:pw@h/" + "x" * 900), None)
    assert "pw" not in text
    assert max(map(len, text.splitlines())) <= len(f"{message.URI}: ") + 500
