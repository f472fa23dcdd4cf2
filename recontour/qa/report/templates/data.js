// What the page carries, read: JPEG pictures of slices, and deflated lattices. Index order is z, y, x.

const facts = JSON.parse(document.getElementById("facts").textContent);
const region = facts.region;

function bytesOf(name) {
  const packed = document.getElementById("data-" + name).textContent.trim();
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(packed);
  const text = atob(packed); // in browsers before 2025
  const bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  return bytes;
}

async function inflated(name) {
  const stream = new Blob([bytesOf(name)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// {values, size, first, step, scale} of a packed lattice; null where there is none.
async function lattice(packed) {
  if (!packed) return null;
  const raw = await inflated(packed.text);
  const count = packed.size.reduce((a, b) => a * b, 1);
  const wide = packed.kind === "i2";
  const values = wide ? new Int16Array(count) : packed.kind === "i1" ? new Int8Array(count) : new Uint8Array(count);
  const row = packed.size[packed.size.length - 1];
  for (let start = 0; start < count; start += row) {
    let sum = 0;
    for (let k = start; k < start + row; k++) {
      sum += wide ? raw[k] | (raw[count + k] << 8) : raw[k];
      values[k] = sum;
    }
  }
  const size = packed.size.slice(-3);
  return { values, size, first: packed.first, step: packed.step, scale: packed.scale };
}

// The HU codes of a scan, (D, H, W). Throws where the browser does not give back the pictures as they were.
async function scan(packed) {
  const [depth, rows, columns] = packed.size;
  const [high, wide] = packed.padded;
  const codes = new Uint8Array(depth * rows * columns);
  await Promise.all(packed.pictures.map(async (picture, number) => {
    const blob = new Blob([bytesOf(picture.text)], { type: "image/jpeg" });
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    const canvas = document.createElement("canvas");
    canvas.width = wide;
    canvas.height = bitmap.height;
    const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const pixels = new Uint32Array(context.getImageData(0, 0, wide, canvas.height).data.buffer);
    let sum = 0;
    for (let k = 0; k < pixels.length; k++) sum += pixels[k] & 255;
    if (Math.abs(sum / pixels.length - picture.mean) > 1) throw new Error("pictures altered");
    const slices = canvas.height / high;
    for (let s = 0; s < slices; s++) {
      for (let r = 0; r < rows; r++) {
        let to = ((number * packed.per + s) * rows + r) * columns;
        const from = (s * high + r) * wide;
        for (let c = 0; c < columns; c++) codes[to++] = pixels[from + c] & 255;
      }
    }
  }));
  return codes;
}

const huOfCode = Float32Array.from({ length: 256 }, (_, code) => {
  const { hu, code: at } = facts.hu;
  let k = 0;
  while (k < at.length - 2 && code > at[k + 1]) k++;
  return hu[k] + ((code - at[k]) / (at[k + 1] - at[k])) * (hu[k + 1] - hu[k]);
});

// A lattice at a place (region voxels, fractions allowed), trilinear, its border value beyond. Values equal to
// `unknown` do not count; NaN where there is no other.
function sampled(map, z, y, x, offset = 0, unknown = null) {
  const [d, h, w] = map.size;
  const at = (value, first, n) => Math.min(Math.max((value - first) / map.step, 0), n - 1);
  const pz = at(z, map.first[0], d), py = at(y, map.first[1], h), px = at(x, map.first[2], w);
  const z0 = Math.floor(pz), y0 = Math.floor(py), x0 = Math.floor(px);
  const fz = pz - z0, fy = py - y0, fx = px - x0;
  let sum = 0, weight = 0;
  for (let corner = 0; corner < 8; corner++) {
    const dz = corner >> 2, dy = (corner >> 1) & 1, dx = corner & 1;
    const share = (dz ? fz : 1 - fz) * (dy ? fy : 1 - fy) * (dx ? fx : 1 - fx);
    if (share === 0) continue;
    const value = map.values[offset + ((z0 + dz) * h + y0 + dy) * w + x0 + dx];
    if (value === unknown) continue;
    sum += share * value;
    weight += share;
  }
  return weight > 0 ? (sum / weight) * map.scale : NaN;
}
