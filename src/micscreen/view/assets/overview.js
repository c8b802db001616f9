// Histogram, kept curve, counts, drift over time, and the lists of what needs a look.
import { $, get, keptAt, make, number, on, setStep, share, state, told, words } from "./state.js";
import { css, KEPT, REJECTED } from "./draw.js";

const AXIS = { stroke: "#b6bdc8", grid: { stroke: "#31363f", width: 1 }, ticks: { stroke: "#4a515d", width: 1 }, font: "12px system-ui" };
const WIDE = 10; // fine bins in one bar
let histogram, curve, drift, driftData, shown = false;

function size(element) {
  return { width: Math.max(200, element.clientWidth), height: Math.max(140, element.clientHeight) };
}

// The band that is recommended, and the threshold as a line that can be dragged.
function line() {
  const move = (u, event) => setStep(1000 * u.posToVal(event.clientX - u.over.getBoundingClientRect().left, "x"));
  return {
    hooks: {
      drawClear: (u) => {
        const [left, right] = [0.75, 0.9].map((value) => u.valToPos(value, "x", true));
        u.ctx.fillStyle = "rgba(124,192,255,.16)";
        u.ctx.fillRect(left, u.bbox.top, right - left, u.bbox.height);
      },
      draw: (u) => {
        const x = u.valToPos(state.step / 1000, "x", true);
        u.ctx.fillStyle = "#fff";
        u.ctx.fillRect(x - 1, u.bbox.top, 2 * devicePixelRatio, u.bbox.height);
        u.ctx.beginPath();
        u.ctx.arc(x, u.bbox.top + 8 * devicePixelRatio, 6 * devicePixelRatio, 0, 7);
        u.ctx.fill();
      },
      init: (u) => {
        u.over.addEventListener("pointerdown", (event) => {
          u.over.setPointerCapture(event.pointerId);
          move(u, event);
        });
        u.over.addEventListener("pointermove", (event) => {
          if (event.buttons & 1) move(u, event);
        });
      },
    },
  };
}

function histogramData() {
  const bars = 1000 / WIDE;
  const log = $("log").checked;
  const height = (n) => (log ? Math.log10(1 + n) : n);
  const x = [], all = [], rejected = [];
  for (let bar = 0; bar < bars; bar++) {
    const end = bar === bars - 1 ? 1001 : (bar + 1) * WIDE;
    let sum = 0, below = 0;
    for (let bin = bar * WIDE; bin < end; bin++) {
      sum += state.bins[bin];
      if (bin < state.step) below += state.bins[bin];
    }
    x.push((bar + 0.5) / bars);
    all.push(height(sum));
    rejected.push(below === sum ? height(sum) : below ? height(sum) * below / sum : 0);
  }
  return [x, all, rejected];
}

function curveData() {
  const x = [], y = [], all = keptAt(0);
  for (let step = 0; step <= 1000; step += 5) {
    x.push(step / 1000);
    y.push(all ? 100 * keptAt(step) / all : 0);
  }
  return [x, y];
}

function compact(values) {
  return values.map((v) => (v >= 1e6 ? `${v / 1e6}M` : v >= 1e3 ? `${v / 1e3}k` : `${v}`));
}

function build() {
  const bars = uPlot.paths.bars({ size: [0.96, 100], align: 0 });
  const common = { legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { show: false } } };
  const still = { time: false, range: [0, 1] };
  const powers = [0, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].map((n) => Math.log10(1 + n));
  const counted = (u, ticks) => compact(ticks.map((v) => ($("log").checked ? Math.round(10 ** v - 1) : v)));
  const axisOf = { ...AXIS, size: 56, values: counted };
  const evenly = (u, axis, low, high, step) => {
    const ticks = [];
    for (let v = Math.ceil(low / step) * step; v <= high; v += step) ticks.push(v);
    return ticks;
  };
  axisOf.splits = (u, axis, low, high, step) => ($("log").checked ? powers.filter((v) => v <= high) : evenly(u, axis, low, high, step));
  const whole = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];
  histogram = new uPlot({
    ...common, ...size($("histogram")), plugins: [line()], scales: { x: still, y: { range: (u, low, high) => [0, Math.max(high * 1.05, 1)] } },
    axes: [{ ...AXIS, size: 34 }, axisOf],
    series: [{}, { fill: KEPT, stroke: KEPT, paths: bars, points: { show: false } }, { fill: REJECTED, stroke: REJECTED, paths: bars, points: { show: false } }],
  }, histogramData(), $("histogram"));
  curve = new uPlot({
    ...common, ...size($("curve")), plugins: [line()], scales: { x: still, y: { range: [0, 100] } },
    axes: [{ ...AXIS, size: 34 }, { ...AXIS, size: 56, values: (u, ticks) => ticks.map((v) => `${v} %`) }],
    series: [{}, { stroke: KEPT, width: 2, points: { show: false } }],
  }, curveData(), $("curve"));
  drift = new uPlot({
    ...common, ...size($("drift")), scales: { x: { time: false }, y: { range: (u, low, high) => [0, Math.max(high * 1.05, 1)] } },
    axes: [{ ...AXIS, size: 34, incrs: whole }, { ...AXIS, size: 56, values: (u, ticks) => ticks.map((v) => `${v} %`) }],
    series: [{}, { paths: () => null, points: { show: true, size: 6, fill: "#7cc0ff", stroke: "#7cc0ff" } }, { stroke: "#ffd27a", width: 2, points: { show: false } }],
  }, [[], [], []], $("drift"));
  drift.over.addEventListener("click", () => {
    const i = drift.cursor.idx;
    if (i != null && driftData) location.hash = `#m/${driftData.keys[i]}`;
  });
}

