// What mouse, wheel and keys do, what is written under the views, and the start.

const SIDES = [["L", "R"], ["P", "A"], ["S", "I"]]; // LPS: + and - of x, y, z
const NAMES = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal" };
const WORDS = [["left", "right"], ["posterior", "anterior"], ["superior", "inferior"]];
const element = (id) => document.getElementById(id);
let active = "axial";

const placeInWords = (mm) => mm.map((value, k) => `${SIDES[k][value >= 0 ? 0 : 1]} ${Math.abs(value).toFixed(1)}`).join(", ");

const ACTS = {
  picture: (value) => { state.picture = value; },
  planning: (value) => { state.planning = value || (state.planning === "warped" ? "rigid" : "warped"); },
  window: (value) => { state.window = value; },
  map: (value) => { state.map = state.map === value ? "none" : value; },
  toggle: (value) => { state[value] = !state[value]; if (value === "distance" && state.distance) state.daily = true; },
  share: (value) => { state.share = Math.min(Math.max(state.share + Number(value), 0), 1); },
  zoom: (value) => zoomBy(Number(value)),
  fit: () => { state.zoom = 1; state.centre = region.size.map((n) => (n - 1) / 2); },
  large: (value) => { state.large = value; },
  rois: (value) => { state.shown = new Set(value === "all" ? facts.rois.keys() : []); },
  roi: (value) => { const n = Number(value); if (!state.shown.delete(n)) state.shown.add(n); },
  jump: (value) => jump(Number(value)),
  next: (value) => jumpBy(Number(value)),
  help: () => { const help = element("help"); if (help.open) help.close(); else help.showModal(); },
};
const KEYS = {
  1: "window:soft", 2: "window:bone", 3: "window:gas", 4: "window:custom",
  d: "picture:daily", s: "picture:planning", b: "picture:blend", k: "picture:checker", w: "planning:",
  c: "toggle:daily", p: "toggle:planned", f: "toggle:distance", x: "toggle:crosshair",
  m: "map:displacement", j: "map:jacobian", g: "map:dose", i: "map:isodoses", n: "map:none",
  "[": "share:-0.1", "]": "share:0.1", "+": "zoom:1.25", "=": "zoom:1.25", "-": "zoom:0.8", 0: "fit:",
  ".": "next:1", ",": "next:-1", "?": "help:", h: "help:",
};

function act(what) {
  const [name, value] = what.split(":");
  if (name === "map" && value !== "none" && !loaded[value === "isodoses" ? "dose" : value]) return;
  ACTS[name](value);
  refresh();
}

function refresh() {
  for (const button of document.querySelectorAll("[data-act]")) {
    const [name, value] = button.dataset.act.split(":");
    let on = null;
    if (["picture", "planning", "window", "map", "large"].includes(name)) on = state[name] === value;
    if (name === "toggle") on = state[value];
    if (name === "roi") on = state.shown.has(Number(value));
    if (on !== null) button.setAttribute("aria-pressed", String(on));
  }
  element("views").dataset.large = state.large;
  element("share").value = Math.round(state.share * 100);
  element("share").disabled = state.picture !== "blend";
  const [level, width] = WINDOWS[state.window];
  if (document.activeElement !== element("level")) element("level").value = level;
  if (document.activeElement !== element("width")) element("width").value = width;
  for (const row of document.querySelectorAll("tbody[data-roi]")) {
    row.classList.toggle("chosen", Number(row.dataset.roi) === state.roi);
  }
  legends();
  positions();
  redraw();
}

function positions() {
  const mm = mmOf(state.at);
  for (const [view, { normal }] of Object.entries(VIEWS)) {
    const axis = 2 - normal, side = WORDS[axis][mm[axis] >= 0 ? 0 : 1];
    const text = `${"xyz"[axis]} ${mm[axis].toFixed(1).replace("-", "−")} mm`;
    element(`place-${view}`).textContent = text;
    const slider = element(`slice-${view}`);
    slider.value = state.at[normal];
    slider.setAttribute("aria-valuetext", `${NAMES[view]} slice at ${Math.abs(mm[axis]).toFixed(1)} mm ${side}`);
  }
}

