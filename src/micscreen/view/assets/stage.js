// One micrograph on a canvas: pan, zoom, contrast, low-pass, mask, picks, and painting.
import { $, state } from "./state.js";
import { drawPicks, maskCanvas } from "./draw.js";

export class Stage {
  constructor(canvas, heard) {
    this.canvas = canvas;
    this.heard = heard; // { stroke(points, kind), hover(index) }
    this.size = null; // { width, height, box } of the micrograph, px
    this.grey = null; // Uint8Array of the picture, as it came
    this.tool = null; // brush, polygon or erase
    this.points = [];
    this.place = { zoom: 1, left: 0, top: 0 };
    this.look = { brightness: 0, contrast: 0, lowpass: 0, mask: true, opacity: 0.45, picks: true, classes: new Set([1, 2, 3, 4, 5, 6]), radius: 60, paint: 1 };
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  async show(size, blob, mask, picks, keep) {
    this.size = size;
    this.mask = mask;
    this.picks = picks;
    if (!keep) this.points = [];
    const image = blob ? await createImageBitmap(blob) : null;
    this.grey = null;
    if (image) {
      const copy = new OffscreenCanvas(image.width, image.height).getContext("2d", { willReadFrequently: true });
      copy.drawImage(image, 0, 0);
      const pixels = copy.getImageData(0, 0, image.width, image.height).data;
      this.grey = new Uint8Array(image.width * image.height);
      for (let i = 0; i < this.grey.length; i++) this.grey[i] = pixels[4 * i];
      this.base = new OffscreenCanvas(image.width, image.height);
      image.close();
    }
    this.smooth = null;
    this.tinted = maskCanvas(mask, this.look.classes);
    this.develop();
    if (!keep) this.fit(); else this.draw();
  }

  change(look) {
    Object.assign(this.look, look);
    if ("classes" in look && this.mask) this.tinted = maskCanvas(this.mask, this.look.classes);
    if ("lowpass" in look) this.smooth = null;
    if ("lowpass" in look || "contrast" in look || "brightness" in look) this.develop();
    this.draw();
  }

  // The picture as it is looked at: low-pass, then contrast.
  develop() {
    if (!this.grey) return;
    const { width, height } = this.base;
    this.smooth ??= this.look.lowpass ? blurred(this.grey, width, height, this.look.lowpass) : this.grey;
    const gain = 2 ** (this.look.contrast / 40), shift = this.look.brightness * 1.28;
    const table = new Uint32Array(256);
    for (let v = 0; v < 256; v++) {
      const grey = Math.min(255, Math.max(0, Math.round((v - 128) * gain + 128 + shift)));
      table[v] = (255 << 24 | grey << 16 | grey << 8 | grey) >>> 0;
    }
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = table[this.smooth[i]];
    this.base.getContext("2d").putImageData(image, 0, 0);
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight) return;
    const ratio = devicePixelRatio;
    if (this.canvas.width === Math.round(clientWidth * ratio) && this.canvas.height === Math.round(clientHeight * ratio)) return;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.fit();
  }

