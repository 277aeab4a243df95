/* Tasks just solved: support examples, queries, and what the adapted network took them for. */
const SolvedTasks = (() => {
  "use strict";

  const { el } = Dom;
  const LETTERS = "ABCDEFGHIJKLMNOPQRST";

  /** One picture cut out of a strip that has a column for each way. */
  function cell(strip, ways, rows, way, row) {
    const node = el("span", { class: "glyph" });
    node.style.backgroundImage = `url("data:image/png;base64,${strip}")`;
    node.style.backgroundSize = `${100 * ways}% ${100 * rows}%`;
    const share = (at, count) => (count > 1 ? (100 * at) / (count - 1) : 0);
    node.style.backgroundPosition = `${share(way, ways)}% ${share(row, rows)}%`;
    return node;
  }

  function grid(task, rows, t) {
    const node = el("div", { class: "task", "aria-hidden": "true" });
    node.style.setProperty("--ways", task.ways);
    for (let way = 0; way < task.ways; way += 1) {
      node.append(el("span", { class: "cell support" }, cell(task.support, task.ways, 1, way, 0),
        el("b", {}, LETTERS[way])));
    }
    for (let row = 0; row < rows; row += 1) {
      for (let way = 0; way < task.ways; way += 1) {
        const answer = task.answers[way][row];
        const good = answer === way;
        node.append(el("span", { class: good ? "cell good" : "cell wrong",
          title: good ? t("right_mark") : t("wrong_mark", { letter: LETTERS[answer] }) },
        cell(task.queries, task.ways, rows, way, row),
        el("b", {}, good ? "\u2713" : `\u2717 ${LETTERS[answer]}`)));
      }
    }
    return node;
  }

  /** Show tasks in an element: what Python calls SolvedTask. */
  function show(node, tasks, t) {
    node.replaceChildren(...tasks.map((task, number) => {
      const rows = task.answers[0].length;
      const hits = (answers) => answers.flatMap(
        (row, way) => row.filter((one) => one === way)).length;
      return el("div", {}, el("p", { class: "verdict" }, t("task_right", { number: number + 1,
        right: hits(task.answers), total: rows * task.ways, before: hits(task.before) })),
      grid(task, rows, t));
    }));
  }

  return { show };
})();
