// The drawing itself. It costs what is seen: of a lane the operations in sight, and of those that fall on one pixel one.

const MAP = 44;
const FONT = "12px system-ui, sans-serif";
let colors = {};
let density;
const counts = { drawn: 0, marks: 0, points: 0 };

function readColors() {
  const style = getComputedStyle(document.documentElement);
  const names = ["bg", "fg", "dim", "rule", "ok", "unknown", "fail", "card", "kill", "pause", "partition", "members",
    "transfer", "fault", "found", "v0", "v1", "v2", "v3", "v4", "v5"];
  colors = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function draw() {
  const pen = canvas.getContext("2d");
  counts.drawn = counts.marks = counts.points = 0;
  pen.font = FONT;
  pen.textBaseline = "middle";
  pen.fillStyle = colors.card;
  pen.fillRect(0, 0, view.width, view.height);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, view.width - LEFT, view.height);
  pen.clip();
  drawTicks(pen);
  drawShades(pen);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, top() - 2, view.width - LEFT, view.height);
  pen.clip();
  const first = Math.max(0, Math.floor(view.scroll / view.lane));
  const until = Math.min(lanes.length, Math.ceil((view.scroll + view.height - top()) / view.lane));
  for (let row = first; row < until; row++) drawLane(pen, row);
  drawFound(pen);
  drawPart(pen);
  drawChosen(pen);
  pen.restore();
  drawHeads(pen);
  pen.restore();
  drawNames(pen, first, until);
  drawMap();
  Object.assign(figure.dataset, { drawn: counts.drawn, marks: counts.marks, pointsDrawn: counts.points });
}

// 1, 2 or 5 times a power of ten, so that there are about eight.
function stepNs() {
  const rough = (view.until - view.from) / Math.max(3, (view.width - LEFT) / 130);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}
function drawTicks(pen) {
  const step = stepNs();
  const digits = Math.min(9, Math.max(0, 9 - Math.floor(Math.log10(step))));
  pen.textAlign = "center";
  const firstTick = Math.ceil((view.from + source.base) / step);
  for (let tick = firstTick; tick * step - source.base <= view.until; tick++) {
    const px = Math.round(x(tick * step - source.base)) + 0.5;
    pen.fillStyle = colors.rule;
    pen.fillRect(px - 0.5, AXIS - 4, 1, view.height);
    pen.fillStyle = colors.dim;
    pen.fillText(`${((tick * step) / 1e9).toFixed(digits)} s`, px, AXIS / 2);
  }
  pen.textAlign = "left";
}

const bandUntil = (band) => (band.until < 0 ? length + marginNs() : band.until);
const bandColor = (kind) => colors[kind] ?? colors.fault;
function drawShades(pen) {
  for (const band of source.bands) {
    const [left, right] = [x(band.from), x(bandUntil(band))];
    if (right < LEFT || left > view.width) continue;
    pen.globalAlpha = 0.07;
    pen.fillStyle = bandColor(band.kind);
    pen.fillRect(left, AXIS, Math.max(right - left, 1), view.height);
    pen.globalAlpha = 1;
  }
}
function head(pen, left, right, py, color, label) {
  if (right < LEFT || left > view.width) return;
  const [from, until] = [Math.max(left, LEFT), Math.min(right, view.width)];
  pen.globalAlpha = 0.42;
  pen.fillStyle = color;
  pen.fillRect(from, py + 1, Math.max(until - from, 1.5), BAND - 3);
  pen.globalAlpha = 1;
  if (until - from < 26) return;
  pen.save();
  pen.beginPath();
  pen.rect(from, py, until - from - 3, BAND);
  pen.clip();
  pen.fillStyle = colors.fg;
  pen.fillText(label, from + 5, py + BAND / 2);
  pen.restore();
}
function drawHeads(pen) {
  pen.fillStyle = colors.card;
  pen.fillRect(LEFT, AXIS, view.width, top() - AXIS - 4);
  for (const band of source.bands) {
    const row = bandKinds.indexOf(band.kind);
    head(pen, x(band.from), x(bandUntil(band)), AXIS + row * BAND, bandColor(band.kind), band.name);
  }
  for (const lead of source.leaders) {
    const row = bandKinds.length + groups.indexOf(lead.group);
    const color = colors[`v${(lead.tint + 5) % 6}`];
    head(pen, x(lead.from), x(bandUntil(lead)), AXIS + row * BAND, color, `${lead.node} · term ${lead.term}`);
  }
}

