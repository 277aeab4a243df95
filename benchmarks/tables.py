"""Render the documents' figures from the weights' record: ``python -m benchmarks.tables``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``, a figure between
``<!-- figure: KEY -->`` and ``<!-- end -->``; the rest is written by hand.  Keys are those of
`named_figures`: a measure of the suite, ``MEASURE / BASELINE``, or a name that docs/results.md
gives to what another command printed, between ``<!-- source: KEY -->`` and ``<!-- end -->``.
``python -m maml evaluate --suite --record`` measures the record anew.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "weights" / "flagship.json"
RESULTS = ROOT / "docs" / "results.md"
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "README.zh.md")),
    *(ROOT / "docs" / f"{name}.md" for name in ("how-it-works", "inner-loop", "research")),
    ROOT / "docs" / "teaching.md",
    RESULTS,
)
_PART = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_FIGURE = re.compile(r"(<!-- figure: (.+?) -->).*?(<!-- end -->)")
_SOURCE = re.compile(r"<!-- source: (.+?) -->(.*?)<!-- end -->")

_TARGETS = {
    "5-way 1-shot": (99.15, 99.4),
    "5-way 5-shot": (99.77, 99.85),
    "20-way 1-shot": (97.3, 98.0),
    "20-way 5-shot": (99.3, 99.5),
    "20-way 1-shot within one alphabet": (89.5, 92.0),
}
"""Target and stretch target of the standard tasks, %."""
_BEST_PUBLISHED = {
    "5-way 1-shot": 99.07,
    "5-way 5-shot": 99.78,
    "20-way 1-shot": 97.64,
    "20-way 5-shot": 99.36,
}
"""SNAIL, arXiv 1707.03141, %."""
_SNAIL = "[1707.03141](https://arxiv.org/abs/1707.03141)"
_SIZES = (
    "2-way 1-shot", "3-way 1-shot", "10-way 1-shot", "2-way 5-shot", "10-way 5-shot",
    "5-way 10-shot", "5-way 19-shot", "10-way, 1 to 10 shots",
)  # fmt: skip
_BY_STEP = (
    "5-way 1-shot", "20-way 1-shot", "20-way 1-shot, another pen",
    "20-way 1-shot within one alphabet", "20-way 5-shot within one alphabet",
    "20-way 10-shot within one alphabet",
)  # fmt: skip
_DOODLES: dict[str, tuple[float | None, float | None, float | None]] = {
    "5-way 1-shot": (69, 75, -0.05),
    "5-way 5-shot": (88, 91, 1.5),
    "5-way 10-shot": (None, None, 2.5),
    "20-way 1-shot": (47, 55, -0.05),
    "20-way 5-shot": (73, 79, None),
}
"""Target and stretch target of tasks of doodles, %, and the target of points above prototypes."""
_REFUSALS: dict[str, tuple[float | None, float | None]] = {
    "5-way 5-shot": (5, 5),
    "5-way 1-shot": (5, None),
    "20-way 1-shot": (None, None),
    "5-way 5-shot, doodles": (10, 40),
    "5-way 1-shot, doodles": (10, None),
}
"""Most known drawings that may be refused, and out-of-set drawings that may get a name, %."""
_STEPS = (0, 1, 3, 5, 10)
_CHINESE = {
    "5-way 1-shot": "5 类，每类 1 例",
    "5-way 5-shot": "5 类，每类 5 例",
    "20-way 1-shot": "20 类，每类 1 例",
    "20-way 5-shot": "20 类，每类 5 例",
    "20-way 1-shot within one alphabet": "同一字母表内至多 20 类，每类 1 例",
}


class Suite:
    """What `maml evaluate --suite --record` wrote beside the weights."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.rows = {row["measure"]: row for row in record["suite"]}
        self.measured_with = record["suite_measured_with"]

    def shown(self, measure: str, digits: int = 2) -> str:
        """A value, with its interval if there is one."""
        row = self.rows[measure]
        text = f"{row['value']:.{digits}f}"
        return text if row["interval"] is None else f"{text} ± {row['interval']:.2f}"

    def value(self, measure: str) -> float:
        """A value as it was measured."""
        return float(self.rows[measure]["value"])

    def tasks(self, measure: str) -> str:
        """The number of tasks of a measure."""
        return f"{self.rows[measure]['tasks']:,}"

    def baseline(self, measure: str, name: str, digits: int = 2, factor: float = 1.0) -> str:
        """A baseline by the beginning of its name; empty where there is none."""
        for key, value in self.rows[measure]["baselines"].items():
            if key.startswith(name):
                return f"{factor * value:.{digits}f}"
        return ""

    def gain(self, measure: str) -> str:
        """How far a measure is above normalised prototypes, in points."""
        baselines = self.rows[measure]["baselines"]
        gain = round(baselines["above prototypes"], 2) + 0.0  # no -0.00
        return f"{gain:+.2f} ± {baselines['its interval']:.2f}"


