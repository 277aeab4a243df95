"""The documents: links lead somewhere, quoted code is the code, figures are the measured ones.

The commands in them are the matter of `test_documented_commands`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import maml
from benchmarks import tables
from maml.demo.strings import STRINGS
from maml.demo.train_strings import TRAIN_STRINGS
from maml.sessions.settings import ServerSettings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
QUOTATION = re.compile(r"^```python (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS_AN_APP = ("docs/hosting.md",)
"""Its program is run by `test_browser_share.test_the_example_for_programs_runs`."""
FROM_ELSEWHERE = {
    "README.md": {"4.0"},  # of the licence CC BY
    "README.zh.md": {"4.0"},
    "docs/how-it-works.md": {"98.4", "21.6"},
    "docs/inner-loop.md": {"4.4"},  # MB of gradients: as many bytes as the weights have
}
"""What stands there with its source."""

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """What headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for linked in LINK.finditer(read(document)):
        target, _, anchor = (linked[1] or linked[2]).partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = document.parent / target if target else document
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(read(path)), f"{target}#{anchor}"


@each_document
def test_quoted_code_is_the_code(document: Path) -> None:
    for file, quoted in QUOTATION.findall(read(document)):
        assert lines(quoted) in lines(read(ROOT / file)), quoted


def lines(text: str) -> str:
    """Without indentation, which a quotation may lessen."""
    return "\n".join(line.strip() for line in text.splitlines())


@each_document
def test_programs_run(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if str(document.relative_to(ROOT)) in NEEDS_AN_APP:
        pytest.skip("its program needs a running app")
    for program in PROGRAM.findall(read(document)):
        exec(compile(program, document.name, "exec"), {})
        for expected in re.findall(r"print\(.*\)  # (.*)", program):
            assert expected in capsys.readouterr().out.splitlines()


@pytest.fixture(scope="module")
def named() -> dict[str, str]:
    """What documents may quote, by its key."""
    return tables.named_figures(record(), read(tables.RESULTS))


def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read(tables.RECORD))
    return found


@pytest.mark.parametrize("document", tables.DOCUMENTS, ids=lambda path: path.name)
def test_tables_and_figures_are_those_of_their_keys(document: Path, named: dict[str, str]) -> None:
    text = read(document)
    assert tables.rendered(text, tables.Suite(record()), named) == text, (
        "python -m benchmarks.tables renders them"
    )


@pytest.mark.parametrize(
    "document",
    [path for path in tables.DOCUMENTS if path != tables.RESULTS],
    ids=lambda path: path.name,
)
def test_every_figure_names_its_key(document: Path) -> None:
    name = str(document.relative_to(ROOT))
    assert set(figures(tables.by_hand(read(document)))) == FROM_ELSEWHERE.get(name, set()), (
        "write <!-- figure: KEY --><!-- end --> instead, see benchmarks/tables.py"
    )


@each_document
def test_no_line_begins_with_a_figure(document: Path) -> None:
    """There a comment ends the paragraph."""
    assert not re.search(r"^\s*<!-- (figure|source): ", read(document), re.MULTILINE)


def test_results_tell_how_far_the_shares_of_every_task_are_off() -> None:
    suite = tables.Suite(record())
    measured = [measure for measure in suite.rows if measure.endswith("error of the shares")]
    assert [measure for measure in measured if "doodles" in measure]
    table = tables.measures(suite)
    assert [measure for measure in measured if suite.shown(measure) not in table] == []


def test_a_figure_is_that_of_its_key_and_of_no_other(named: dict[str, str]) -> None:
    suite, key = tables.Suite(record()), "20-way 5-shot, doodles / above prototypes"
    gain = suite.rows["20-way 5-shot, doodles"]["baselines"]["above prototypes"]
    wrong = f"up by <!-- figure: {key} -->1.20<!-- end --> points"
    right = tables.rendered(wrong, suite, named)
    assert right.startswith(f"up by <!-- figure: {key} -->{gain:.2f} ± ")
    assert right.endswith("<!-- end --> points") and tables.rendered(right, suite, named) == right
    assert tables.by_hand(right) == "up by  points"
    with pytest.raises(KeyError, match="no such key"):
        tables.rendered("<!-- figure: no such key -->1.20<!-- end -->", suite, named)


