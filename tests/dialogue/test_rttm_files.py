"""RTTM files that people bring."""

from pathlib import Path

import pytest

from dialogbuild.dialogue.backends.rttm import RttmError, parse_rttm, read_rttm, rttm_path
from dialogbuild.dialogue.turns import rttm

GOOD = """\ufeff;; written by hand
SPKR-INFO talk 1 <NA> <NA> <NA> unknown ann <NA>

SPEAKER talk 1 0.50 1.25 <NA> <NA> ann <NA> <NA>\r
SPEAKER\ttalk\t1\t1.5\t2\t<NA>\t<NA>\tbob
SPEAKER other 1 0 9 <NA> <NA> eve <NA>
"""


def line(text: str = "SPEAKER talk 1 0.5 1 <NA> <NA> ann <NA> <NA>", **fields: str) -> str:
    parts = text.split()
    for name, value in fields.items():
        parts[int(name.removeprefix("f"))] = value
    return " ".join(parts)


def test_what_diarizers_and_people_write_is_read() -> None:
    spans = parse_rttm(GOOD.removeprefix("\ufeff"), "talk.rttm")
    assert spans == {"talk": [("ann", 0.5, 1.75), ("bob", 1.5, 3.5)], "other": [("eve", 0.0, 9.0)]}


def test_our_own_files_come_back() -> None:
    text = rttm([("voice_1", 3.0, 4.5), ("voice_0", 0.125, 2.0)], "talk")
    assert parse_rttm(text, "x") == {"talk": [("voice_0", 0.125, 2.0), ("voice_1", 3.0, 4.5)]}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("ann,0.5,1.75", "starts with 'ann,0.5,1.75'; expected SPEAKER"),
        ("SPEAKER talk 1 0.5 1 <NA> <NA>", "7 fields"),
        (line(f7="Ann Lee Jones"), "12 fields"),
        (line(f3="0:05"), "start '0:05' is no number of seconds"),
        (line(f4="nan"), "duration 'nan' is no number of seconds"),
        (line(f4="-1"), "duration -1 is negative"),
        (line(f7="<NA>"), "no speaker name"),
    ],
)
def test_a_malformed_line_is_named(bad: str, why: str) -> None:
    with pytest.raises(RttmError, match=r"x\.rttm, line 3: ") as caught:
        parse_rttm(f"{line()}\n\n{bad}\n", "x.rttm")
    assert why in str(caught.value)


def test_only_the_lines_of_this_video_count(tmp_path: Path) -> None:
    path = tmp_path / "all.rttm"
    path.write_text(GOOD, encoding="utf-8")
    assert [span[0] for span in read_rttm(path, ("talk", "talk-0a1b2c3d"), own_file=False)] == ["ann", "bob"]
    with pytest.raises(RttmError, match="no line of clip; its file ids: other, talk"):
        read_rttm(path, ("clip",), own_file=False)
    with pytest.raises(RttmError, match="no line of clip"):  # even its own file must not offer a choice
        read_rttm(path, ("clip",), own_file=True)


def test_a_file_of_its_own_may_carry_any_id_or_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "clip.rttm"
    path.write_text(line())
    assert read_rttm(path, ("clip",), own_file=True) == [("ann", 0.5, 1.5)]
    with pytest.raises(RttmError, match="no line of clip"):
        read_rttm(path, ("clip",), own_file=False)
    path.write_text("")
    assert read_rttm(path, ("clip",), own_file=True) == []


def test_a_missing_or_foreign_file_says_what_to_do(tmp_path: Path) -> None:
    assert rttm_path(tmp_path, "clip") == tmp_path / "clip.rttm"
    assert rttm_path(tmp_path / "all.rttm", "clip") == tmp_path / "all.rttm"
    with pytest.raises(RttmError, match=r"clip\.rttm does not exist; put the speakers' turns"):
        read_rttm(tmp_path / "clip.rttm", ("clip",), own_file=True)
    (tmp_path / "clip.rttm").write_bytes(b"\xff\xfe\x00S")
    with pytest.raises(RttmError, match="cannot be read"):
        read_rttm(tmp_path / "clip.rttm", ("clip",), own_file=True)
