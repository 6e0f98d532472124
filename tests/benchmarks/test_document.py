"""What of the benchmarks is published: the kept results, and the page and the pictures that are rendered from them."""

import dataclasses
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import chart, document, kept, reasons
from benchmarks.harness import BenchError
from benchmarks.kept import Kept
from benchmarks.report import Goal, Group, Plain, Row
from benchmarks.settings import Settings

SVG = "{http://www.w3.org/2000/svg}"
ABOUT = {
    "date": "2026-01-02 03:04 UTC",
    "processor": "A <fast> one, 2 cores",
    "cores": 2,
    "memory": "4 GiB",
    "system": "Linux 6",
    "python": "3.11.7",
    "load average": "0.5 before, 1.5 after",
    "fsync of 4 KiB": "900 us",
    "libraries": {"fastapi": "0.1"},
}
MET = Row(figure="get, 1 caller", unit="/s", ours=180, peer="raw", theirs=100, goal=Goal(">=", 1.5), ratios=(1.7, 1.9))
MISSED = Row(figure="save & <go>, `x`", unit="/s", ours=60, peer="raw", theirs=100, goal=Goal(">=", 0.8))
OPEN = Row(figure="CPU", unit="us", ours=50, peer="raw", theirs=25)
LATER = Row(
    figure="start", unit="s", ours=0.9, peer="raw", theirs=0.5, goal=Goal("<=", 0.5, "s"), difference=True
)  # fmt: skip
SOONER = Row(figure="wait", unit="s", ours=0.5, peer="raw", theirs=0.7, difference=True)
LAYERS = Plain("Layers", ("layer", "us"), (("log", "3"),))
FIRST = Group("P3", "the store on SQLite", [MET, MISSED, OPEN], [LAYERS], ["a note"], seconds=12)
SECOND = Group("P3", "the store elsewhere", [LATER, SOONER], seconds=3)
GROUP = Kept(id="P3", about=ABOUT, rounds=5, parts=(FIRST, SECOND))


def elements(kind: str, group: Kept = GROUP) -> list[ET.Element]:
    """All elements of a kind in the group's picture."""
    return list(ET.fromstring(chart.draw(group)).iter(SVG + kind))


def bars() -> dict[str, ET.Element]:
    """The bars by the figure that each names."""
    found = [bar for bar in elements("rect") if "bar" in bar.get("class", "").split()]
    return {(bar.findtext(SVG + "title") or "").partition(" beside ")[0]: bar for bar in found}


def test_the_length_of_a_bar_is_its_ratio() -> None:
    width = {figure: float(bar.get("width", "")) for figure, bar in bars().items()}
    assert width["get, 1 caller"] / width["save & <go>, x"] == pytest.approx(1.8 / 0.6, rel=0.001)
    assert width["start"] / width["wait"] == pytest.approx(0.4 / 0.2, rel=0.001)


def test_a_figure_that_is_less_than_its_peers_points_the_other_way() -> None:
    later, sooner = bars()["start"], bars()["wait"]
    assert float(sooner.get("x", "")) < float(later.get("x", ""))
    assert float(sooner.get("x", "")) + float(sooner.get("width", "")) == pytest.approx(float(later.get("x", "")))


def test_a_bar_says_in_words_too_whether_it_meets_its_goal() -> None:
    kinds = {figure: bar.get("class") for figure, bar in bars().items()}
    assert kinds == {
        "get, 1 caller": "bar met",
        "save & <go>, x": "bar missed",
        "CPU": "bar open",
        "start": "bar met",
        "wait": "bar open",
    }
    said = [text.text for text in elements("text")]
    assert "1.80x (1.70-1.90), goal >= 1.5x: met" in said
    assert "0.60x, goal >= 0.8x: missed" in said
    assert "+0.40 s, goal <= 0.5 s: met" in said


