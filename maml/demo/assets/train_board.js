/* What a training looks like: state, curves, tasks just solved, accuracy by inner step, log, runs.
 *
 * Gradio runs this with `element`, `trigger`, `props` and `watch`.  Python pushes the props `live`
 * (what changes all the time), `run` (the latest run's settings and curves), `solved` (tasks just
 * solved), `earlier` (other runs of the session), all of them JSON texts, and `language`; the page
 * sends {remove: number} with the event "remove", and "pause" and "unpause" when keys say so.  The
 * document's event "maml-board" tells whether the board can be seen.
 */
(() => {
  "use strict";

  const { STRINGS, STYLE, OVER, BROKEN, QUOTATIONS } = TRAIN_CONSTANTS;
  const root = element.querySelector(".maml-training");

  const { el, say } = Dom;
  const t = Words.translator(STRINGS, () => props.language);
  const chart = () => makeSvg("svg", { class: "chart" });

  Dom.addStyle("maml-training-style", STYLE);
  Terms.install(t, QUOTATIONS);
  const present = Presenting.install(root, {
    pause: () => trigger("pause"),
    goOn: () => trigger("unpause"),
  }, () => root.dataset.state === "paused");

  let parts;
  let bySeconds = false;
  let inView = false;
  const drawn = { key: "" };

  function build() {
    const figure = (area, title, picture, ...notes) => el("figure", { class: `panel ${area}` },
      el("figcaption", {}, el("h2", {}, title), ...notes), picture);
    parts = {
      status: el("p", { class: "status", id: "train-status", "aria-live": "polite" }),
      caption: el("p", { class: "caption", id: "train-caption", "aria-live": "polite" }),
      bar: el("progress", { max: "1", value: "0", "aria-label": t("progress") }),
      facts: el("p", { class: "facts" }),
      accuracySvg: chart(),
      lossSvg: chart(),
      stepsSvg: chart(),
      key: el("p", { class: "key" }),
      lossKey: el("p", { class: "key" }),
      stepsKey: el("p", { class: "key" }),
      stepsSay: el("p", { class: "note" }),
      tasks: el("div", { class: "tasks" }),
      log: el("pre", { class: "log", tabindex: "0", "aria-label": t("log") }),
      runs: el("ul", { class: "runs" }),
    };
    const axis = el("div", { class: "switch", role: "group" },
      ...[["by_steps", false], ["by_seconds", true]].map(([key, value]) => el("button", {
        class: "button", type: "button", text: t(key), "aria-pressed": String(value === bySeconds),
        onclick: () => {
          bySeconds = value;
          for (const one of axis.children) {
            one.setAttribute("aria-pressed", String((one.textContent === t("by_seconds")) === value));
          }
          show();
        } })));
    const presentButton = el("button", { class: "button present", type: "button", text: t("present"),
      title: t("present_note"), onclick: present });
    parts.logPanel = el("section", { class: "panel log-area" }, el("h2", {}, t("log")), parts.log);
    parts.extra = el("div", { class: "pair" },
      el("section", { class: "panel tasks-area" }, el("h2", {}, t("tasks_title")),
        el("p", { class: "note" }, ...Terms.marked(t("tasks_note"))), parts.tasks),
      el("div", { class: "stack" }, figure("steps-area", t("steps_title"), parts.stepsSvg,
        el("p", { class: "note" }, ...Terms.marked(t("steps_note"))), parts.stepsKey,
        parts.stepsSay), parts.logPanel));
    parts.runsPanel = el("section", { class: "panel runs-area" },
      el("div", { class: "bar" }, el("h2", {}, t("runs")), axis), parts.runs);
    root.replaceChildren(
      el("section", { class: "panel head" }, el("div", { class: "bar" }, parts.status,
        presentButton), parts.caption, parts.bar, parts.facts),
      el("div", { class: "pair" },
        figure("accuracy-area", t("accuracy"), parts.accuracySvg, parts.key),
        figure("loss-area", t("loss"), parts.lossSvg, parts.lossKey)),
      parts.runsPanel, parts.extra);
    const size = { width: 520, height: 296, label: t("iteration_axis") };
    parts.curves = new RunCurves.Pair({
      accuracy: new Charts.LineChart(parts.accuracySvg, size),
      loss: new Charts.LineChart(parts.lossSvg, size),
      key: parts.key,
      lossKey: parts.lossKey,
    }, t);
    const low = { ...size, height: 256, label: t("inner_step") };
    parts.steps = new Charts.LineChart(parts.stepsSvg, low);
    for (const [one, usual] of [[parts.curves.accuracy, size], [parts.steps, low]]) {
      Presenting.fitChart(root, one, usual, () => {
        drawn.key = "";
        show();
      });
    }
    parts.legend = new Runs.Legend(parts.runs, OVER, t, (number) => {
      props.value = { remove: number, at: Date.now() };
      trigger("remove");
    }, show);
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

  const SOURCES = { omniglot: "Omniglot", quickdraw: "Quick, Draw!" };

  function stateText(live) {
    if (!live) return t("idle");
    if (live.state === "training" && live.stage === "pretraining") return t("pretraining_now");
    if (live.state === "preparing" && live.data) {
      return live.data.task === "generating" ? t("data_generating")
        : t("data_reading", { task: live.data.task });
    }
    if (live.without_data) return t("failed_data", { source: SOURCES[live.source] });
    return t(live.state, { place: live.place, text: live.text, minutes: live.limit });
  }

  function showState(live) {
    say(parts.status, stateText(live));
    const begins = live && ["waiting", "preparing"].includes(live.state)
      && !["waiting", "preparing", undefined].includes(root.dataset.state);
    // Who has just pressed start, far down among the settings, wants to see what comes.
    if (begins && !inView) root.scrollIntoView({ block: "start" });
    root.dataset.state = live ? live.state : "idle";
    root.dataset.iteration = live ? String(live.iteration) : "0";
    parts.status.classList.toggle("bad", Boolean(live) && BROKEN.includes(live.state));
    const begun = live && !["waiting", "preparing"].includes(live.state);
    say(parts.caption, begun ? t(live.caption, { steps: live.inner_steps }) : "");
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
    if (live.planned) facts.push(t("then_more", { count: live.planned }));
    parts.facts.textContent = facts.join(" · ");
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

  // Curves that nobody looks at would slow down drawing: the server is told whether they are seen.
  new IntersectionObserver((entries) => {
    inView = entries.at(-1).isIntersecting;
    document.dispatchEvent(new CustomEvent("maml-board", { detail: inView }));
    if (inView) show();
  }).observe(root);

  function show() {
    const live = JSON.parse(props.live || "null");
    showState(live);
    if (!inView) return;
    showLog(live);
    // Curves come less often than the state.
    const key = [live?.number, props.run, props.earlier, bySeconds, props.language,
      [...parts.legend.hidden]].join("|");
    if (key === drawn.key) return;
    drawn.key = key;
    root.dataset.hidden = [...parts.legend.hidden].join(",");
    const latest = JSON.parse(props.run || "null");
    const run = live && latest?.number === live.number ? latest : null;
    const earlier = JSON.parse(props.earlier || "[]").filter((one) => one.number !== run?.number);
    const runs = [...earlier, ...(run ? [run] : [])];
    parts.extra.hidden = !run?.moments.length;
    parts.runsPanel.hidden = !runs.length;
    root.classList.toggle("several", runs.length > 1);
    parts.legend.show([...runs].reverse(), props.language);
    parts.curves.show(live, run, runs.filter((one) => parts.legend.isShown(one)), bySeconds);
    StepCurves.show({ chart: parts.steps, key: parts.stepsKey, says: parts.stepsSay }, run,
      Runs.colour(run?.number ?? 1), t);
  }

  function showTasks() {
    SolvedTasks.show(parts.tasks, JSON.parse(props.solved || "null") ?? [], t);
  }

  function rebuild() {
    const hidden = parts?.legend.hidden;
    drawn.key = "";
    build();
    if (hidden) parts.legend.hidden = hidden;
    show();
    showTasks();
  }

  watch("live", show);
  watch("run", show);
  watch("earlier", show);
  watch("solved", showTasks);
  watch("language", rebuild);
  rebuild();
  root.style.minHeight = "";
  root.dataset.ready = "yes";
})();
