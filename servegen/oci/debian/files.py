"""From packages to the files of a root file system: what dpkg and the maintainer scripts would have left."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from servegen.errors import BaseImageError
from servegen.oci.debian.deb import Deb
from servegen.oci.tar import Entry
from servegen.oci.untar import Member
from servegen.values.image import USER

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_LINKS = ("bin", "sbin", "lib", "lib64")
_DROPPED = ("usr/share/man/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bug/", "usr/share/info/")
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


def root_files(debs: Mapping[str, Deb], python: str) -> list[Entry]:
    """Entries of a base with the packages of `debs`; documents are left out, copyright files are kept."""
    out: dict[str, Entry] = {}
    for name in sorted(debs):
        for member, content in debs[name].members:
            entry = _entry(member, content, name)
            if entry and not (entry.kind == "dir" and entry.path in out):
                out[entry.path] = entry
        for entry in _status(name, debs[name]):
            out[entry.path] = entry
    for entry in _made(out, python):
        out[entry.path] = entry
    return [out[path] for path in sorted(out)]


def _entry(member: Member, content: bytes, package: str) -> Entry | None:
    path = _merged(member.path)
    if not path or any(f"{path}/".startswith(folder) for folder in _DROPPED):
        return None
    if path.startswith("usr/share/doc") and not path.endswith("/copyright"):
        return None
    match member.kind:
        case "dir":
            return Entry(path=path, kind="dir", mode=member.mode)
        case "symlink":
            # base-files ships /bin → usr/bin since Debian 13; below /usr that would be a link to itself.
            return (
                None
                if _normal(member.path) in _MERGED
                else Entry(path=path, kind="symlink", link=member.link)
            )
        case "hardlink":
            return Entry(path=path, kind="hardlink", mode=member.mode, link=_merged(member.link))
        case "file":
            return Entry(path=path, mode=member.mode, data=content)
        case "other":
            msg = f"{package} has {member.path}, which is no file, link or directory"
            raise BaseImageError(msg, hint="leave the package out of --apt")


def _normal(path: str) -> str:
    return posixpath.normpath("/" + path).lstrip("/")


def _merged(path: str) -> str:
    """The path in a system where /bin, /lib and so on are links into /usr."""
    path = _normal(path)
    return f"usr/{path}" if path.partition("/")[0] in _MERGED else path


def _status(package: str, deb: Deb) -> list[Entry]:
    """What scanners read to list the packages, in the folder that images without dpkg use."""
    path = f"var/lib/dpkg/status.d/{package}"
    out = [Entry(path=path, data=deb.control["control"])]
    if "md5sums" in deb.control:
        out.append(Entry(path=f"{path}.md5sums", data=deb.control["md5sums"]))
    return out


def _made(out: Mapping[str, Entry], python: str) -> list[Entry]:
    """What no package ships, but a maintainer script makes."""
    certificates = [
        entry.data.rstrip(b"\n") + b"\n"
        for path, entry in sorted(out.items())
        if path.startswith("usr/share/ca-certificates/") and path.endswith(".crt") and entry.data
    ]
    users = (
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"serve:x:{USER}:0:serve:/home/serve:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    groups = f"root:x:0:\nserve:x:{USER}:\nnogroup:x:65534:\n"
    return [
        *(Entry(path=name, kind="symlink", link=f"usr/{name}") for name in _LINKS),
        Entry(path="usr/lib64", kind="dir"),
        Entry(path=_CERTIFICATES, data=b"".join(certificates)),
        Entry(path="usr/lib/ssl/cert.pem", kind="symlink", link=f"/{_CERTIFICATES}"),
        Entry(path="usr/lib/ssl/certs", kind="symlink", link="/etc/ssl/certs"),
        Entry(path="etc/passwd", data=users.encode()),
        Entry(path="etc/group", data=groups.encode()),
        Entry(path="etc/nsswitch.conf", data=b"passwd: files\ngroup: files\nhosts: files dns\n"),
        Entry(path="home/serve", kind="dir", uid=USER),
        Entry(path="tmp", kind="dir", mode=0o1777),
        *(
            Entry(path=f"usr/bin/{name}", kind="symlink", link=f"python{python}")
            for name in ("python", "python3")
        ),
    ]
