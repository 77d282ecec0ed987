"use strict";
// The controls (tau, filters, keys) and the start of the page.

const byId = (id) => document.getElementById(id);
const STEP = 0.05; // change of tau by the keys [ and ]
let tau = null; // the threshold of the labels shown; null: the labels of the file are shown

/** Return the threshold of the labels shown; null if the file names none. */
function currentTau() {
  return tau ?? data.tau;
}

// --- drawing, at most once a frame ---------------------------------------------------------

const FILTER = 1, CLASS = 2, LABELS = 4;
let stale = 0;

/** Request a redraw, before the next frame, of the parts that depend on a change. */
function changed(parts) {
  if (!stale) requestAnimationFrame(redraw);
  stale |= parts;
}

function redraw() {
  const parts = stale;
  stale = 0;
  if (parts & LABELS) {
    if (data.slider) judge(currentTau());
    writeTable();
    writeTau();
  }
  if (parts & CLASS) {
    drawHistogram();
    markChosen();
  }
  writeKinds();
  showFound(find());
  writeFound();
  writeMarks();
  writeImage();
}

// --- tau -------------------------------------------------------------------------------------

/** Return whether `pseudo_label` takes this tau. */
function isTau(value) {
  const { above } = data.slider;
  return value >= 0 && value < 1 && (above === null || value > above);
}

function setTau(value) {
  tau = value === data.tau ? null : value;
  changed(LABELS);
}

/** Set the step of the slider that is nearest to a value; the number box takes every tau. */
function setStep(value) {
  if (data.slider === null) return;
  const lowest = data.slider.above === null ? 0 : Math.floor(data.slider.above * 100 + 1) / 100;
  setTau(Math.min(0.99, Math.max(lowest, Math.round(value * 1000) / 1000)));
}

function readNumber({ target }) {
  if (target.value === "") return;
  if (isTau(target.valueAsNumber)) setTau(target.valueAsNumber);
  else {
    const { above } = data.slider;
    byId("mode").textContent = `tau should be ${above === null ? "0 or more" : `above ${above}`}, and below 1.`;
  }
}

function modeWords() {
  const ofFile = data.tau === null ? "" : `, tau ${data.tau}`;
  if (data.slider === null) return `Labels in the file${ofFile}. tau is fixed: see above.`;
  if (tau === null) return `Labels in the file${ofFile}.`;
  return `Labels at tau ${tau}, by the rule of the file; the file has tau ${data.tau}.`;
}

function writeTau() {
  const value = currentTau();
  byId("tau").value = value ?? 0.5;
  byId("tau").setAttribute("aria-valuetext", String(value ?? "no tau"));
  if (document.activeElement !== byId("tau_number")) byId("tau_number").value = value ?? "";
  byId("mode").textContent = modeWords();
  byId("to_file").disabled = tau === null;
  const all = summary(-1);
  const truth = nKnown ? ` (truth: ${(nTrue / nKnown).toFixed(2)})` : "";
  const stats = [[`positives per image${truth}`, (all.positives / N).toFixed(2)]];
  if (nKnown) stats.push(["precision", share(all.precision)], ["recall", share(all.recall)]);
  byId("stats").replaceChildren(
    ...stats.map(([name, text]) => {
      const pair = make("div");
      pair.append(make("dt", "", name), make("dd", "", text));
      return pair;
    }),
  );
}

// --- filters -----------------------------------------------------------------------------------

/** Return the kinds that this file can have. */
function kindsShown() {
  const mayRuleOut = data.observed_negatives !== "" && !data.slider?.keep_observed;
  const judged = nKnown > 0;
  const shown = { right: judged, wrong: judged, missed: judged, unknown: nKnown < N, against: mayRuleOut, ignored: mayIgnore, corrected: data.answers.length > 0 };
  return KINDS.filter((kind) => shown[kind.id] ?? true);
}

function makeKinds() {
  for (const kind of kindsShown()) {
    const label = make("label", kind.id);
    const input = make("input");
    Object.assign(input, { type: "radio", name: "kind", value: kind.id, checked: kind === wanted.kind });
    input.addEventListener("change", () => {
      wanted.kind = kind;
      changed(FILTER);
    });
    label.append(input, make("b", "", kind.sign), make("span", "", kind.words), make("span", "count"));
    byId("kinds").append(label);
  }
}

/** Write the number of labels of each kind, of the chosen class or of all. */
function writeKinds() {
  const { states: n } = summary(wanted.class);
  for (const label of byId("kinds").querySelectorAll("label")) {
    const kind = KINDS.find(({ id }) => id === label.firstChild.value);
    const count = kind.of.reduce((sum, state) => sum + n[state], 0);
    label.lastChild.textContent = number.format(count);
  }
}

function chooseClass(c) {
  wanted.class = c;
  byId("class").value = c;
  changed(CLASS);
}