def named_figures(record: dict[str, Any], results: str) -> dict[str, str]:
    """What a document may quote, by its key.

    Args:
        record: the .json beside the weights.
        results: the text of docs/results.md.

    Raises:
        ValueError: if two figures have the same key.
    """
    suite = Suite(record)
    named = [("hours of the first branch", f"{record['trained'][0]['made_with']['hours']:g}")]
    for measure, row in suite.rows.items():
        named.append((measure, f"{row['value']:.{2 if row['unit'] else 4}f}"))
        for baseline, value in row["baselines"].items():
            shown = f"{100 * value:.1f}" if baseline.endswith("share") else f"{value:.2f}"
            if baseline == "above prototypes":
                shown = suite.gain(measure).removeprefix("+")
            named.append((f"{measure} / {baseline}", shown))
    named += _SOURCE.findall(results)
    keys = [key for key, _ in named]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(f"Each figure must have a key of its own; got twice {sorted(twice)}.")
    return dict(named)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def at_least(target: float | None, value: float) -> str:
    """A target, and whether a value, to four digits, misses it."""
    return "-" if target is None else _judged(target, round(value, 4) >= target)


def at_most(target: float | None, value: float) -> str:
    """The same of a value that should be small."""
    return "-" if target is None else _judged(target, round(value, 4) <= target)


def _judged(target: float, met: bool) -> str:
    return f"{target:g}" if met else f"**{target:g} missed**"


def measured(suite: Suite) -> str:
    """The command, the commit, and what it ran on."""
    made = suite.measured_with
    return (
        f"`python -m maml evaluate --suite --record`, commit {made['commit'][:7]}, Python "
        f"{made['python']}, PyTorch {made['torch']}, threads: {made['threads']}.\n"
    )


def standard(suite: Suite) -> str:
    """The standard tasks with targets and baselines measured on the same tasks."""
    return table(
        ("task", "ours", "target", "stretch", "pixel baseline", "prototypes", "difference"),
        (
            (
                f"{_named(task)} ({suite.tasks(task)} tasks)", suite.shown(task),
                at_least(target, suite.value(task)), f"{stretch:g}",
                suite.baseline(task, "pixel"), suite.baseline(task, "prototypes"), suite.gain(task),
            )
            for task, (target, stretch) in _TARGETS.items()
        ),
    )  # fmt: skip


def sizes(suite: Suite) -> str:
    """Other sizes of task, beside copies trained further on them."""
    return table(
        ("size of task", "ours", "meta-trained for this size", "prototypes"),
        (
            (
                size, suite.shown(size),
                suite.baseline(size, "meta-trained") + " (for 10-way 5-shot)" * ("," in size),
                suite.baseline(size, "prototypes"),
            )
            for size in _SIZES
        ),
    )  # fmt: skip


