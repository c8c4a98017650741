"""`python -m servegen.server`: serve the model that the environment names."""

from __future__ import annotations

import gc
import signal
import sys

from servegen.server.boot import boot, make_app


def main() -> int:
    """Serve until a signal ends it; the exit status."""
    # Process 1 of a container ignores it otherwise; nothing is accepted before the server has its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Nothing that is imported is garbage; lifecycle.py begins to look for some when the model is loaded.
    gc.disable()
    try:
        settings = boot()
        app = make_app(settings)
        from servegen.server.hosting import run
        from servegen.server.runtimes import find

        return run(app, find(settings.runtime), settings)
    except (ValueError, OSError) as exc:
        sys.stderr.write(f"servegen: {exc}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
