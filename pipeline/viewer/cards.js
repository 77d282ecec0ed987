"use strict";
// The images as cards. The document holds only the cards in view and one row above and below.

const GAP = 12; // pixels
const NARROWEST = 176;
const NARROWEST_ON_PHONE = 148;
const LABELS_LINE = 27;
const REST = 32; // pixels for the image_id and the margin of the labels
const ORDER = [OBSERVED, DROPPED, CORRECTED, RIGHT, WRONG, ADDED, AGAINST, MISSED, IGNORED, DENIED];

const grid = document.getElementById("cards");
const cards = new Map(); // number of the image -> its card
let found = []; // numbers of the images that match, in order
let active = 0; // position in `found` of the card that the Tab key reaches
let shape = { columns: 1, width: 0, height: 0 };
let openCard = () => {}; // called with the position of an opened card

/** Return the length of the folders that all image_ids start with; cards leave them out. */
function lengthOfFolders() {
  const [first] = data.image_ids;
  let length = first.length;
  for (const id of data.image_ids) while (!id.startsWith(first.slice(0, length))) length--;
  return first.slice(0, length).lastIndexOf("/") + 1;
}
const folders = lengthOfFolders();

/** Shorten an image_id to a card's width; the end stays, since it differs most. */
function shortId(i) {
  const letters = [...data.image_ids[i].slice(folders)];
  return letters.length <= 22 ? letters.join("") : `${letters.slice(0, 5).join("")}…${letters.slice(-16).join("")}`;
}

const TINY = 64; // pixels; the longer side of an image that is drawn with square pixels

/** Show an image's thumbnail, or its own file. */
function show(image, i) {
  const { files } = data;
  image.src = files ? new URL(files.names[i], files.folder) : `thumbnails/${i}.${png[i] ? "png" : "jpg"}`;
}

function makeImage() {
  const image = make("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = "";
  markTiny(image);
  return image;
}

/** Draw an image with square pixels if it is tiny. */
function markTiny(image) {
  image.addEventListener("load", () => {
    image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= TINY);
  });
}

/** Return the labels of an image: first those that match the filters, then by state and score. */
function labelsOf(i) {
  const labels = [];
  const marked = wantsLabels();
  for (let c = 0, k = i * C; c < C; c++, k++) {
    const match = marked && isWanted(k, c);
    const rank = match ? -1 : ORDER.indexOf(states[k]);
    if (match || rank >= 0) labels.push({ c, state: STATES[states[k]], score: scores[k], match, rank });
  }
  return labels.sort((a, b) => a.rank - b.rank || b.score - a.score || a.c - b.c);
}

function makeChip({ c, state, score, match }) {
  const chip = make("span", `chip ${state.id}${match ? " match" : ""}`);
  const sign = make("b", "", state.sign);
  sign.setAttribute("aria-hidden", "true");
  chip.append(sign, make("span", "spoken", `${state.words}: `), makeName("span", "name", data.classes[c]));
  chip.append(make("span", "score", score.toFixed(2)));
  return chip;
}

function makeCard(i) {
  const card = make("div", "card");
  card.setAttribute("role", "option");
  card.tabIndex = -1;
  card.dataset.image = i;
  const image = makeImage();
  show(image, i);
  const id = makeName("div", "id", shortId(i));
  id.title = data.image_ids[i];
  card.append(image, id, make("div", "chips"));
  return card;
}

/** Write the current labels of a card. */
function fill(card, i) {
  const labels = labelsOf(i);
  const chips = card.lastChild;
  chips.replaceChildren(...labels.map(makeChip));
  card.classList.toggle("marked", isMarked(i));
  if (isMarked(i)) chips.prepend(make("span", "spoken", `${marksOf[i]} marked`));
}

/** Replace the labels that do not fit into a card by their number. */
function trim(filled) {
  const full = filled.map((card) => card.lastChild).filter((box) => box.scrollHeight > box.clientHeight + 1);
  for (const box of full) {
    const chips = [...box.children];
    const more = make("span", "more");
    box.append(more);
    let hidden = 0;
    const outside = () => more.offsetTop + more.offsetHeight > box.clientHeight + 1;
    do {
      chips.pop().remove();
      more.textContent = `+ ${++hidden} more`;
    } while (outside() && chips.length > 1);
  }
}

/** Estimate the lines that the labels of three in four images need, from the lengths of the names. */
function linesNeeded(width) {
  const needed = [];
  for (let i = 0; i < N; i += Math.ceil(N / 200)) {
    let lines = 1;
    let used = 0;
    for (const { c } of labelsOf(i)) {
      const chip = Math.min(width - 20, 58 + 7.5 * data.classes[c].length);
      if (used && used + chip > width - 20) [lines, used] = [lines + 1, 0];
      used += chip;
    }
    needed.push(lines);
  }
  needed.sort((a, b) => a - b);
  return Math.min(5, Math.max(2, needed[Math.floor(needed.length * 0.75)]));
}