function runningMean(values) {
  const reach = Math.max(2, Math.round(values.length / 60));
  const sums = [0];
  for (const value of values) sums.push(sums.at(-1) + value);
  return values.map((_, i) => {
    const first = Math.max(0, i - reach), last = Math.min(values.length, i + reach + 1);
    return (sums[last] - sums[first]) / (last - first);
  });
}

function showDrift() {
  if (!driftData || !drift) return;
  const chosen = Number($("drift-class").value);
  const values = driftData.positions.map((_, i) =>
    100 * (chosen ? driftData.areas[chosen - 1][i] : driftData.areas.reduce((sum, area) => sum + area[i], 0)));
  drift.setData([driftData.positions, values, runningMean(values)]);
}

function showCounts() {
  if (!state.bins) return;
  const all = keptAt(0), kept = keptAt(state.step);
  const rows = state.groups.map((name, i) => [name, state.kept[i][state.step], state.kept[i][0]]);
  rows.push(["in all", kept, all]);
  $("counts").tBodies[0].replaceChildren(...rows.map(([name, keeps, count], i) => {
    const swatch = make("span", { className: "swatch", ariaHidden: "true" });
    swatch.style.background = i < 6 ? css(i) : "transparent";
    const head = make("th", { scope: "row" }, ...(i > 0 && i < 6 ? [swatch] : []), i ? words(name) : "nothing");
    const row = make("tr", {}, head, make("td", { textContent: number(keeps) }),
      make("td", { textContent: number(count - keeps) }), make("td", { textContent: share(count - keeps, all) }));
    row.dataset.group = name;
    return row;
  }));
  $("kept-line").textContent = `${number(kept)} kept (${share(kept, all)}), ${number(all - kept)} rejected`;
  $("threshold").value = state.step;
  $("threshold").ariaValueText = (state.step / 1000).toFixed(3);
  if (document.activeElement !== $("threshold-number")) $("threshold-number").value = (state.step / 1000).toFixed(3);
}

function showCharts() {
  if (!shown || !state.bins) return;
  if (!histogram) build();
  histogram.setData(histogramData());
  curve.setData(curveData());
  const t = (state.step / 1000).toFixed(3);
  $("histogram").ariaLabel = `Histogram of goodness of ${number(keptAt(0))} picks; threshold ${t}, recommended 0.75 to 0.9`;
  $("curve").ariaLabel = `Kept picks against the threshold: ${share(keptAt(state.step), keptAt(0))} at ${t}`;
}

function showFacts() {
  const { statuses, model, rule, on_suspect: suspect } = state.job;
  const all = statuses.done + statuses.failed + statuses.pending;
  $("facts").textContent = `${number(statuses.done)} of ${number(all)} micrographs screened, ${number(statuses.failed)} failed, ` +
    `${number(statuses.pending)} pending. Weights ${model}, rule ${rule}; suspect micrographs: ${suspect}. ` +
    `Run with threshold ${state.job.threshold}. ${state.job.overrides} decided by hand.` +
    (state.job.masks ? "" : " Without masks: screen with --save-masks to see and paint them.");
  $("warnings").replaceChildren(...state.job.warnings.map((text) => make("li", { textContent: text })));
  $("warnings").hidden = !state.job.warnings.length;
}

function showLists(found) {
  const titles = { suspect: "Suspect micrographs", failed: "Failed micrographs", empty: "Micrographs without picks" };
  $("lists").replaceChildren(...Object.entries(titles).map(([name, title]) => {
    const rows = found.lists[name].map((row) => make("li", {}, make("a", { href: `#m/${row.key}`, textContent: row.name }), ` ${row.reason}`));
    const heading = make("h3", { textContent: `${title}: ${number(found.totals[name])}` });
    const list = rows.length ? make("ul", { className: "list", tabIndex: 0 }, ...rows) : make("p", { className: "muted", textContent: "None." });
    if (rows.length) list.setAttribute("aria-label", title);
    return make("div", { className: "card", id: `list-${name}` }, heading, list);
  }));
}

export function showOverview(visible) {
  shown = visible;
  if (!visible) return;
  showCharts();
  if (!histogram) return;
  for (const [plot, id] of [[histogram, "histogram"], [curve, "curve"], [drift, "drift"]]) plot.setSize(size($(id)));
  showDrift();
}

export function startOverview() {
  let waiting = false;
  on("step", () => {
    showCounts();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; showCharts(); });
  });
  on("counts", () => { showCounts(); showCharts(); });
  on("job", showFacts);
  on("revision", async () => {
    try {
      const [areas, lists] = await Promise.all([get("drift"), get("notes")]);
      driftData = areas;
      showDrift();
      showLists(lists);
    } catch (error) { told(error); }
  });
  $("log").addEventListener("change", showCharts);
  $("drift-class").append(make("option", { value: "0", textContent: "all" }));
  ["support film", "ice contamination", "crystalline ice", "aggregate", "damaged"].forEach((name, i) =>
    $("drift-class").append(make("option", { value: String(i + 1), textContent: name })));
  $("drift-class").addEventListener("change", showDrift);
  addEventListener("resize", () => showOverview(shown));
}