def measures(suite: Suite) -> str:
    """Pens, "none of these", calibration and invariance."""
    five, one, twenty = "5-way 5-shot", "5-way 1-shot", "20-way 1-shot"
    within = f"{twenty} within one alphabet"
    strokes, auroc = "strokes as queries (background alphabets)", "none of these, AUROC"
    error, shares = "calibration error", "half of the queries out of set, calibration error of the"
    changes = ("when asked twice", "when asked alone", "when the symbols are permuted")

    def errors(kind: str, *tasks: str) -> str:
        return " / ".join(suite.shown(f"{task}, {kind}") for task in tasks) + " %"

    rows = [
        (
            f"{one}, every query by another pen: points lost",
            suite.shown(f"{one}, loss with another pen"), "1.5", "0.5",
        ),
        *(
            (
                f"{task}, pen strokes as queries / the data set's pictures (background alphabets)",
                f"{suite.value(f'{task}, {strokes}'):.2f} / "
                f"{suite.baseline(f'{task}, {strokes}', 'pictures')}",
                "within 0.5", "",
            )
            for task in (one, twenty)
        ),
        (
            f"{twenty}, every drawing by a pen and hand unlike any in training / as drawn",
            f"{suite.shown(f'{twenty}, unlike pens and hands')} / "
            f"{suite.baseline(f'{twenty}, unlike pens and hands', 'as drawn')}", "", "",
        ),
        (
            f'"none of these", AUROC, half of the queries out of set: {five}',
            suite.shown(f"{five}, {auroc}", 4),
            at_least(0.995, suite.value(f"{five}, {auroc}")), "0.998",
        ),
        (
            f"the same, {one} / {twenty}",
            f"{suite.shown(f'{one}, {auroc}', 4)} / {suite.shown(f'{twenty}, {auroc}', 4)}",
            f"{at_least(0.987, suite.value(f'{one}, {auroc}'))} / -", "0.992 / -",
        ),
        (
            f"the same, doodles, {five} / {one}",
            f"{suite.shown(f'{five}, doodles, {auroc}', 4)} / "
            f"{suite.shown(f'{one}, doodles, {auroc}', 4)}",
            f"{at_least(0.9, suite.value(f'{five}, doodles, {auroc}'))} / -", "0.95 / -",
        ),
        (
            f"calibration error of the top probability, doodles: {five} / {one}",
            errors(error, f"{five}, doodles", f"{one}, doodles"),
            f"{at_most(2, suite.value(f'{five}, doodles, {error}'))} / -", "0.5 / -",
        ),
        (
            f"calibration error of the top probability: {one} / {twenty} / within one alphabet",
            errors(error, one, twenty, within),
            " / ".join(at_most(1, suite.value(f"{task}, {error}")) for task in (one, twenty))
            + " / -", "0.5 / 0.5 / -",
        ),
        (
            'calibration error of the largest share, "none of these" included, half of the queries '
            f"out of set: {five} / {one} / {twenty}",
            errors(f"{shares} shares", five, one, twenty), "", "",
        ),
        (
            f"the same, doodles: {five} / {one}",
            errors(f"{shares} shares", f"{five}, doodles", f"{one}, doodles"), "", "",
        ),
        (
            "largest change of an answer: asked twice / alone / symbols permuted",
            " / ".join(f"{suite.value(f'largest change {how}'):.1e}" for how in changes).replace(
                "0.0e+00", "0"
            ), "1e-5", "",
        ),
    ]  # fmt: skip
    return table(("other measures", "ours", "target", "stretch"), rows)


def calibration(suite: Suite) -> str:
    """What is calibrated beside what is not."""
    error, shares = "calibration error", "half of the queries out of set, calibration error of the"
    head = ("off by, in %", "the top probability, queries of the symbols",
            "the largest share, half of the queries out of set")  # fmt: skip
    tasks = ("5-way 1-shot", "20-way 1-shot", "5-way 5-shot, doodles", "5-way 1-shot, doodles")
    return table(
        head,
        (
            (task, suite.shown(f"{task}, {error}"), suite.shown(f"{task}, {shares} shares"))
            for task in tasks
        ),
    )


