"""publish: make a dataset out of clip parts, as one commit.

    publish(clip_dirs, root)    the dataset under ``root`` then holds exactly these clips
    append(clip_dirs, root)     ... these clips besides those that it has

The same parts give the same bytes and no new commit. Whatever is interrupted leaves the last commit readable, and the
next call goes on from it. What was taken down is left out, whoever brings it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dialogbuild.dataset import commit
from dialogbuild.dataset.assemble import Content, Published, Rights, content_of, install, published_of
from dialogbuild.dataset.held import Held, read_held
from dialogbuild.dataset.part import Part, read_part
from dialogbuild.dataset.schema import FORMAT_VERSION
from dialogbuild.dataset.withheld import is_withheld
from dialogbuild.errors import DatasetError

__all__ = ["Published", "Rights", "append", "publish"]


def publish(clip_dirs: Iterable[Path], root: Path, rights: Mapping[str, Rights] | None = None) -> Published:
    """Assemble clip parts into the dataset under ``root`` and make it current.

    Args:
        clip_dirs: folders that the shard stage wrote; the dataset will hold exactly these clips, but for those that
            were taken down. None at all makes a valid empty dataset.
        root: the dataset's folder, created when missing.
        rights: video id -> rights; videos that are not named are recorded as unknown.

    Raises:
        DatasetError: two parts are of one clip, parts use different head models, a part is damaged, or another
            process is publishing here. The current commit stays as it was.
    """
    parts = [read_part(Path(d)) for d in clip_dirs]
    content_of(parts, rights or {}, {})  # refuses before the folder is made

    def content(held: Held) -> tuple[Content, tuple[str, ...]]:
        free, withheld = _free(parts, held)
        about = (held.splits, held.takedowns, None, held.clips_per_file)
        return content_of(free, rights or {}, *about), withheld

    return _publish(root, content)


def append(clip_dirs: Iterable[Path], root: Path, rights: Mapping[str, Rights] | None = None) -> Published:
    """Add clip parts to the dataset under ``root``; a clip that it has already, from the same part, is no change.

    Args:
        rights: video id -> rights; videos of the dataset that are not named keep theirs.

    Raises:
        DatasetError: as ``publish``; or the dataset has another clip of that id, or an older format.
    """
    parts = [read_part(Path(d)) for d in clip_dirs]

    def content(held: Held) -> tuple[Content, tuple[str, ...]]:
        if held.commit is not None and held.version != FORMAT_VERSION:
            raise DatasetError(
                f"{root} has format {held.version}, new clips have {FORMAT_VERSION}: publish all its clips again"
            )
        free, withheld = _free(parts, held)
        there = {part.clip_id: part for part in held.parts()}
        other = sorted(p.clip_id for p in free if p.clip_id in there and there[p.clip_id].digest != p.digest)
        if other:
            raise DatasetError(
                f"{root} has other clips named {', '.join(other)}: publish the whole set again to replace them"
            )
        fresh = [p for p in free if p.clip_id not in there]
        about = (held.splits, held.takedowns, None, held.clips_per_file)
        return content_of([*there.values(), *fresh], {**held.rights(), **(rights or {})}, *about), withheld

    return _publish(root, content)


def _publish(root: Path, content: Callable[[Held], tuple[Content, tuple[str, ...]]]) -> Published:
    with commit.exclusive(root) as scratch:
        held = read_held(root)
        wanted, withheld = content(held)
        state, created = install(root, scratch, held.commit, wanted)
    return published_of(root, state, created, wanted, withheld)


def _free(parts: Iterable[Part], held: Held) -> tuple[list[Part], tuple[str, ...]]:
    """Parts that may be published, and the clip ids of the others."""
    verdicts = [(part, is_withheld(part, held.takedowns)) for part in parts]
    return [p for p, no in verdicts if not no], tuple(sorted(p.clip_id for p, no in verdicts if no))