function drawNames(pen, first, until) {
  pen.fillStyle = colors.card;
  pen.fillRect(0, 0, LEFT, view.height);
  pen.fillStyle = colors.dim;
  pen.textAlign = "right";
  bandKinds.forEach((kind, row) => pen.fillText(kind, LEFT - 10, AXIS + row * BAND + BAND / 2));
  groups.forEach((group, row) => {
    const name = groups.length > 1 ? `leads g${group}` : "leader";
    pen.fillText(name, LEFT - 10, AXIS + (bandKinds.length + row) * BAND + BAND / 2);
  });
  const guilty = new Set(view.part < 0 ? [] : failing[view.part].ops.map((op) => columns.lane[op]));
  for (let row = first; row < until; row++) {
    if (y(row) < top() - view.lane / 2) continue;
    pen.fillStyle = guilty.has(row) ? colors.fg : colors.dim;
    pen.font = guilty.has(row) ? `bold ${FONT}` : FONT;
    pen.fillText(lanes[row].name, LEFT - 10, y(row) + view.lane / 2);
  }
  pen.font = FONT;
  pen.textAlign = "left";
}

function drawLane(pen, row) {
  const py = y(row);
  pen.fillStyle = colors.rule;
  pen.fillRect(LEFT, py + view.lane - 1, view.width, 1);
  const { ops } = lanes[row];
  const pixel = (view.until - view.from) / (view.width - LEFT);
  const key = view.focus ? partKey() : -1;
  const special = view.part < 0 || !view.focus ? [] : failing[view.part].ops;
  let painted = -1;
  // One that was called long before may still be under way; no client has two at once, but crashed ones were folded.
  let place = Math.max(0, firstAfter(ops, view.from) - 2);
  while (place < ops.length) {
    const op = ops[place];
    if (at[op] > view.until) break;
    const left = x(at[op]);
    const right = x(end[op]);
    if (right - left < 1.5 && left < painted + 1 && !special.includes(op)) {
      // Nothing new on this pixel: on to the next one.
      place = Math.max(place + 1, firstAfter(ops, at[op] + pixel * 0.5));
      continue;
    }
    place++;
    if (isHidden(op)) continue;
    const isFaint = key >= 0 && columns.key[op] !== key;
    drawOperation(pen, op, left, Math.max(right - left, 1.5), py, isFaint ? 0.25 : 1);
    painted = Math.max(left + 1.5, right);
  }
}
function drawOperation(pen, op, left, width, py, strength) {
  counts.drawn++;
  const state = columns.came[op];
  const color = state === OK ? colors.ok : state === FAILED ? colors.fail : colors.unknown;
  const isWrite = columns.call[op] !== READ;
  pen.fillStyle = color;
  pen.globalAlpha = strength * (state === FAILED ? 0.12 : isWrite ? 0.6 : 0.26);
  pen.fillRect(left, py + 5, width, view.lane - 11);
  counts.marks++;
  if (isOpen(op)) {
    // It may take effect at any later time.
    pen.globalAlpha = strength * 0.5;
    for (let px = Math.max(left + width, LEFT); px < Math.min(view.width, x(length)); px += 9) pen.fillRect(px, py + view.lane - 8, 5, 1.5);
  }
  if (width > 4) {
    pen.globalAlpha = strength;
    pen.strokeStyle = color;
    pen.setLineDash(state === OK ? [] : [4, 3]);
    pen.strokeRect(left + 0.5, py + 5.5, width - 1, view.lane - 12);
    pen.setLineDash([]);
  }
  if (columns.point[op] >= 0 && width > 2.5) {
    const px = x(at[op] + columns.point[op]);
    pen.globalAlpha = strength;
    pen.fillStyle = colors.fg;
    pen.beginPath();
    pen.moveTo(px, py + 3);
    pen.lineTo(px + 3, py + view.lane / 2);
    pen.lineTo(px, py + view.lane - 3);
    pen.lineTo(px - 3, py + view.lane / 2);
    pen.fill();
    counts.points++;
  }
  if (width > 34) {
    const from = Math.max(left, LEFT);
    pen.save();
    pen.beginPath();
    pen.rect(from, py, left + width - from - 2, view.lane);
    pen.clip();
    pen.globalAlpha = Math.min(1, strength + 0.15);
    pen.fillStyle = colors.fg;
    const key = source.keys.length > 1 && partKey() !== columns.key[op] ? `${source.keys[columns.key[op]]} ` : "";
    pen.fillText(`${key}${asked(op)} ${came(op)}`, from + 7, py + view.lane / 2);
    pen.restore();
  }
  pen.globalAlpha = 1;
}