def test_figures_of_the_suite_and_of_other_commands_have_their_own_keys() -> None:
    text = "<!-- source: pace, ms -->3.0<!-- end --> ± 0.2"
    named = tables.named_figures(record(), text)
    assert named["pace, ms"] == "3.0"
    for row in record()["suite"]:
        assert abs(float(named[row["measure"]]) - row["value"]) <= 0.0051
    share = "5-way 1-shot, none of these, AUROC / false rejections, share"
    rejected = next(row for row in record()["suite"] if row["measure"] == share.split(" / ")[0])
    assert named[share] == f"{100 * rejected['baselines']['false rejections, share']:.1f}"  # in %
    with pytest.raises(ValueError, match=r"must have a key of its own; got twice \['pace, ms'\]"):
        tables.named_figures(record(), 2 * text)


def figures(text: str) -> Iterator[str]:
    """Decimal numbers of a text, with their intervals, but for versions and papers."""
    text = re.sub(r"```.*?```|`[^`]*`|^---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(
        r"arXiv\s+\d+\.\d+|\(https?:[^)]*\)|\[\d{4}\.\d{5}\]|Python [\d. to至]+|PyTorch [\d.]+",
        "",
        text,
    )
    yield from re.findall(r"(?<![\w.])\d+\.\d+(?: ± \d+\.\d+)?", text)


def test_readme_is_short_and_a_space_finds_its_settings() -> None:
    text = read(ROOT / "README.md")
    assert len(re.sub(r"<!--.*?-->", "", text).split()) < 900  # as it is read
    settings = yaml.safe_load(text.split("---\n")[1])
    assert settings["sdk"] == "gradio" and (ROOT / settings["app_file"]).exists()
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", read(ROOT / "requirements.txt"), re.MULTILINE))
    assert settings["sdk_version"] == pins["gradio"]
    assert len(settings["short_description"]) <= 60  # longer ones are refused
    assert (ROOT / settings["thumbnail"]).exists()
    assert settings["models"] == settings["datasets"] == []


def test_both_readmes_have_the_same_parts() -> None:
    english, chinese = (read(ROOT / name) for name in ("README.md", "README.zh.md"))
    english = english.split("---\n", 2)[2]

    def parts(text: str) -> list[str]:
        return re.findall(r"^(#+|```|<img|\| \*\*|- \*\*|\d\.)", text, re.MULTILINE)

    assert parts(english) == parts(chinese)
    # A line break within a Chinese sentence is shown as a gap.
    assert not re.search(r"[\u4e00-\u9fff，；：]\n[\u4e00-\u9fff]", chinese)


class Asked(Mapping[str, str]):
    """An empty environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_hosting_names_every_variable_and_its_default() -> None:
    rows = re.findall(
        r"^\| (`[A-Z].*?) \| .* \| (.*) \|$", read(ROOT / "docs" / "hosting.md"), re.M
    )
    told = {name: default for names, default in rows for name in re.findall(r"`(\w+)`", names)}
    environment = Asked()
    settings = ServerSettings.from_environment(environment)
    code = "".join(read(path) for path in [ROOT / "app.py", *(ROOT / "maml").rglob("*.py")])
    elsewhere = set(re.findall(r"environ(?:ment)?(?:\.get)?[(\[]\"([A-Z_]+)\"", code))
    assert set(told) == environment.names | elsewhere - {"PYTHONPATH"}
    for name, value in {
        "MAML_TRAININGS": settings.trainings,
        "MAML_GRACE_SECONDS": int(settings.grace_seconds),
        "MAML_RUNS_MEGABYTES": settings.runs_megabytes,
        "MAML_MCP": int(settings.mcp),
    }.items():
        assert told[name] == str(value), name
    assert f"else {settings.training_minutes:g}" in told["MAML_TRAINING_MINUTES"]
    assert f"else {settings.proxies}" in told["MAML_PROXIES"]


def test_the_lesson_names_what_stands_on_the_page() -> None:
    words = {word for texts in (STRINGS["en"], TRAIN_STRINGS["en"]) for word in texts.values()}
    named = re.findall(r"\*\*(.+?)\*\*", read(ROOT / "docs" / "teaching.md"), re.DOTALL)
    named = [" ".join(name.split()) for name in named if name != "bold"]
    assert len(named) > 10
    assert not set(named) - words


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    assert citation["version"] == maml.__version__
    assert citation["license"] == "MIT"