def test_every_figure_and_every_axis_is_named() -> None:
    said = " ".join(text.text or "" for text in elements("text"))
    assert all(row.figure.replace("`", "") in said for row in GROUP.rows)
    assert all(part.title in said for part in GROUP.parts)
    assert "kernel / peer, more is better" in said
    assert "kernel / peer, less is better" in said
    assert "kernel - peer, s, less is better" in said


def test_a_goal_is_drawn_where_a_bar_of_its_length_would_end() -> None:
    bar, lines = bars()["get, 1 caller"], elements("line")
    _of_the_legend, *goals = [line for line in lines if line.get("class") == "goal"]
    begins, length = float(bar.get("x", "")), float(bar.get("width", ""))
    assert float(goals[0].get("x1", "")) == pytest.approx(begins + length * 1.5 / 1.8, abs=0.1)
    assert len(goals) == 3


def test_nothing_is_drawn_beyond_the_edge() -> None:
    root = ET.fromstring(chart.draw(GROUP))
    height = float(root.get("height", ""))
    assert all(0 <= float(text.get("y", "")) < height for text in elements("text"))
    for bar in bars().values():
        assert float(bar.get("x", "")) >= chart.MARGIN + chart.LABEL - 0.1
        assert float(bar.get("x", "")) + float(bar.get("width", "")) <= chart.MARGIN + chart.LABEL + chart.BARS + 0.1


def test_a_picture_can_be_heard() -> None:
    root = ET.fromstring(chart.draw(GROUP))
    assert root.get("role") == "img"
    assert root.findtext(SVG + "title") == "P3: the store on SQLite"
    told = root.findtext(SVG + "desc") or ""
    assert "get, 1 caller beside raw: 1.80x (1.70-1.90), goal >= 1.5x, met" in told
    assert "save & <go>, x beside raw: 0.60x, goal >= 0.8x, missed" in told


def test_a_picture_has_colours_for_the_dark() -> None:
    style = elements("style")[0].text or ""
    light, _, dark = style.partition("prefers-color-scheme: dark")
    for kind in ("text", ".paper", ".met", ".missed", ".open", ".goal", ".range", ".grid"):
        assert kind in light
        assert kind in dark


def test_the_same_results_give_the_same_picture() -> None:
    assert chart.draw(GROUP) == chart.draw(dataclasses.replace(GROUP))


@pytest.mark.parametrize(
    ("values", "low", "high", "step"),
    [([0.5, 1.0], 0, 1, 0.2), ([31.0], 0, 40, 10), ([-0.2, 0.4], -0.2, 0.4, 0.1), ([1.3, 1.81], 0, 2, 0.5),
     ([0.0], 0, 1, 1)],
)  # fmt: skip
def test_an_axis_has_round_ends(values: list[float], low: float, high: float, step: float) -> None:
    axis = chart.Axis.over(values)
    assert (axis.low, axis.step) == pytest.approx((low, step))
    assert axis.high == pytest.approx(high) or values == [0.0]


def test_the_page_has_a_row_for_every_figure() -> None:
    page = document.render([GROUP])
    for row in GROUP.rows:
        assert f"| {' | '.join(row.cells())} |" in page
    assert (
        "[P3](#p3) | the store on SQLite | 2 of 3 | 2026-01-02 03:04 UTC | 5 | 0.5 before, 1.5 after | 900 us |" in page
    )
    assert "(benchmarks/p3.svg)" in page
    assert "| log | 3 |" in page
    assert "- a note" in page
    assert "A <fast> one, 2 cores, 4 GiB, Linux 6, Python 3.11.7; fastapi 0.1." in page


def test_groups_of_two_machines_say_which_is_theirs() -> None:
    other = dataclasses.replace(GROUP, id="P4", about={**ABOUT, "processor": "another"})
    page = document.render([GROUP, other])
    assert "- Machine 2: another" in page
    assert "2026-01-02 03:04 UTC, machine 1 |" in page
    assert "2026-01-02 03:04 UTC, machine 2 |" in page