function measure() {
  const width = grid.clientWidth;
  const narrowest = width < 480 ? NARROWEST_ON_PHONE : NARROWEST;
  const columns = Math.max(1, Math.floor((width + GAP) / (narrowest + GAP)));
  const card = Math.floor((width - GAP * (columns - 1)) / columns);
  const image = Math.round(Math.min(card, 260) * Math.min(1.2, Math.max(0.6, data.shape)));
  shape = { columns, width: card, height: image + REST + linesNeeded(card) * LABELS_LINE };
  grid.style.setProperty("--image", `${image}px`);
}

/** Put the cards in view into the document; `anew` also rewrites their labels. */
function draw(anew = false) {
  const step = shape.height + GAP;
  const lines = Math.ceil(found.length / shape.columns);
  grid.style.height = `${Math.max(0, lines * step - GAP)}px`;
  const top = grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(-top / step) - 1) * shape.columns;
  const last = Math.min(found.length, (Math.ceil((innerHeight - top) / step) + 1) * shape.columns);
  const places = new Map();
  for (let place = first; place < last; place++) places.set(found[place], place);
  // The card with the focus stays, else the keyboard would lose its position. Without a focus the
  // active card is one in view, so that Tab reaches a visible card.
  const focused = Number(document.activeElement?.dataset?.image ?? -1);
  if (focused === found[active]) places.set(focused, active);
  else if (!places.has(found[active]) && last > first) active = Math.min(last - 1, first + shape.columns);
  for (const [i, card] of cards) {
    if (places.has(i)) continue;
    cards.delete(i);
    card.remove();
  }
  const filled = [];
  const inOrder = [];
  for (const [i, place] of [...places].sort((a, b) => a[1] - b[1])) {
    const card = cards.get(i) ?? makeCard(i);
    if (!cards.has(i) || anew) {
      fill(card, i);
      filled.push(card);
    }
    cards.set(i, card);
    inOrder.push(card);
    card.style.left = `${(place % shape.columns) * (shape.width + GAP)}px`;
    card.style.top = `${Math.floor(place / shape.columns) * step}px`;
    card.style.width = `${shape.width}px`;
    card.style.height = `${shape.height}px`;
    card.tabIndex = place === active ? 0 : -1;
    card.setAttribute("aria-selected", place === active);
    card.setAttribute("aria-posinset", place + 1);
    card.setAttribute("aria-setsize", found.length);
  }
  arrange(inOrder);
  trim(filled);
}

/** Sort the cards into reading order without moving the one with the focus. */
function arrange(inOrder) {
  if (inOrder.every((card, place) => grid.children[place] === card)) return;
  const fixed = inOrder.indexOf(document.activeElement);
  if (fixed >= 0) inOrder[fixed].before(...inOrder.slice(0, fixed));
  grid.append(...inOrder.slice(fixed + 1));
}

/** Show these images, with their current labels. */
function showFound(images) {
  const kept = images.indexOf(found[active]);
  found = images;
  active = Math.max(0, kept);
  draw(true);
}

/** Make a card the active one, scroll it into view, and give it the focus. */
function focusCard(place) {
  if (!found.length) return;
  active = Math.min(found.length - 1, Math.max(0, place));
  const step = shape.height + GAP;
  const bar = document.getElementById("bar").getBoundingClientRect();
  const covered = Math.max(0, bar.bottom) + GAP;
  const top = grid.getBoundingClientRect().top + Math.floor(active / shape.columns) * step;
  if (top < covered) scrollBy(0, top - covered);
  else if (top + shape.height > innerHeight) scrollBy(0, top + shape.height + GAP - innerHeight);
  draw();
  cards.get(found[active]).focus({ preventScroll: true });
}

const MOVES = {
  ArrowLeft: () => active - 1,
  ArrowRight: () => active + 1,
  ArrowUp: () => active - shape.columns,
  ArrowDown: () => active + shape.columns,
  Home: () => 0,
  End: () => found.length - 1,
  PageUp: () => active - shape.columns * 3,
  PageDown: () => active + shape.columns * 3,
};

function startCards(onOpen) {
  openCard = onOpen;
  const placeOf = (event) => {
    const card = event.target.closest(".card");
    return card ? found.indexOf(Number(card.dataset.image)) : -1;
  };
  grid.addEventListener("click", (event) => {
    if (placeOf(event) >= 0) openCard(placeOf(event));
  });
  grid.addEventListener("keydown", (event) => {
    if (placeOf(event) < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    active = placeOf(event);
    if (event.key === "Enter" || event.key === " ") openCard(active);
    else if (MOVES[event.key]) focusCard(MOVES[event.key]());
    else return;
    event.preventDefault();
  });
  addEventListener("scroll", () => requestAnimationFrame(() => draw()), { passive: true });
  let width = grid.clientWidth;
  new ResizeObserver(() => {
    if (grid.clientWidth === width) return; // the height depends on the number of images
    width = grid.clientWidth;
    measure();
    draw(true);
  }).observe(grid);
  const bar = document.getElementById("bar");
  new ResizeObserver(() => {
    document.body.style.setProperty("--bar", `${bar.offsetHeight}px`);
  }).observe(bar);
}
