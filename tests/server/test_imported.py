import subprocess
import sys
import threading
from pathlib import Path

import pytest

from servegen.server.imported import imported


def test_a_module_is_given_when_its_import_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "brought.py").write_text(
        "import slow_gate\nslow_gate.reached.set()\nslow_gate.go_on.wait(30)\nclass Frame: pass\n"
    )
    (tmp_path / "slow_gate.py").write_text(
        "import threading\nreached, go_on = threading.Event(), threading.Event()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import slow_gate

    assert imported("brought") is None
    importing = threading.Thread(target=__import__, args=("brought",))
    importing.start()
    try:
        assert slow_gate.reached.wait(30)
        assert "brought" in sys.modules
        assert imported("brought") is None
    finally:
        slow_gate.go_on.set()
        importing.join()
        found = imported("brought")
        sys.modules.pop("brought"), sys.modules.pop("slow_gate")
    assert found is not None
    assert found.Frame


def test_the_main_module_has_no_spec_and_is_given():
    code = "from servegen.server.imported import imported; assert imported('__main__')"
    subprocess.run([sys.executable, "-c", code], check=True)
