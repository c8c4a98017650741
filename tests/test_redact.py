"""No login gets out, and what is no login stays."""

import pytest

from servegen.errors import ConfigError
from servegen.redact import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host/x?sig=abc", "https://host/x"),
        ("s3://AKID:secret@bucket/x", "s3://bucket/x"),
        ("https://token@host:8443", "https://host:8443"),
        ("http://me:sec/ret@127.0.0.1:1/simple", "http://127.0.0.1:1/simple"),
        ("http://me:s@cret@host/x", "http://host/x"),
        (
            "request to http://u:p@h:1/api failed, then http://u:p@g/b.",
            "request to http://h:1/api failed, then http://g/b.",
        ),
        ("url (https://h/simple?token=secret): refused", "url (https://h/simple): refused"),
        ("x @ git+https://u:p@github.example/a/b@main", "x @ git+https://github.example/a/b@main"),
        ("--index-url=https://u:p@h/s", "--index-url=https://h/s"),
    ],
)
def test_user_password_and_query_are_removed_from_every_url(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "models:/iris@champion",
        "git+https://github.example/a/b@main",
        "http://[::1]:8080/a@b",
        "http://127.0.0.1:5000/a@b",
        "127.0.0.1:5000/iris@sha256:0",
        "sqlite:////home/me/mlflow.db",
        "is a server at http://127.0.0.1:9? check it",
        "me@host",
    ],
)
def test_what_is_no_login_stays(text):
    assert redacted(text) == text


def test_no_text_of_an_error_holds_a_login():
    error = ConfigError("at http://u:secret@h", hint="see http://u:secret@h", details="a\nhttp://u:secret@h")
    assert "secret" not in f"{error}{error.hint}{error.details}"
