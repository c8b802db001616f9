// Thousands of micrographs: only the tiles in sight exist, and only they are asked for.
import { $, bytes, get, make, number, on, state, told, words } from "./state.js";
import { drawPicks, maskCanvas, readMask, readPicks } from "./draw.js";

const SIDE = 224, CELL = 248, TALL = 290, PAGE = 100, AT_ONCE = 4;
const SORTS = ["order", "name", "contamination", "rejected", "rejected_share", "kept", "status",
  "support_film", "ice_contamination", "crystalline_ice", "aggregate", "damaged"];
const SHOWS = ["all", "done", "failed", "pending", "suspect", "empty", "flagged", "excluded", "accepted", "painted"];
const DELAY = 60; // ms that a tile stays in sight before its picture is asked for

let total = 0, pages = new Map(), tiles = new Map(), shown = false, columns = 1, generation = 0;
const pictures = new Map(); // key:version -> { image, mask, picks }, the last few hundred
const queue = [];
let busy = 0;

function query() {
  const form = new FormData($("filters"));
  const asked = new URLSearchParams({ sort: form.get("sort"), show: form.get("show"), kind: form.get("kind") ?? "",
    least: form.get("least") || "0", text: form.get("text").trim(), step: String(state.step) });
  if (form.get("descending")) asked.set("descending", "1");
  return asked.toString();
}

async function page(index) {
  const mine = generation;
  const reading = pages.get(index) ?? get(`list?${query()}&offset=${index * PAGE}&limit=${PAGE}`);
  pages.set(index, reading);
  const found = await reading;
  if (mine === generation && found.total !== total) {
    total = found.total;
    lay();
  }
  return found.rows;
}

function lay() {
  const box = $("tiles");
  columns = Math.max(1, Math.floor((box.clientWidth - 4) / CELL));
  $("tiles-inner").style.height = `${Math.ceil(total / columns) * TALL}px`;
  $("found").textContent = `${number(total)} micrographs`;
  render();
}

function render() {
  if (!shown) return;
  const box = $("tiles");
  const first = Math.max(0, Math.floor(box.scrollTop / TALL) - 1) * columns;
  const last = Math.min(total, (Math.ceil((box.scrollTop + box.clientHeight) / TALL) + 1) * columns);
  for (const [at, tile] of tiles) {
    if (at < first || at >= last) { tile.gone.abort(); tile.element.remove(); tiles.delete(at); }
  }
  for (let at = first; at < last; at++) {
    let tile = tiles.get(at);
    if (!tile) {
      const canvas = make("canvas", { width: SIDE, height: SIDE });
      canvas.ariaHidden = "true";
      const name = make("span"), count = make("span", { className: "muted" }), notes = make("span", { className: "muted" });
      const element = make("a", { className: "tile", href: "#gallery" }, canvas, name, count, notes);
      tile = { at, element, canvas, name, count, notes, gone: new AbortController(), row: null };
      element.addEventListener("click", () => { state.walk = { query: query(), at }; });
      element.dataset.at = at;
      tiles.set(at, tile);
      const next = [...tiles.keys()].filter((other) => other > at).sort((a, b) => a - b)[0];
      $("tiles-inner").insertBefore(element, next === undefined ? null : tiles.get(next).element);
      fill(tile).catch(told);
    }
    tile.element.style.left = `${(at % columns) * CELL}px`;
    tile.element.style.top = `${Math.floor(at / columns) * TALL}px`;
    tile.element.style.width = `${CELL - 8}px`;
    tile.element.style.height = `${TALL - 8}px`;
  }
}

async function fill(tile) {
  const mine = generation;
  const row = (await page(Math.floor(tile.at / PAGE)))[tile.at % PAGE];
  if (!row || mine !== generation || tile.gone.signal.aborted) return;
  const changed = !tile.row || tile.row.key !== row.key || tile.row.version !== row.version;
  tile.row = row;
  tile.element.href = `#m/${row.key}`;
  tile.name.textContent = row.name;
  tile.count.textContent = row.status === "done" ? `${row.kept} kept, ${row.scored - row.kept} rejected` : row.status;
  const bad = row.contamination == null ? "" : `contamination ${(100 * row.contamination).toFixed(1)} %`;
  const verdict = { exclude: "excluded", accept: "accepted" }[row.verdict];
  const notes = [bad, row.suspect && "suspect", verdict, row.flag && "flagged", row.painted && "painted"];
  tile.notes.textContent = notes.filter(Boolean).join(", ");
  if (changed || !tile.drawn) load(tile); else draw(tile);
}

function load(tile) {
  setTimeout(() => {
    if (tile.gone.signal.aborted) return;
    queue.push(tile);
    work();
  }, DELAY);
}

