// The page of one micrograph: what is known of it, next and previous, and what a person decides.
import { $, bytes, get, make, on, post, state, told, words } from "./state.js";
import { css, readMask, readPicks } from "./draw.js";
import { Stage } from "./stage.js";

const CLASSES = ["good", "support_film", "ice_contamination", "crystalline_ice", "aggregate", "damaged", "bad, of no known class"];
const REASONS = ["good", "bad region", "outside the frame", "no image there"];
let stage, current = null, shown = false, asked = 0;
let wanted = null; // key of the micrograph that is shown or on its way; `current` is the one that is shown
let deciding = Promise.resolve();

function hover(i) {
  const picks = stage.picks;
  if (i < 0 || !picks) { $("hover").textContent = ""; return; }
  const unit = current.pixel_size ? "Å" : "px";
  const far = Number.isFinite(picks.distance[i]) ? `${picks.distance[i].toFixed(0)} ${unit} to what is bad` : "nothing bad on it";
  const kept = picks.goodness[i] >= Math.fround(state.step / 1000) ? "kept" : "rejected";
  const why = picks.reason[i] > 1 ? REASONS[picks.reason[i]] : picks.kind[i] ? words(CLASSES[picks.kind[i]]) : "nothing against it";
  $("hover").textContent = `pick ${i + 1}: ${kept}, goodness ${picks.goodness[i].toFixed(3)}, ${why}, ${far}`;
}

function showFacts() {
  if (!current) return;
  const threshold = Math.fround(state.step / 1000);
  const n = stage.picks?.n ?? 0;
  let kept = 0;
  for (let i = 0; i < n; i++) kept += stage.picks.goodness[i] >= threshold;
  $("title-m").textContent = current.name;
  const facts = [current.status === "done" ? `${kept} of ${n} picks kept` : `${current.status}: ${current.reason}`];
  if (current.contamination != null) facts.push(`contamination ${(100 * current.contamination).toFixed(1)} %`);
  if (current.width) facts.push(`${current.width} × ${current.height} px`);
  if (current.pixel_size) facts.push(`${current.pixel_size.toFixed(3)} Å/px`);
  facts.push(...current.suspect.map((text) => `suspect: ${text}`));
  if (current.problem) facts.push(current.problem);
  $("m-facts").textContent = facts.join(" · ");
  $("canvas").ariaLabel = `${current.name}: ${facts[0]}`;
  const { verdict, flag, strokes } = current.override;
  $("exclude").ariaPressed = String(verdict === "exclude");
  $("accept").ariaPressed = String(verdict === "accept");
  $("flag").ariaPressed = String(flag);
  $("undo").disabled = $("clear").disabled = !strokes.length;
  const [radius, pixel] = [stage.look.radius, current.pixel_size];
  $("radius-value").textContent = pixel ? `${(2 * radius * pixel / 10).toFixed(0)} nm` : `${2 * radius} px`;
}

async function open(key, keep = false) {
  const mine = ++asked;
  wanted = key;
  try {
    const found = await get(`micrograph/${key}`);
    const [blob, mask, picks] = await Promise.all([
      found.status === "done" ? fetch(`api/image/${key}?side=2048&v=${found.version}`).then((answer) => (answer.ok ? answer.blob() : null)) : null,
      bytes(`mask/${key}`).then(readMask), bytes(`picks/${key}`).then(readPicks),
    ]);
    if (mine !== asked) return;
    if (!keep && state.walk.query === "sort=order") state.walk.at = found.place;
    current = found;
    await stage.show({ width: found.width, height: found.height, box: found.box_size }, blob, mask, picks, keep);
    stage.resize();
    for (const button of document.querySelectorAll("[data-tool]")) button.disabled = !mask.width;
    showFacts();
    showLowpass();
    $("page-m").dataset.key = key;
  } catch (error) { told(error); }
}

async function step(by) {
  const at = state.walk.at + by;
  if (at < 0) return;
  try {
    const found = await get(`list?${state.walk.query}&offset=${at}&limit=1`);
    if (!found.rows.length) return;
    state.walk.at = at;
    location.hash = `#m/${found.rows[0].key}`;
  } catch (error) { told(error); }
}

// Decisions are about what is shown when they are made, and are sent one after the other.
function decide(change) {
  if (!current) return;
  const key = current.key;
  deciding = deciding.then(() => sent(key, change)).catch(told);
}

async function sent(key, change) {
  const found = await post(`override/${key}`, change);
  told(null);
  if (wanted === key) { // else another one is on its way to the screen
    const mine = ++asked; // answers to earlier questions are older than this one
    current = found;
    showFacts();
    const [mask, picks] = await Promise.all([bytes(`mask/${key}`), bytes(`picks/${key}`)]);
    if (mine === asked) {
      stage.mask = readMask(mask);
      stage.picks = readPicks(picks);
      stage.change({ classes: stage.look.classes });
      showFacts();
    }
  }
  state.look?.(); // the counts, at once
}