function writeFound() {
  const all = `${number.format(found.length)} of ${number.format(N)} images match`;
  byId("found").textContent = all;
  byId("none").hidden = found.length > 0;
  byId("clear").disabled = !wantsLabels() && !wanted.search && wanted.marks === "all" && wanted.sort === "id";
}

function readScore(input, otherwise) {
  return input.value === "" || Number.isNaN(input.valueAsNumber) ? otherwise : input.valueAsNumber;
}

function clearFilters() {
  Object.assign(wanted, { class: -1, kind: KINDS[0], low: 0, high: 1, search: "", marks: "all", sort: "id" });
  for (const id of ["low", "high", "search"]) byId(id).value = "";
  byId("marks").value = "all";
  byId("sort").value = "id";
  byId("kinds").querySelector("input").checked = true;
  chooseClass(-1);
}

// --- keys ----------------------------------------------------------------------------------------

const KEYS = {
  "/": () => byId("search").focus(),
  "[": () => setStep(currentTau() - STEP),
  "]": () => setStep(currentTau() + STEP),
  0: () => resetTau(),
  g: () => focusCard(active),
  "?": () => !byId("help").open && byId("help").showModal(),
};

function resetTau() {
  tau = null;
  changed(LABELS);
}

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || !KEYS[event.key]) return;
  if (event.target.matches("select, input:not([type=range], [type=radio])")) return;
  if (document.querySelector("dialog[open]") && !"[]0".includes(event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
}

// --- start -----------------------------------------------------------------------------------------

/** Write the help on this file's rule and scores. */
function writeRule() {
  byId("calibration").textContent = data.calibration
    ? `The scores are the teacher’s, ${data.calibration}. Each image also has the teacher’s own.`
    : "The scores are the teacher’s.";
  byId("rule_name").hidden = data.rule === null;
  byId("rule").replaceChildren(
    ...Object.entries(data.rule?.settings ?? {}).map(([name, value]) => {
      const pair = make("div");
      pair.append(make("dt", "", name), make("dd", "", value));
      return pair;
    }),
  );
}

function writeAbout() {
  const left = data.n_train - N;
  const some = `${number.format(N)} of ${number.format(data.n_train)} training images, evenly spaced; all counts are on these`;
  const images = left ? some : `${number.format(N)} training images`;
  const rule = data.rule ? `rule ${data.rule.words}` : "rule not named in the file";
  byId("about").textContent = `${data.file}: ${images}; ${number.format(C)} classes; ${rule}`;
  byId("about").title = byId("about").textContent;
  writeRule();
  if (!data.gain) byId("sort").querySelector("[value=gain]").remove();
  byId("notes").replaceChildren(...data.notes.map((note) => make("li", "", note)));
  for (const id of ["tau", "tau_number"]) byId(id).disabled = data.slider === null;
  if (data.tau !== null) byId("taus").append(Object.assign(make("option"), { value: data.tau }));
  data.classes.forEach((name, c) => {
    const option = make("option", "", name);
    option.value = c;
    byId("class").append(option);
  });
}

function listen() {
  byId("tau").addEventListener("input", (event) => setStep(event.target.valueAsNumber));
  byId("tau_number").addEventListener("input", readNumber);
  byId("tau_number").addEventListener("blur", writeTau);
  byId("to_file").addEventListener("click", resetTau);
  byId("class").addEventListener("change", (event) => chooseClass(Number(event.target.value)));
  byId("low").addEventListener("input", ({ target }) => {
    wanted.low = readScore(target, 0);
    changed(FILTER);
  });
  byId("high").addEventListener("input", ({ target }) => {
    wanted.high = readScore(target, 1);
    changed(FILTER);
  });
  byId("search").addEventListener("input", ({ target }) => {
    wanted.search = target.value;
    changed(FILTER);
  });
  byId("search").addEventListener("keydown", ({ key }) => key === "Enter" && focusCard(0));
  byId("sort").addEventListener("change", ({ target }) => {
    wanted.sort = target.value;
    changed(FILTER);
  });
  byId("marks").addEventListener("change", ({ target }) => {
    wanted.marks = target.value;
    changed(FILTER);
  });
  byId("clear").addEventListener("click", clearFilters);
  byId("show_help").addEventListener("click", () => byId("help").showModal());
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    focusCard(active);
  });
  document.addEventListener("keydown", onKey);
  byId("classes").addEventListener("toggle", () => document.body.classList.toggle("with_table", byId("classes").open));
}

function start() {
  byId("filters").open = matchMedia("(min-width: 700px)").matches;
  byId("classes").open = matchMedia("(min-width: 1420px)").matches;
  document.body.classList.toggle("with_table", byId("classes").open);
  writeAbout();
  makeKinds();
  makeTable(chooseClass);
  startDialog();
  startMarks();
  judgeFile();
  measure();
  startCards(openImage);
  listen();
  stale = FILTER | CLASS | LABELS;
  redraw();
}

start();