def doodles(suite: Suite) -> str:
    """Doodles of words that nothing was trained on."""
    return table(
        ("task", "ours", "target", "stretch", "prototypes", "difference", "target"),
        (
            (
                task, suite.shown(f"{task}, doodles"),
                at_least(target, suite.value(f"{task}, doodles")),
                "-" if stretch is None else f"{stretch:g}",
                suite.baseline(f"{task}, doodles", "prototypes"), suite.gain(f"{task}, doodles"),
                at_least(above, suite.rows[f"{task}, doodles"]["baselines"]["above prototypes"]),
            )
            for task, (target, stretch, above) in _DOODLES.items()
        ),
    )  # fmt: skip


def refusals(suite: Suite) -> str:
    """How often "none of these" errs, either way."""
    rows = []
    for task, (most_refused, most_named) in _REFUSALS.items():
        measure = f"{task}, none of these, AUROC"
        refused = suite.baseline(measure, "false rejections", 1, 100)
        named = suite.baseline(measure, "false acceptances", 1, 100)
        rows.append(
            (
                task, f"{refused} %", at_most(most_refused, float(refused)),
                f"{named} %", at_most(most_named, float(named)),
            )
        )  # fmt: skip
    head = ("known drawings refused", "target", "out-of-set drawings given a name", "target")
    return table(("task", *head), rows)


def steps(suite: Suite) -> str:
    """Accuracy after each inner step."""
    count = suite.tasks(f"{_BY_STEP[0]}, step 0")
    return table(
        (f"accuracy by inner step ({count} tasks)", *map(str, _STEPS), "prototypes",
         "step 5 above them"),
        (
            (
                task, *(suite.shown(f"{task}, step {step}") for step in _STEPS),
                suite.baseline(f"{task}, step 5", "prototypes"), suite.gain(f"{task}, step 5"),
            )
            for task in _BY_STEP
        ),
    )  # fmt: skip


def readme(suite: Suite) -> str:
    """The standard tasks beside the best published figures."""
    head = ("task", "ours", "prototypes, same features", f"best published: SNAIL ({_SNAIL})")
    return table(head, (_compared(suite, task, _named(task)) for task in _TARGETS))


def readme_chinese(suite: Suite) -> str:
    """`readme` in Chinese."""
    head = ("任务", "本项目", "同样特征上的原型法", f"已发表的最好结果：SNAIL（{_SNAIL}）")
    return table(head, (_compared(suite, task, _CHINESE[task]) for task in _TARGETS))


def _compared(suite: Suite, task: str, name: str) -> tuple[str, ...]:
    published = _BEST_PUBLISHED.get(task)
    best = "" if published is None else f"{published:.2f}"
    return name, suite.shown(task), suite.baseline(task, "prototypes"), best


def _named(task: str) -> str:
    """Alphabets of fewer than 20 characters make smaller tasks."""
    return f"up to {task}" if "within" in task else task


RENDERED: dict[str, Callable[[Suite], str]] = {
    "measured": measured,
    "standard": standard,
    "sizes": sizes,
    "measures": measures,
    "calibration": calibration,
    "doodles": doodles,
    "refusals": refusals,
    "steps": steps,
    "readme": readme,
    "readme-chinese": readme_chinese,
}
"""What is rendered, by the name in its comment."""


def rendered(text: str, suite: Suite, figures: Mapping[str, str]) -> str:
    """A document with its rendered tables and figures made anew.

    Raises:
        KeyError: if a table has a name that nothing renders, or a figure a key that nothing has.
    """
    text = _PART.sub(lambda part: f"{part[1]}\n{RENDERED[part[2]](suite)}\n{part[3]}", text)
    return _FIGURE.sub(lambda part: f"{part[1]}{figures[part[2]]}{part[3]}", text)


def by_hand(text: str) -> str:
    """A document without its rendered tables and figures."""
    return _FIGURE.sub("", _PART.sub("", text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, default=RECORD, help="the .json beside the weights")
    record = json.loads(parser.parse_args().record.read_text(encoding="utf-8"))
    suite, figures = Suite(record), named_figures(record, RESULTS.read_text(encoding="utf-8"))
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        if (made := rendered(text, suite, figures)) != text:
            path.write_text(made, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
