"use strict";
// The dialog of one image: the image enlarged, every class and its score.

const dialog = document.getElementById("image");
let opened = -1; // number of the open image; -1: closed
let openedPlace = 0; // its position in `found`, or the last one if it no longer matches

function openImage(place) {
  opened = found[place];
  openedPlace = place;
  writeImage();
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".all").scrollTop = 0;
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
  const classes = Array.from({ length: C }, (_, c) => c);
  classes.sort((a, b) => scores[i * C + b] - scores[i * C + a] || teacher[i * C + b] - teacher[i * C + a] || a - b);
  dialog.querySelector("tbody").replaceChildren(...classes.map((c) => makeScoreLine(i, c)));
}

function makeScoreLine(i, c) {
  const k = i * C + c;
  const state = STATES[states[k]];
  const row = make("tr", state.id);
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
  if (data.teacher) row.append(make("td", "teacher", teacher[k].toFixed(4)));
  row.append(make("td", "words", wordsOf(k)));
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
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") turn(-1);
    else if (event.key === "ArrowRight") turn(1);
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
