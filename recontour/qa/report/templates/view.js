// The three linked views: what they show (state), and how it is drawn.

const WINDOWS = { soft: [40, 400], bone: [400, 1800], gas: [-600, 1500], custom: [40, 400] }; // level, width in HU
const CHECKER_MM = 25;
const PAPER_RATIO = 2; // pixels of a line for one on a plain screen
const FULL_GY = facts.prescription_gy;

const state = {
  at: region.size.map((n) => n >> 1), // the crosshair's voxel, z, y, x
  centre: region.size.map((n) => (n - 1) / 2), // what lies in the middle of the views
  zoom: 1,
  picture: "daily", // daily, planning, blend, checker
  planning: "warped", // or rigid
  share: 0.5, // of the planning scan in a blend
  window: "soft",
  map: "none", // displacement, jacobian, dose, isodoses
  daily: true,
  planned: true,
  distance: false,
  crosshair: true,
  large: "axial",
  roi: -1, // the one jumped to last
  shown: new Set(facts.rois.keys()),
};
const loaded = { scans: {}, rois: [], field: null, jacobian: null, dose: null };
const canvases = {};
const outlines = new Map();

const voxelOf = ([x, y, z]) => [z, y, x].map((value, k) => (value - region.origin_mm[2 - k]) / region.spacing_mm[k]);
const mmOf = (voxel) => [2, 1, 0].map((k) => region.origin_mm[2 - k] + voxel[k] * region.spacing_mm[k]);

// Where a voxel lies on a view: device pixels.
function frame(view) {
  const { u, v, up } = VIEWS[view];
  const canvas = canvases[view], size = region.size, mm = region.spacing_mm;
  const fit = Math.min(canvas.width / (size[u] * mm[u]), canvas.height / (size[v] * mm[v])) * state.zoom;
  const su = fit * mm[u], sv = fit * mm[v] * up;
  return {
    su, sv,
    x: (a) => canvas.width / 2 + (a - state.centre[u]) * su,
    y: (b) => canvas.height / 2 + (b - state.centre[v]) * sv,
    u: (x) => state.centre[u] + (x - canvas.width / 2) / su,
    v: (y) => state.centre[v] + (y - canvas.height / 2) / sv,
  };
}

const dirty = new Set();
function redraw(views = Object.keys(VIEWS)) {
  if (!dirty.size) requestAnimationFrame(() => { const all = [...dirty]; dirty.clear(); all.forEach((view) => draw(view)); });
  views.forEach((view) => dirty.add(view));
}

const scratch = document.createElement("canvas");

let ratio = 1; // device pixels for a pixel of CSS

function draw(view, pixels = window.devicePixelRatio || 1) {
  ratio = pixels;
  const canvas = canvases[view], at = frame(view);
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (!loaded.scans.daily) return;
  const paint = (image, voxels) => {
    scratch.width = image.width;
    scratch.height = image.height;
    scratch.getContext("2d").putImageData(image, 0, 0);
    context.save();
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.translate(at.x(-0.5), at.y(-0.5));
    context.scale(at.su * voxels, at.sv * voxels);
    context.drawImage(scratch, 0, 0);
    context.restore();
  };
  paint(picture(view), 1);
  if (["displacement", "jacobian", "dose"].includes(state.map)) paint(mapPixels(view), 2);
  if (state.map === "isodoses") drawIsodoses(context, view, at);
  for (const number of state.shown) if (number !== state.roi) drawRoi(context, view, at, number);
  if (state.shown.has(state.roi)) drawRoi(context, view, at, state.roi); // on top
  if (state.crosshair) drawCrosshair(context, canvas, view, at);
  drawScaleBar(context, canvas, view, at);
}

function greys() {
  const [level, width] = WINDOWS[state.window];
  return Uint8ClampedArray.from(huOfCode, (hu) => ((hu - level + width / 2) / width) * 255);
}

