// The beginning. What was drawn stands in data attributes, where a test can read it.

figure.hidden = false;
readColors();
fit();
if (failing.length > 0) {
  showPart(0);
} else {
  document.querySelectorAll("[data-for=failing]").forEach((button) => (button.hidden = true));
  whole();
  tell();
}
draw();
new ResizeObserver(() => {
  fit();
  ask();
}).observe(canvas.parentElement);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(document.documentElement.dataset.theme ?? ""));

Object.assign(figure.dataset, {
  lanes: lanes.length, operations: total, failing: failing.length, faults: bandKinds.length, leaders: groups.length,
  points: columns.point.filter((point) => point >= 0).length, bands: source.bands.length,
});
// How long a frame takes, over the whole way in and out: asked for by the address, #measure.
if (location.hash === "#measure") {
  const took = [];
  for (let frame = 0; frame < 120; frame++) {
    const part = 10 ** (-4 * Math.abs(1 - frame / 60));
    const middle = length * (0.1 + (0.8 * frame) / 120);
    view.from = middle - (length * part) / 2;
    view.until = middle + (length * part) / 2;
    view.focus = false;
    const begin = performance.now();
    draw();
    canvas.getContext("2d").getImageData(0, 0, 1, 1); // until it is painted
    took.push(performance.now() - begin);
  }
  took.sort((one, other) => one - other);
  Object.assign(figure.dataset, { frameMedianMs: took[60].toFixed(2), frameWorstMs: took[119].toFixed(2) });
  if (failing.length > 0) showPart(0);
  else whole();
  draw();
}
figure.dataset.ready = "yes";
