"""Build what is released, of the commit that is checked out: wheel, sdist, SBOM and Debian package. `make dist` runs it.

    .venv/bin/python .ci/dist.py FOLDER [wheel] [sdist] [sbom] [debian]        without a name, all of them

The same commit gives the same bytes, whoever builds it: files come from git, times from the commit, dependencies from the hashed
lock and build/wheels, where the Makefile puts them: nothing here needs a network. The Debian package is for the Debian whose
python3 is the minor version that runs this, and brings its dependencies along in a virtual environment: Debian 12 has pydantic 1.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
LOCK = ".ci/locks/service.txt"
WHEELS = ROOT / "build" / "wheels"
HOME = "usr/lib/network-reconciler"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"

INSTALLED = {
    "share/man/man1/reconcile.1": "usr/share/man/man1/reconcile.1.gz",
    "share/bash-completion/completions/reconcile": "usr/share/bash-completion/completions/reconcile",
    "share/zsh/site-functions/_reconcile": "usr/share/zsh/vendor-completions/_reconcile",
    "share/fish/vendor_completions.d/reconcile.fish": "usr/share/fish/vendor_completions.d/reconcile.fish",
    "share/reconciler/reconciler.schema.json": "usr/share/reconciler/reconciler.schema.json",
    "lib/systemd/system/reconciler-watch.service": "usr/lib/systemd/system/reconciler-watch.service",
    "lib/systemd/system/reconciler-after-nftables.service": "usr/lib/systemd/system/reconciler-after-nftables.service",
}
"""Where the wheel has what is no module, below its prefix, and where Debian has it."""

CONTROL = """\
Package: network-reconciler
Version: {version}
Architecture: {architecture}
Maintainer: The network-reconciler developers
Section: net
Priority: optional
Depends: {python}, nftables (>= 1.0.6), iproute2, libc6
Installed-Size: {kilobytes}
Description: Docker-style container networks as declared state
 Compares YAML that declares networks, subnets and attachments with the
 live kernel, applies only the difference and proves the result by looking
 again. The watcher (reconciler-watch.service) is installed, not started.
"""

SCRIPTS = {
    # The name server outlives its watcher, and the networks outlive both: a restart interrupts nobody.
    "postinst": """\
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart reconciler-watch.service
fi
""",
    "prerm": """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop reconciler-watch.service
fi
""",
    "postrm": """\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
