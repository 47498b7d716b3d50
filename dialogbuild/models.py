"""The model files that a person may bring: which there are, adding them to this machine's store, checking them.

    $XDG_DATA_HOME/dialogbuild/models/
        heads/NAME/         a FLAME pickle with what belongs beside it, or ICT-FaceKit's folder
        weights/NAME        active-speaker networks
        pipelines/NAME/     pyannote pipelines
        models.json         what was added, with the SHA-256 of its content

Nothing is downloaded. A file is stored only after the loader that will use it has read it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dialogbuild.artifact import file_sha256, read_json, write_json
from dialogbuild.errors import ConfigError, DialogbuildError, MissingPart
from dialogbuild.head import PROCEDURAL, head_files, load_head
from dialogbuild.head.flame import load_flame
from dialogbuild.head.ict import find_ict
from dialogbuild.head.store import models_folder, stored_heads
from dialogbuild.models_known import COMPANIONS, FLAME_FILES, KNOWN, Known

RECORD = "models.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Added:
    """One stored model.

    Args:
        place: where, relative to ``models_folder()``: ``heads/flame2023_Open``.
        kind: key of ``KNOWN``.
        files: the files that count, relative to ``place``; empty when ``place`` is the file.
        sha256: of the file, or of the names and hashes of the files.
        licence: of the model, as far as it is known.
        model_id: of a head: what shards will carry; else empty.
        linked: some of the files are links to where they lie.
    """

    place: str
    kind: str
    files: tuple[str, ...]
    sha256: str
    licence: str
    model_id: str = ""
    linked: bool = False

    @property
    def path(self) -> Path:
        """Where it is."""
        return models_folder() / self.place

    @property
    def use(self) -> str:
        """What to write in a recipe or on the command line."""
        if self.place.startswith("heads/"):
            return f"--head {Path(self.place).name}"
        key = "diarize.pyannote_path" if self.place.startswith("pipelines/") else "assign.asd_weights"
        return f"--set {key}={self.path}"


@dataclass(frozen=True)
class Checked:
    """Whether a stored model is still what was added: ``problem`` is empty when it is."""

    place: str
    problem: str


def records() -> list[Added]:
    """What was added, sorted by place.

    Raises:
        ConfigError: the record is damaged.
    """
    file = models_folder() / RECORD
    try:
        stored = read_json(file, {})
        return [Added(place=k, **{**v, "files": tuple(v["files"])}) for k, v in sorted(stored.items())]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{file}: damaged record of models: {error!r}; delete it and add the models again") from error


def add(path: Path, name: str = "", *, link: bool = False, to: str = "", replace: bool = False) -> Added:
    """Store a model, or a file that belongs beside one, after reading it with the loader that will use it.

    Args:
        path: a FLAME pickle, its folder, ICT-FaceKit's folder, a pyannote pipeline's folder, an active-speaker
            network, or one of ``COMPANIONS``.
        name: under which it is stored; default: its own.
        link: only point to ``path`` instead of copying.
        to: for a companion: the stored FLAME head it belongs to; needless when there is one only.
        replace: another model of that name may be replaced.

    Raises:
        MissingPart: nothing at ``path``, or it lacks a file.
        ConfigError: it is no model that is known here, is damaged, or the name is taken.
    """
    if not path.exists():
        raise MissingPart(f"nothing at {path}: give a model's file or folder; dialogbuild models list says which")
    if path.name in COMPANIONS:
        return _add_companion(path, to, link, replace)
    if to:
        raise ConfigError(f"{path.name} belongs beside no head: --to is for {', '.join(COMPANIONS)}")
    kind, files, section, default = _recognise(path)
    name = name or default
    if not _NAME.fullmatch(name) or name == PROCEDURAL:
        raise ConfigError(f"{name!r} cannot be a model's name: letters, digits, '.', '_' and '-', and not {PROCEDURAL}")
    root = files[0].parent if section == "heads" else path
    head = load_head(_head_path(files[0], kind)) if section == "heads" else None
    relative = () if path.is_file() and section == "weights" else tuple(str(f.relative_to(root)) for f in files)
    licence = head.licence if head is not None else KNOWN[kind].licence
    model_id = head.model_id if head is not None else ""
    added = Added(f"{section}/{name}", kind, relative, _content(root, relative), licence, model_id, link)
    _place(added, root, replace)
    return added


def remove(name: str, *, yes: bool = False) -> tuple[Added, int]:
    """Take a model out of the store. Of a linked one only the links go.

    Args:
        name: under which it is stored, or its place (``heads/NAME``) where several kinds have that name.
        yes: files that were copied are deleted too: the store may have the only copy.

    Returns:
        What was stored, and the bytes that its deletion freed.

    Raises:
        ConfigError: nothing is stored under that name, it came with a package, or ``yes`` is needed.
    """
    known = [added for added in records() if _is_place(added.place)]
    found = [added for added in known if name in (added.place, Path(added.place).name)]
    if len(found) != 1:
        there = ", ".join(added.place for added in (found or known)) or "none"
        why = "is of several kinds, give its place" if found else "is not stored"
        if name == PROCEDURAL or name in {kind for kind, entry in KNOWN.items() if not entry.section}:
            why = "comes with a package and stays"
        raise ConfigError(f"{name!r} {why}; stored with `models add`: {there}")
    added = found[0]
    size = _bytes(added.path)
    if size and not yes:
        raise ConfigError(f"{added.place} holds {size / 1e6:.1f} MB that may be nowhere else: add --yes to delete it")
    gone = added.path.with_name(f".{uuid.uuid4().hex}")
    if added.path.is_symlink() or added.path.exists():
        added.path.rename(gone)
    _write_records(other for other in records() if other.place != added.place)
    _remove(gone)
    return added, size


def _is_place(place: str) -> bool:
    """Whether it lies in the store; the record is a file that other programs may write."""
    section, _, name = place.partition("/")
    sections = {known.section for known in KNOWN.values()} - {"", "beside"}
    return section in sections and _NAME.fullmatch(name) is not None


def _bytes(path: Path) -> int:
    """Bytes of a file, or of the files in a folder; what links point to is not counted."""
    files = [path] if not path.is_dir() or path.is_symlink() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def check() -> Iterator[Checked]:
    """Compare every stored model with its record, and read it."""
    known = records()
    for added in known:
        yield Checked(added.place, _problem(added))
    for name in stored_heads():
        if f"heads/{name}" not in {a.place for a in known}:
            yield Checked(f"heads/{name}", "not in the record: add it with dialogbuild models add")


def _problem(added: Added) -> str:
    if not added.path.exists():
        return f"gone: {added.path}"
    try:
        found = _content(added.path, added.files)
        if found != added.sha256:
            return f"changed since it was added: SHA-256 {found[:12]} is not {added.sha256[:12]}"
        _load(added.kind, added.path)
    except (DialogbuildError, OSError) as error:
        return str(error)
    return ""


def _load(kind: str, path: Path) -> None:
    if KNOWN[kind].section == "heads":
        load_head(path)
    elif kind == "pyannote":
        _pipeline(path)
    else:
        from dialogbuild.dialogue.asd import load_network

        load_network(path)


def _recognise(path: Path) -> tuple[str, list[Path], str, str]:
    """Kind, files (those of a head with its own first), section and default name of what lies at a path."""
    if path.is_dir():
        if find_ict(path) is not None:
            return "ict-facekit", head_files(path), "heads", "ict-facekit"
        if (path / "config.yaml").is_file():
            return "pyannote", _pipeline(path), "pipelines", path.resolve().name
        found = [file for file in FLAME_FILES if (path / file).is_file()]
        if len(found) > 1:
            raise ConfigError(f"{path} holds {', '.join(found)}: give the path of one")
        if found:
            return _flame(path / found[0])
        raise ConfigError(f"{path} is no model's folder that is known here; {_KINDS}")
    if path.suffix == ".pkl":
        return _flame(path)
    if path.suffix in (".model", ".pth", ".pt"):
        from dialogbuild.dialogue.asd import load_network

        return load_network(path).kind, [path], "weights", path.name
    raise ConfigError(f"{path.name} is no model's file that is known here; {_KINDS}")


_KINDS = f"known are {', '.join(known.title for known in KNOWN.values() if known.section)}: dialogbuild models list"


def _flame(file: Path) -> tuple[str, list[Path], str, str]:
    if file.name not in FLAME_FILES:
        # its name is all that tells FLAME's releases apart, and with them the licence
        raise ConfigError(f"{file.name} is no file of FLAME as released ({', '.join(FLAME_FILES)}): undo the renaming")
    kind = FLAME_FILES[file.name]
    return kind, head_files(file), "heads", kind


def _head_path(first: Path, kind: str) -> Path:
    return first.parent if kind == "ict-facekit" else first


def _pipeline(path: Path) -> list[Path]:
    from dialogbuild.dialogue.backends.pyannote import pipeline_files

    return pipeline_files(path)


def _add_companion(path: Path, to: str, link: bool, replace: bool) -> Added:
    flames = {Path(a.place).name: a for a in records() if a.kind in FLAME_FILES.values()}
    if not flames or (to and to not in flames) or (not to and len(flames) > 1):
        here = ", ".join(flames) or "none is stored yet"
        raise ConfigError(f"{path.name} belongs beside one FLAME model ({here}): name it with --to, or add it first")
    owner = flames[to] if to else next(iter(flames.values()))
    target = owner.path / path.name
    if target.exists() and not replace and file_sha256(target) != file_sha256(path):
        raise ConfigError(f"{owner.place} has another {path.name} already: --replace takes this one")
    pickle = owner.path / owner.files[0]
    head = load_flame(pickle, **{COMPANIONS[path.name]: path})  # type: ignore[arg-type]
    fresh = target.with_name(f".{uuid.uuid4().hex}")
    (_link if link else shutil.copyfile)(path, fresh)
    fresh.replace(target)
    linked = owner.linked or link
    files = tuple(dict.fromkeys((*owner.files, path.name)))
    added = Added(owner.place, owner.kind, files, _content(owner.path, files), head.licence, head.model_id, linked)
    _write_record(added)
    return added


def _place(added: Added, root: Path, replace: bool) -> None:
    """Copy or link into the store under a temporary name, and rename: a model is there whole or not at all."""
    before = next((a for a in records() if a.place == added.place), None)
    same = before is not None and before.sha256 == added.sha256
    if (added.path.is_symlink() or added.path.exists()) and not (replace or same):
        raise ConfigError(f"another model is stored as {added.place}: give --name, or --replace to take this one")
    added.path.parent.mkdir(parents=True, exist_ok=True)
    fresh = added.path.parent / f".{uuid.uuid4().hex}"
    try:
        _fill(fresh, root, added)
    except BaseException:
        _remove(fresh)
        raise
    _remove(added.path)
    fresh.rename(added.path)
    _write_record(added)


def _fill(fresh: Path, root: Path, added: Added) -> None:
    put = _link if added.linked else shutil.copyfile
    if not added.files:
        put(root, fresh)
    for name in added.files:
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        put(root / name, fresh / name)
    if _content(fresh, added.files) != added.sha256:
        raise ConfigError(f"{root} changed while it was copied: add it again")


def _link(source: Path, target: Path) -> None:
    target.symlink_to(source.resolve())


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def _content(root: Path, files: Sequence[str]) -> str:
    """SHA-256 of a file, or of the names and hashes of some files of a folder."""
    if not files:
        return file_sha256(root)
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {file_sha256(root / name)}\n".encode())
    return digest.hexdigest()


def _write_record(added: Added) -> None:
    _write_records((*records(), added))


def _write_records(all_of_them: Iterable[Added]) -> None:
    entries = {added.place: asdict(added) for added in all_of_them}
    for entry in entries.values():
        del entry["place"]
    write_json(models_folder() / RECORD, entries)


def stored(known: Known) -> list[Added]:
    """The stored models of one kind."""
    return [added for added in records() if KNOWN[added.kind] == known]