function legends() {
  const box = element("legends"), items = [];
  if (state.daily && !state.distance) items.push(legendLine("new contour", "#fff", false));
  if (state.planned) items.push(legendLine("planned contour, placed by the alignment", "#fff", true));
  if (state.daily && state.distance) {
    items.push(legendBar("new contour to planned surface, mm: inside (−), outside (+)", DISTANCE,
      [-10, -5, 0, 5, 10].map((n) => [(n + 10) / 20, n > 0 ? `+${n}` : String(n).replace("-", "−")])));
  }
  if (state.map === "displacement") {
    items.push(legendBar("displacement, mm", tables.displacement.stops, [0, 5, 10].map((n) => [n / 10, n === 10 ? "≥10" : n])));
  }
  if (state.map === "jacobian") {
    items.push(legendBar("volume planning / daily (magenta: folds)", JACOBIAN,
      [[0, "≤¼"], [0.25, "½"], [0.5, "1"], [0.75, "2"], [1, "≥4"]]));
  }
  if (state.map === "dose") {
    const full = 1.1 * doseScale();
    items.push(legendBar("planning dose, Gy", VIRIDIS, [0, 0.5, 1].map((t) => [t, (t * full).toFixed(0)])));
  }
  if (state.map === "isodoses") {
    for (const [share, rgb] of ISODOSES) {
      items.push(legendLine(`${Math.round(share * 100)} % ${(share * doseScale()).toFixed(1)} Gy`, css(rgb), false));
    }
  }
  box.replaceChildren(...items);
}

function moveTo(voxel, follow) {
  state.at = voxel.map((n, k) => Math.min(Math.max(Math.round(n), 0), region.size[k] - 1));
  if (follow && state.zoom > 1) state.centre = [...state.at];
  positions();
  redraw();
}

function step(view, by) {
  const voxel = [...state.at], axis = VIEWS[view].normal;
  voxel[axis] += by;
  moveTo(voxel, false);
}

function zoomBy(factor, around = state.at) {
  const zoom = Math.min(Math.max(state.zoom * factor, 1), 12);
  // what is under the pointer, or the crosshair, stays there
  state.centre = state.centre.map((c, k) => around[k] + (c - around[k]) * (state.zoom / zoom));
  state.zoom = zoom;
  if (zoom === 1) state.centre = region.size.map((n) => (n - 1) / 2);
}

function jump(number) {
  const roi = facts.rois[number], mm = roi.worst_mm || roi.middle_mm;
  state.roi = number;
  state.shown.add(number);
  if (!mm) {
    say(`${roi.name}: nothing to show, it has no contour.`);
    return;
  }
  moveTo(voxelOf(mm), true);
  const what = roi.worst_mm ? `surface moved most, ${roi.largest_mm.toFixed(1)} mm, at` : "its middle, at";
  say(`${roi.name}: ${what} ${placeInWords(mmOf(state.at))} mm.`);
}

function jumpBy(by) {
  const order = [...document.querySelectorAll("tbody[data-roi]")].map((row) => Number(row.dataset.roi));
  if (!order.length) return;
  const now = order.indexOf(state.roi);
  jump(order[now < 0 ? (by > 0 ? 0 : order.length - 1) : (now + by + order.length) % order.length]);
}

const say = (text) => { element("said").textContent = text; };

function readout(view, event) {
  const canvas = canvases[view], box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
  const { normal, u, v } = VIEWS[view], at = frame(view), voxel = [0, 0, 0];
  voxel[normal] = state.at[normal];
  voxel[u] = at.u((event.clientX - box.left) * ratio);
  voxel[v] = at.v((event.clientY - box.top) * ratio);
  return voxel;
}

