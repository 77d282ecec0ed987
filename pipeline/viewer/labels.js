"use strict";
// The data, the label rule and the filters. Nothing is drawn here.
// N images, C classes; entry k = image * C + class.

const data = JSON.parse(document.getElementById("data").textContent);
const N = data.image_ids.length;
const C = data.classes.length;

function bytes(text) {
  const binary = atob(text);
  const array = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) array[i] = binary.charCodeAt(i);
  return array;
}

/** Unpack bits to 0 and 1, the lowest bit of a byte first; an empty text is all 0. */
function bits(text, length) {
  const packed = bytes(text);
  const array = new Uint8Array(length);
  if (packed.length) for (let i = 0; i < length; i++) array[i] = (packed[i >> 3] >> (i & 7)) & 1;
  return array;
}

// Machines that run browsers are little-endian, like the scores.
const floats = (text) => new Float32Array(bytes(text).buffer);
const scores = floats(data.scores); // these are compared with tau
let decoded = data.teacher ? null : scores;
/** Return the teacher's scores; they are decoded when the first image is opened. */
const teacherScores = () => (decoded ??= floats(data.teacher));
const known = bits(data.known, N);
const png = bits(data.png, N);
const lowerIds = data.image_ids.map((id) => id.toLowerCase());
const gain = floats(data.gain); // what looking at each image is worth
const nKnown = known.reduce((sum, value) => sum + value, 0);

// The facts about an entry as bits; data.kinds has the kind of each combination.
const LABEL = 1, SEEN = 2, RULED_OUT = 4, IGNORED_BIT = 8, KNOWN = 16, PRESENT = 32;
const INELIGIBLE = 64; // may not become a label at any tau; no part of the kinds
// A person corrected the entry: SEEN then says present, RULED_OUT absent or unknown.
const CORRECTED_BIT = 128, CORRECTED_KIND = 64;
const facts = new Uint8Array(N * C); // the bits that do not depend on the labels
const hiddenOf = new Int32Array(C); // unobserved entries that are truly positive, by class
let nTrue = 0;
{
  const seen = bits(data.observed, N * C);
  const ruledOut = bits(data.observed_negatives, N * C);
  const truth = bits(data.truth, N * C);
  const limited = Boolean(data.slider?.eligible);
  const eligible = bits(data.slider?.eligible ?? "", N * C);
  const rowOf = new Map(data.answers.length ? data.image_ids.map((id, i) => [id, i]) : []);
  const answered = new Map(data.answers.map(([id, c, label]) => [rowOf.get(id) * C + c, label]));
  for (let i = 0, k = 0; i < N; i++) {
    for (let c = 0; c < C; c++, k++) {
      facts[k] = (seen[k] && SEEN) | (ruledOut[k] && RULED_OUT) | (known[i] && KNOWN) | (truth[k] && PRESENT);
      if (limited && !eligible[k]) facts[k] |= INELIGIBLE;
      nTrue += truth[k];
      const label = answered.size && answered.get(k);
      if (label) {
        const said = label === "present" ? SEEN : RULED_OUT;
        facts[k] = (facts[k] & ~(SEEN | RULED_OUT)) | said | CORRECTED_BIT;
        continue;
      }
      hiddenOf[c] += truth[k] && known[i] && !seen[k] && !ruledOut[k];
    }
  }
}

// --- the states of an entry --------------------------------------------------------------

const STATES = [
  { id: "none", kinds: ["true_negative", "unknown_negative"], sign: "", words: "not a label" },
  { id: "observed", kinds: ["observed"], sign: "●", words: "observed" },
  { id: "dropped", kinds: ["dropped"], sign: "○", words: "observed, but not a label" },
  { id: "right", kinds: ["true_positive"], sign: "+", words: "added, right" },
  { id: "wrong", kinds: ["false_positive"], sign: "×", words: "added, wrong" },
  { id: "added", kinds: ["unknown_positive"], sign: "+", words: "added, truth unknown" },
  { id: "against", kinds: ["against"], sign: "⊗", words: "added, but observed negative" },
  { id: "missed", kinds: ["false_negative"], sign: "?", words: "missed" },
  { id: "ignored", kinds: ["ignored"], sign: "~", words: "ignored" },
  { id: "negative", kinds: ["ruled_out"], sign: "−", words: "observed negative" },
  { id: "corrected", kinds: ["corrected_positive"], sign: "◆", words: "corrected: present" },
  { id: "denied", kinds: ["corrected_negative"], sign: "◇", words: "corrected: absent or unknown" },
];
const [NONE, OBSERVED, DROPPED, RIGHT, WRONG, ADDED, AGAINST, MISSED, IGNORED, NEGATIVE, CORRECTED, DENIED] = STATES.keys();

