"use strict";
// The table of classes, the histogram above the slider, and the format of numbers.

const number = new Intl.NumberFormat("en-US");
const share = (value) => (value === null ? "–" : value.toFixed(3));

/** Make an element; its content is always text, never HTML. */
function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

/** Make an element for a name from the data, in the name's writing direction. */
function makeName(tag, className, text) {
  const element = make(tag, className, text);
  element.dir = "auto";
  element.title = text;
  return element;
}

// Whether entries can be ignored: in the file, or by its rule at another tau.
const mayIgnore = data.ignored !== "" || Boolean(data.slider && (data.slider.width !== null || data.slider.confidence));

const COLUMNS = [
  { id: "observed", words: "observed", sign: "●", write: number.format },
  { id: "added", words: "added", write: number.format },
  { id: "positives", words: "positives", write: number.format },
  { id: "right", words: "right", sign: "+", write: number.format, truth: true },
  { id: "wrong", words: "wrong", sign: "×", write: number.format, truth: true },
  { id: "missed", words: "missed", sign: "?", write: number.format, truth: true },
  { id: "ignored", words: "ignored", sign: "~", write: number.format, band: true },
  { id: "precision", words: "precision", short: "prec.", write: share, truth: true },
  { id: "recall", words: "recall", write: share, truth: true },
].filter((column) => (nKnown > 0 || !column.truth) && (mayIgnore || !column.band));

const table = document.getElementById("table");
const sorting = { by: "", falling: false }; // "": the order of the file
const alphabet = new Intl.Collator("en", { numeric: true });
const lines = []; // the rows of the table: all classes, then each class
let choose = () => {}; // called with the chosen class, or -1 for all

function makeTable(onChoose) {
  choose = onChoose;
  table.classList.toggle("judged", nKnown > 0);
  const head = table.createTHead().insertRow();
  for (const { id, words, sign, short } of [{ id: "class", words: "class" }, ...COLUMNS]) {
    const heading = make("th", id);
    heading.scope = "col";
    heading.dataset.by = id;
    const button = make("button");
    if (sign) button.append(make("span", `sign ${id}`, `${sign} `));
    button.append(make("span", short ? "long" : "word", words));
    if (short) button.append(make("span", "short", short));
    button.title = words;
    button.type = "button";
    button.addEventListener("click", () => sortBy(id));
    heading.append(button);
    head.append(heading);
  }
  const body = table.createTBody();
  for (let c = -1; c < C; c++) lines.push(makeLine(c));
  body.append(...lines.map((line) => line.row));
}

function makeLine(c) {
  const row = make("tr", c < 0 ? "all" : "");
  const name = make("th");
  name.scope = "row";
  const text = c < 0 ? "all classes" : data.classes[c];
  const button = makeName("button", "name", text);
  button.type = "button";
  name.append(button);
  row.append(name);
  const cells = COLUMNS.map((column) => make("td", column.id));
  row.append(...cells);
  row.addEventListener("click", () => choose(wanted.class === c ? -1 : c));
  return { c, row, button, cells, numbers: null };
}

function sortBy(id) {
  sorting.falling = sorting.by === id ? !sorting.falling : id !== "class";
  sorting.by = id;
  for (const heading of table.tHead.rows[0].cells) {
    const order = sorting.falling ? "descending" : "ascending";
    if (heading.dataset.by === id) heading.setAttribute("aria-sort", order);
    else heading.removeAttribute("aria-sort");
  }
  orderLines();
}

function orderLines() {
  const [all, ...rest] = lines;
  const sign = sorting.falling ? -1 : 1;
  rest.sort((a, b) => {
    if (!sorting.by) return a.c - b.c;
    if (sorting.by === "class") return sign * alphabet.compare(data.classes[a.c], data.classes[b.c]) || a.c - b.c;
    const [x, y] = [a.numbers[sorting.by], b.numbers[sorting.by]];
    if (x === null || y === null) return (x === null) - (y === null) || a.c - b.c;
    return sign * (x - y) || a.c - b.c;
  });
  const body = table.tBodies[0];
  const order = [all, ...rest];
  if (order.some((line, place) => body.rows[place] !== line.row)) {
    const focused = document.activeElement;
    body.append(...order.map((line) => line.row));
    if (body.contains(focused)) focused.focus({ preventScroll: true });
  }
}

/** Write the current numbers of every class. */
function writeTable() {
  for (const line of lines) {
    line.numbers = summary(line.c);
    COLUMNS.forEach(({ id, write }, place) => {
      const text = write(line.numbers[id]);
      if (line.cells[place].textContent !== text) line.cells[place].textContent = text;
    });
  }
  orderLines();
}

function markChosen() {
  for (const line of lines) {
    line.row.classList.toggle("chosen", line.c === wanted.class);
    line.button.setAttribute("aria-pressed", String(line.c === wanted.class));
  }
}

// --- histogram ---------------------------------------------------------------------------

const BINS = 50;
const HEIGHT = 40;

/** Draw the scores of the unobserved entries, of the chosen class or of all. */
function drawHistogram() {
  const groups = ["absent", "present", "unknown"].map((name) => ({ name, bins: new Int32Array(BINS) }));
  const [absent, present, unknown] = groups.map(({ bins }) => bins);
  const [from, to] = wanted.class < 0 ? [0, C] : [wanted.class, wanted.class + 1];
  for (let i = 0; i < N; i++) {
    for (let k = i * C + from; k < i * C + to; k++) {
      const fact = facts[k];
      if (fact & (SEEN | RULED_OUT)) continue;
      const bins = fact & KNOWN ? (fact & PRESENT ? present : absent) : unknown;
      bins[Math.min(BINS - 1, Math.floor(scores[k] * BINS))]++;
    }
  }
  const most = Math.max(1, ...groups.flatMap(({ bins }) => [...bins]));
  const svg = document.getElementById("histogram");
  svg.replaceChildren();
  for (const { name, bins } of groups) {
    // The scale is logarithmic, so that counts of 1 and of 100,000 are both visible.
    let path = `M0 ${HEIGHT}`;
    bins.forEach((count, bin) => {
      const height = (HEIGHT * Math.log1p(count)) / Math.log1p(most);
      path += `V${(HEIGHT - height).toFixed(2)}H${bin + 1}`;
    });
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
    shape.setAttribute("class", name);
    shape.setAttribute("d", `${path}V${HEIGHT}Z`);
    svg.append(shape);
  }
}
