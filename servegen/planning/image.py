"""Model, lock, base and runtime → ImagePlan. Pure: the same values give the same plan and the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from servegen.planning.bytecode import policy
from servegen.planning.untested import TESTED
from servegen.values.image import LABEL, MODEL, Base, ImagePlan, LayerPlan, Platform
from servegen.values.lock import EnvironmentLock, LockedPackage
from servegen.values.model import Model, TreeFile

FORMAT = "1"
"""Part of every layer key; raise it when the rules change by which inputs become layers."""
OWN_LAYER, BUCKETS = 12, 12
"""The biggest wheels get a layer each, the others share buckets by name: a bumped package moves little."""

BASE_DIGEST = "org.opencontainers.image.base.digest"
SITE = "opt/servegen/site-packages"
BIN = "opt/servegen/bin"
APP = "srv/app"
EXAMPLE_LIMIT, SIGNATURE_LIMIT = 4096, 16384
"""Longer ones do not fit a label that registries and manifests carry around."""


def plan(
    model: Model,
    lock: EnvironmentLock,
    base: Base,
    runtime: str,
    code: Sequence[TreeFile],
    compressor: str,
    variables: Iterable[tuple[str, str]] = (),
    *,
    keep_tests: bool = False,
    bytecode: str | None = None,
) -> ImagePlan:
    """What the image of `model` consists of; `code` lists the server's files, `variables` its settings.

    `bytecode` is the build of the Python that makes the bytecode, where that is not the base's own.
    """
    settings = tuple(variables)
    untested = () if keep_tests else TESTED
    compiled = (compressor, f"{policy()}-{base.build if bytecode is None else bytecode}")
    layers = [LayerPlan(name="base", key=key) for key in base.layers]
    layers += [
        LayerPlan(
            name=name,
            key=layer_key(
                "deps",
                lock.target,
                *compiled,
                sorted(p.sha256 for p in packages),
                sorted(p.name for p in packages if p.name in untested),
            ),
            packages=tuple(p.name for p in packages),
        )
        for name, packages in group(lock.packages)
    ]
    layers.append(LayerPlan(name="code", key=layer_key("code", *compiled, _rows(code))))
    layers.append(LayerPlan(name="model", key=layer_key("model", "none", _rows(model.files))))
    return ImagePlan(
        platform=Platform.parse(lock.platform),
        python=base.python,
        layers=tuple(layers),
        env=(*environment(runtime, base), *settings),
        entrypoint=(base.interpreter, "-m", "servegen.server"),
        labels=_labels(model, lock, base, runtime, dict(settings).get("SERVEGEN_GRPC_PORT")),
        untested=untested,
    )


def group(packages: Iterable[LockedPackage]) -> list[tuple[str, tuple[LockedPackage, ...]]]:
    """Layer name → packages; adding a package never moves another one between buckets."""
    by_size = sorted(packages, key=lambda p: (-p.size, p.name))
    groups = [(f"dep:{p.name}", (p,)) for p in by_size[:OWN_LAYER]]
    buckets: dict[int, list[LockedPackage]] = {}
    for package in by_size[OWN_LAYER:]:
        number = int(hashlib.sha256(package.name.encode()).hexdigest(), 16) % BUCKETS
        buckets.setdefault(number, []).append(package)
    return groups + [
        (f"deps:{number:02d}", tuple(sorted(buckets[number], key=lambda p: p.name)))
        for number in sorted(buckets)
    ]


def layer_key(*parts: object) -> str:
    """Equal exactly when the content of a layer is: sha256 of the JSON list of what it is made from."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _rows(files: Iterable[TreeFile]) -> list[list[object]]:
    return sorted([f.path, f.executable, f.sha256] for f in files)


def environment(runtime: str, base: Base | None = None) -> tuple[tuple[str, str], ...]:
    """Variables of every image: those of its base, and ours over them."""
    from_base = dict(base.env) if base else {}
    env = from_base | {
        "PATH": f"/{BIN}:" + from_base.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": "/tmp",  # noqa: S108 - the only writable folder of a container with a read-only root
        "PYTHONPATH": f"/{APP}:/{SITE}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "XDG_CACHE_HOME": "/tmp/cache",  # noqa: S108
        "MPLCONFIGDIR": "/tmp/mpl",  # noqa: S108
        "NUMBA_CACHE_DIR": "/tmp/numba",  # noqa: S108
        "BENTOML_HOME": "/tmp/bentoml",  # noqa: S108
        "BENTOML_DO_NOT_TRACK": "True",
        "_MLFLOW_IS_IN_SERVING_ENVIRONMENT": "true",
        "SERVEGEN_MODEL": f"/{MODEL}",
        "SERVEGEN_RUNTIME": runtime,
        "SERVEGEN_SITE": f"/{SITE}",
    }
    return tuple(env.items())


def _labels(
    model: Model, lock: EnvironmentLock, base: Base, runtime: str, grpc_port: str | None
) -> tuple[tuple[str, str], ...]:
    pin = model.pin
    signature, example = model.signature, _one_line(model.serving_example)
    facts: dict[str, str | None] = {
        "pin": portable(pin.resolved),
        "model-name": pin.name,
        "model-version": pin.version,
        "run-id": pin.run_id,
        "model-id": pin.model_id,
        "model-digest": pin.digest,
        "signature": signature if signature and len(signature) <= SIGNATURE_LIMIT else None,
        "signature-digest": "sha256:" + hashlib.sha256(signature.encode()).hexdigest() if signature else None,
        "example": example if example and len(example) <= EXAMPLE_LIMIT else None,
        "flavors": ",".join(f.name for f in model.flavors),
        "mlflow-version": model.mlflow,
        "python": lock.python,
        "runtime": runtime,
        "accelerated": model.accelerated,
        "grpc-port": grpc_port,
        "lock-digest": "sha256:" + layer_key("lock", sorted(p.sha256 for p in lock.packages)),
    }
    labels = {LABEL + name: value for name, value in facts.items() if value}
    labels |= {name: value for name, value in base_labels(base).items() if value}
    labels["org.opencontainers.image.title"] = pin.name
    labels["org.opencontainers.image.version"] = pin.version or pin.digest
    return tuple(sorted(labels.items()))


def base_labels(base: Base) -> dict[str, str]:
    """What labels say of the base; an empty one is left out of an image."""
    return {
        "org.opencontainers.image.base.name": base.name,
        BASE_DIGEST: base.digest,
        f"{LABEL}glibc": ".".join(map(str, base.glibc)),
        f"{LABEL}apt": " ".join(base.extra),
    }


def portable(uri: str) -> str:
    """`uri`, but of a folder on the build machine only its name."""
    return uri if ":/" in uri and not uri.startswith("file:") else uri.rstrip("/").rpartition("/")[2]


def _one_line(example: str | None) -> str | None:
    return json.dumps(json.loads(example), separators=(",", ":"), ensure_ascii=False) if example else None