function picture(view) {
  const { normal, u, v } = VIEWS[view], index = state.at[normal], grey = greys();
  const wide = region.size[u], high = region.size[v];
  const daily = state.picture === "planning" ? null : sliceOf(loaded.scans.daily, view, index);
  const other = state.picture === "daily" ? null : loaded.scans[state.planning] || loaded.scans.daily;
  const planning = other && sliceOf(other, view, index);
  const image = new ImageData(wide, high), pixels = new Uint32Array(image.data.buffer);
  const eu = CHECKER_MM / region.spacing_mm[u], ev = CHECKER_MM / region.spacing_mm[v];
  let k = 0;
  for (let b = 0; b < high; b++) {
    for (let a = 0; a < wide; a++, k++) {
      let value; // 0 to 255
      if (!planning) value = grey[daily[k]];
      else if (!daily) value = grey[planning[k]];
      else if (state.picture === "blend") value = (1 - state.share) * grey[daily[k]] + state.share * grey[planning[k]];
      else value = (Math.floor(a / eu) + Math.floor(b / ev)) & 1 ? grey[planning[k]] : grey[daily[k]];
      value &= 255;
      pixels[k] = 0xff000000 | (value << 16) | (value << 8) | value;
    }
  }
  return image;
}

function valueAt(map, z, y, x) {
  if (map === "displacement") return Math.hypot(...displacementAt(z, y, x));
  if (map === "jacobian") return jacobianAt(z, y, x);
  return sampled(loaded.dose, z, y, x);
}

// log2 of the Jacobian determinant, -Infinity where the field folds.
function jacobianAt(z, y, x) {
  const map = loaded.jacobian;
  const near = [z, y, x].map((n, k) => Math.min(Math.max(Math.round((n - map.first[k]) / map.step), 0), map.size[k] - 1));
  if (map.values[(near[0] * map.size[1] + near[1]) * map.size[2] + near[2]] === -128) return -Infinity;
  return sampled(map, z, y, x, 0, -128);
}

function displacementAt(z, y, x) {
  const field = loaded.field, count = field.size[0] * field.size[1] * field.size[2];
  return [0, 1, 2].map((c) => sampled(field, z, y, x, c * count));
}

const tables = {
  displacement: { stops: VIRIDIS.map(([t, rgb]) => [t * 10, rgb]), alpha: (mm) => Math.min(mm / 2, 1) * 130 },
  jacobian: { stops: JACOBIAN, alpha: (log) => Math.min(Math.abs(log) / 0.5, 1) * 150 },
  dose: { stops: [], alpha: (gy) => (gy < 0.1 * doseScale() ? 0 : 110) },
};

function doseScale() {
  return FULL_GY || loaded.doseLargest || 1;
}

// The map of a slice at every second voxel; drawn smoothly, for maps are smooth.
function mapPixels(view) {
  const { normal, u, v } = VIEWS[view], wide = Math.ceil(region.size[u] / 2), high = Math.ceil(region.size[v] / 2);
  const table = tables[state.map];
  const stops = state.map === "dose" ? VIRIDIS.map(([t, rgb]) => [t * 1.1 * doseScale(), rgb]) : table.stops;
  const low = stops[0][0], step = (stops[stops.length - 1][0] - low) / 255;
  const colours = Array.from({ length: 256 }, (_, k) => colourAt(stops, low + k * step));
  const image = new ImageData(wide, high), data = image.data;
  const voxel = [0, 0, 0];
  voxel[normal] = state.at[normal];
  let k = 0;
  for (let b = 0; b < high; b++) {
    voxel[v] = 2 * b + 0.5;
    for (let a = 0; a < wide; a++, k += 4) {
      voxel[u] = 2 * a + 0.5;
      const value = valueAt(state.map, ...voxel);
      const folded = state.map === "jacobian" && value === -Infinity;
      const rgb = folded ? FOLD : colours[Math.min(Math.max(Math.round((value - low) / step), 0), 255)];
      data[k] = rgb[0];
      data[k + 1] = rgb[1];
      data[k + 2] = rgb[2];
      data[k + 3] = folded ? 230 : table.alpha(value);
    }
  }
  return image;
}

function drawIsodoses(context, view, at) {
  const { normal, u, v } = VIEWS[view], { step, size, first } = loaded.dose; // cut on the dose's own lattice
  const wide = size[u], high = size[v], dose = new Float32Array(wide * high), voxel = [0, 0, 0];
  voxel[normal] = state.at[normal];
  for (let b = 0, k = 0; b < high; b++) {
    voxel[v] = first[v] + b * step;
    for (let a = 0; a < wide; a++, k++) {
      voxel[u] = first[u] + a * step;
      dose[k] = sampled(loaded.dose, ...voxel);
    }
  }
  for (const [share, rgb] of ISODOSES) {
    const cut = zeroLines(dose.map((gy) => gy - share * doseScale()), wide, high);
    const placed = cut.map((line) => line.map(([a, b]) => [first[u] + a * step, first[v] + b * step]));
    stroke(context, at, placed, css(rgb), 1.25, []);
  }
}

