// Masks and picks, drawn alike in the gallery and on one micrograph.

// Okabe and Ito's colours, as in the thumbnails of the run; 6 is bad of no known class.
export const COLOURS = [null, [230, 159, 0], [0, 114, 178], [86, 180, 233], [204, 121, 167], [240, 228, 66], [255, 255, 255]];
export const KEPT = "#00c894";
export const REJECTED = "#ff7a1a";
const RIM = "#101214";

export function css(index) {
  return COLOURS[index] ? `rgb(${COLOURS[index].join(",")})` : "transparent";
}

export function readMask(buffer) {
  const [width, height] = new Uint32Array(buffer, 0, 2);
  return { width, height, classes: new Uint8Array(buffer, 8) };
}

export function readPicks(buffer) {
  const n = new Uint32Array(buffer, 0, 1)[0];
  const column = (i) => new Float32Array(buffer, 4 + 4 * n * i, n);
  return {
    n, x: column(0), y: column(1), goodness: column(2), distance: column(3),
    kind: new Uint8Array(buffer, 4 + 16 * n, n), reason: new Uint8Array(buffer, 4 + 17 * n, n),
  };
}

// A canvas in the colours of the classes that are shown; transparent elsewhere.
export function maskCanvas(mask, shown = null) {
  if (!mask.width) return null;
  const canvas = new OffscreenCanvas(mask.width, mask.height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(mask.width, mask.height);
  const pixels = new Uint32Array(image.data.buffer);
  const table = new Uint32Array(256);
  COLOURS.forEach((colour, i) => {
    if (colour && (!shown || shown.has(i))) table[i] = (255 << 24 | colour[2] << 16 | colour[1] << 8 | colour[0]) >>> 0;
  });
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[mask.classes[i]];
  context.putImageData(image, 0, 0);
  return canvas;
}

// Circles are kept, crosses are rejected: shape tells as well as colour.
export function drawPicks(context, picks, place, step, radius, line = 1.5) {
  const threshold = Math.fround(step / 1000);
  const kept = new Path2D();
  const rejected = new Path2D();
  const { width, height } = context.canvas;
  const arm = radius * 0.75;
  for (let i = 0; i < picks.n; i++) {
    const x = (picks.x[i] + 0.5) * place.zoom + place.left;
    const y = (picks.y[i] + 0.5) * place.zoom + place.top;
    if (x < -radius || y < -radius || x > width + radius || y > height + radius) continue;
    if (picks.goodness[i] >= threshold) {
      kept.moveTo(x + radius, y);
      kept.arc(x, y, radius, 0, 2 * Math.PI);
    } else {
      rejected.moveTo(x - arm, y - arm);
      rejected.lineTo(x + arm, y + arm);
      rejected.moveTo(x - arm, y + arm);
      rejected.lineTo(x + arm, y - arm);
    }
  }
  for (const [path, colour] of [[kept, KEPT], [rejected, REJECTED]]) {
    context.strokeStyle = RIM;
    context.lineWidth = line + 2;
    context.stroke(path);
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.stroke(path);
  }
}
