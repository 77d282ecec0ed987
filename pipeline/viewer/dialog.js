"use strict";
// The dialog of one image: the image enlarged, every class and its score.

const dialog = document.getElementById("image");
let opened = -1; // number of the open image; -1: closed
let line = 0; // number of the class whose line the keys mark
let openedPlace = 0; // its position in `found`, or the last one if it no longer matches

function openImage(place) {
  const first = wanted.sort === "gain";
  opened = found[place];
  openedPlace = place;
  line = first ? data.look[opened] : classesOf(opened)[0];
  writeImage();
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".all").scrollTop = 0;
  if (first) lineOf(line).focus();
}

/** Return the classes, the highest score of an image first. */
function classesOf(i) {
  const teacher = teacherScores();
  const classes = Array.from({ length: C }, (_, c) => c);
  return classes.sort((a, b) => scores[i * C + b] - scores[i * C + a] || teacher[i * C + b] - teacher[i * C + a] || a - b);
}

const lineOf = (c) => dialog.querySelector(`tbody tr[data-class="${c}"]`);

/** Give the focus to the line above (by = -1) or below (by = 1). */
function moveLine(by) {
  const rows = [...dialog.querySelectorAll("tbody tr")];
  const at = rows.indexOf(document.activeElement.closest("tbody tr"));
  const next = at < 0 ? lineOf(line) : rows[at + by];
  next?.focus();
}

function onLine({ target }) {
  const row = target.closest("tbody tr");
  if (!row) return;
  lineOf(line).tabIndex = -1;
  line = Number(row.dataset.class);
  row.tabIndex = 0;
}

/** Write the dialog with the current labels. */
function writeImage() {
  if (opened < 0) return;
  const i = opened;
  const place = found.indexOf(i);
  if (place >= 0) openedPlace = place;
  const thumb = dialog.querySelector("img");
  show(thumb, i);
  dialog.querySelector("h2").textContent = data.image_ids[i];
  const at = place < 0 ? "no longer matches the filters" : `${number.format(place + 1)} of ${number.format(found.length)}`;
  dialog.querySelector(".place").textContent = at;
  dialog.querySelector(".unknown").hidden = Boolean(known[i]) || nKnown === 0;
  dialog.querySelector("td.tau").textContent = data.slider ? `tau ${currentTau()}` : "";
  const focused = dialog.querySelector("tbody").contains(document.activeElement);
  dialog.querySelector("tbody").replaceChildren(...classesOf(i).map((c) => makeScoreLine(i, c)));
  if (focused) lineOf(line).focus({ preventScroll: true });
}

function makeScoreLine(i, c) {
  const k = i * C + c;
  const state = STATES[states[k]];
  const row = make("tr", state.id);
  row.dataset.class = c;
  row.tabIndex = c === line ? 0 : -1;
  const name = make("th");
  name.scope = "row";
  name.append(makeName("span", "name", data.classes[c]));
  const cell = make("td", "bar");
  const bar = make("span", "length");
  bar.style.width = `${(scores[k] * 100).toFixed(2)}%`;
  cell.append(bar);
  const tau = currentTau();
  if (data.slider) {
    cell.append(makeMark("mark", tau));
    if (data.slider.width !== null) cell.append(makeMark("mark low", tau - data.slider.width));
  }
  row.append(make("td", "sign", state.sign), name, cell, make("td", "score", scores[k].toFixed(4)));
  if (data.teacher) row.append(make("td", "teacher", teacherScores()[k].toFixed(4)));
  row.append(make("td", "words", wordsOf(k)), makeAnswers(k, data.classes[c]));
  return row;
}

function makeMark(className, score) {
  const mark = make("span", className);
  mark.style.left = `${score * 100}%`;
  return mark;
}

function wordsOf(k) {
  const state = STATES[states[k]];
  if (state.id === "none") return "";
  if (state.id !== "ignored" || !(facts[k] & KNOWN)) return state.words;
  return `${state.words}; ${facts[k] & PRESENT ? "present" : "absent"}`;
}

/** Go to the next image (by = 1) or the previous one (by = -1). */
function turn(by) {
  const gone = found[openedPlace] !== opened; // then the next image has its position
  const place = openedPlace + (gone && by > 0 ? by - 1 : by);
  if (found[place] !== undefined) openImage(place);
}

function startDialog() {
  dialog.querySelector("th.teacher").hidden = !data.teacher;
  dialog.querySelector("th.score").textContent = data.teacher ? "calibrated" : "score";
  markTiny(dialog.querySelector("img"));
  dialog.addEventListener("close", () => {
    opened = -1;
    focusCard(openedPlace);
  });
  dialog.addEventListener("focusin", onLine);
  dialog.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const answer = ANSWERS.find(({ key }) => key === event.key.toLowerCase());
    if (answer) mark(opened * C + line, answer.id);
    else if (event.key === "ArrowLeft") turn(-1);
    else if (event.key === "ArrowRight") turn(1);
    else if (event.key === "ArrowUp") moveLine(-1);
    else if (event.key === "ArrowDown") moveLine(1);
    else return;
    event.preventDefault();
  });
  dialog.querySelector(".before").addEventListener("click", () => turn(-1));
  dialog.querySelector(".after").addEventListener("click", () => turn(1));
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    // The content fills the dialog, so a click on the dialog element itself is outside of it.
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
}
