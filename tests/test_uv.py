from servegen.errors import DiskFullError
from servegen.uv import Indexes, source_failure


def test_an_index_is_told_to_uv_where_no_other_user_can_read_it():
    found = Indexes(
        index_url="https://me:secret@a.example/simple",
        extra_index_urls=("https://b.example", "https://c.example"),
        env={"UV_INDEX_URL": "https://old.example", "UV_INDEX": "https://old.example", "PATH": "/bin"},
    )
    assert found.arguments() == []
    assert found.variables() == {
        "PATH": "/bin",
        "UV_DEFAULT_INDEX": "https://me:secret@a.example/simple",
        "UV_INDEX": "https://b.example https://c.example",
    }


def test_without_an_index_of_ones_own_the_environments_stays():
    env = {"UV_DEFAULT_INDEX": "https://a.example", "UV_INDEX": "https://b.example"}
    assert Indexes(env=env).variables() == env


def test_a_login_makes_no_other_identity():
    plain, login = (Indexes(index_url=f"https://{who}a.example/s").identity() for who in ("", "me:secret@"))
    assert plain == login


def test_a_disk_that_uv_finds_full_is_called_so():
    text = "error: Failed to write to the cache\n  Caused by: No space left on device (os error 28)"
    assert isinstance(source_failure(text), DiskFullError)