function toggled(verdict) {
  decide({ verdict: current?.override.verdict === verdict ? null : verdict });
}

function take(tool) {
  stage.tool = stage.tool === tool ? null : tool;
  stage.points = [];
  stage.draw();
  for (const button of document.querySelectorAll("[data-tool]")) button.ariaPressed = String(button.dataset.tool === stage.tool);
  $("canvas").style.cursor = stage.tool ? "crosshair" : "grab";
}

function showLowpass() {
  const sigma = Number($("lowpass").value) / 2;
  const px = current?.width && stage.base ? sigma * current.width / stage.base.width : sigma;
  const text = current?.pixel_size ? `${(px * current.pixel_size * 2 * Math.PI).toFixed(0)} Å` : `${px.toFixed(1)} px`;
  $("lowpass-value").textContent = sigma ? text : "off";
}

function check(id) {
  $(id).checked = !$(id).checked;
  $(id).dispatchEvent(new Event("change"));
}

const KEYS = {
  n: () => step(1), p: () => step(-1), m: () => check("show-mask"), k: () => check("show-picks"),
  f: () => decide({ flag: !current?.override.flag }), x: () => toggled("exclude"), a: () => toggled("accept"),
  b: () => take("brush"), g: () => take("polygon"), e: () => take("erase"),
  u: () => { if (current?.override.strokes.length) decide({ undo: true }); },
  "+": () => stage.zoom(1.25), "=": () => stage.zoom(1.25), "-": () => stage.zoom(0.8), 0: () => stage.fit(),
  Enter: () => { if (stage.tool === "polygon") stage.finish(); },
  Escape: () => { if (stage.tool) take(stage.tool); },
  ArrowLeft: () => stage.pan(60, 0), ArrowRight: () => stage.pan(-60, 0),
  ArrowUp: () => stage.pan(0, 60), ArrowDown: () => stage.pan(0, -60),
};

function pressed(event) {
  if (!shown || event.ctrlKey || event.metaKey || event.altKey || $("dialog").open) return;
  const tag = event.target.tagName, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const typing = tag === "SELECT" || (tag === "INPUT" && event.target.type !== "checkbox");
  if (typing || !(key in KEYS)) return;
  if (key.length > 1 && key !== "Escape" && event.target !== $("canvas")) return;
  event.preventDefault();
  KEYS[key]();
}

export function showMicrograph(visible, key) {
  shown = visible;
  if (!visible) return;
  if (key === undefined) {
    if (current) stage.resize(); else state.walk = { query: "sort=order", at: -1 }, step(1);
  } else open(key);
}

export function startMicrograph() {
  stage = new Stage($("canvas"), {
    hover,
    stroke: (points, tool) => decide({ stroke: {
      kind: tool === "polygon" ? "polygon" : "brush", class_index: tool === "erase" ? 0 : Number($("paint-class").value),
      radius: stage.look.radius, points,
    } }),
  });
  const slider = (id, change) => $(id).addEventListener("input", () => { stage.change(change(Number($(id).value))); });
  slider("brightness", (value) => ({ brightness: value }));
  slider("contrast", (value) => ({ contrast: value }));
  slider("lowpass", (value) => ({ lowpass: value / 2 }));
  slider("opacity", (value) => ({ opacity: value / 100 }));
  slider("radius", (value) => ({ radius: value }));
  $("lowpass").addEventListener("input", showLowpass);
  $("radius").addEventListener("input", showFacts);
  $("show-mask").addEventListener("change", () => stage.change({ mask: $("show-mask").checked }));
  $("show-picks").addEventListener("change", () => stage.change({ picks: $("show-picks").checked }));
  CLASSES.forEach((name, i) => {
    if (!i) return;
    const box = make("input", { type: "checkbox", checked: true, value: String(i) });
    const swatch = make("span", { className: "swatch", ariaHidden: "true" });
    swatch.style.background = css(i);
    $("class-boxes").append(make("label", {}, box, swatch, words(name)));
    if (i < 6) $("paint-class").append(make("option", { value: String(i), textContent: words(name) }));
  });
  $("class-boxes").addEventListener("change", () => {
    const boxes = [...$("class-boxes").querySelectorAll("input:checked")];
    stage.change({ classes: new Set(boxes.map((box) => Number(box.value))) });
  });
  const buttons = { prev: KEYS.p, next: KEYS.n, fit: KEYS[0], exclude: KEYS.x, accept: KEYS.a, flag: KEYS.f, undo: KEYS.u,
    clear: () => decide({ clear: true }) };
  for (const [id, act] of Object.entries(buttons)) $(id).addEventListener("click", act);
  for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => take(button.dataset.tool));
  addEventListener("keydown", pressed);
  on("step", () => { if (shown) { stage.draw(); showFacts(); } });
  on("revision", async () => {
    if (!shown || !current) return;
    const { key } = current;
    const found = await get(`micrograph/${key}`).catch(() => null);
    if (found && wanted === key && found.version !== current.version) open(key, true);
  });
}
