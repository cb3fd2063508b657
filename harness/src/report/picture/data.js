// What is drawn: columns of numbers, as the page embeds them. Times are nanoseconds since `base`.

const source = JSON.parse(document.getElementById("picture-data").textContent);
const columns = source.ops;
const total = columns.at.length;
const CALLS = ["read", "write", "append", "delete", "cas", "txn"];
const [READ, , , , CAS, TXN] = [0, 1, 2, 3, 4, 5];
const [OK, FAILED, , NEVER] = [0, 1, 2, 3];

// Calls and numbers come as differences, since those are short to write.
const at = new Float64Array(total);
const end = new Float64Array(total);
let time = 0;
let last = 0;
let id = 0;
for (let op = 0; op < total; op++) {
  time += columns.at[op];
  id = columns.id[op] += id;
  at[op] = time;
  end[op] = columns.took[op] < 0 ? time : time + columns.took[op];
  last = Math.max(last, end[op]);
}
for (const band of source.bands) last = Math.max(last, band.from, band.until);
const length = Math.max(last, 1000);

const isOpen = (op) => columns.came[op] > FAILED;
// Of each lane its operations, by ascending call.
const lanes = source.lanes.map((name) => ({ name, ops: [] }));
for (let op = 0; op < total; op++) lanes[columns.lane[op]].ops.push(op);
const placeOf = new Map();
for (let op = 0; op < total; op++) placeOf.set(columns.id[op], op);

// The parts that fail, with places in place of numbers.
const failing = source.failing.map((part) => {
  const ops = [...new Set([...part.operations, ...part.core])].map((id) => placeOf.get(id)).filter((op) => op !== undefined);
  ops.sort((one, other) => at[one] - at[other]);
  const named = new Set(part.operations.map((id) => placeOf.get(id)));
  const shows = placeOf.get(part.operations[0]);
  return { ...part, ops, named, shows };
});

const bandKinds = [...new Set(source.bands.map((band) => band.kind))];
const groups = [...new Set(source.leaders.map((lead) => lead.group))].sort((a, b) => a - b);

const text = (place) => (place < 0 ? "" : source.strings[place]);
const asked = (op) => CALLS[columns.call[op]] + (columns.asked[op] < 0 ? "" : " " + text(columns.asked[op]));
function came(op) {
  const answer = text(columns.answer[op]);
  switch (columns.came[op]) {
    case OK:
      if (columns.answer[op] < 0) return "✓";
      // Those of transactions say so themselves.
      if (columns.call[op] === TXN) return answer;
      return (columns.call[op] === CAS ? "≠ " : "= ") + answer;
    case FAILED:
      return "✗ " + answer;
    case NEVER:
      return "? never returned";
    default:
      return "? " + answer;
  }
}
// The value that an operation is about: what was read, or what it leaves behind.
function valueOf(op) {
  if (columns.came[op] === OK && columns.answer[op] >= 0) return text(columns.answer[op]);
  return columns.call[op] === READ ? "" : text(columns.asked[op]).split(" → ").pop();
}

function span(ns) {
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${+(ns / 1e3).toPrecision(3)} µs`;
  if (ns < 1e9) return `${+(ns / 1e6).toPrecision(3)} ms`;
  return `${+(ns / 1e9).toPrecision(4)} s`;
}
// Cut off, not rounded, as the sentences do.
function moment(ns, digits = 3) {
  const unit = 10 ** (9 - digits);
  return `${(Math.floor((ns + source.base) / unit) / 10 ** digits).toFixed(digits)} s`;
}

// Operations that a text means: #57, c7, a key, or part of a value.
function search(query) {
  const wanted = query.trim();
  if (wanted === "") return [];
  const found = [];
  const number = /^#(\d+)$/.exec(wanted);
  const client = /^c(\d+)$/.exec(wanted);
  const key = source.keys.indexOf(wanted.replace(/^key:/, ""));
  const values = new Uint8Array(source.strings.length);
  if (!number) source.strings.forEach((string, place) => (values[place] = string.includes(wanted) ? 1 : 0));
  for (let op = 0; op < total; op++) {
    const isMeant = number
      ? columns.id[op] === +number[1]
      : (client && columns.client[op] === +client[1]) ||
        columns.key[op] === key ||
        values[columns.asked[op]] === 1 ||
        values[columns.answer[op]] === 1;
    if (isMeant) found.push(op);
  }
  return found;
}
