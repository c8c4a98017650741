"""Writes manifests/: what servegen renders for the examples, so that a review shows what a change does to it.

The images are not built for this: their digests are placeholders, all else is what `servegen render` writes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from servegen.config import read
from servegen.planning.deployment import plan
from servegen.renderers import formats, renderer
from servegen.targets.directory import write
from servegen.values.image import LABEL, Image, ImageRef, Platform

HERE = Path(__file__).resolve().parent
EXAMPLES = {"iris": {"inputs": [[5.1, 3.5, 1.4, 0.2]]}}
"""Example → a request to it."""


def main(target: Path) -> None:
    """Render every example in every format below `target`."""
    for name, example in EXAMPLES.items():
        config = read(HERE / name / "servegen.yaml")
        facts = {
            "model-name": name,
            "pin": f"models:/{name}/1",
            "model-version": "1",
            "run-id": hashlib.sha256(f"run of {name}".encode()).hexdigest()[:32],
            "model-digest": "sha256:" + hashlib.sha256(f"model {name}".encode()).hexdigest(),
            "example": json.dumps(example),
        }
        digest = "sha256:" + hashlib.sha256(f"image of {name}".encode()).hexdigest()
        image = Image(
            ref=ImageRef(registry="registry.example.com", repository=f"ml/{name}", tag="1", digest=digest),
            platform=Platform.parse(config.platform),
            labels=tuple(sorted((LABEL + k, v) for k, v in facts.items())),
            asked=config.model,
        )
        for format_name in formats():
            bundle = renderer(format_name).render(plan(image, config.deploy))
            write(bundle, target / name / format_name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "manifests")
