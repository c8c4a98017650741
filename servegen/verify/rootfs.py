"""Running an image from its unpacked layers: what the means `namespace` and `chroot` share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from servegen.oci.image import ImageConfig, Layer, layers_of, read_image
from servegen.oci.rootfs import unpack
from servegen.oci.store import Store
from servegen.values.image import MODEL, USER, StoredImage
from servegen.verify.sandbox import Command, Surroundings

ENTER = Path(__file__).with_name("enter.py")


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """An image unpacked in a folder, entered with enter.py."""

    means: str
    root: Path
    directory: str
    isolated: bool
    leave: Callable[[], None]
    """Gives the tree up."""

    def argv(self, command: Command) -> list[str]:
        """enter.py with everything it needs; the environment is given by the caller."""
        return [
            *(sys.executable, "-I", str(ENTER), "--means", self.means, "--root", str(self.root)),
            *("--network", command.network, "--user", str(USER), "--directory", self.directory),
            *("--parent", str(os.getpid())),
            *("--", *command.program),
        ]

    def close(self) -> None:
        """Remove the tree, or leave it to the next run."""
        self.leave()


def prepare_unpacked(
    image: StoredImage, config: ImageConfig, surroundings: Surroundings, *, means: str, isolated: bool
) -> Unpacked:
    """The image's layers unpacked below the scratch folder; an isolated tree is read-only and so may stay."""
    store = Store(image.store)
    descriptor = store.manifest(str(image.image.ref.digest))
    layers = layers_of(*read_image(store, descriptor))
    kept = KeptTree(surroundings.kept, descriptor.digest) if isolated else None
    directory = config.working_dir or "/"
    if kept and surroundings.reuse and kept.take():
        return Unpacked(
            means=means, root=kept.root, directory=directory, isolated=isolated, leave=kept.release
        )
    surroundings.progress.step(f"unpacking the image to run it ({means})")
    root = surroundings.scratch / "root"
    present = kept.take_over(layers, root) if kept and surroundings.reuse else 0
    unpack(store, descriptor, root, present=present)

    def leave() -> None:
        if kept:
            kept.replace(root, layers)

    return Unpacked(means=means, root=root, directory=directory, isolated=isolated, leave=leave)


class KeptTree:
    """The image that was unpacked last, for the next run; one stays, so that the cache does not grow."""

    def __init__(self, folder: Path, digest: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.root = folder / digest.removeprefix("sha256:")
        self._record = folder / "layers.json"
        self._lock = (folder / "lock").open("ab")

    def take(self) -> bool:
        """Whether the tree is here; if so, it stays until `release`."""
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        if not self.root.is_dir():
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            return False
        return True

    def release(self) -> None:
        """Let another image take the place."""
        self._lock.close()

    def take_over(self, layers: Sequence[Layer], target: Path) -> int:
        """Moves the tree of an image that differs in its models alone to `target`, without the model.

        Returns how many of the first layers it holds; 0 when there is no such tree or it is in use.
        """
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return 0
        try:
            return self._taken_over(layers, target)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _taken_over(self, layers: Sequence[Layer], target: Path) -> int:
        below = [layer.blob.diff_id for layer in layers if not _is_model(layer)]
        # Nothing of a model is anywhere but in its folder, and its layers come last.
        if [layer.blob.diff_id for layer in layers[: len(below)]] != below:
            return 0
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            tree = self.root.parent / str(record["tree"])
            if record["below"] != below or not tree.is_dir():
                return 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        try:
            # First, or a break would leave a record of a tree that is not what it says.
            self._record.unlink()
            tree.rename(target)
            shutil.rmtree(target / MODEL)
        except OSError:
            shutil.rmtree(target, ignore_errors=True)
            return 0
        return len(below)

    def replace(self, tree: Path, layers: Sequence[Layer] = ()) -> None:
        """Keep `tree` instead of what is here, unless a running image needs that."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            return
        self._record.unlink(missing_ok=True)
        for other in self.root.parent.iterdir():
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
        with contextlib.suppress(OSError):
            tree.rename(self.root)
            below = [layer.blob.diff_id for layer in layers if not _is_model(layer)]
            self._record.write_text(json.dumps({"tree": self.root.name, "below": below}), encoding="utf-8")
        self.release()


def _is_model(layer: Layer) -> bool:
    return layer.key is not None and layer.name.partition(":")[0] == "model"


def probe(means: str, folder: Path) -> str | None:
    """None when enter.py can enter `folder` by this means, else what the kernel said."""
    # The program does not exist in an empty root: reaching that error shows that everything before it worked.
    done = subprocess.run(
        [sys.executable, "-I", str(ENTER), "--means", means, "--root", str(folder), "--", "/absent"],
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.strip().rpartition("\n")[2]
    return (
        None if "No such file or directory: '/absent'" in last else last or f"exit status {done.returncode}"
    )
