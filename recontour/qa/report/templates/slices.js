// Slices of what was read, in three directions, and the lines where a slice is zero.

const VIEWS = {
  axial: { normal: 0, u: 2, v: 1, up: 1 }, // u to the right; up: whether v runs down (1) or up (-1) on the screen
  coronal: { normal: 1, u: 2, v: 0, up: -1 },
  sagittal: { normal: 2, u: 1, v: 0, up: -1 },
};
const OUTSIDE_MM = -1; // beyond a packed level set: shapes close at the border, as in the RTSTRUCT

// (v, u) codes of a slice of a scan.
function sliceOf(codes, view, index) {
  const { normal, u, v } = VIEWS[view];
  const size = region.size, stride = [size[1] * size[2], size[2], 1];
  const out = new Uint8Array(size[u] * size[v]);
  let k = 0;
  for (let b = 0; b < size[v]; b++) {
    let at = index * stride[normal] + b * stride[v];
    for (let a = 0; a < size[u]; a++, at += stride[u]) out[k++] = codes[at];
  }
  return out;
}

// Lines [[u, v], ...] in region voxels where a shape's level set is zero on a slice.
function outline(shape, view, index) {
  const { normal, u, v } = VIEWS[view];
  const { size, first, values, scale } = shape;
  const at = index - first[normal];
  if (at < 0 || at >= size[normal]) return [];
  const stride = [size[1] * size[2], size[2], 1];
  const wide = size[u] + 2, high = size[v] + 2;
  const flat = new Float32Array(wide * high).fill(OUTSIDE_MM);
  for (let b = 0; b < size[v]; b++) {
    let from = at * stride[normal] + b * stride[v];
    let to = (b + 1) * wide + 1;
    for (let a = 0; a < size[u]; a++, from += stride[u]) flat[to++] = values[from] * scale;
  }
  const lines = zeroLines(flat, wide, high);
  for (const line of lines) {
    for (const point of line) {
      point[0] += first[u] - 1;
      point[1] += first[v] - 1;
    }
  }
  return lines;
}

// Marching squares on (high, wide) values: lines of [column, row] where they are zero, chained, the inside (positive)
// on their left. A closed line repeats its first point.
function zeroLines(values, wide, high) {
  const next = new Map(), ends = new Set();
  const join = (from, to) => { next.set(from, to); ends.add(to); };
  for (let y = 0; y < high - 1; y++) {
    for (let x = 0; x < wide - 1; x++) {
      const k = y * wide + x;
      const a = values[k], b = values[k + 1], c = values[k + wide + 1], d = values[k + wide];
      const kind = (a > 0 ? 8 : 0) | (b > 0 ? 4 : 0) | (c > 0 ? 2 : 0) | (d > 0 ? 1 : 0);
      if (kind === 0 || kind === 15) continue;
      const top = 2 * k, bottom = 2 * (k + wide), left = 2 * k + 1, right = 2 * (k + 1) + 1;
      const joined = a + b + c + d > 0; // of two opposite corners: whether they belong together
      switch (kind) {
        case 8: join(left, top); break;
        case 4: join(top, right); break;
        case 2: join(right, bottom); break;
        case 1: join(bottom, left); break;
        case 12: join(left, right); break;
        case 6: join(top, bottom); break;
        case 3: join(right, left); break;
        case 9: join(bottom, top); break;
        case 7: join(top, left); break;
        case 11: join(right, top); break;
        case 13: join(bottom, right); break;
        case 14: join(left, bottom); break;
        case 10: if (joined) { join(right, top); join(left, bottom); } else { join(left, top); join(right, bottom); } break;
        case 5: if (joined) { join(top, left); join(bottom, right); } else { join(top, right); join(bottom, left); } break;
      }
    }
  }
  const place = (edge) => {
    const k = edge >> 1, x = k % wide, y = (k - x) / wide;
    const to = edge & 1 ? k + wide : k + 1;
    const t = values[k] / (values[k] - values[to]);
    return edge & 1 ? [x, y + t] : [x + t, y];
  };
  const lines = [];
  const follow = (start) => {
    const line = [place(start)];
    let edge = start;
    while (next.has(edge)) {
      const to = next.get(edge);
      next.delete(edge);
      line.push(place(to));
      edge = to;
    }
    lines.push(line);
  };
  for (const start of [...next.keys()]) if (!ends.has(start)) follow(start);
  for (const start of [...next.keys()]) if (next.has(start)) follow(start);
  return lines;
}