// Colours of the values of a part, in the order in which they appear.
function tints(part) {
  const values = [...new Set(part.ops.map(valueOf))];
  return new Map(values.map((value, place) => [value, colors[`v${place % 6}`]]));
}
function drawPart(pen) {
  if (view.part < 0 || !view.focus) return;
  const part = failing[view.part];
  if (part.ops.length <= 12) drawOrder(pen, part);
  const tint = tints(part);
  pen.font = `bold ${FONT}`;
  part.ops.forEach((op, place) => {
    const [left, right] = [x(at[op]), Math.max(x(end[op]), x(at[op]) + 4)];
    const py = y(columns.lane[op]);
    const isShown = op === part.shows;
    pen.lineWidth = isShown ? 3 : 2;
    pen.strokeStyle = isShown ? colors.fail : colors.fg;
    pen.fillStyle = tint.get(valueOf(op));
    pen.globalAlpha = 0.45;
    pen.fillRect(left, py + 3, right - left, view.lane - 7);
    pen.globalAlpha = 1;
    pen.strokeRect(left - 1, py + 3, right - left + 2, view.lane - 7);
    counts.marks++;
    drawLabel(pen, `${place + 1}  ${asked(op)} ${came(op)}`, left, right, py, isShown, tint.get(valueOf(op)));
  });
  pen.font = FONT;
  pen.lineWidth = 1;
}
function drawLabel(pen, label, left, right, py, isShown, tint) {
  const short = label.length > 44 ? `${label.slice(0, 43)}…` : label;
  const wide = pen.measureText(short).width + 22;
  const px = right + 6 + wide < view.width ? right + 6 : Math.max(LEFT + 4, left - 6 - wide);
  pen.fillStyle = colors.bg;
  pen.globalAlpha = 0.92;
  pen.fillRect(px, py + 3, wide, view.lane - 7);
  pen.globalAlpha = 1;
  pen.fillStyle = tint;
  pen.fillRect(px, py + 3, 5, view.lane - 7);
  pen.fillStyle = isShown ? colors.fail : colors.fg;
  pen.fillText(short, px + 11, py + view.lane / 2);
}
// Who had returned before whom was called: arrows, each with the time between.
function drawOrder(pen, part) {
  const isBefore = (one, other) => !isOpen(one) && !part.open.includes(columns.id[one]) && end[one] < at[other];
  for (const one of part.ops) {
    for (const other of part.ops) {
      const isDirect = isBefore(one, other) && !part.ops.some((middle) => isBefore(one, middle) && isBefore(middle, other));
      if (!isDirect || columns.lane[one] === columns.lane[other]) continue;
      const [fromX, untilX] = [Math.max(x(end[one]), x(at[one]) + 4), x(at[other])];
      const [fromY, untilY] = [y(columns.lane[one]) + view.lane / 2, y(columns.lane[other]) + view.lane / 2];
      const bend = Math.max(24, (untilX - fromX) / 2);
      pen.strokeStyle = colors.fg;
      pen.globalAlpha = 0.6;
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.moveTo(fromX, fromY);
      pen.bezierCurveTo(fromX + bend, fromY, untilX - bend, untilY, untilX - 2, untilY);
      pen.stroke();
      pen.fillStyle = colors.fg;
      pen.beginPath();
      pen.moveTo(untilX - 1, untilY);
      pen.lineTo(untilX - 9, untilY - 4);
      pen.lineTo(untilX - 9, untilY + 4);
      pen.fill();
      pen.globalAlpha = 1;
      drawGap(pen, span(at[other] - end[one]), fromX, untilX, (fromY + untilY) / 2);
    }
  }
}
// The time between, on the middle of an arrow that is long enough.
function drawGap(pen, label, fromX, untilX, py) {
  const wide = pen.measureText(label).width + 10;
  if (untilX - fromX < wide + 40) return;
  const px = Math.max((fromX + untilX) / 2, LEFT + 40) - wide / 2;
  pen.fillStyle = colors.bg;
  pen.fillRect(px, py - 9, wide, 18);
  pen.strokeStyle = colors.rule;
  pen.lineWidth = 1;
  pen.strokeRect(px + 0.5, py - 8.5, wide - 1, 17);
  pen.fillStyle = colors.fg;
  pen.fillText(label, px + 5, py);
}
function drawFound(pen) {
  if (view.found.length === 0) return;
  pen.strokeStyle = colors.found;
  pen.lineWidth = 2;
  for (const op of view.found) {
    if (end[op] < view.from || at[op] > view.until) continue;
    const py = y(columns.lane[op]);
    if (py < top() - view.lane || py > view.height) continue;
    pen.strokeRect(x(at[op]) - 1, py + 2, Math.max(x(end[op]) - x(at[op]), 3) + 2, view.lane - 5);
  }
  pen.lineWidth = 1;
}
function drawChosen(pen) {
  for (const [op, dash] of [[view.hovered, [2, 2]], [view.chosen, []]]) {
    if (op < 0 || isHidden(op)) continue;
    const py = y(columns.lane[op]);
    pen.strokeStyle = colors.fg;
    pen.setLineDash(dash);
    pen.strokeRect(x(at[op]) - 3.5, py + 1.5, Math.max(x(end[op]) - x(at[op]), 4) + 7, view.lane - 4);
    pen.setLineDash([]);
  }
}

