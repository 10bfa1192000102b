// Sample pictures: a slider through the steps, two of them under a wipe, and the same sample of each run.

function choose(steps, step) {
  const before = steps.filter((own) => own <= step);
  return before.length ? before.length - 1 : 0;
}

class Pictures {
  constructor(section, series, data) {
    Object.assign(this, { section, data, runs: series.runs, name: section.id, heading: section.dataset.heading });
    this.steps = [...new Set(series.runs.flatMap((own) => own.steps))].sort((one, other) => one - other);
    this.isGrid = series.runs.some((own) => own.headings.length > 1 || own.samples[0].length > 1);
    if (this.steps.length > 1) this.addSlider();
    this.isGrid ? this.addGrid() : this.addWholes();
    this.show();
  }

  get step() {
    return this.steps[this.slider ? Number(this.slider.value) : 0];
  }

  // One element shows one picture after the other, so that nothing flickers, and the focus stays.
  put(image, number, alt) {
    const [source, width, height] = this.data.images[number];
    if (image.src !== source) Object.assign(image, { src: source, width, height });
    image.alt = alt;
  }

  addSlider() {
    const last = this.steps.length - 1;
    this.slider = make("input", { type: "range", id: `${this.name}-step`, min: 0, max: last, value: last });
    this.said = make("output", { for: this.slider.id });
    this.slider.addEventListener("input", () => this.show());
    this.section.append(make("div", { class: "controls" }, make("label", { class: "wide" }, "Step", this.slider, this.said)));
  }

  addWholes() {
    const several = this.runs.length > 1;
    this.wholes = this.runs.map((own) => ({ own, image: make("img", { decoding: "sync" }), caption: make("span") }));
    const figures = this.wholes.map(({ own, image, caption }) => make("figure", {}, ...(several ? [make("figcaption", {}, make("i", { class: `dot run-${own.run}` }), caption)] : []), image));
    this.section.append(make("div", { class: "wholes" }, ...figures));
  }

  // A view is a column of a run: as it is at the step of the slider, or was at the first. What never changes, and is the
  // same in all runs, is one view.
  findViews() {
    const several = this.runs.length > 1, found = new Map();
    for (const own of this.runs)
      for (const [column, heading] of own.headings.entries()) {
        const all = own.samples.map((samples) => samples.map((row) => row[column]).join());
        const moves = new Set(all).size > 1, changes = moves || this.data.changing.has(heading);
        const label = changes && several ? `${this.data.runs[own.run]} · ${heading}` : heading;
        const key = changes ? `${own.run} ${column}` : `${heading} ${all[0]}`;
        if (!found.has(key)) found.set(key, { own, column, heading, changes, moves, label, first: false });
      }
    const views = [...found.values()];
    return several ? views.sort((one, other) => one.changes - other.changes) : views;
  }

  addGrid() {
    this.columns = this.findViews();
    const pictures = this.columns.filter((view) => !this.data.words.includes(view.heading));
    const early = pictures.filter((view) => view.moves).map((view) => ({ ...view, first: true, label: `${view.label}, first` }));
    this.views = [...pictures, ...early];
    this.sample = 0;
    this.viewer = this.section.appendChild(make("div"));
    if (this.views.length > 1) this.addWipe(...this.firstViews(pictures));
    const count = Math.max(...this.runs.map((own) => own.samples[0].length));
    const rows = Array.from({ length: count }, (_, sample) => this.columns.map((view, column) => this.addCell(view, sample, column)));
    this.cells = rows.flat();
    const groups = rows.map((row, sample) => make("div", { class: "sample", role: "group", "aria-label": `Sample ${sample + 1}` }, ...row.map((cell) => cell.figure)));
    this.viewer.append(make("div", { class: "sheet", role: "region", "aria-label": "All samples", tabindex: 0 }, ...groups));
  }

