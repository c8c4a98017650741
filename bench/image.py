"""Packaging side by side: servegen, mlflow's Dockerfile and BentoML's, the same models, in one run.

    make bench                                  three models, three rounds: an hour
    python bench/image.py --quick               iris, one round: ten minutes

Needs root, buildah, debootstrap, docker-registry, skopeo, a Debian mirror and a package index. Everything is
pushed to a registry on loopback. Prints the bars and all figures; leaves image.json, .txt and .svg in
`--output`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sidebyside import environments, imagepeers, localregistry
from sidebyside.imagepeers import Buildah, Context
from sidebyside.imagereport import Results, table, write
from sidebyside.machine import progress

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MODELS = ("iris", "lightgbm", "big")
BUMPED = ("attrs", "click", "pydantic", "pyyaml", "starlette")
"""Packages of iris's image that are set back to an earlier version, one at a time."""
PROGRAMS = ("buildah", "debootstrap", "docker-registry", "skopeo")


def main() -> None:
    """Measure, print and write."""
    options = arguments()
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        sys.exit(f"bench: apt-get install {' '.join(missing)}")
    options.cache.mkdir(parents=True, exist_ok=True)
    tools = environments.make_packaging(options.cache)
    base = imagepeers.make_base(options.cache)
    with (
        tempfile.TemporaryDirectory(prefix="servegen-bench-", dir=options.scratch) as name,
        localregistry.running(Path(name) / "registry") as host,
    ):
        bench = Bench(work=Path(name), host=host, tools=tools, base=base, results=_empty(options))
        bench.train(options.models)
        for model in options.models:
            with bench.telling(model):
                bench.cold(model, options.rounds)
                bench.changes(model, options.rounds)
        if "iris" in options.models:
            with bench.telling("iris"):
                bench.sizes_and_bumps(BUMPED[:1] if options.quick else BUMPED)
        write(bench.results, options.output)
    print(table(bench.results), end="")
    progress(f"wrote {options.output}/image.json, image.txt and image.svg")
    if bench.results.failures:
        sys.exit(1)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="iris, one round, one dependency")
    parser.add_argument("--models", type=lambda t: t.split(","), help=f"of {','.join(MODELS)}")
    parser.add_argument("--rounds", type=int, help="of everything; medians are shown")
    parser.add_argument("--cache", type=Path, default=ROOT / ".bench", help="environment and the peers' base")
    parser.add_argument("--scratch", type=Path, help="folder on a disk with 20 GB; default: TMPDIR")
    parser.add_argument("--output", type=Path, default=ROOT / ".bench/results", help="where files go")
    options = parser.parse_args()
    options.models = options.models or (MODELS[:1] if options.quick else MODELS)
    options.rounds = options.rounds or (1 if options.quick else 3)
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")
    options.cache, options.output = options.cache.resolve(), options.output.resolve()
    return options


@dataclass(frozen=True, kw_only=True)
class Run:
    """One `servegen package` that came to its end."""

    seconds: float
    reference: str
    peak_bytes: int
    """Of its own process, without the programs that it starts."""