function showReadout(voxel) {
  const near = voxel.map(Math.round);
  if (!loaded.scans.daily || near.some((n, k) => n < 0 || n >= region.size[k])) {
    element("readout").textContent = " ";
    return;
  }
  const k = (near[0] * region.size[1] + near[1]) * region.size[2] + near[2];
  const parts = [`${placeInWords(mmOf(voxel))} mm`];
  for (const [name, word] of [["daily", "daily"], ["warped", "planning, warped"], ["rigid", "planning, rigid"]]) {
    if (loaded.scans[name]) parts.push(`${word} ${Math.round(huOfCode[loaded.scans[name][k]])} HU`);
  }
  if (loaded.field) {
    const moved = displacementAt(...voxel).map((n) => -n); // the field leads back to the planning scan
    const words = moved.map((mm, c) => `${Math.abs(mm).toFixed(1)} ${SIDES[c][mm >= 0 ? 0 : 1]}`);
    parts.push(`moved ${Math.hypot(...moved).toFixed(1)} mm (${words.join(", ")})`);
    const log = jacobianAt(...voxel);
    parts.push(log === -Infinity ? "folds" : `volume planning/daily ${(2 ** log).toFixed(2)}`);
  }
  if (loaded.dose) parts.push(`${sampled(loaded.dose, ...voxel).toFixed(1)} Gy`);
  element("readout").textContent = parts.join(" · ");
}

function listenTo(view) {
  const canvas = canvases[view], { normal, u, v } = VIEWS[view];
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held = { button: event.button, shift: event.shiftKey, x: event.clientX, y: event.clientY };
    active = view;
    if (event.button === 0 && !event.shiftKey) moveTo(readout(view, event), false);
  });
  canvas.addEventListener("pointermove", (event) => {
    const voxel = readout(view, event);
    showReadout(voxel);
    if (!held) return;
    const dx = event.clientX - held.x, dy = event.clientY - held.y;
    Object.assign(held, { x: event.clientX, y: event.clientY });
    if (held.button === 2) return windowBy(dx, dy);
    if (held.button === 1 || held.shift) {
      const at = frame(view), ratio = canvas.width / canvas.getBoundingClientRect().width;
      state.centre[u] -= (dx * ratio) / at.su;
      state.centre[v] -= (dy * ratio) / at.sv;
      return redraw();
    }
    return moveTo(voxel, false);
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("focus", () => { active = view; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    active = view;
    if (event.ctrlKey) { zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15, readout(view, event)); redraw(); }
    else step(view, VIEWS[view].normal === 0 ? -Math.sign(event.deltaY) : Math.sign(event.deltaY));
  }, { passive: false });
  element(`slice-${view}`).addEventListener("input", (event) => {
    active = view;
    const voxel = [...state.at];
    voxel[normal] = Number(event.target.value);
    moveTo(voxel, false);
  });
}

function windowBy(dx, dy) {
  const [level, width] = WINDOWS[state.window];
  WINDOWS.custom = [Math.round(level - dy), Math.max(Math.round(width + 2 * dx), 2)];
  state.window = "custom";
  refresh();
}

function onKey(event) {
  const target = event.target;
  if (event.ctrlKey || event.altKey || event.metaKey || element("help").open && event.key !== "?" && event.key !== "h") return;
  if (target.closest("input:not([type=range]), textarea, select")) return;
  const inViewer = target.closest("#viewer"), nowhere = target === document.body;
  if (target.tagName === "CANVAS" && moveByKey(event)) return event.preventDefault();
  if (!(inViewer || nowhere || target.closest("#rois")) || !element("keys-on").checked) return;
  const what = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (what && !(event.repeat && !/^(share|zoom|next)/.test(what))) {
    event.preventDefault();
    act(what);
  }
}

function moveByKey(event) {
  const by = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
  const end = { Home: -1e6, End: 1e6 }[event.key];
  const aside = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (aside) jumpBy(aside);
  else if (by || end) step(active, by || end);
  else return false;
  if (aside) refresh();
  else say(`${NAMES[active]} ${element(`place-${active}`).textContent}`);
  return true;
}

function fitCanvases() {
  const ratio = window.devicePixelRatio || 1;
  for (const canvas of Object.values(canvases)) {
    const box = canvas.getBoundingClientRect();
    const wide = Math.max(Math.round(box.width * ratio), 1), high = Math.max(Math.round(box.height * ratio), 1);
    if (canvas.width !== wide || canvas.height !== high) { canvas.width = wide; canvas.height = high; }
  }
  redraw();
}

