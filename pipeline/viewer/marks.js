"use strict";
// A person's answers: whether a class is in an image. The browser keeps them, and saves them as the
// table that `pseudo_label.corrections` reads. They do not depend on tau.

const ANSWERS = [
  { id: "present", key: "y", sign: "✓" },
  { id: "absent", key: "n", sign: "✕" },
  { id: "unknown", key: "u", sign: "?" },
];
const MARKS = `spml.marks.${data.digest}`; // marks belong to these labels
const marks = new Map(); // entry -> id of the answer
const marksOf = new Int32Array(N); // their number, by image
let kept = true; // whether the browser keeps them

function isMarked(i) {
  return marksOf[i] > 0;
}

/** Answer an entry; the same answer again takes it back. */
function mark(k, id) {
  const i = Math.floor(k / C);
  if (marks.get(k) === id) {
    marks.delete(k);
    marksOf[i]--;
  } else {
    if (!marks.has(k)) marksOf[i]++;
    marks.set(k, id);
  }
  keepMarks();
  changed(FILTER);
}

function forgetMarks() {
  marks.clear();
  marksOf.fill(0);
  keepMarks();
  changed(FILTER);
}

/** Return image_id, class number and answer of each mark, in the order of the images. */
function markRows() {
  const entries = [...marks].sort((a, b) => a[0] - b[0]);
  return entries.map(([k, id]) => [data.image_ids[Math.floor(k / C)], k % C, id]);
}

function keepMarks() {
  try {
    if (marks.size) localStorage.setItem(MARKS, JSON.stringify(markRows()));
    else localStorage.removeItem(MARKS);
    kept = true;
  } catch {
    kept = false; // storage is off or full
  }
}

function readMarks() {
  let rows = [];
  try {
    rows = JSON.parse(localStorage.getItem(MARKS) ?? "[]");
  } catch {
    kept = false;
  }
  marks.clear();
  marksOf.fill(0);
  const rowOf = new Map(rows.length ? data.image_ids.map((id, i) => [id, i]) : []);
  for (const [imageId, c, id] of rows) {
    if (!rowOf.has(imageId)) continue; // of a page with other images
    marks.set(rowOf.get(imageId) * C + c, id);
    marksOf[rowOf.get(imageId)]++;
  }
}

// --- the table ---------------------------------------------------------------------------

/** Return the marks, and the corrections in the file that they do not replace, as CSV. */
function marksAsCsv() {
  const cell = (text) => (text === "" || /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = new Map();
  for (const [imageId, c, id] of [...data.answers, ...markRows()]) rows.set(JSON.stringify([imageId, c]), [imageId, data.classes[c], id]);
  return ["image_id,class,label", ...[...rows.values()].map((row) => row.map(cell).join(","))].join("\n") + "\n";
}

function saveMarks() {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([marksAsCsv()], { type: "text/csv" }));
  link.download = "corrections.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

function writeMarks() {
  const inFile = data.answers.length ? `, ${number.format(data.answers.length)} corrected in the file` : "";
  const lost = kept ? "" : ". This browser does not keep them: save them before you close the page";
  byId("marked").textContent = `${number.format(marks.size)} marked${inFile}${lost}`;
  byId("save_marks").disabled = !marks.size && !data.answers.length;
  byId("forget_marks").disabled = !marks.size;
}

function startMarks() {
  readMarks();
  byId("save_marks").addEventListener("click", saveMarks);
  byId("forget_marks").addEventListener("click", () => {
    if (confirm(`Forget ${number.format(marks.size)} marks?`)) forgetMarks();
  });
  addEventListener("storage", ({ key }) => {
    if (key !== MARKS) return; // marked in another tab
    readMarks();
    changed(FILTER);
  });
}

// --- the lines of the dialog ----------------------------------------------------------------

/** Return the cell with a button for each answer to an entry. */
function makeAnswers(k, name) {
  const cell = make("td", "answers");
  for (const { id, key, sign } of ANSWERS) {
    const button = make("button", "", sign);
    button.value = id;
    button.type = "button";
    button.tabIndex = -1; // the keys work on the line, which has the focus
    button.title = `${id} (${key})`;
    button.setAttribute("aria-label", `${name}: ${id}`);
    button.setAttribute("aria-pressed", marks.get(k) === id);
    button.addEventListener("click", () => mark(k, id));
    cell.append(button);
  }
  return cell;
}
