// Hands: wheel, drag, keys, search, the panel beside the drawing.

const panel = document.getElementById("told");
const helpBox = document.getElementById("picture-help");
const box = document.getElementById("search");
const foundLabel = document.getElementById("found");

// An element with a class and a text: nothing from outside becomes markup.
function element(name, className, content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

function tell() {
  panel.replaceChildren();
  if (view.part >= 0) tellPart(failing[view.part]);
  else panel.append(element("p", "dim", source.calm));
  const op = view.hovered >= 0 ? view.hovered : view.chosen;
  if (op >= 0) tellOperation(op);
}
function tellPart(part) {
  const count = failing.length > 1 ? ` (${view.part + 1} of ${failing.length}, n and p for the others)` : "";
  panel.append(element("h3", "", `${part.kind}, key ${part.key}${count}`), element("p", "sentence", part.sentence));
  const list = element("ol", "few");
  const tint = tints(part);
  for (const op of part.ops) {
    const item = element("li", op === part.shows ? "shows" : "");
    const mark = element("i", "tint");
    mark.style.background = tint.get(valueOf(op));
    const isFree = part.open.includes(columns.id[op]) ? ", open for ever in the proof" : "";
    const when = isOpen(op) ? `${moment(at[op])}, never returned` : `${moment(at[op])} to ${moment(end[op])}`;
    item.append(mark, element("b", "", `c${columns.client[op]} ${asked(op)} ${came(op)}`),
      element("span", "dim", ` #${columns.id[op]}, ${when}${isFree}${columns.node[op] < 0 ? "" : `, ${source.nodes[columns.node[op]]}`}`));
    item.addEventListener("click", () => choose(op));
    list.append(item);
  }
  panel.append(list);
  if (part.reasons.length > 0) {
    const reasons = element("ul", "reasons");
    for (const reason of part.reasons) reasons.append(element("li", "", reason));
    panel.append(element("h4", "", "Why no order goes on"), reasons);
  }
}
function tellOperation(op) {
  const table = element("table", "operation");
  const row = (name, value) => {
    const line = element("tr");
    line.append(element("th", "", name), element("td", "", value));
    table.append(line);
  };
  row("operation", `#${columns.id[op]} of c${columns.client[op]} on ${source.keys[columns.key[op]]}`);
  row("asked", asked(op));
  row("came back", came(op));
  row("called", moment(at[op], 6));
  if (columns.came[op] !== NEVER) row("returned", `${moment(end[op], 6)}, after ${span(end[op] - at[op])}`);
  if (columns.point[op] >= 0) row("takes effect", `${moment(at[op] + columns.point[op], 6)} in the order that was found`);
  if (columns.node[op] >= 0) row("node", source.nodes[columns.node[op]]);
  const faults = source.bands.filter((band) => band.from <= end[op] && bandUntil(band) >= at[op]).map((band) => band.name);
  if (faults.length > 0) row("faults", faults.join(", "));
  panel.append(element("h4", "", view.hovered >= 0 ? "Under the pointer" : "Chosen"), table);
}

function choose(op) {
  view.chosen = op;
  const middle = (at[op] + end[op]) / 2;
  if (middle < view.from || middle > view.until) see(middle - (view.until - view.from) / 2, middle + (view.until - view.from) / 2);
  const row = columns.lane[op] * view.lane;
  if (row < view.scroll || row + view.lane > view.scroll + view.height - top()) scrollTo(row - (view.height - top()) / 2);
  tell();
  ask();
}
function findNext(by) {
  if (view.found.length === 0) return;
  view.foundAt = (view.foundAt + by + view.found.length) % view.found.length;
  choose(view.found[view.foundAt]);
  sayFound();
}
function sayFound() {
  const all = view.found.length;
  foundLabel.textContent = box.value.trim() === "" ? "" : all === 0 ? "nothing found" : `${Math.max(view.foundAt, 0) + 1} of ${all}`;
}
box.addEventListener("input", () => {
  view.found = search(box.value);
  view.foundAt = -1;
  sayFound();
  ask();
});
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter") findNext(event.shiftKey ? -1 : 1);
  if (event.key === "Escape") box.blur();
  event.stopPropagation();
});

