/* What a training looks like: state, curves, tasks just solved, accuracy by inner step, log, runs.
 *
 * Gradio runs this with `element`, `trigger`, `props` and `watch`.  Python pushes the props `live`
 * (what changes all the time), `run` (the latest run's settings and curves), `solved` (tasks just
 * solved), `earlier` (other runs of the session), all of them JSON texts, and `language`; the page
 * sends {remove: number} with the event "remove".  The document's event "maml-board" tells whether
 * the board can be seen.
 */
(() => {
  "use strict";

  const { STRINGS, STYLE, OVER, BROKEN } = TRAIN_CONSTANTS;
  const root = element.querySelector(".maml-training");
  const LETTERS = "ABCDEFGHIJKLMNOPQRST";

  const { el, say } = Dom;
  const t = Words.translator(STRINGS, () => props.language);
  const chart = () => makeSvg("svg", { class: "chart" });

  Dom.addStyle("maml-training-style", STYLE);

  let parts;

  function build() {
    const figure = (title, picture, note = null) => el("figure", { class: "panel" },
      el("figcaption", {}, el("h2", {}, title), note), picture);
    parts = {
      status: el("p", { class: "status", id: "train-status", "aria-live": "polite" }),
      bar: el("progress", { max: "1", value: "0", "aria-label": t("progress") }),
      facts: el("p", { class: "facts" }),
      accuracySvg: chart(),
      lossSvg: chart(),
      stepsSvg: chart(),
      stepsKey: el("p", { class: "key" }),
      tasks: el("div", { class: "tasks" }),
      log: el("pre", { class: "log", tabindex: "0", "aria-label": t("log") }),
      runs: el("ul", { class: "runs" }),
    };
    const curveKey = (...more) => el("p", { class: "key" },
      el("span", { class: "swatch train" }), t("train_line"),
      el("span", { class: "swatch test" }), t("test_line"), ...more);
    parts.logPanel = el("section", { class: "panel" }, el("h2", {}, t("log")), parts.log);
    parts.extra = el("div", { class: "pair" },
      el("section", { class: "panel" }, el("h2", {}, t("tasks_title")),
        el("p", { class: "note" }, t("tasks_note")), parts.tasks),
      el("div", { class: "stack" }, figure(t("steps_title"), parts.stepsSvg,
        el("div", {}, el("p", { class: "note" }, t("steps_note")), parts.stepsKey)), parts.logPanel));
    parts.runsPanel = el("section", { class: "panel" }, el("h2", {}, t("runs")), parts.runs);
    root.replaceChildren(
      el("section", { class: "panel head" }, parts.status, parts.bar, parts.facts),
      el("div", { class: "pair" },
        figure(t("accuracy"), parts.accuracySvg,
          curveKey(el("span", { class: "swatch chance" }), t("chance_line"))),
        figure(t("loss"), parts.lossSvg, curveKey())),
      parts.extra, parts.runsPanel);
    const size = { width: 520, height: 296, label: t("iteration_axis") };
    parts.accuracy = new Charts.LineChart(parts.accuracySvg, size);
    parts.loss = new Charts.LineChart(parts.lossSvg, size);
    parts.steps = new Charts.LineChart(parts.stepsSvg,
      { width: 520, height: 256, label: t("inner_step"), whole: true });
    root.lang = props.language === "zh" ? "zh-Hans" : "en";
  }

  // ---- state ---------------------------------------------------------------------------------

  function duration(seconds) {
    const minutes = Math.floor(seconds / 60);
    if (minutes >= 60) {
      return t("hours_minutes", { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
    }
    return minutes ? t("minutes_seconds", { minutes, seconds: seconds % 60 })
      : t("only_seconds", { seconds });
  }

  function stateText(live) {
    if (!live) return t("idle");
    if (live.state === "training" && live.stage === "pretraining") return t("pretraining_now");
    if (live.state === "preparing" && live.data) {
      return live.data.task === "generating" ? t("data_generating")
        : t("data_reading", { task: live.data.task });
    }
    if (live.without_data) return t("failed_data");
    return t(live.state, { place: live.place, text: live.text, minutes: live.limit });
  }

  function showState(live) {
    say(parts.status, stateText(live));
    root.dataset.state = live ? live.state : "idle";
    root.dataset.iteration = live ? String(live.iteration) : "0";
    parts.status.classList.toggle("bad", Boolean(live) && BROKEN.includes(live.state));
    if (!live) {
      parts.facts.textContent = t("idle_note");
      parts.bar.value = 0;
      return;
    }
    const data = live.state === "preparing" ? live.data : null;
    if (live.state === "preparing" && !(data && data.total)) parts.bar.removeAttribute("value");
    else parts.bar.value = data ? data.done / data.total : live.iteration / live.iterations;
    const facts = [t("step_of", { iteration: live.iteration.toLocaleString("en"),
      iterations: live.iterations.toLocaleString("en") })];
    if (live.rate !== null) facts.push(t("rate", { rate: live.rate }));
    if (live.left !== null) {
      const stage = live.two_stages && live.stage === "pretraining";
      facts.push(t(stage ? "left_stage" : "left", { time: duration(live.left) }));
    }
    facts.push(t("took", { time: duration(live.seconds) }));
    if (live.limit) facts.push(t("limit_note", { minutes: live.limit }));
    parts.facts.textContent = facts.join(" · ");
  }

  // ---- curves --------------------------------------------------------------------------------

  let lossTop = 0;

  function showCurves(live, run, earlier) {
    const runs = [...earlier, ...(run ? [run] : [])];
    const xTop = Math.max(live ? live.iterations : 0,
      ...earlier.map((one) => one.train.at(-1)?.[0] ?? 1));
    const losses = runs.flatMap((one) => [...one.train, ...one.test]).map((point) => point[2])
      .filter((value) => value !== null);
    if (!losses.length) lossTop = 0;
    else lossTop = Math.max(lossTop, Charts.roundUp(Math.max(0.05, ...losses)));
    const lines = (column) => {
      const found = [];
      for (const one of earlier) {
        const hue = `old hue-${one.number % 6}`;
        found.push({ key: `train ${one.number}`, className: `${hue} faint`,
          points: one.train.map((point) => [point[0], point[column]]) });
        found.push({ key: `test ${one.number}`, className: hue,
          points: one.test.map((point) => [point[0], point[column]]) });
      }
      if (run) {
        found.push({ key: `train ${run.number}`, className: "train",
          points: run.train.map((point) => [point[0], point[column]]) });
        found.push({ key: `test ${run.number}`, className: "test", dots: run.test.length < 60,
          points: run.test.map((point) => [point[0], point[column]]) });
        if (column === 1) {
          found.push({ key: "chance", className: "chance",
            points: [[0, run.chance], [xTop, run.chance]] });
        }
      }
      return found;
    };
    const last = run?.test.at(-1);
    const described = (key, value) => (last ? t("chart_described", { what: t(key), value })
      : t("chart_empty", { what: t(key) }));
    parts.accuracy.show(lines(1), { xTop, yTop: 100,
      description: described("accuracy", last?.[1].toFixed(1)) });
    parts.loss.show(lines(2), { xTop, yTop: lossTop || 2,
      description: described("loss", last?.[2]?.toFixed(2) ?? "?") });
  }

  function showSteps(live) {
    const { first_steps: first, steps: now } = live ?? {};
    const lines = [];
    parts.stepsKey.replaceChildren();
    if (now) {
      const points = (one) => one.by_step.map((value, step) => [step, 100 * value]);
      const before = first.iteration !== now.iteration;
      if (before) lines.push({ key: "first", className: "train", dots: true, points: points(first) });
      lines.push({ key: "now", className: "test", dots: true, points: points(now) });
      if (before) {
        parts.stepsKey.append(el("span", { class: "swatch train" }),
          t("steps_first", { iteration: first.iteration }));
      }
      parts.stepsKey.append(el("span", { class: "swatch test" }),
        t("steps_now", { iteration: now.iteration }));
    }
    const count = now ? Math.max(1, now.by_step.length - 1) : 5;
    const spoken = now ? now.by_step.map((value) => Math.round(100 * value)).join(", ") : "";
    parts.steps.show(lines, { xTop: count, yTop: 100,
      description: `${t("steps_title")}: ${spoken}` });
  }

  // ---- tasks ---------------------------------------------------------------------------------

  /** One picture cut out of a strip that has a column for each way. */
  function cell(strip, ways, rows, way, row) {
    const node = el("span", { class: "glyph" });
    node.style.backgroundImage = `url("data:image/png;base64,${strip}")`;
    node.style.backgroundSize = `${100 * ways}% ${100 * rows}%`;
    const share = (at, count) => (count > 1 ? (100 * at) / (count - 1) : 0);
    node.style.backgroundPosition = `${share(way, ways)}% ${share(row, rows)}%`;
    return node;
  }

  function showTasks(solved) {
    parts.tasks.replaceChildren();
    for (const [number, task] of (solved ?? []).entries()) {
      const rows = task.answers[0].length;
      const right = task.answers.flatMap((row, way) => row.filter((one) => one === way)).length;
      const before = task.before.flatMap((row, way) => row.filter((one) => one === way)).length;
      const grid = el("div", { class: "task", "aria-hidden": "true" });
      grid.style.setProperty("--ways", task.ways);
      for (let way = 0; way < task.ways; way += 1) {
        grid.append(el("span", { class: "cell support" }, cell(task.support, task.ways, 1, way, 0),
          el("b", {}, LETTERS[way])));
      }
      for (let row = 0; row < rows; row += 1) {
        for (let way = 0; way < task.ways; way += 1) {
          const answer = task.answers[way][row];
          const good = answer === way;
          grid.append(el("span", { class: good ? "cell good" : "cell wrong",
            title: good ? t("right_mark") : t("wrong_mark", { letter: LETTERS[answer] }) },
          cell(task.queries, task.ways, rows, way, row),
          el("b", {}, good ? "\u2713" : `\u2717 ${LETTERS[answer]}`)));
        }
      }
      const total = rows * task.ways;
      parts.tasks.append(el("div", {}, el("p", { class: "verdict" },
        t("task_right", { number: number + 1, right, total, before })), grid));
    }
  }

  // ---- runs ----------------------------------------------------------------------------------

  function nameOfRun(run) {
    const name = t("recipe_" + run.recipe).replace(/[:：（(].*$/, "").trim();
    const changes = Object.entries(run.changes).map(([key, value]) => t("changed_setting",
      { name: t(key).toLowerCase(), value: value === true ? t("on") : value === false ? t("off") : value }));
    const source = run.source === "generated" ? [t("source_generated").replace(/[:：].*$/, "")] : [];
    return [t("run_name", { number: run.number, recipe: name }), ...source, ...changes].join(", ");
  }

  let shownRuns = "";

  /** The legend: the latest run and the earlier ones with their settings. */
  function showRuns(run, earlier) {
    const runs = [...(run ? [run] : []), ...earlier];
    const key = JSON.stringify([props.language, run?.number,
      runs.map((one) => [one.number, one.accuracy, one.state])]);
    parts.runsPanel.hidden = !runs.length;
    if (key === shownRuns) return;
    shownRuns = key;
    parts.runs.replaceChildren(...runs.map((one) => {
      const best = one.accuracy === null ? ""
        : t("run_best", { accuracy: (100 * one.accuracy).toFixed(1) });
      const remove = el("button", { class: "button", type: "button", text: "\u00d7",
        "aria-label": t("remove_run", { number: one.number }), onclick: () => {
          props.value = { remove: one.number, at: Date.now() };
          trigger("remove");
        } });
      return el("li", {}, el("span", { class: one === run ? "swatch test" : `swatch old hue-${one.number % 6}` }),
        el("span", { class: "run-name" }, nameOfRun(one)), el("span", { class: "note" }, best),
        OVER.includes(one.state) ? remove : el("span"));
    }));
  }

  function showLog(live) {
    const text = (live?.lines ?? []).join("\n");
    if (parts.log.textContent !== text) {
      parts.log.textContent = text;
      parts.log.scrollTop = parts.log.scrollHeight;
    }
    parts.logPanel.hidden = !text;
  }

  // ---- all of it ------------------------------------------------------------------------------

  let inView = false;

  // Curves that nobody looks at would slow down drawing: the server is told whether they are seen.
  new IntersectionObserver((entries) => {
    inView = entries.at(-1).isIntersecting;
    document.dispatchEvent(new CustomEvent("maml-board", { detail: inView }));
    if (inView) show();
  }).observe(root);

  function show() {
    const live = JSON.parse(props.live || "null");
    showState(live);
    parts.extra.hidden = !live?.steps;
    if (!inView) return;
    const latest = JSON.parse(props.run || "null");
    const run = live && latest?.number === live.number ? latest : null;
    const earlier = JSON.parse(props.earlier || "[]");
    showCurves(live, run, earlier);
    showSteps(live);
    showLog(live);
    showRuns(run, earlier);
  }

  function rebuild() {
    shownRuns = "";
    build();
    show();
    showTasks(JSON.parse(props.solved || "null"));
  }

  watch("live", show);
  watch("run", show);
  watch("earlier", show);
  watch("solved", () => showTasks(JSON.parse(props.solved || "null")));
  watch("language", rebuild);
  rebuild();
  root.style.minHeight = "";
  root.dataset.ready = "yes";
})();
