import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bookkeeping import make_run

from dialogbuild.publish import publish
from dialogbuild.report import write_report

VOID = {"meta", "img", "br", "link", "rect", "line", "polyline", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps text, references and images."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []
        self.ids: set[str] = set()
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src") and v]
        self.images += [values["src"]] if tag == "img" else []
        self.ids |= {values["id"]} if values.get("id") else set()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "pre"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def head():
    from dialogbuild.head import load_head

    return load_head()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, head):
    return make_run(tmp_path_factory.mktemp("run"), head)


@pytest.fixture(scope="module")
def html(finished, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(finished.work, finished.records, finished.dataset, out)
    return out.read_text()


def test_the_page_is_one_file_that_needs_nothing_else(html):
    page = Page(html)
    assert page.images
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in page.links)
    assert not re.search(r"url\(|@import|<script|<link", html)
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert len(html) < 1_000_000


def test_every_end_is_named_with_its_reason_and_values(html):
    text = Page(html).text
    for part in (
        "mute-0badf00d mute.mp4 ingest no_audio streams = 0",
        "not_a_dialogue persons = 1 voices = 1",
        "copy-1a2b3c4d copy.mp4 ingest duplicate of = interview-1a2b3c4d",
        "gate low_coverage person 1: coverage 0.76, at least 0.8 [low_coverage]",
        "broken-deadbeef broken.mp4 ingest 2 OSError: disk",
    ):
        assert part in text, part
    assert "The counts do not add up" not in text


def test_the_procedural_head_is_warned_of_in_plain_words(html):
    assert "Not for publishing. The 3D labels come from the procedural head" in Page(html).text


def test_each_person_of_a_clip_has_frames_landmarks_and_the_fitted_head(html):
    page = Page(html)
    assert len(page.images) == 6
    assert "clip-interview-1a2b3c4d_c000" in page.ids
    for label in ("frame", "landmarks", "fitted head", "worst, "):
        assert label in page.text


def test_a_clip_shows_its_colours_its_precision_over_time_and_how_far_the_shape_is_known(html):
    text = Page(html).text
    assert "colour PSNR 30.5 dB · pixels used on 90% of ticks · shapes of the keyframes' halves 1.2 mm apart" in text
    assert "sigma of the fitted face, mm" in text
    for title in ("Colour PSNR of the visible skin, dB", "Shapes from either half of the keyframes, distance, mm"):
        assert title in text


def test_gates_stand_in_the_histograms_with_their_thresholds(html):
    text = Page(html).text
    for label in ("low_coverage < 0.8", "high_reprojection > 5", "small_face < 28", "too_little_speech < 1"):
        assert label in text


def test_the_same_run_gives_the_same_page(finished, html, tmp_path):
    write_report(finished.work, None, finished.dataset, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == html


def test_a_lost_item_and_a_lost_clip_raise_an_alarm(finished, tmp_path):
    fewer = [r for r in finished.records if not (r["stage"] == "tracks" and r["item"].startswith("solo"))]
    shutil.copytree(finished.dataset, tmp_path / "dataset")
    publish([], tmp_path / "dataset")
    write_report(finished.work, fewer, tmp_path / "dataset", tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text()).text
    assert "The counts do not add up. 1 of 2 videos have no outcome at tracks: solo-77777777" in text
    assert "the dataset does not hold exactly the clips that are ok: 1 missing, 0 from elsewhere" in text


def test_a_run_without_survivors_says_so_and_still_shows_why(tmp_path, head):
    run = make_run(tmp_path, head, survivors=False)
    write_report(run.work, run.records, run.dataset, tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text())
    assert "No clip survived. The dataset is empty." in page.text
    assert page.images == []
    assert page.text.count("low_coverage < 0.8") == 1


def test_nothing_ran_and_no_dataset_is_a_page_too(tmp_path):
    write_report(tmp_path / "work", [], tmp_path / "dataset", tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text()).text
    assert "No dataset to show: no dataset was published" in text
    assert "nothing has run yet" in text


def test_clips_beyond_the_picture_budget_are_listed(finished, tmp_path):
    write_report(finished.work, finished.records, finished.dataset, tmp_path / "r.html", max_image_bytes=-1)
    page = Page((tmp_path / "r.html").read_text())
    assert page.images == []
    assert "1 more clips, without pictures" in page.text


def test_labels_of_an_unknown_head_are_shown_without_a_drawn_head(tmp_path):
    run = make_run(tmp_path)  # coefficients of a head that is not the built-in one
    write_report(run.work, run.records, run.dataset, tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text())
    assert len(page.images) == 4
    assert "Fitted heads are not drawn: the labels were made with another version of procedural-v1" in page.text


def test_text_from_files_cannot_inject_markup(finished, tmp_path):
    evil = [{**r, "source": "<script>alert(1)</script>"} for r in finished.records]
    write_report(finished.work, evil, finished.dataset, tmp_path / "r.html")
    assert "<script>" not in (tmp_path / "r.html").read_text()


def test_the_page_appears_in_one_piece(finished, tmp_path, monkeypatch):
    out = tmp_path / "r.html"
    out.write_text("old")
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_report(finished.work, finished.records, finished.dataset, out)
    assert out.read_text() == "old"