""",
}


def main(folder: str, *names: str) -> None:
    """Build into a folder, emptied first, and print each file with its sha256."""
    output = Path(folder).absolute()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    epoch = int(_git("log", "-1", "--format=%ct"))
    os.environ.update(SOURCE_DATE_EPOCH=str(epoch), PYTHONHASHSEED="0", LC_ALL="C", TZ="UTC")
    os.umask(0o022)
    with TemporaryDirectory() as work:
        source, wheel = Path(work, "source"), None
        _export(source)
        if not names or {"wheel", "debian"} & set(names):
            wheel = _built(source, output, "build_wheel")
        if not names or "sdist" in names:
            _repacked(_built(source, output, "build_sdist"), epoch)
        if not names or "sbom" in names:
            _bill_of_materials(source, output / "network_reconciler.cdx.json")
        if wheel is not None and (not names or "debian" in names):
            _debian_package(wheel, source, Path(work, "debian"), output, epoch)
    for path in sorted(output.iterdir()):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True).stdout


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


def _export(source: Path) -> None:
    """Write the files of the commit as git has them: what is uncommitted or untracked is not released."""
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(source, filter="data")


def _built(source: Path, output: Path, hook: str) -> Path:
    """Return what a hook of setuptools (PEP 517) built. A process each: the hooks keep state."""
    code = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
    before = set(output.iterdir())
    subprocess.run([sys.executable, "-c", code, output], cwd=source, check=True, stdout=sys.stderr)
    (found,) = set(output.iterdir()) - before
    return found


def _repacked(sdist: Path, epoch: int) -> None:
    """Pack an sdist again without what differs from one build to the next: times, owners, order."""
    with tarfile.open(sdist) as files:
        members = sorted(files.getmembers(), key=lambda member: member.name)
        content = {member.name: files.extractfile(member) for member in members}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for member in members:
                member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                member.pax_headers = {}
                archive.addfile(member, content[member.name])
    sdist.write_bytes(gzip.compress(packed.getvalue(), mtime=epoch))


def _bill_of_materials(source: Path, output: Path) -> None:
    """Write what a release is made of, with hashes, in CycloneDX (ECMA-424) JSON."""
    tool = Path(sys.executable).with_name("cyclonedx-py")
    _run(
        tool,
        "requirements",
        source / LOCK,
        "--pyproject",
        source / "pyproject.toml",
        "--output-reproducible",
        "--of",
        "JSON",
        "-o",
        output,
    )


def _debian_package(wheel: Path, source: Path, tree: Path, output: Path, epoch: int) -> None:
    """Build a binary package (deb-control(5)) of the wheel and all that the lock of the same commit names."""
    packages = tree / HOME / "lib" / PYTHON / "site-packages"
    install = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
        "--target",
        packages,
    )
    _run(
        *install,
        "--no-index",
        "--find-links",
        WHEELS,
        "--require-hashes",
        "--only-binary=:all:",
        "--requirement",
        source / LOCK,
    )
    _unpack(wheel, tree, packages)
    shutil.rmtree(packages / "bin")  # commands of what we depend on
    for record in packages.glob("*.dist-info/RECORD"):
        record.unlink()  # pip's list of files, which are dpkg's now; Debian's Python policy leaves it out too
    _compile(packages, f"/{packages.relative_to(tree)}")
    _virtual_environment(tree)
    _license(source, tree)
    version = _version(wheel)
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    size = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    about = tree / "DEBIAN"
    about.mkdir()
    control = CONTROL.format(version=version, architecture=architecture, python=PYTHON, kilobytes=size)
    (about / "control").write_text(control)
    for name, text in SCRIPTS.items():
        (about / name).write_text(text)
        (about / name).chmod(0o755)
    for path in (*tree.rglob("*"), tree):
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    package = output / f"network-reconciler_{version}_{architecture}.deb"
    _run("dpkg-deb", "--root-owner-group", "-Zzstd", "--build", tree, package)


def _unpack(wheel: Path, tree: Path, packages: Path) -> None:
    """Unpack our own wheel: modules beside those of the lock, all else where Debian has it."""
    with zipfile.ZipFile(wheel) as files:
        for name in files.namelist():
            _, is_data, installed = name.partition(".data/data/")
            path = tree / INSTALLED[installed] if is_data else packages / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = files.read(name)
            path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _compile(packages: Path, place: str) -> None:
    """Compile all modules, with the paths that they will have; Python then looks at no source (PEP 552: no times in the result)."""
    compile_all = (sys.executable, "-m", "compileall", "-q", "-j1", "--invalidation-mode", "unchecked-hash")
    _run(*compile_all, "-s", packages, "-p", place, packages)


def _virtual_environment(tree: Path) -> None:
    (tree / HOME / "bin").mkdir()
    (tree / HOME / "bin" / "python3").symlink_to(f"/usr/bin/{PYTHON}")
    (tree / HOME / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (tree / "usr/bin").mkdir()
    command = tree / "usr/bin/reconcile"
    command.write_text(f"#!/{HOME}/bin/python3\nimport sys\nfrom reconciler.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)


def _license(source: Path, tree: Path) -> None:
    place = tree / "usr/share/doc/network-reconciler"
    place.mkdir(parents=True)
    shutil.copyfile(source / "LICENSE", place / "copyright")
    (place / "changelog.gz").write_bytes(gzip.compress((source / "CHANGELOG.md").read_bytes(), mtime=0))


def _version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


if __name__ == "__main__":
    main(*sys.argv[1:])
