// The page itself: what was chosen is kept while it reloads, which it does as long as a run goes on.

const KEPT = `launchbay ${location.pathname}`;
const controls = () => [...document.querySelectorAll("input[id], select[id]")];

function keep() {
  const values = Object.fromEntries(controls().map((one) => [one.id, one.type === "checkbox" ? one.checked : one.value]));
  for (const slider of document.querySelectorAll("input[id$='-step']")) if (slider.value === slider.max) delete values[slider.id]; // stays at the newest
  const open = Object.fromEntries([...document.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
  const state = { values, open, scroll: scrollY, focus: document.activeElement?.id || document.activeElement?.dataset?.cell };
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(state));
  } catch {} // where nothing may be kept, nothing is
}

function recall() {
  let state = null;
  try {
    state = JSON.parse(sessionStorage.getItem(KEPT));
    sessionStorage.removeItem(KEPT);
  } catch {}
  if (!state) return;
  for (const one of document.querySelectorAll("details[id]")) if (one.id in state.open) one.open = state.open[one.id];
  for (const one of controls()) {
    if (!(one.id in state.values)) continue;
    if (one.type === "checkbox") one.checked = state.values[one.id];
    else one.value = state.values[one.id];
    one.dispatchEvent(new Event("input", { bubbles: true }));
  }
  const focus = state.focus && (document.getElementById(state.focus) || document.querySelector(`[data-cell="${CSS.escape(state.focus)}"]`));
  focus?.focus({ preventScroll: true });
  scrollTo(0, state.scroll);
}

function goOn(data) {
  if (!data.reload) return;
  const silent = Date.now() / 1000 - data.written, limit = Math.max(600, 10 * data.reload);
  if (silent > limit) {
    const stale = document.getElementById("stale");
    stale.textContent = `Nothing was written for ${Math.round(silent / 60)} minutes: the run may have been killed, or the file moved. launchbay report writes it anew.`;
    stale.hidden = false;
  }
  let busy = false;
  for (const [name, is] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]]) addEventListener(name, () => { busy = is; });
  const again = () => {
    if (document.hidden || busy || String(getSelection())) return setTimeout(again, 1000);
    keep();
    location.reload();
  };
  setTimeout(again, 1000 * (silent > limit ? 60 : data.reload));
}

function allowCopying() {
  for (const button of document.querySelectorAll("button.copy"))
    button.addEventListener("click", async () => {
      const code = button.previousElementSibling;
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        getSelection().selectAllChildren(code);
        document.execCommand("copy");
        getSelection().removeAllRanges();
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
}

const data = JSON.parse(document.getElementById("data").textContent);
drawCharts(data);
showPictures(data);
allowCopying();
recall();
goOn(data);
