// What is seen: a stretch of time, some lanes, and what is chosen.

const figure = document.getElementById("picture");
const canvas = document.getElementById("lanes");
const map = document.getElementById("map");
const LEFT = 92;
const AXIS = 24;
const BAND = 20;
const LANE_MIN = 30;
const LANE_MAX = 46;
const SHORTEST = 200; // nanoseconds on the whole width

const view = {
  from: 0,
  until: length,
  scroll: 0,
  lane: LANE_MIN, // height of one
  width: 800,
  height: 400,
  part: failing.length > 0 ? 0 : -1, // which failing part is told
  focus: failing.length > 0, // others are faint
  onlyKey: false,
  chosen: -1,
  hovered: -1,
  found: [],
  foundAt: -1,
};

const marginNs = () => length * 0.02;
const top = () => AXIS + (bandKinds.length + groups.length) * BAND + 6;
const scrollMax = () => Math.max(0, top() + lanes.length * view.lane + 8 - view.height);
const x = (ns) => LEFT + ((ns - view.from) / (view.until - view.from)) * (view.width - LEFT);
const timeAt = (px) => view.from + ((px - LEFT) / (view.width - LEFT)) * (view.until - view.from);
const y = (lane) => top() + lane * view.lane - view.scroll;

function see(from, until) {
  const wide = Math.min(Math.max(until - from, SHORTEST), length + 2 * marginNs());
  const middle = (from + until) / 2;
  const low = Math.min(Math.max(middle - wide / 2, -marginNs()), length + marginNs() - wide);
  view.from = low;
  view.until = low + wide;
  ask();
}
const whole = () => see(-marginNs(), length + marginNs());
function zoom(factor, px = (view.width + LEFT) / 2) {
  const middle = timeAt(px);
  see(middle - (middle - view.from) * factor, middle + (view.until - middle) * factor);
}
const pan = (part) => {
  const by = (view.until - view.from) * part;
  see(view.from + by, view.until + by);
};
function scrollTo(px) {
  view.scroll = Math.min(Math.max(px, 0), scrollMax());
  ask();
}

// The stretch of time of some operations, with room for their labels.
function seeOperations(ops) {
  if (ops.length === 0) return;
  const from = Math.min(...ops.map((op) => at[op]));
  const until = Math.max(...ops.map((op) => end[op]));
  const wide = Math.max(until - from, 1000);
  see(from - wide * 0.25, until + wide * 0.35);
  const rows = ops.map((op) => columns.lane[op]);
  const high = Math.min(...rows) * view.lane;
  const low = (Math.max(...rows) + 1) * view.lane;
  const room = view.height - top();
  if (high < view.scroll || low > view.scroll + room) scrollTo((high + low - room) / 2);
}
function showPart(place) {
  if (failing.length === 0) return;
  view.part = (place + failing.length) % failing.length;
  view.focus = true;
  view.chosen = failing[view.part].shows ?? -1;
  seeOperations(failing[view.part].ops);
  tell();
}

// Draws once, however often it was asked.
let isAsked = false;
function ask() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    draw();
  });
}

function fit() {
  const ratio = window.devicePixelRatio || 1;
  view.width = Math.max(360, canvas.parentElement.clientWidth);
  const room = Math.max(260, Math.round(window.innerHeight * 0.66));
  view.lane = Math.min(LANE_MAX, Math.max(LANE_MIN, Math.floor((room - top() - 8) / lanes.length)));
  view.height = Math.min(top() + lanes.length * view.lane + 8, room);
  for (const [element, height] of [[canvas, view.height], [map, MAP]]) {
    element.style.height = `${height}px`;
    element.width = Math.round(view.width * ratio);
    element.height = Math.round(height * ratio);
    element.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }
  view.scroll = Math.min(view.scroll, scrollMax());
  density = undefined;
}

// The operation at a place of the canvas: of the lane the one that is nearest.
function operationAt(px, py) {
  const row = Math.floor((py - top() + view.scroll) / view.lane);
  if (py < top() || row < 0 || row >= lanes.length || px < LEFT) return -1;
  const { ops } = lanes[row];
  let best = -1;
  let nearest = 7; // pixels that a hand may miss by
  for (let place = Math.max(0, firstAfter(ops, timeAt(px)) - 40); place < ops.length; place++) {
    const op = ops[place];
    if (x(at[op]) > px + nearest) break;
    const gap = Math.max(x(at[op]) - px, px - Math.max(x(end[op]), x(at[op]) + 3), 0);
    if (gap <= nearest && !isHidden(op)) [best, nearest] = [op, gap];
  }
  return best;
}
// Of operations by ascending call the first that is called after this moment.
function firstAfter(ops, ns) {
  let low = 0;
  let high = ops.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at[ops[middle]] > ns) high = middle;
    else low = middle + 1;
  }
  return low;
}
const partKey = () => (view.part < 0 ? -1 : failing[view.part].place);
const isHidden = (op) => view.onlyKey && columns.key[op] !== (view.part >= 0 ? partKey() : columns.key[view.chosen]);