function lines(number, which, view) {
  const shape = loaded.rois[number]?.[which], index = state.at[VIEWS[view].normal];
  if (!shape) return [];
  const key = `${number} ${which} ${view} ${index}`;
  if (!outlines.has(key)) {
    if (outlines.size > 1000) outlines.clear();
    outlines.set(key, outline(shape, view, index));
  }
  return outlines.get(key);
}

function drawRoi(context, view, at, number) {
  const { colour } = facts.rois[number], more = number === state.roi ? 0.75 : 0;
  if (state.planned) stroke(context, at, lines(number, "planned", view), css(colour), 1.5 + more, [7, 5]);
  if (!state.daily) return;
  const daily = lines(number, "daily", view);
  if (state.distance && loaded.rois[number]?.distance) drawDistances(context, view, at, daily, number);
  else stroke(context, at, daily, css(colour), 2 + more, []);
}

function stroke(context, at, drawn, colour, width, dash) {
  const path = new Path2D();
  for (const line of drawn) line.forEach(([a, b], k) => (k ? path.lineTo(at.x(a), at.y(b)) : path.moveTo(at.x(a), at.y(b))));
  context.lineJoin = "round";
  context.setLineDash(dash.map((n) => n * ratio));
  context.strokeStyle = "rgba(0,0,0,0.6)";
  context.lineWidth = (width + 1.5) * ratio;
  context.stroke(path);
  context.strokeStyle = colour;
  context.lineWidth = width * ratio;
  context.stroke(path);
  context.setLineDash([]);
}

// The new contour, coloured by how far it lies from the planned surface.
function drawDistances(context, view, at, drawn, number) {
  const { normal, u, v } = VIEWS[view];
  const map = loaded.rois[number].distance, voxel = [0, 0, 0];
  stroke(context, at, drawn, "rgba(0,0,0,0.6)", 3, []);
  voxel[normal] = state.at[normal];
  context.lineWidth = 3 * ratio;
  context.lineCap = "round";
  for (const line of drawn) {
    for (let k = 1; k < line.length; k++) {
      const [a, b] = line[k - 1], [c, d] = line[k];
      voxel[u] = (a + c) / 2;
      voxel[v] = (b + d) / 2;
      const mm = sampled(map, ...voxel, 0, -128);
      context.strokeStyle = Number.isNaN(mm) ? "#888" : css(colourAt(DISTANCE, mm));
      context.beginPath();
      context.moveTo(at.x(a), at.y(b));
      context.lineTo(at.x(c), at.y(d));
      context.stroke();
    }
  }
  context.lineCap = "butt";
}

function drawCrosshair(context, canvas, view, at) {
  const { u, v } = VIEWS[view];
  const x = Math.round(at.x(state.at[u])) + 0.5, y = Math.round(at.y(state.at[v])) + 0.5, gap = 12 * ratio;
  context.strokeStyle = "rgba(120,220,255,0.75)";
  context.lineWidth = ratio;
  context.beginPath();
  for (const [from, to] of [[0, x - gap], [x + gap, canvas.width]]) { context.moveTo(from, y); context.lineTo(to, y); }
  for (const [from, to] of [[0, y - gap], [y + gap, canvas.height]]) { context.moveTo(x, from); context.lineTo(x, to); }
  context.stroke();
}

function drawScaleBar(context, canvas, view, at) {
  const { u } = VIEWS[view];
  const perMm = at.su / region.spacing_mm[u];
  const mm = [100, 50, 20, 10, 5].find((n) => n * perMm < canvas.width / 4) || 5;
  const x = 10 * ratio, y = canvas.height - 10 * ratio;
  context.fillStyle = "#000";
  context.fillRect(x - 1, y - 3 * ratio, mm * perMm + 2, 4 * ratio);
  context.fillStyle = "#fff";
  context.fillRect(x, y - 2 * ratio, mm * perMm, 2 * ratio);
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  context.strokeStyle = "#000";
  context.lineWidth = 3 * ratio;
  context.strokeText(`${mm} mm`, x, y - 6 * ratio);
  context.fillText(`${mm} mm`, x, y - 6 * ratio);
}
