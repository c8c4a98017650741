"""Running an image from its unpacked layers: what the means `namespace` and `chroot` share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from servegen.oci.descriptor import MANIFEST, Descriptor
from servegen.oci.image import ImageConfig
from servegen.oci.rootfs import unpack
from servegen.oci.store import Store
from servegen.values.image import USER, StoredImage
from servegen.verify.sandbox import Command

ENTER = Path(__file__).with_name("enter.py")


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """An image unpacked in a folder, entered with enter.py."""

    means: str
    root: Path
    directory: str
    isolated: bool

    def argv(self, command: Command) -> list[str]:
        """enter.py with everything it needs; the environment is given by the caller."""
        return [
            *(sys.executable, "-I", str(ENTER), "--means", self.means, "--root", str(self.root)),
            *("--network", command.network, "--user", str(USER), "--directory", self.directory),
            *("--", *command.program),
        ]

    def close(self) -> None:
        """Remove the tree."""
        shutil.rmtree(self.root, ignore_errors=True)


def prepare_unpacked(
    image: StoredImage, config: ImageConfig, folder: Path, *, means: str, isolated: bool
) -> Unpacked:
    """The image's layers unpacked below `folder`."""
    store = Store(image.store)
    digest = str(image.image.ref.digest)
    descriptor = Descriptor(media_type=MANIFEST, digest=digest, size=store.blob(digest).stat().st_size)
    unpack(store, descriptor, folder / "root")
    return Unpacked(means=means, root=folder / "root", directory=config.working_dir or "/", isolated=isolated)


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
