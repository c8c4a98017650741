"""A Debian mirror in a folder: packages, an index, and a release file signed with a key of its own."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pysequoia

from servegen.oci.debian.packages import SUITES


def ar(*members: tuple[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
            + data
            + b"\n" * (len(data) % 2)
        )
    return out


def tar_xz(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, link
    return info


def deb(name: str, *files: tuple[tarfile.TarInfo, bytes]) -> bytes:
    control = tar_xz((member("./control"), f"Package: {name}\n".encode()), (member("./md5sums"), b"sums\n"))
    return ar(("debian-binary", b"2.0\n"), ("control.tar.xz", control), ("data.tar.xz", tar_xz(*files)))


@dataclass
class FakeMirror:
    """Packages are added, then `publish` writes the index."""

    root: Path
    suite: str = "bookworm"
    key: pysequoia.Tsk = field(default_factory=lambda: pysequoia.Tsk.generate(user_id="archive"))
    packages: dict[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return f"file://{self.root}"

    def keyring(self) -> Path:
        path = self.root / "keyring.gpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(self.key.extract_certificate()))
        return path

    def add(
        self,
        name: str,
        *files: tuple[tarfile.TarInfo, bytes],
        version: str = "1.0-1",
        depends: str = "",
        provides: str = "",
    ) -> Path:
        data = deb(name, *files)
        path = self.root / "pool" / f"{name}_{version.replace(':', '%3a')}.deb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        lines = [
            f"Package: {name}",
            f"Version: {version}",
            *([f"Depends: {depends}"] if depends else []),
            *([f"Provides: {provides}"] if provides else []),
            f"Filename: pool/{path.name}",
            f"Size: {len(data)}",
            f"SHA256: {hashlib.sha256(data).hexdigest()}",
        ]
        self.packages[name] = "\n".join(lines) + "\n"
        return path

    def publish(
        self, *, codename: str | None = None, more: str = "", signer: pysequoia.Tsk | None = None
    ) -> Path:
        packed = lzma.compress("\n".join(self.packages.values()).encode())
        folder = self.root / "dists" / self.suite
        index = folder / "main" / "binary-amd64" / "Packages.xz"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_bytes(packed)
        release = (
            f"Codename: {codename or self.suite}\n{more}SHA256:\n"
            f" {hashlib.sha256(packed).hexdigest()} {len(packed)} main/binary-amd64/Packages.xz\n"
        )
        signed = pysequoia.sign(
            (signer or self.key).signer(), release.encode(), mode=pysequoia.SignatureMode.CLEAR
        )
        (folder / "InRelease").write_bytes(signed)
        return index


def whole(root: Path) -> FakeMirror:
    """A mirror with every package of the base, most of them empty."""
    mirror = FakeMirror(root)
    for name in SUITES[0].packages:
        mirror.add(name)
    folder = tarfile.DIRTYPE
    mirror.add(
        "libc6",
        (member("./lib/", folder, 0o755), b""),
        (member("./lib/x86_64-linux-gnu/libc.so.6", mode=0o755), b"libc"),
        (member("./lib64/ld.so", tarfile.SYMTYPE, link="/lib/x86_64-linux-gnu/libc.so.6"), b""),
        (member("./usr/share/doc/libc6/copyright"), b"free"),
        (member("./usr/share/doc/libc6/changelog.gz"), b"long"),
        (member("./usr/share/man/man1/x.1"), b"help"),
    )
    mirror.add(
        "base-files",
        (member("./bin", tarfile.SYMTYPE, link="usr/bin"), b""),
        (member("./etc/os-release"), b"ID=debian\n"),
        (member("./usr/bin/su", mode=0o4755), b"su"),
        (member("./usr/bin/su2", tarfile.LNKTYPE, link="./usr/bin/su"), b""),
        depends="libc6 (>= 1.0), awk, init-system-helpers",
    )
    mirror.add(
        "ca-certificates",
        (member("./usr/share/ca-certificates/mozilla/B.crt"), b"BBB"),
        (member("./usr/share/ca-certificates/mozilla/A.crt"), b"AAA\n"),
        depends="openssl (>= 1.1.1), debconf (>= 0.5) | debconf-2.0",
    )
    mirror.publish()
    return mirror
