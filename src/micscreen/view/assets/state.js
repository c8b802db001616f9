// What all pages share: the job, the counts, the threshold, and how to ask the server.

export const state = {
  job: null, // answer of /api/state
  groups: [],
  kept: [], // per group: how many picks are kept at each step, 0 to 1000
  bins: null, // all picks per bin
  step: 800, // threshold * 1000
  walk: { query: "sort=order", at: 0 }, // the list through which next and previous go
};

const listeners = new Map();

export function on(name, heard) {
  listeners.set(name, [...(listeners.get(name) ?? []), heard]);
}

export function emit(name, value) {
  for (const heard of listeners.get(name) ?? []) heard(value);
}

export function $(id) {
  return document.getElementById(id);
}

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

async function answer(request) {
  let found;
  try {
    found = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server has stopped; start `micscreen view` again");
  }
  if (found.ok) return found;
  const text = await found.text();
  let told = text;
  try { told = JSON.parse(text).error; } catch { /* plain text */ }
  throw new Error(told || `answer ${found.status}`);
}

export async function get(path, signal) {
  return (await answer(fetch(`api/${path}`, { signal }))).json();
}

export async function bytes(path, signal) {
  return (await answer(fetch(`api/${path}`, { signal }))).arrayBuffer();
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return (await answer(fetch(`api/${path}`, { method: "POST", headers, body: JSON.stringify(body) }))).json();
}

export function told(error) {
  if (error?.name === "AbortError") return;
  const banner = $("banner");
  banner.textContent = error ? String(error.message ?? error) : "";
  banner.hidden = !error;
}

export async function readCounts() {
  const found = await get("counts");
  const n = found.counts[0].length;
  state.groups = found.groups;
  state.bins = new Float64Array(n);
  state.kept = found.counts.map((counts) => {
    const kept = new Float64Array(n + 1);
    for (let i = n - 1; i >= 0; i--) {
      kept[i] = kept[i + 1] + counts[i];
      state.bins[i] += counts[i];
    }
    return kept;
  });
}

export function keptAt(step) {
  return state.kept.reduce((sum, kept) => sum + kept[step], 0);
}

export function setStep(step) {
  const next = Math.min(1000, Math.max(1, Math.round(step)));
  if (next === state.step || Number.isNaN(next)) return;
  state.step = next;
  emit("step");
}

export const number = (n) => Math.round(n).toLocaleString("en-GB").replaceAll(",", "\u202f");
export const share = (part, all) => (all ? `${((100 * part) / all).toFixed(1)} %` : "–");
export const words = (name) => name.replaceAll("_", " ");