function work() {
  while (busy < AT_ONCE && queue.length) {
    const tile = queue.shift();
    if (tile.gone.signal.aborted) continue;
    busy++;
    pictured(tile).then((found) => { tile.drawn = found; draw(tile); })
      .catch((error) => { if (error.name !== "AbortError") blank(tile, "no picture"); })
      .finally(() => { busy--; work(); });
  }
}

async function pictured(tile) {
  const { key, version, status } = tile.row, signal = tile.gone.signal, name = `${key}:${version}`;
  const known = pictures.get(name);
  if (known) return known;
  if (status !== "done") throw new Error(status);
  const [image, mask, picks] = await Promise.all([
    fetch(`api/image/${key}?side=256&v=${version}`, { signal }).then((answer) => {
      if (!answer.ok) throw new Error("no picture");
      return answer.blob();
    }).then(createImageBitmap),
    bytes(`mask/${key}`, signal).then(readMask), bytes(`picks/${key}`, signal).then(readPicks),
  ]);
  const found = { image, mask: maskCanvas(mask), picks, size: { width: tile.row.width, height: tile.row.height, box: tile.row.box_size } };
  pictures.set(name, found);
  if (pictures.size > 400) {
    const [oldest, old] = pictures.entries().next().value;
    old.image.close();
    pictures.delete(oldest);
  }
  return found;
}

function blank(tile, text) {
  const context = tile.canvas.getContext("2d");
  context.fillStyle = "#2a2f37";
  context.fillRect(0, 0, SIDE, SIDE);
  context.fillStyle = "#eceef1";
  context.font = "14px system-ui";
  context.fillText(tile.row?.status === "done" ? text : tile.row?.status ?? text, 12, 24);
}

function draw(tile) {
  const found = tile.drawn;
  if (!found) return;
  const context = tile.canvas.getContext("2d");
  const zoom = SIDE / Math.max(found.size.width, found.size.height);
  const width = found.size.width * zoom, height = found.size.height * zoom;
  const place = { zoom, left: (SIDE - width) / 2, top: (SIDE - height) / 2 };
  context.fillStyle = "#000";
  context.fillRect(0, 0, SIDE, SIDE);
  try {
    context.drawImage(found.image, place.left, place.top, width, height);
  } catch { // it was closed meanwhile
    tile.drawn = null;
    load(tile);
    return;
  }
  if (found.mask && $("tile-mask").checked) {
    context.globalAlpha = $("tile-opacity").value / 100;
    context.drawImage(found.mask, place.left, place.top, width, height);
    context.globalAlpha = 1;
  }
  const radius = Math.max(2.5, Math.min(8, found.size.box * zoom / 3));
  if ($("tile-picks").checked) drawPicks(context, found.picks, place, state.step, radius, 1.2);
}

async function renew() {
  generation++;
  pages = new Map();
  if (!shown) return;
  try {
    await page(0);
    lay();
    await Promise.all([...tiles.values()].map(fill));
  } catch (error) { told(error); }
}

function arrows(event) {
  const at = Number(document.activeElement?.dataset?.at ?? NaN);
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (!step || Number.isNaN(at)) return;
  event.preventDefault();
  const next = Math.min(total - 1, Math.max(0, at + step));
  const box = $("tiles"), top = Math.floor(next / columns) * TALL;
  if (top < box.scrollTop) box.scrollTop = top;
  if (top + TALL > box.scrollTop + box.clientHeight) box.scrollTop = top + TALL - box.clientHeight;
  render();
  tiles.get(next)?.element.focus({ preventScroll: true });
}

export function showGallery(visible) {
  shown = visible;
  if (visible) renew();
}

export function startGallery() {
  const form = $("filters");
  form.elements.show.append(...SHOWS.map((name) => make("option", { value: name, textContent: name })));
  form.elements.kind.append(make("option", { value: "", textContent: "any" }),
    ...SORTS.slice(7).map((name) => make("option", { value: name, textContent: words(name) })));
  form.elements.sort.append(...SORTS.map((name) => make("option", { value: name, textContent: words(name) })));
  form.addEventListener("submit", (event) => event.preventDefault());
  let timer = 0;
  form.addEventListener("input", (event) => {
    if (!event.target.name) { tiles.forEach(draw); return; }
    clearTimeout(timer);
    timer = setTimeout(() => { $("tiles").scrollTop = 0; renew(); }, 150);
  });
  let waiting = false;
  $("tiles").addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; render(); });
  });
  $("tiles").addEventListener("keydown", arrows);
  let stepping = 0;
  on("step", () => {
    if (!shown) return;
    tiles.forEach(draw);
    clearTimeout(stepping);
    stepping = setTimeout(renew, 200);
  });
  on("revision", renew);
  addEventListener("resize", () => { if (shown) lay(); });
}
