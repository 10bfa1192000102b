// Sample pictures: a slider through the steps, two of them under a wipe, and the same sample of each run.

function choose(steps, step) {
  const before = steps.filter((own) => own <= step);
  return before.length ? before.length - 1 : 0;
}

class Pictures {
  constructor(section, series, data) {
    Object.assign(this, { section, data, runs: series.runs, name: section.id });
    this.steps = [...new Set(series.runs.flatMap((own) => own.steps))].sort((one, other) => one - other);
    this.isGrid = series.runs.some((own) => own.headings.length > 1 || own.samples[0].length > 1);
    if (this.steps.length > 1) this.addSlider();
    this.isGrid ? this.addGrid() : this.addWholes();
    this.show();
  }

  get step() {
    return this.steps[this.slider ? Number(this.slider.value) : 0];
  }

  image(number, alt) {
    const [source, width, height] = this.data.images[number];
    return make("img", { src: source, width, height, alt });
  }

  addSlider() {
    const last = this.steps.length - 1;
    this.slider = make("input", { type: "range", id: `${this.name}-step`, min: 0, max: last, value: last });
    this.said = make("output", { for: this.slider.id });
    this.slider.addEventListener("input", () => this.show());
    this.section.append(make("div", { class: "controls" }, make("label", { class: "wide" }, "Step", this.slider, this.said)));
  }

  addWholes() {
    this.wholes = this.section.appendChild(make("div", { class: "wholes" }));
  }

  // A view is a column of a run: as it is at the step of the slider, or was at the first. What never changes, and is the
  // same in all runs, is one view.
  findViews() {
    const several = this.runs.length > 1, found = new Map();
    for (const own of this.runs)
      for (const [column, heading] of own.headings.entries()) {
        const all = own.samples.map((samples) => samples.map((row) => row[column]).join());
        const changes = new Set(all).size > 1, named = several ? `${this.data.runs[own.run]} · ${heading}` : heading;
        const view = { own, column, heading, changes, label: changes || !several ? named : heading, first: false };
        found.set(changes ? `${own.run} ${column}` : `${heading} ${all[0]}`, view);
      }
    const views = [...found.values()].sort((one, other) => one.changes - other.changes || one.column - other.column);
    if (!several) views.sort((one, other) => one.column - other.column);
    const early = views.filter((view) => view.changes).map((view) => ({ ...view, first: true, label: `${view.label}, first` }));
    return [views, [...views, ...early]];
  }

  addGrid() {
    [this.columns, this.views] = this.findViews();
    const changing = this.views.findIndex((view) => view.changes);
    const other = this.views.findIndex((view, place) => view.changes && place !== changing && !view.first && view.heading === this.views[changing].heading);
    const before = this.columns.findLastIndex((view, place) => !view.changes && (place < changing || this.runs.length > 1));
    const first = this.views.findIndex((view) => view.first);
    this.sample = 0;
    this.viewer = this.section.appendChild(make("div", { class: "viewer" }));
    this.addWipe(other >= 0 ? changing : Math.max(0, before >= 0 ? before : first), other >= 0 ? other : Math.max(0, changing));
    this.table = make("table", { class: "sheet" });
    this.viewer.append(make("div", { class: "scroll", role: "region", "aria-label": "All samples", tabindex: 0 }, this.table));
  }

  addWipe(left, right) {
    const list = (side, chosen) => {
      const select = make("select", { id: `${this.name}-${side}` });
      for (const [place, view] of this.views.entries()) select.append(new Option(view.label, place, place === chosen, place === chosen));
      select.addEventListener("input", () => this.show());
      return select;
    };
    [this.left, this.right] = [list("left", left), list("right", right)];
    this.slide = make("input", { type: "range", class: "slide", id: `${this.name}-wipe`, min: 0, max: 100, value: 50, step: 0.5, "aria-label": "Wipe between left and right" });
    this.number = make("input", { type: "hidden", id: `${this.name}-sample`, value: 0 });
    this.number.addEventListener("input", () => { this.sample = Number(this.number.value) || 0; this.show(); });
    this.wipe = make("div", { class: "wipe" });
    this.slide.addEventListener("input", () => this.place());
    const drag = (event) => {
      const box = this.wipe.getBoundingClientRect();
      this.slide.value = (100 * (event.clientX - box.left)) / box.width;
      this.place();
    };
    this.wipe.addEventListener("pointerdown", (event) => { this.wipe.setPointerCapture(event.pointerId); drag(event); });
    this.wipe.addEventListener("pointermove", (event) => event.buttons && drag(event));
    const choice = make("div", { class: "controls" }, make("label", {}, "Left", this.left), make("label", {}, "Right", this.right));
    this.viewer.append(make("div", {}, choice, this.wipe, this.slide, this.number));
  }

  place() {
    this.wipe.style.setProperty("--at", `${this.slide.value}%`);
  }

  cell(view, sample) {
    const rows = view.own.samples[view.first ? 0 : choose(view.own.steps, this.step)];
    return rows[Math.min(sample, rows.length - 1)][view.column];
  }

  show() {
    if (this.said) this.said.textContent = this.step.toLocaleString("en");
    this.isGrid ? this.showGrid() : this.showWholes();
  }

  showWholes() {
    const several = this.runs.length > 1;
    this.wholes.replaceChildren(...this.runs.map((own) => {
      const at = choose(own.steps, this.step), name = this.data.runs[own.run];
      const picture = this.image(own.samples[at][0][0], `${this.section.querySelector("h2").textContent} of ${name}, step ${own.steps[at]}`);
      const dot = make("i", { class: `dot run-${own.run}` });
      return make("figure", {}, ...(several ? [make("figcaption", {}, dot, `${name}, step ${own.steps[at].toLocaleString("en")}`)] : []), picture);
    }));
  }

  showGrid() {
    const [left, right] = [this.left, this.right].map((list) => this.views[Number(list.value)] ?? this.views[0]);
    const tag = (view, side) => make("span", { class: `tag ${side}` }, view.label);
    const picture = (view) => this.image(this.cell(view, this.sample), `Sample ${this.sample + 1}: ${view.label}`);
    this.wipe.replaceChildren(picture(left), picture(right), make("span", { class: "edge" }), tag(left, "left"), tag(right, "right"));
    for (const img of this.wipe.querySelectorAll("img")) img.draggable = false;
    this.place();
    const count = Math.max(...this.runs.map((own) => own.samples[0].length));
    const head = make("tr", {}, ...this.columns.map((view) => make("th", { scope: "col" }, make("small", {}, view.label))));
    const focused = document.activeElement?.dataset?.cell;
    const rows = Array.from({ length: count }, (_, sample) => make("tr", {}, ...this.columns.map((view, column) => {
      const said = `Sample ${sample + 1}: ${view.label}`, chosen = sample === this.sample && view === right;
      const button = make("button", { type: "button", "aria-pressed": chosen, "data-cell": `${this.name} ${sample} ${column}` }, this.image(this.cell(view, sample), said));
      button.addEventListener("click", () => {
        [this.sample, this.number.value] = [sample, sample];
        this.right.value = this.views.indexOf(view);
        this.show();
      });
      return make("td", {}, button);
    })));
    this.table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
    if (focused) this.table.querySelector(`[data-cell="${CSS.escape(focused)}"]`)?.focus();
  }
}