  fit() {
    if (!this.size?.width) return this.draw();
    const { width, height } = this.canvas;
    const zoom = Math.min(width / this.size.width, height / this.size.height);
    this.place = { zoom, left: (width - this.size.width * zoom) / 2, top: (height - this.size.height * zoom) / 2 };
    this.draw();
  }

  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const { zoom, left, top } = this.place;
    const next = Math.min(40, Math.max(0.005, zoom * factor));
    this.place = { zoom: next, left: x - (x - left) * next / zoom, top: y - (y - top) * next / zoom };
    this.draw();
  }

  pan(dx, dy) {
    this.place.left += dx;
    this.place.top += dy;
    this.draw();
  }

  radius() {
    return Math.max(4, (this.size?.box ?? 0) * this.place.zoom / 3);
  }

  draw() {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas, { zoom, left, top } = this.place;
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    if (!this.size?.width) return;
    const box = [left, top, this.size.width * zoom, this.size.height * zoom];
    context.imageSmoothingEnabled = zoom * this.size.width < 3 * (this.base?.width ?? 1);
    if (this.grey) context.drawImage(this.base, ...box);
    if (this.tinted && this.look.mask) {
      context.globalAlpha = this.look.opacity;
      context.imageSmoothingEnabled = false;
      context.drawImage(this.tinted, ...box);
      context.globalAlpha = 1;
    }
    if (this.picks && this.look.picks) drawPicks(context, this.picks, this.place, state.step, this.radius(), 2);
    this.drawTool(context);
    this.canvas.dataset.zoom = zoom.toFixed(4);
  }

  drawTool(context) {
    if (!this.points.length) return;
    const { zoom, left, top } = this.place;
    context.beginPath();
    this.points.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"]((x + 0.5) * zoom + left, (y + 0.5) * zoom + top));
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = this.tool === "erase" ? "rgba(255,255,255,.45)" : "rgba(255,210,122,.55)";
    if (this.tool === "polygon") { context.lineWidth = 2; context.strokeStyle = "#ffd27a"; }
    else context.lineWidth = 2 * this.look.radius * zoom;
    if (this.points.length === 1) context.lineTo((this.points[0][0] + 0.6) * zoom + left, (this.points[0][1] + 0.5) * zoom + top);
    context.stroke();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect(), ratio = devicePixelRatio;
    const x = (event.clientX - box.left) * ratio, y = (event.clientY - box.top) * ratio;
    return { x, y, point: [(x - this.place.left) / this.place.zoom - 0.5, (y - this.place.top) / this.place.zoom - 0.5] };
  }

  nearest({ point }) {
    if (!this.picks || !this.look.picks) return -1;
    let best = -1, least = (this.radius() / this.place.zoom) ** 2;
    for (let i = 0; i < this.picks.n; i++) {
      const far = (this.picks.x[i] - point[0]) ** 2 + (this.picks.y[i] - point[1]) ** 2;
      if (far <= least) { least = far; best = i; }
    }
    return best;
  }

  finish() {
    const points = this.points.map(([x, y]) => [Math.round(x * 10) / 10, Math.round(y * 10) / 10]);
    this.points = [];
    if (points.length >= (this.tool === "polygon" ? 3 : 1)) this.heard.stroke(points, this.tool);
    this.draw();
  }

  listen() {
    const { canvas } = this;
    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      const here = this.at(event);
      held = event.button === 0 ? here : { ...here, pan: true };
      if (!this.tool || held.pan) return;
      if (this.tool === "polygon") this.points.push(here.point); else this.points = [here.point];
      this.draw();
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = this.at(event);
      this.heard.hover(this.nearest(here));
      if (!held) return;
      if (this.tool && !held.pan) {
        if (this.tool !== "polygon" && this.points.length < 15000) { this.points.push(here.point); this.draw(); }
        return;
      }
      this.pan(here.x - held.x, here.y - held.y);
      held = { ...held, x: here.x, y: here.y };
    });
    canvas.addEventListener("pointerup", () => {
      if (held && !held.pan && this.tool && this.tool !== "polygon") this.finish();
      held = null;
    });
    canvas.addEventListener("dblclick", () => { if (this.tool === "polygon") this.finish(); });
    canvas.addEventListener("pointerleave", () => this.heard.hover(-1));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = this.at(event);
      this.zoom(2 ** (-event.deltaY / 300), x, y);
    }, { passive: false });
  }
}

// Three running means after each other are close to a Gaussian of this sigma (px of the picture).
function blurred(grey, width, height, sigma) {
  const reach = Math.max(1, Math.round(sigma * 0.95));
  let from = Float32Array.from(grey), to = new Float32Array(grey.length);
  const pass = (lines, length, stride, step) => {
    for (let line = 0; line < lines; line++) {
      const start = line * stride;
      const value = (i) => from[start + Math.min(length - 1, Math.max(0, i)) * step];
      let sum = 0;
      for (let i = -reach; i <= reach; i++) sum += value(i);
      for (let i = 0; i < length; i++) {
        to[start + i * step] = sum / (2 * reach + 1);
        sum += value(i + reach + 1) - value(i - reach);
      }
    }
    [from, to] = [to, from];
  };
  for (let turn = 0; turn < 3; turn++) {
    pass(height, width, width, 1);
    pass(width, height, 1, width);
  }
  // What noise the low-pass takes away would leave the picture flat: stretch to the same spread.
  const spread = (values) => {
    let sum = 0, squares = 0;
    for (let i = 0; i < values.length; i += 7) { sum += values[i]; squares += values[i] ** 2; }
    const n = Math.ceil(values.length / 7);
    return [sum / n, Math.sqrt(Math.max(1e-6, squares / n - (sum / n) ** 2))];
  };
  const [mean, before] = spread(grey), [, after] = spread(from);
  const gain = Math.min(12, before / after);
  return Uint8ClampedArray.from(from, (value) => (value - mean) * gain + mean);
}