def test_a_miss_stands_with_its_reason() -> None:
    because = reasons.Reason(group="P3", figures=("save",), peer="raw", text="Because.")
    assert reasons.explained([GROUP], [because]) == [("P3", "Because.", [("P3", MISSED)])]
    elsewhere = dataclasses.replace(because, group="P4")
    assert reasons.explained([GROUP], [elsewhere]) == [("P3", reasons.UNKNOWN, [("P3", MISSED)])]
    assert "- save & <go>, `x`, beside raw: 0.60x, goal >= 0.8x" in document.render([GROUP])


@pytest.mark.parametrize(("load", "is_busy"), [("0.5 before, 2.9 after", False), ("12.0 before, 1.0 after", True)])
def test_a_group_that_was_measured_on_a_busy_machine_says_so(load: str, is_busy: bool) -> None:
    busy = dataclasses.replace(GROUP, id="P4", about={**ABOUT, "load average": load})
    assert ("Measured on a busy machine: P4.*" in document.render([GROUP, busy])) is is_busy


def test_kept_results_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "results.json"
    kept.save([GROUP], file)
    assert kept.load(file) == [GROUP]
    assert kept.load(tmp_path / "none.json") == []


def test_a_group_replaces_its_older_self_only() -> None:
    tenth, second = (dataclasses.replace(GROUP, id=id) for id in ("P10", "P2"))
    newer = dataclasses.replace(GROUP, rounds=9)
    assert kept.merge([tenth, GROUP, second], [newer]) == [second, newer, tenth]


def test_a_partial_run_is_published_only_when_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = run(["P3"], tmp_path, monkeypatch)
    assert published == []
    published = run(["P3", "--merge"], tmp_path, monkeypatch)
    assert [(group.id, group.rounds, len(group.parts)) for group in published] == [("P3", 5, 1)]
    assert published[0].about["load average"].endswith("after")


def test_a_whole_run_is_published_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [group.id for group in run([], tmp_path, monkeypatch)] == list(command.GROUPS)
    assert run(["--quick"], tmp_path, monkeypatch) == []
    with pytest.raises(SystemExit):
        run(["P3", "--quick", "--merge"], tmp_path, monkeypatch)


def test_a_group_that_was_not_measured_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: Settings) -> Group:
        raise BenchError("no server")

    assert run(["P3", "--merge"], tmp_path, monkeypatch, fail) == []


def test_rendering_again_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr(document, "write", written.append)
    monkeypatch.setattr(kept, "load", lambda: [GROUP])
    assert run(["--render"], tmp_path, monkeypatch) == []
    assert written == [[GROUP]]


def run(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, measure: Any = None) -> list[Kept]:
    """What the command publishes, with one small figure in the place of each part."""
    published: list[Kept] = []
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    monkeypatch.setattr(command, "_run", lambda part: measure or (lambda settings: Group("P", "t", [MET])))
    monkeypatch.setattr(command, "RESULTS", folder)
    monkeypatch.setattr(command.machine, "about", lambda: dict(ABOUT))
    monkeypatch.setattr(document, "keep", published.extend)
    command.main()
    return published


PUBLISHED = kept.load()


def test_every_group_is_published() -> None:
    assert [group.id for group in PUBLISHED] == list(command.GROUPS)


def test_the_published_page_and_pictures_are_what_the_kept_results_say() -> None:
    stale = [str(file.name) for file, text in document.files(PUBLISHED).items() if file.read_text() != text]
    assert stale == [], "run `python -m benchmarks --render` and commit what it wrote"
    pictures = {file.name for file in (document.PAGE.parent / document.PICTURES).glob("*.svg")}
    assert pictures == {f"{group.id.lower()}.svg" for group in PUBLISHED}


def test_every_published_miss_has_a_reason() -> None:
    unknown = [rows for _, text, rows in reasons.explained(PUBLISHED) if text == reasons.UNKNOWN]
    assert unknown == []


def test_what_is_published_names_no_place_of_the_machine() -> None:
    text = kept.RESULTS.read_text() + document.PAGE.read_text()
    assert re.findall(r"/(?:root|home|tmp|work|srv)/\S*", text) == []
