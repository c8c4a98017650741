"""Many more bodies than the tests send: `python -m tests.server.differential.run --bodies 20000 --seed 7`."""

import argparse
import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature

from tests.server.differential.bodies import Request, requests
from tests.server.differential.pair import Pair, deviation, pair, save
from tests.server.differential.signatures import SIGNATURES


def compare(
    both: Pair,
    bodies: st.SearchStrategy[Request],
    signature: ModelSignature | None,
    *,
    count: int,
    start: int,
) -> Counter[str]:
    """Send generated requests to both servers; how often each deviation showed."""
    seen: Counter[str] = Counter()

    @seed(start)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(bodies)
    def one(request: Request) -> None:
        theirs = both.mlflow(request)
        seen[deviation(request, signature, both.ours(request), theirs) or "same"] += 1
        seen["answered"] += theirs.status == 200

    one()
    return seen


def main() -> int:
    """Compare every model; exit status 1 when one differs, with the smallest request found for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    logging.disable()
    warnings.simplefilter("ignore")
    total: Counter[str] = Counter()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, signature) in enumerate(SIGNATURES.items()):
            path = save(Path(folder) / str(number), signature)
            # Access lines go to stderr.
            with contextlib.redirect_stderr(io.StringIO()), pair(path) as both:
                try:
                    total += compare(
                        both,
                        requests(signature),
                        signature,
                        count=-(-args.bodies // len(SIGNATURES)),
                        start=args.seed,
                    )
                except AssertionError as exc:
                    failed += 1
                    print(f"{name}: {exc}\n")
    print(dict(total))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