// Lanes may be more than fit: then the wheel scrolls them beside the names, and zooms everywhere else.
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const isBeside = event.offsetX < LEFT;
  if (isBeside || event.altKey) return scrollTo(view.scroll + event.deltaY);
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return pan((event.deltaX || event.deltaY) / 1000);
  zoom(Math.exp(Math.min(Math.max(event.deltaY, -300), 300) * 0.0022), event.offsetX);
}, { passive: false });
let drag;
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  drag = { x: event.offsetX, y: event.offsetY, from: view.from, until: view.until, scroll: view.scroll, moved: false };
});
canvas.addEventListener("pointermove", (event) => {
  if (!drag) {
    const op = operationAt(event.offsetX, event.offsetY);
    if (op !== view.hovered) {
      view.hovered = op;
      canvas.style.cursor = op >= 0 ? "pointer" : "grab";
      tell();
      ask();
    }
    return;
  }
  const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
  drag.moved ||= Math.abs(dx) + Math.abs(dy) > 4;
  const by = (dx / (view.width - LEFT)) * (drag.until - drag.from);
  see(drag.from - by, drag.until - by);
  scrollTo(drag.scroll - dy);
});
canvas.addEventListener("pointerup", (event) => {
  if (drag && !drag.moved) {
    view.chosen = operationAt(event.offsetX, event.offsetY);
    tell();
    ask();
  }
  drag = undefined;
});
canvas.addEventListener("pointerleave", () => {
  if (view.hovered >= 0) {
    view.hovered = -1;
    tell();
    ask();
  }
});
canvas.addEventListener("dblclick", (event) => zoom(0.4, event.offsetX));
const moveMap = (event) => {
  if (event.buttons !== 1) return;
  const middle = ((event.offsetX - LEFT) / (view.width - LEFT)) * length;
  see(middle - (view.until - view.from) / 2, middle + (view.until - view.from) / 2);
};
map.addEventListener("pointerdown", moveMap);
map.addEventListener("pointermove", moveMap);

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  readColors();
  tell();
  ask();
}
const isDark = () => document.documentElement.dataset.theme === "dark" ||
  (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
const actions = {
  failing: () => showPart(Math.max(view.part, 0)),
  next: () => showPart(view.part + 1),
  previous: () => showPart(view.part - 1),
  in: () => zoom(0.6),
  out: () => zoom(1 / 0.6),
  whole: () => whole(),
  key: () => {
    view.onlyKey = !view.onlyKey && (view.part >= 0 || view.chosen >= 0);
    document.querySelector("[data-do=key]").setAttribute("aria-pressed", String(view.onlyKey));
    ask();
  },
  theme: () => setTheme(isDark() ? "light" : "dark"),
  help: () => (helpBox.hidden = !helpBox.hidden),
};
for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do]());

// Names of faults in tables lead to their bands.
function seeBand(band) {
  const room = Math.max((bandUntil(band) - band.from) / 2, 2e8);
  see(band.from - room, bandUntil(band) + room);
}
for (const link of document.querySelectorAll("[data-band]")) {
  const band = source.bands[Number(link.dataset.band)];
  if (band) link.addEventListener("click", () => seeBand(band));
}

const keys = {
  ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15),
  ArrowUp: () => scrollTo(view.scroll - view.lane), ArrowDown: () => scrollTo(view.scroll + view.lane),
  "+": actions.in, "=": actions.in, "-": actions.out, "0": actions.whole,
  Home: () => see(-marginNs(), view.until - view.from - marginNs()),
  End: () => see(length + marginNs() - (view.until - view.from), length + marginNs()),
  n: actions.next, p: actions.previous, g: actions.failing, k: actions.key, t: actions.theme, "?": actions.help,
  "/": () => box.focus(),
  Escape: () => { helpBox.hidden = true; view.focus = false; view.chosen = -1; tell(); ask(); },
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  // Where there are no lanes to scroll the page does.
  if ((event.key === "ArrowUp" || event.key === "ArrowDown") && scrollMax() === 0) return;
  event.preventDefault();
  keys[event.key]();
});