// The state of every entry, and the number of entries by class and state.
const states = new Uint8Array(N * C);
const counts = new Int32Array(C * STATES.length);

// The state by its bits.
const stateOf = Uint8Array.from({ length: 256 }, (_, fact) => {
  const kind = (fact & ~(INELIGIBLE | CORRECTED_BIT)) | (fact & CORRECTED_BIT && CORRECTED_KIND);
  return STATES.findIndex((state) => state.kinds.includes(data.kinds[kind]));
});

/** Set the states to those of the labels in the file. */
function judgeFile() {
  const labels = bits(data.labels, N * C);
  const ignored = bits(data.ignored, N * C);
  for (let k = 0, c = 0; k < states.length; k++) {
    states[k] = stateOf[facts[k] | (labels[k] && LABEL) | (ignored[k] && IGNORED_BIT)];
    counts[c * STATES.length + states[k]]++;
    if (++c === C) c = 0;
  }
}

// --- the rule at another tau: `at_tau` of the pipeline -------------------------------------

/** Return the facts with the labels that the rule leaves, given those of the scores alone. */
function ruled(fact) {
  const { keep_observed, confidence } = data.slider;
  if (fact & CORRECTED_BIT) return fact & SEEN ? fact | LABEL : fact & ~LABEL;
  if (fact & INELIGIBLE && fact & LABEL) fact = (fact & ~LABEL) | (confidence && IGNORED_BIT);
  if (!keep_observed) return fact;
  if (fact & SEEN) return fact | LABEL;
  return fact & RULED_OUT ? fact & ~LABEL : fact;
}
const stateByRule = data.slider && stateOf.map((_, fact) => stateOf[ruled(fact)]);

/** Return the scores that matter at tau, as float32: a label is above `label`; another entry from
 * `ignored` on has the weight 0. */
function limitsAt(tau) {
  const { width, confidence } = data.slider;
  const label = Math.fround(tau);
  if (width !== null) return { label, ignored: Math.fround(tau - width) };
  const positive = label * (1 - tau); // the pipeline's `about_tau` of a score equal to `label`
  const zero = confidence && positive / (positive + (1 - label) * tau) >= 0.5;
  return { label, ignored: zero ? label : Infinity };
}

let limits = data.slider && limitsAt(data.tau); // of `states`: the rule gives the labels in the file

/** Set the states to those of the rule at tau. Most entries keep theirs, and cost one comparison. */
function judge(tau) {
  const [before, now] = [limits, limitsAt(tau)];
  limits = now;
  const lowest = Math.min(before.label, now.label, before.ignored, now.ignored);
  const highest = Math.max(before.label, now.label);
  for (let i = 0, k = 0; i < N; i++) {
    for (let c = 0; c < C; c++, k++) {
      const score = scores[k];
      if (score < lowest || score > highest) continue;
      const bit = score > now.label ? LABEL : score >= now.ignored ? IGNORED_BIT : 0;
      const state = stateByRule[facts[k] | bit];
      counts[c * STATES.length + states[k]]--;
      counts[c * STATES.length + state]++;
      states[k] = state;
    }
  }
}

/** Return the numbers of a class; -1 is all classes. */
function summary(c) {
  const n = new Array(STATES.length).fill(0);
  const of = c < 0 ? counts : counts.subarray(c * STATES.length, (c + 1) * STATES.length);
  of.forEach((count, place) => (n[place % STATES.length] += count));
  const added = n[RIGHT] + n[WRONG] + n[ADDED] + n[AGAINST];
  const hidden = c < 0 ? hiddenOf.reduce((sum, value) => sum + value, 0) : hiddenOf[c];
  const ratio = (part, whole) => (whole ? part / whole : null);
  return {
    observed: n[OBSERVED] + n[DROPPED],
    added,
    positives: n[OBSERVED] + added + n[CORRECTED],
    right: n[RIGHT],
    wrong: n[WRONG],
    missed: n[MISSED],
    ignored: n[IGNORED],
    precision: ratio(n[RIGHT], n[RIGHT] + n[WRONG]),
    recall: ratio(n[RIGHT], hidden), // an ignored positive counts as not found
    states: n,
  };
}