  // The same of two runs; or what is made beside what is there before it; or beside what it was at first.
  firstViews(pictures) {
    const made = Math.max(0, pictures.findIndex((view) => view.changes));
    const other = pictures.findIndex((view, place) => place > made && view.changes && view.heading === pictures[made].heading);
    if (other >= 0) return [made, other];
    if (made) return [made - 1, made];
    return pictures[made].moves ? [pictures.length, made] : [made, this.views.length - 1];
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
    this.under = [make("img", { decoding: "sync", draggable: "false" }), make("img", { decoding: "sync", draggable: "false" })];
    this.tags = [make("span", { class: "tag left" }), make("span", { class: "tag right" })];
    this.wipe = make("div", { class: "wipe" }, ...this.under, make("span", { class: "edge" }), ...this.tags);
    this.slide.addEventListener("input", () => this.place());
    const drag = (event) => {
      const box = this.wipe.getBoundingClientRect();
      this.slide.value = (100 * (event.clientX - box.left)) / box.width;
      this.place();
    };
    this.wipe.addEventListener("pointerdown", (event) => { this.wipe.setPointerCapture(event.pointerId); drag(event); });
    this.wipe.addEventListener("pointermove", (event) => event.buttons && drag(event));
    const choice = make("div", { class: "controls" }, make("label", {}, "Left", this.left), make("label", {}, "Right", this.right));
    this.viewer.className = "viewer";
    this.viewer.append(make("div", {}, choice, this.wipe, this.slide, this.number));
  }

  // A sample in one column. What can be under the wipe goes there when it is chosen.
  addCell(view, sample, column) {
    const image = make("img", { decoding: "sync" }), caption = make("figcaption", {}, view.label);
    if (!this.wipe || !this.views.includes(view)) return { view, sample, image, figure: make("figure", {}, image, caption) };
    const button = make("button", { type: "button", "data-cell": `${this.name} ${sample} ${column}` }, image);
    button.addEventListener("click", () => {
      this.sample = this.number.value = sample;
      this.right.value = this.views.indexOf(view);
      this.show();
    });
    return { view, sample, image, button, figure: make("figure", {}, button, caption) };
  }

  place() {
    this.wipe.style.setProperty("--at", `${this.slide.value}%`);
  }

  picture(view, sample) {
    const rows = view.own.samples[view.first ? 0 : choose(view.own.steps, this.step)];
    return rows[Math.min(sample, rows.length - 1)][view.column];
  }

  show() {
    if (this.said) this.said.textContent = this.step.toLocaleString("en");
    this.isGrid ? this.showGrid() : this.showWholes();
  }

  showWholes() {
    for (const { own, image, caption } of this.wholes) {
      const at = choose(own.steps, this.step), said = `${this.data.runs[own.run]}, step ${own.steps[at].toLocaleString("en")}`;
      this.put(image, own.samples[at][0][0], `${this.heading} of ${said}`);
      caption.textContent = said;
    }
  }

  showGrid() {
    const chosen = this.wipe ? [this.left, this.right].map((list) => this.views[Number(list.value)] ?? this.views[0]) : [];
    for (const [side, view] of chosen.entries()) {
      this.put(this.under[side], this.picture(view, this.sample), `Sample ${this.sample + 1}: ${view.label}`);
      this.tags[side].textContent = view.label;
    }
    if (this.wipe) this.place();
    for (const { view, sample, image, button } of this.cells) {
      this.put(image, this.picture(view, sample), `Sample ${sample + 1}: ${view.label}`);
      button?.setAttribute("aria-pressed", sample === this.sample && view === chosen[1]);
    }
  }
}

function showPictures(data) {
  const moves = (own, column) => new Set(own.samples.map((samples) => samples.map((row) => row[column]).join())).size > 1;
  data.changing = new Set(data.series.flatMap(({ runs }) => runs.flatMap((own) => own.headings.filter((_, column) => moves(own, column)))));
  for (const section of document.querySelectorAll(".pictures")) new Pictures(section, data.series[section.dataset.series], data);
}