// The whole of it, small: how much went on, faults, what fails, and where we are.
function drawMap() {
  const pen = map.getContext("2d");
  const wide = Math.ceil(view.width - LEFT);
  if (!density) {
    density = new Float64Array(wide);
    for (let op = 0; op < total; op++) density[Math.min(wide - 1, Math.floor((at[op] / length) * wide))]++;
  }
  // One burst must not flatten all else.
  const most = Math.max(1, [...density].sort((one, other) => one - other)[Math.floor(wide * 0.98)] * 1.15);
  const place = (ns) => LEFT + (ns / length) * (view.width - LEFT);
  pen.font = FONT;
  pen.textBaseline = "middle";
  pen.fillStyle = colors.card;
  pen.fillRect(0, 0, view.width, MAP);
  for (const band of source.bands) {
    pen.fillStyle = bandColor(band.kind);
    pen.globalAlpha = 0.4;
    pen.fillRect(place(band.from), 0, Math.max(1, place(bandUntil(band)) - place(band.from)), 4);
  }
  pen.fillStyle = colors.ok;
  pen.globalAlpha = 0.55;
  for (let px = 0; px < wide; px++) {
    const high = density[px] === 0 ? 0 : 2 + Math.min(1, density[px] / most) * (MAP - 12);
    pen.fillRect(LEFT + px, MAP - 2 - high, 1, high);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = colors.fail;
  for (const part of failing) if (part.shows !== undefined) pen.fillRect(place(at[part.shows]) - 1, 0, 2.5, MAP);
  const [left, right] = [Math.max(LEFT, place(view.from)), Math.min(view.width, place(view.until))];
  pen.fillStyle = colors.fg;
  pen.globalAlpha = 0.1;
  pen.fillRect(left, 0, Math.max(right - left, 3), MAP);
  pen.globalAlpha = 1;
  pen.strokeStyle = colors.fg;
  pen.strokeRect(left + 0.5, 0.5, Math.max(right - left, 3) - 1, MAP - 1);
  pen.fillStyle = colors.dim;
  pen.textAlign = "right";
  pen.fillText("whole run", LEFT - 10, MAP / 2);
  pen.textAlign = "left";
}
