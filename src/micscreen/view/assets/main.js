// Starts the pages, follows the job, and moves the threshold.
import { $, emit, get, make, number, on, post, readCounts, setStep, state, told } from "./state.js";
import { showOverview, startOverview } from "./overview.js";
import { showGallery, startGallery } from "./gallery.js";
import { showMicrograph, startMicrograph } from "./micrograph.js";

const EVERY = 1500; // ms between two looks at a job that may be running

let first = true;
function route() {
  const [page, key] = location.hash.slice(1).split("/");
  const wanted = ["gallery", "m"].includes(page) ? page : "overview";
  for (const name of ["overview", "gallery", "m"]) $(`page-${name}`).hidden = name !== wanted;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${wanted}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (key === undefined && wanted !== "m") state.walk = { query: "sort=order", at: 0 };
  showOverview(wanted === "overview");
  showGallery(wanted === "gallery");
  showMicrograph(wanted === "m", key === undefined ? undefined : Number(key));
  if (!first) (wanted === "m" ? $("canvas") : $(`page-${wanted}`)).focus({ preventScroll: true });
  first = false;
}

let looking = null;
function look() {
  looking ??= lookNow().finally(() => { looking = null; });
  return looking;
}

async function lookNow() {
  try {
    const job = await get("state");
    const changed = job.revision !== state.job?.revision;
    const begins = state.job === null;
    state.job = job;
    if (changed) {
      await readCounts();
      if (begins) start(job);
      emit("job");
      emit("counts");
      emit("revision");
    }
    if (state.gone) told(null);
    state.gone = false;
  } catch (error) {
    state.gone = true;
    told(error);
  }
}

function start(job) {
  $("job-name").textContent = job.folder.split("/").slice(-2).join("/");
  $("job-name").title = job.folder;
  document.title = `${job.name} – micscreen`;
  const kept = Number(sessionStorage.getItem(`step ${job.folder}`));
  state.step = kept || Math.min(1000, Math.max(1, Math.round(1000 * job.threshold)));
  on("step", () => sessionStorage.setItem(`step ${job.folder}`, String(state.step)));
  emit("step");
}

async function write(path, body, title, lines) {
  try {
    const found = await post(path, body);
    $("dialog-title").textContent = title;
    const parts = lines(found).map((text) => make("p", { textContent: text }));
    if (found.command) parts.push(make("p", { textContent: "The same again, at the command line:" }), make("code", { id: "command", textContent: found.command }));
    $("copy").hidden = !found.command;
    $("dialog-text").replaceChildren(...parts);
    $("dialog").showModal();
    told(null);
  } catch (error) { told(error); }
}

function listen() {
  $("threshold").addEventListener("input", () => setStep(Number($("threshold").value)));
  $("threshold-number").addEventListener("change", () => setStep(1000 * Number($("threshold-number").value)));
  $("export").addEventListener("click", () => write("export", { step: state.step }, "Written", (found) => [
    `${number(found.kept)} picks kept, ${number(found.rejected)} rejected` + (found.unscreened ? `, ${number(found.unscreened)} not screened.` : "."),
    `In the job folder: ${found.folders.join(", ")}`]));
  $("labels").addEventListener("click", () => write("labels", {}, "Labels", (found) => [
    found.labels ? `${found.labels} class maps in the job folder: ${found.folder}` : "Nothing is painted yet."]));
  $("close").addEventListener("click", () => $("dialog").close());
  $("copy").addEventListener("click", () => navigator.clipboard?.writeText($("command").textContent).catch(() => {}));
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector("main section:not([hidden])").focus();
  });
  addEventListener("hashchange", route);
}

history.replaceState(null, "", location.pathname + location.hash); // the token leaves the address
state.look = look;
listen();
startOverview();
startGallery();
startMicrograph();
await look();
route();
(async () => {
  for (;;) {
    await new Promise((done) => setTimeout(done, EVERY));
    if (!document.hidden) await look();
  }
})();