function listen() {
  for (const view of Object.keys(VIEWS)) {
    canvases[view] = element(`canvas-${view}`);
    listenTo(view);
    new ResizeObserver(fitCanvases).observe(canvases[view]);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) act(button.dataset.act);
    if (event.target.closest("tbody[data-roi]")) lookAtViews();
    const row = event.target.closest("tbody[data-roi]");
    if (row && !event.target.closest("button, a, input, textarea") && !String(getSelection())) act(`jump:${row.dataset.roi}`);
  });
  document.addEventListener("keydown", onKey);
  element("share").addEventListener("input", (event) => { state.share = event.target.value / 100; redraw(); });
  for (const id of ["level", "width"]) {
    element(id).addEventListener("input", () => {
      const level = Number(element("level").value), width = Number(element("width").value);
      if (!(width >= 2) || !Number.isFinite(level)) return;
      WINDOWS.custom = [level, width];
      state.window = "custom";
      refresh();
    });
  }
  window.addEventListener("beforeprint", snapshots);
}

// For paper: the three slices as they are, whole and at one scale.
function snapshots() {
  const mm = region.size.map((n, k) => n * region.spacing_mm[k]);
  const perMm = 900 / Math.max(...mm);
  for (const [view, { u, v }] of Object.entries(VIEWS)) {
    const shown = canvases[view], paper = document.createElement("canvas");
    paper.width = Math.round(mm[u] * perMm);
    paper.height = Math.round(mm[v] * perMm);
    canvases[view] = paper;
    draw(view, PAPER_RATIO);
    canvases[view] = shown;
    element(`print-${view}`).replaceChildren(paper);
    element(`view-${view}`).style.setProperty("--mm", mm[u]);
  }
}

// On a narrow screen the pictures lie below the table.
function lookAtViews() {
  const box = element("views").getBoundingClientRect();
  if (box.top > window.innerHeight * 0.6 || box.bottom < window.innerHeight * 0.4) element("viewer").scrollIntoView();
}

function middleOf(shape) {
  return shape ? mmOf(shape.first.map((n, k) => n + ((shape.size[k] - 1) * shape.step) / 2)) : null;
}

async function load() {
  loaded.scans.daily = await scan(facts.scans.daily);
  loaded.rois = await Promise.all(facts.rois.map(async (roi) => ({
    daily: await lattice(roi.daily), planned: await lattice(roi.planned), distance: await lattice(roi.distance),
  })));
  facts.rois.forEach((roi, n) => { roi.middle_mm = middleOf(loaded.rois[n].daily || loaded.rois[n].planned); });
  refresh();
  loaded.scans.warped = await scan(facts.scans.warped);
  loaded.scans.rigid = await scan(facts.scans.rigid);
  for (const name of ["field", "jacobian", "dose"]) loaded[name] = await lattice(facts[name]);
  loaded.displacement = loaded.field;
  if (loaded.dose) loaded.doseLargest = loaded.dose.values.reduce((a, b) => Math.max(a, b), 0) * loaded.dose.scale;
  element("views").setAttribute("aria-busy", "false");
}

function start() {
  listen();
  fitCanvases();
  refresh();
  const first = document.querySelector("tbody[data-roi]");
  const started = performance.now();
  const ready = load().then(() => {
    if (first) { jump(Number(first.dataset.roi)); }
    refresh();
    return performance.now() - started;
  }).catch((error) => {
    const alarm = element("alarm");
    alarm.hidden = false;
    alarm.textContent = "The pictures cannot be shown: this browser altered or could not read them (" + error.message +
      "). Open the page in another browser; the tables are right.";
    throw error;
  });
  // For tests: where a place (LPS, mm) lies on the screen, and what is shown. Nothing can be changed through it.
  window.recontour = Object.freeze({
    ready,
    state: () => JSON.parse(JSON.stringify({ ...state, shown: [...state.shown], mm: mmOf(state.at) })),
    place: (view, mm) => {
      const { u, v } = VIEWS[view], at = frame(view), voxel = voxelOf(mm), canvas = canvases[view];
      const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
      return [box.left + at.x(voxel[u]) / ratio, box.top + at.y(voxel[v]) / ratio];
    },
  });
}

start();