// --- filters ---------------------------------------------------------------------------

// The kinds of labels to filter by, and their states.
const KINDS = [
  { id: "any", sign: "", words: "any", of: [OBSERVED, DROPPED, RIGHT, WRONG, ADDED, AGAINST, MISSED, IGNORED, CORRECTED, DENIED] },
  { id: "observed", sign: "●", words: "observed", of: [OBSERVED, DROPPED] },
  { id: "added", sign: "", words: "added", of: [RIGHT, WRONG, ADDED, AGAINST] },
  { id: "right", sign: "+", words: "right", of: [RIGHT] },
  { id: "wrong", sign: "×", words: "wrong", of: [WRONG] },
  { id: "unknown", sign: "+", words: "truth unknown", of: [ADDED] },
  { id: "against", sign: "⊗", words: "added, but observed negative", of: [AGAINST] },
  { id: "missed", sign: "?", words: "missed", of: [MISSED] },
  { id: "ignored", sign: "~", words: "ignored", of: [IGNORED] },
  { id: "corrected", sign: "◆", words: "corrected", of: [CORRECTED, DENIED] },
  { id: "not", sign: "", words: "not a label", of: [NONE, DROPPED, MISSED, IGNORED, NEGATIVE, DENIED] },
];
for (const kind of KINDS) kind.mask = kind.of.reduce((mask, state) => mask | (1 << state), 0);

// The current filters; class -1 is every class.
const wanted = { class: -1, kind: KINDS[0], low: 0, high: 1, search: "", marks: "all", sort: "id" };

function isWanted(k, c) {
  if (wanted.class >= 0 && wanted.class !== c) return false;
  if (!((wanted.kind.mask >> states[k]) & 1)) return false;
  return scores[k] >= Math.fround(wanted.low) && scores[k] <= Math.fround(wanted.high);
}

/** Return whether any filter concerns labels; if not, images without labels match, too. */
function wantsLabels() {
  return wanted.class >= 0 || wanted.kind !== KINDS[0] || wanted.low > 0 || wanted.high < 1;
}

/** Return the images that match the filters, sorted. */
function find() {
  const search = wanted.search.toLowerCase();
  const needed = wantsLabels();
  const sorted = wanted.sort !== "id";
  // One number for the place by score and the image, since numbers are sorted fast.
  const keys = new Float64Array(N);
  let n = 0;
  for (let i = 0; i < N; i++) {
    if (search && !lowerIds[i].includes(search)) continue;
    if (wanted.marks !== "all" && isMarked(i) !== (wanted.marks === "marked")) continue;
    const score = needed || sorted ? bestScore(i) : -1;
    const rank = wanted.sort === "gain" ? rankOf(gain[i]) : rankOf(score);
    if (!needed || score >= 0) keys[n++] = (sorted ? rank : 0) * IMAGES + i;
  }
  if (sorted) keys.subarray(0, n).sort();
  const found = new Uint32Array(n);
  for (let place = 0; place < n; place++) found[place] = keys[place] % IMAGES;
  return found;
}

/** Return the highest matching score of an image, or the lowest if those come first; -1: none. */
function bestScore(i) {
  const rising = wanted.sort === "rising";
  const [from, to] = wanted.class < 0 ? [0, C] : [wanted.class, wanted.class + 1];
  let best = -1;
  for (let c = from, k = i * C + from; c < to; c++, k++) {
    if (isWanted(k, c) && (best < 0 || (rising ? scores[k] < best : scores[k] > best))) best = scores[k];
  }
  return best;
}

const IMAGES = 2 ** 22; // more than a page can show
const LAST = 2 ** 30; // above the bits of the score 1
const aScore = new Float32Array(1);
const itsBits = new Uint32Array(aScore.buffer); // they rise with the score

/** Return a whole number to sort by; images without a matching score come last. */
function rankOf(score) {
  if (score < 0) return LAST;
  aScore[0] = score;
  return wanted.sort === "rising" ? itsBits[0] : LAST - 1 - itsBits[0];
}
