/* The entry: holds the document and its history, asks the server and shows its answers.
 *
 * Gradio runs this with `element`, `trigger`, `props` and `watch`.  Each question carries a growing
 * `revision`; an answer older than the last change that made it meaningless is dropped.
 */
(() => {
  "use strict";

  const D = SketchDocument;
  const { STRINGS, SETS, STYLE } = SKETCH_CONSTANTS;
  const root = element.querySelector(".maml-sketchpad");
  const LIVE_EVERY = 90; // milliseconds between questions while the pen is moving

  Dom.addStyle("maml-sketchpad-style", STYLE);

  let language = SketchStorage.keptLanguage();
  if (!STRINGS[language]) {
    const wanted = navigator.languages?.length ? navigator.languages : [navigator.language];
    const first = wanted.find((one) => /^(en|zh)\b/i.test(one)) ?? "en";
    language = /^zh/i.test(first) ? "zh" : "en";
  }

  const t = Words.translator(STRINGS, () => language);
  const worded = (problems) => problems.map((one) => t(one.code, one)).join(" ");

  const nameOf = (letter) => t("symbol_name", { letter });
  let history = D.newHistory(SketchStorage.keptDocument() ?? D.emptyDocument(nameOf));
  let view;
  let answer = null;
  let revision = 0;
  let barrier = 0; // answers to older questions than this are stale
  let mapped = -1; // the question whose answer brought the map of the examples
  let map = null;
  let lastLive = 0;
  let answered = 0; // the newest revision that came back
  let askedAt = 0;
  let roundTrip = 0; // milliseconds, of the last question
  let liveTimer = 0;
  let unasked = null; // points drawn while an answer is awaited
  let keepTimer = 0;
  let stepsBefore = null;
  let given = null; // the strokes of a question that an example set brought
  const hints = new SketchHints.Hints();
  let checking = null;
  let comparing = false; // whether the starting points are compared
  let lostWeights = null; // a key that the server does not know any more
  const inks = new Map(); // drawing, as text -> base64 of its 28 x 28 picture
  const texts = new WeakMap();

  function textOf(drawing) {
    const whole = drawing.strokes ?? drawing;
    let text = texts.get(whole);
    if (text === undefined) {
      text = drawing.picture ?? JSON.stringify(drawing.strokes);
      texts.set(whole, text);
    }
    return text;
  }
  const inkOf = (drawing) => inks.get(textOf(drawing)) ?? null;

  const now = () => history.present;

  // ---- asking --------------------------------------------------------------------------------

  const finished = new SketchServer.Line({ onTrouble: trouble, onAnswer: (news) => {
    receive(news);
    compare();
  } });
  // A line of its own: a question about an unfinished stroke never keeps the finished one waiting.
  const growing = new SketchServer.Line({ onAnswer: receive, onTrouble: () => {}, patient: false });

  const compared = new SketchServer.Line({ name: "compare", onTrouble: () => {},
    onAnswer: (news) => {
      if (comparing && answer && news.revision >= barrier) view.compare.showCompared(now(), news);
    } });

  /** Ask for the other starting points' answers too, once the page's own answer is there. */
  function compare() {
    if (comparing && answer?.shares) compared.ask(question(now()));
  }

  /** What the server is asked: a document, and the weights to draw with. */
  function question(doc) {
    const unseen = doc.symbols.flatMap((symbol) => D.drawingsOf(symbol)
      .flatMap((drawing, place) => (inkOf(drawing) ? [] : [[symbol.id, place]])));
    const symbols = doc.symbols.map((symbol) => ({ id: symbol.id, name: symbol.name,
      drawings: D.drawingsOf(symbol) }));
    return { weights: weights(), document: { version: D.VERSION, revision, language, symbols,
      query: doc.query, picture: doc.picture ?? null, steps: doc.steps, unseen, map: mapped < barrier } };
  }

  /** The key of this page's own weights; null for the shipped ones. */
  const weights = () => (props.weights && props.weights !== lostWeights ? props.weights : null);

  function ask(doc = now(), line = finished) {
    clearTimeout(liveTimer);
    liveTimer = 0;
    revision += 1;
    root.dataset.asked = String(revision);
    askedAt = performance.now();
    line.ask(question(doc));
  }

  /** Say why there is no answer; null: there is one again. */
  function trouble(problems) {
    view.ask.trouble(problems && worded(problems));
    if (problems?.some((one) => one.code === "weights_gone")) {
      lostWeights = props.weights;
      ask();
    }
  }

  /** A document whose question is the visitor's own: that of an example set makes room for it. */
  const own = (doc) => (doc.query === given ? D.clearPad(doc, null) : doc);

  /** Ask about the stroke that is still growing: not before the last answer is there, and on a slow
   * road more seldom. */
  function live(points) {
    if (!points) { // the stroke was taken back
      unasked = null;
      ask();
      return;
    }
    unasked = answered < revision ? points : null;
    if (liveTimer || unasked || D.taughtCount(now()) < 2) return;
    const wait = Math.max(0, lastLive + Math.max(LIVE_EVERY, 3 * roundTrip) - performance.now());
    liveTimer = setTimeout(() => {
      liveTimer = 0;
      if (answered < revision) {
        unasked = points;
        return;
      }
      lastLive = performance.now();
      try {
        ask(D.addStroke(own(now()), null, points), growing);
      } catch {
        // The drawing is full; its last stroke says so when it ends.
      }
    }, wait);
  }

  function receive(news) {
    answered = Math.max(answered, news.revision);
    if (news.revision === revision) roundTrip = performance.now() - askedAt;
    if (news.revision < barrier || (answer && news.revision < answer.revision)) return;
    // Since the barrier only the query has changed: places among the drawings are still the same.
    for (const { symbol, drawing, ink } of news.inks) {
      const owner = now().symbols.find((one) => one.id === symbol);
      inks.set(textOf(D.drawingsOf(owner)[drawing]), ink);
    }
    if (news.map) {
      map = news.map;
      mapped = news.waiting ? -1 : news.revision; // the next answer has more examples
    }
    answer = mapped < barrier ? news : { ...news, map };
    if (now().steps === null) {
      history = { ...history, present: D.setSteps(now(), news.steps) };
      view.show(now(), flags());
      keepSoon();
    }
    // A pen that stands still brings no further points.
    if (unasked && answered === revision) live(unasked);
    if (news.problems.length) view.message(worded(news.problems), "bad", "drawings");
    else view.dock.over("drawings");
    view.showAnswer(answer);
    root.dataset.answered = String(news.revision);
    readOn(news);
  }

  /** Many new pictures take more than one question to read. */
  function readOn(news) {
    if (news.waiting) view.message(t("still_reading", { count: news.waiting }), "", "reading");
    else view.dock.over("reading");
    if (news.waiting && news.revision === revision) ask();
  }

  // ---- changing ------------------------------------------------------------------------------

  const flags = () => ({ canUndo: history.past.length > 0, canRedo: history.future.length > 0 });

  function keepSoon() {
    clearTimeout(keepTimer);
    root.dataset.kept = "no";
    keepTimer = setTimeout(keepNow, 200);
  }
  function keepNow() {
    clearTimeout(keepTimer);
    if (SketchStorage.keepDocument(now())) root.dataset.kept = "yes";
    else view.message(t("not_kept"), "bad");
  }

  /** Show the present document and ask about it; `grown` says that only the query got a stroke. */
  function settle(grown = false) {
    if (!grown) {
      barrier = revision + 1;
      // An answer about symbols that are gone must not linger until the next one comes.
      const taught = new Set(now().symbols.filter(D.drawingCount).map((symbol) => symbol.id));
      const holds = D.isAsked(now()) && answer?.symbols?.every((id) => taught.has(id));
      if (!holds) answer = null;
    }
    view.show(now(), flags());
    view.showHint(hints.hint(now(), given));
    if (!answer || !grown) view.showAnswer(answer);
    keepSoon();
    ask();
  }

  function change(make, text = "", grown = false) {
    let doc;
    try {
      doc = make(now());
    } catch (error) {
      refuse(error);
      view.show(now(), flags());
      return false;
    }
    if (doc === now()) return false;
    history = D.record(history, doc);
    view.message(text);
    settle(grown);
    return true;
  }

  function refuse(error) {
    if (!(error instanceof D.DocumentError)) throw error;
    view.message(worded([error.record]), "bad");
  }

  const symbolName = (id) => now().symbols.find((symbol) => symbol.id === id)?.name ?? "";

  const actions = {
    stroke: (id, points) => {
      unasked = null;
      change((doc) => D.addStroke(id === null ? own(doc) : doc, id, points), "", id === null);
    },
    live,
    clear: (id) => change((doc) => D.clearPad(doc, id)),
    clearAll: () => change(() => D.emptyDocument(nameOf), t("cleared_all")),
    addSymbol: () => change((doc) => D.addSymbol(doc, D.freeName(doc, nameOf))),
    removeSymbol: (id) => change((doc) => D.removeSymbol(doc, id),
      t("removed", { name: symbolName(id) })),
    rename: (id, name) => change((doc) => D.renameSymbol(doc, id, name)),
    move: (id, by) => change((doc) => D.moveSymbol(doc, id, by)),
    keepPad: (id) => change((doc) => D.keepPad(doc, id)),
    removeExample: (id, index) => change((doc) => D.removeExample(doc, id, index),
      t("removed_example", { name: symbolName(id), number: index + 1 })),
    teach: (id) => (id === null
      ? change((doc) => D.queryToNewSymbol(doc, D.freeName(doc, nameOf)), t("taught_new"))
      : change((doc) => D.queryToExample(doc, id), t("taught", { name: symbolName(id) }))),
    undo: () => travel(D.undo),
    redo: () => travel(D.redo),
    steps: (steps, moving) => {
      if (stepsBefore === null) stepsBefore = history;
      const doc = D.setSteps(now(), steps);
      if (doc !== now()) {
        // One way of the slider is one step of the history.
        history = D.record(stepsBefore, doc);
        settle();
      }
      if (!moving) stepsBefore = null;
    },
    loadSet: (key) => {
      const one = SETS.find((candidate) => candidate.key === key) ?? SETS[0];
      const symbols = one.document.symbols.map((symbol) => ({ ...symbol,
        name: symbol.names?.[language] ?? symbol.name }));
      const read = D.readDocument({ ...one.document, symbols });
      given = read.query;
      change((doc) => ({ ...read, steps: doc.steps }),
        t("loaded", { name: t("set_" + one.key) }));
    },
    addPictures: async (id, files) => {
      for (const file of files) {
        try {
          const picture = await SketchStorage.shrinkPicture(file);
          if (!change((doc) => D.addPicture(doc, id, picture),
            t("added_picture", { name: symbolName(id) }))) return;
        } catch (error) {
          refuse(error);
        }
      }
    },
    askPicture: async (file) => {
      try {
        const picture = await SketchStorage.shrinkPicture(file);
        change((doc) => D.askPicture(doc, picture), "", true);
      } catch (error) {
        refuse(error);
      }
    },
    /** A keyboard draws on a pad: say how, and where the pen is. */
    penKeys: (pen) => {
      if (pen === "away") view.dock.over("pen");
      else if (pen !== "up" || !view.dock.isBad) view.message(t("pen_" + pen), "", "pen");
    },
    save: () => {
      SketchStorage.offerFile("symbols.maml.json",
        new Blob([D.serialise(now())], { type: "application/json" }));
      view.message(t("saved"));
    },
    open: async (file) => {
      try {
        D.requireSize(file.size);
        const doc = D.parse(await file.text());
        change(() => doc, t("opened", { name: file.name }));
      } catch (error) {
        refuse(error);
      }
    },
    copyLink: () => sharing().copy(now()),
    openShared: (doc) => {
      given = doc.query;
      change(() => doc, t("opened_shared"));
    },
    check: () => {
      const doc = now();
      const show = (record) => {
        if (record.problems) view.message(worded(record.problems), "bad");
        view.mistakes.showCheck(record.problems ? null : record, doc);
      };
      show({ done: 0, total: 1 });
      checking?.abort();
      checking = new AbortController();
      SketchServer.check(question(doc), show, checking.signal);
    },
    exportNetwork: async () => {
      view.message(t("exporting"), "", "export");
      const { file, problems } = await SketchServer.exported(question(now()));
      if (file) SketchStorage.offerFile("adapted-network.zip", file);
      view.dock.over("export");
      if (problems) view.message(worded(problems), "bad");
    },
    compareStarts: (on) => {
      comparing = on;
      view.compare.turn(on);
      compare();
    },
    play: () => view.play(),
    dismissHints: () => {
      hints.finish();
      view.showHint(null);
    },
    toggleAsk: () => view.toggleAsk(),
    switchLanguage: () => {
      language = language === "en" ? "zh" : "en";
      SketchStorage.keepLanguage(language);
      raise();
      tellLanguage();
      document.querySelector(".maml-header button").focus();
    },
  };

  function travel(direction) {
    const there = direction(history);
    if (there === history) return;
    history = there;
    view.message("");
    settle();
  }

  /** The rest of the page, which Gradio draws, follows the language too. */
  function tellLanguage() {
    props.value = { language };
    trigger("language");
  }

  function raise() {
    view?.forget();
    view = new SketchView.View(root, { t, actions, inkOf }, SETS, language);
    view.show(now(), flags());
    view.showHint(hints.hint(now(), given));
    view.showAnswer(answer);
    view.compare.turn(comparing);
    compare();
  }

  const sharing = () => new SketchShare.Share(root, { t, actions });
  const offer = () => root.offsetParent && sharing().offer().catch(refuse);

  watch("weights", () => {
    inks.clear(); // other weights may see the drawings otherwise
    settle();
  });
  window.addEventListener("pagehide", keepNow);
  window.addEventListener("hashchange", offer);

  raise();
  root.dataset.kept = "yes";
  root.dataset.ready = "yes";
  if (language !== "en") tellLanguage();
  if (now().steps === null || D.taughtCount(now())) ask();
  offer();
})();
