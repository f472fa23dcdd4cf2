// Colours of maps: lists of [value, [r, g, b]], linear between. All can be told apart without red and green.

const DISTANCE = [
  [-10, [59, 107, 255]], [-5, [53, 182, 255]], [-1, [205, 236, 255]], [0, [255, 255, 255]],
  [1, [255, 240, 190]], [5, [255, 154, 31]], [10, [255, 45, 26]],
];
// Viridis (matplotlib, CC0), from 0 to 1.
const VIRIDIS = [
  [0, [68, 1, 84]], [0.125, [71, 44, 122]], [0.25, [59, 81, 139]], [0.375, [44, 113, 142]], [0.5, [33, 144, 141]],
  [0.625, [39, 173, 129]], [0.75, [92, 200, 99]], [0.875, [170, 220, 50]], [1, [253, 231, 37]],
];
// log2 of the Jacobian determinant.
const JACOBIAN = [[-2, [59, 107, 255]], [-0.5, [53, 182, 255]], [0, [255, 255, 255]], [0.5, [255, 154, 31]], [2, [255, 45, 26]]];
const FOLD = [255, 0, 255];
const ISODOSES = [
  [1.05, [255, 255, 255]], [1, [253, 231, 37]], [0.95, [170, 220, 50]], [0.9, [92, 200, 99]], [0.7, [39, 173, 129]],
  [0.5, [80, 170, 220]], [0.3, [130, 120, 255]],
];

function colourAt(stops, value) {
  if (value <= stops[0][0]) return stops[0][1];
  for (let k = 1; k < stops.length; k++) {
    const [from, a] = stops[k - 1], [to, b] = stops[k];
    if (value <= to) {
      const t = (value - from) / (to - from);
      return [0, 1, 2].map((c) => Math.round(a[c] + t * (b[c] - a[c])));
    }
  }
  return stops[stops.length - 1][1];
}

const css = (rgb) => `rgb(${rgb[0]},${rgb[1]},${rgb[2]})`;

// A bar with ticks; ticks: [[share of its length, text], ...].
function legendBar(title, stops, ticks) {
  const figure = document.createElement("span");
  figure.className = "legend";
  const name = document.createElement("span");
  name.textContent = title;
  const bar = document.createElement("span");
  bar.className = "bar";
  const low = stops[0][0], high = stops[stops.length - 1][0];
  const parts = stops.map(([value, rgb]) => `${css(rgb)} ${((value - low) / (high - low)) * 100}%`);
  bar.style.background = `linear-gradient(to right, ${parts.join(", ")})`;
  for (const [share, text] of ticks) {
    const tick = document.createElement("span");
    tick.className = "tick";
    tick.textContent = text;
    tick.style.left = `${share * 100}%`;
    bar.append(tick);
  }
  figure.append(name, bar);
  return figure;
}

function legendLine(text, colour, dashed) {
  const item = document.createElement("span");
  item.className = "legend";
  const line = document.createElement("span");
  line.className = dashed ? "line dashed" : "line";
  line.style.borderTopColor = colour;
  const words = document.createElement("span");
  words.textContent = text;
  item.append(line, words);
  return item;
}