@dataclass(kw_only=True)
class Bench:
    """The folders and the registry of a run, and what it has found."""

    work: Path
    host: str
    tools: Path
    base: Path
    results: Results

    @contextlib.contextmanager
    def telling(self, model: str) -> Iterator[None]:
        """What fails is told and left out; the rest is still worth measuring."""
        try:
            yield
        except RuntimeError as exc:
            progress(f"{model}: {exc}")
            self.results.failures.append(f"{model}: {str(exc)[-600:]}")

    def train(self, models: list[str]) -> None:
        """Every model."""
        progress("training the models")
        argv = [self.tools, HERE / "sidebyside/imagemodels.py", self.work / "models", *models]
        subprocess.run(argv, check=True, env=environments.child_environ(), stdout=subprocess.DEVNULL)

    def cold(self, model: str, rounds: int) -> None:
        """Every cache empty, on all sides in turn; servegen's image is run before it is pushed."""
        for turn in range(rounds):
            folder = self._fresh("cold")
            run = self.servegen(self._model(model), folder, tag=f"cold{turn}")
            self._keep(model, "cold", "servegen", run.seconds)
            self.results.sizes.setdefault(model, {})["servegen"] = localregistry.stored(run.reference).size
            for context in self._contexts(model, folder):
                engine = Buildah(folder / "storage", self.base, context.bases)
                self.results.machine["driver"] = engine.driver
                # A repository for each, so that nothing is there already.
                reference = f"{self.host}/{context.peer}-{model}-{turn}:1"
                seconds = timed(lambda e=engine, c=context, r=reference: e.build_and_push(c, r))
                self._keep(model, "cold", context.peer, seconds)
                self.results.sizes[model][context.peer] = localregistry.stored(reference).size
                if turn == rounds - 1:
                    self._peer_changes(model, context, engine)
            shutil.rmtree(folder)

    def _peer_changes(self, model: str, context: Context, engine: Buildah) -> None:
        """Nothing changed, then a new model version, with the layers of the build before at hand."""
        reference = f"{self.host}/{context.peer}-{model}:1"
        engine.build_and_push(context, reference)
        seconds = timed(lambda: engine.build_and_push(context, reference))
        self._keep(model, "nothing changed", context.peer, seconds)
        for place in list(context.folder.rglob("MLmodel")):
            change(place.parent, "1")
        seconds = timed(lambda: engine.build_and_push(context, reference))
        self._keep(model, "model changed", context.peer, seconds)

    def changes(self, model: str, rounds: int) -> None:
        """What servegen takes when little or nothing has changed, in a folder with a servegen.lock."""
        home = self._fresh("warm")
        (home / "servegen.yaml").write_text("{}\n")
        saved = home / "model"
        shutil.copytree(self._model(model), saved)
        for turn in range(rounds):
            first = self.servegen(saved, home)
            again = self.servegen(saved, home)
            self._keep(model, "nothing changed", "servegen", again.seconds)
            same = again.reference == first.reference and self.results.same_digest is not False
            self.results = replace(self.results, same_digest=same)
            change(saved, f"{turn}, not run")
            run = self.servegen(saved, home, "--no-verify")
            self._keep(model, "model changed, not run", "servegen", run.seconds)
            if model == "big":
                # Right after what it is compared with: disk and memory are as they were.
                self._limit(turn)
                peak = max(run.peak_bytes, self.results.peak_bytes or 0)
                self.results = replace(self.results, peak_bytes=peak)
            change(saved, f"{turn}, run")
            self._keep(model, "model changed", "servegen", self.servegen(saved, home).seconds)
            change(saved, f"{turn}, again")
            shutil.rmtree(home / "cache")
            run = self.servegen(saved, home, "--no-verify")
            self._keep(model, "model changed, empty cache, not run", "servegen", run.seconds)
        shutil.rmtree(home)

    def sizes_and_bumps(self, packages: tuple[str, ...]) -> None:
        """The leaner runtime's image, and what a push sends when one package has another version."""
        home, iris = self._fresh("bump"), self._model("iris")
        (home / "servegen.yaml").write_text("{}\n")
        lean = self.servegen(iris, home, "--runtime", "uvicorn", "--no-verify", tag="lean")
        self.results.sizes["iris"]["uvicorn"] = localregistry.stored(lean.reference).size
        whole = localregistry.stored(self.servegen(iris, home, "--no-verify", tag="whole").reference)
        lock = json.loads((home / "servegen.lock").read_text())
        versions = {package["name"]: package["version"] for package in lock["packages"]}
        for name in packages:
            older = ("--add-requirement", f"{name}<{versions[name]}", "--no-verify", "--update-lock")
            run = self.servegen(iris, home, *older, tag=f"older-{name}")
            bumped = localregistry.stored(run.reference)
            self.results.bumped[name] = bumped.beyond(whole) / bumped.size
            progress(f"{name} bumped: {self.results.bumped[name]:.2%} of the image")

    def _limit(self, turn: int) -> None:
        """What hashing the big file and copying it to the registry take, without any packaging."""
        weights = next(self._model("big").rglob("weights.bin"))
        layout = self._fresh("layout")
        one_layer(weights, layout, turn)
        copy = ["skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}/image:1"]

        def work() -> None:
            subprocess.run(["sha256sum", weights], check=True, stdout=subprocess.DEVNULL)
            argv = [*copy, f"docker://{self.host}/limit-{turn}:1"]
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

        self._keep("big", "sha256sum + skopeo copy", "servegen", timed(work))

    def servegen(
        self,
        saved: Path,
        home: Path,
        *arguments: str,
        tag: str = "1",
    ) -> Run:
        """Package and push in the folder `home`, whose caches are used."""
        env = environments.child_environ(
            XDG_CACHE_HOME=str(home / "cache"), UV_CACHE_DIR=str(home / "cache/uv")
        )
        reference = f"{self.host}/servegen-{saved.name}-{home.name}:{tag}"
        argv = [sys.executable, "-m", "servegen", "package", str(saved)]
        argv += ["--push", "--tag", reference, *arguments]
        settle()
        begin = time.perf_counter()
        with (self.work / "servegen.log").open("w+") as log:
            process = subprocess.Popen(argv, cwd=home, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
            peak = _Peak(process.pid)
            out = process.communicate()[0]
            seconds = time.perf_counter() - begin
            if process.returncode:
                log.seek(0)
                raise RuntimeError(f"servegen: {log.read()[-1500:]}")
        return Run(seconds=seconds, reference=out.strip(), peak_bytes=peak.bytes())

    def _contexts(self, model: str, folder: Path) -> list[Context]:
        makers = {"mlflow": imagepeers.mlflow, "bentoml": imagepeers.bentoml}
        return [
            make(self.tools, self._model(model), folder / f"{peer}-context") for peer, make in makers.items()
        ]

    def _model(self, model: str) -> Path:
        return self.work / "models" / model

    def _fresh(self, name: str) -> Path:
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def _keep(self, model: str, what: str, side: str, seconds: float) -> None:
        self.results.add(model, what, side, seconds)
        progress(f"{model}, {what}, {side}: {seconds:.2f} s")


class _Peak:
    """The most memory that a process held, read while it lives."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._most = 0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def bytes(self) -> int:
        """Known when the process has ended."""
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while True:
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            found = [line for line in lines if line.startswith("VmHWM:")]
            if not found:
                # A process that ended has no memory any more.
                return
            self._most = int(found[0].split()[1]) * 1024
            time.sleep(0.05)


def settle() -> None:
    """Let the disk finish what runs before have written and removed: seconds of it would be counted again."""
    os.sync()


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    settle()
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def change(saved: Path, text: str) -> None:
    """Make another version of a model: its layer has other bytes, its requirements are the same."""
    (saved / "version.txt").write_text(f"{text}\n")


def one_layer(file: Path, layout: Path, turn: int) -> None:
    """An OCI layout `image` below `layout`, of an image with one plain layer, which holds the file.

    Each turn has a digest of its own: skopeo sends no blob that it has sent to the registry before.
    """
    from servegen.oci.image import ImageConfig, Layer, assemble
    from servegen.oci.layout import export_layout
    from servegen.oci.store import Store
    from servegen.oci.tar import Entry, write_layer
    from servegen.values.image import Platform

    store = Store(layout / "store")
    with store.scratch() as temporary:
        blob = write_layer([Entry(path=f"{turn}/weights.bin", source=file)], temporary, "none")
        store.commit(temporary, blob.digest)
    config = ImageConfig(platform=Platform.parse("linux/amd64"))
    image = assemble(store, config, [Layer(blob=blob, name="model")])
    export_layout(store, image, "1", layout / "image")


def _empty(options: argparse.Namespace) -> Results:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return Results(
        machine={
            "cpu": names[0].partition(": ")[2] if names else "unknown CPU",
            "cores": len(os.sched_getaffinity(0)),
            "load": os.getloadavg()[0],
            "rounds": options.rounds,
            "driver": "nothing",
        }
    )


if __name__ == "__main__":
    main()
