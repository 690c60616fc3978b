"use strict";
// Draws the charts and the logs of a report. Everything it shows was put into the page; it requests nothing.
//
// The charts share one range of time (`span`). Each time it changes, the operations within it are reduced to
// what the pixels can show: all operations are looked at, so this is exact, and 100,000 of them take
// milliseconds. Text from the run is only ever set as text.
(() => {
  const OK = 1, FAIL = 2;  // codes of History.type; INFO (3) and OPEN (4) are both drawn as info
  const WORDS = ["ok", "fail", "info"];
  const BORDER_LEFT = 84, BORDER_RIGHT = 14;
  const WIDE = 3;  // pixels from which on a bar is a thing of its own
  const POINTS_MAX = 3000;  // more points of one outcome than this are drawn as their density

  const page = document.documentElement;
  const $ = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const colour = (name) => getComputedStyle(page).getPropertyValue(`--${name}`).trim();
  const rest = () => new Promise((done) => setTimeout(done));  // let the browser paint and answer
  const idle = () => new Promise((done) =>
    "requestIdleCallback" in window ? requestIdleCallback(done, {timeout: 100}) : setTimeout(done, 1));

  function bytes(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const text = atob(base64), found = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
    return found;
  }

  async function unpack(id) {
    const packed = new Blob([bytes(document.getElementById(id).textContent)]);
    return new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  const ARRAYS = {uint32: Uint32Array, int32: Int32Array, uint16: Uint16Array, uint8: Uint8Array};
  const column = ({type, base64}) => new ARRAYS[type](bytes(base64).buffer);

  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  function duration(seconds) {
    if (seconds >= 0.9995) return `${seconds.toPrecision(3)} s`;
    if (seconds >= 0.0009995) return `${(seconds * 1e3).toPrecision(3)} ms`;
    return `${(seconds * 1e6).toPrecision(3)} µs`;
  }

  // --- charts -----------------------------------------------------------------------------------------

  let data, span, whole, operations, ndarray;
  const plots = new Map();    // name -> Bokeh figure that is drawn
  const shownFs = new Set();

  function prepare(raw) {
    operations = {...raw, offending: new Set(raw.offending)};
    for (const name of ["outcome", "f", "process", "row"]) operations[name] = column(raw[name]);
    const since = column(raw.since), took = column(raw.took);  // microseconds
    operations.start = new Float64Array(since.length);
    operations.end = new Float64Array(since.length);
    for (let i = 0, at = 0; i < since.length; i++) {
      at += since[i];
      operations.start[i] = at / 1e6;
      operations.end[i] = (at + took[i]) / 1e6;
    }
    raw.fs.forEach((_, code) => shownFs.add(code));
  }

  // Seconds per pixel, and the width of a chart's frame.
  function pixels(name) {
    const width = Math.max($(`[data-chart=${name}]`).clientWidth - BORDER_LEFT - BORDER_RIGHT, 50);
    return [(span.end - span.start) / width, width];
  }

  function fill(plot, name, columns) {
    for (const renderer of plot.renderers) {
      if (renderer.data_source?.name === name) renderer.data_source.data = columns;
    }
  }

  function table(...names) {
    return Object.fromEntries([...names, "what", "when", "who", "hint"].map((name) => [name, []]));
  }

  function describe(into, i, count = 1) {
    if (count > 1) {
      into.what.push(`${count.toLocaleString("en")} operations`);
      into.when.push("Zoom in to tell them apart.");
      into.who.push(operations.rows[operations.row[i]]);
      into.hint.push("");
      return;
    }
    const {start, end, rows, row, process, text, hints} = operations;
    into.what.push(text[i]);
    into.when.push(`${start[i].toFixed(6)} s to ${end[i].toFixed(6)} s (${duration(end[i] - start[i])})`);
    into.who.push([rows[row[i]], `process ${process[i]}`].filter(Boolean).join(", "));
    into.hint.push(operations.outcome[i] === OK ? "" : `· ${hints[i]}`);
  }

  const kind = (i) => operations.outcome[i] === OK ? 0 : operations.outcome[i] === FAIL ? 1 : 2;
  const visible = (i) =>
    operations.end[i] >= span.start && operations.start[i] <= span.end && shownFs.has(operations.f[i]);

  // Points, with a marker per function. An outcome with more of them than anybody could point at becomes a
  // picture of their density, in which even a single one is seen. Offending ones are always points.
  function drawLatency(plot) {
    const {start, end, f, offending, markers} = operations;
    const [pixel, width] = pixels("latency"), height = 256;
    const low = Math.log(plot.y_range.start), high = Math.log(plot.y_range.end);
    const chosen = [[], [], []], offences = table("x", "y", "marker");
    const latency = (i) => Math.max(end[i] - start[i], plot.y_range.start);
    const put = (into, i) => {
      into.x.push(end[i]);
      into.y.push(latency(i));
      into.marker.push(markers[Math.min(f[i], markers.length - 1)]);
      describe(into, i);
    };
    for (let i = 0; i < start.length; i++) {
      if (end[i] >= span.start && end[i] <= span.end && shownFs.has(f[i])) chosen[kind(i)].push(i);
    }
    const wide = Math.ceil(width), picture = new Uint32Array(wide * height);
    WORDS.forEach((word, outcome) => {
      const points = table("x", "y", "marker"), dense = chosen[outcome].length > POINTS_MAX;
      if (!dense) chosen[outcome].forEach((i) => offending.has(i) || put(points, i));
      fill(plot, `latency-${word}`, points);
      if (!dense) return;
      const count = new Uint16Array(wide * height), [red, green, blue] = rgb(colour(word));
      for (const i of chosen[outcome]) {
        const x = Math.min(Math.floor((end[i] - span.start) / pixel), wide - 2);
        const y = Math.min(Math.floor((Math.log(latency(i)) - low) / (high - low) * height), height - 2);
        const at = y * wide + x;
        for (const cell of [at, at + 1, at + wide, at + wide + 1]) count[cell]++;
      }
      count.forEach((found, cell) => {
        if (!found) return;
        const alpha = Math.min(255, 110 + 36 * Math.log2(found));
        picture[cell] = (alpha << 24 | blue << 16 | green << 8 | red) >>> 0;
      });
    });
    fill(plot, "latency-density", {
      image: [ndarray(picture.buffer, {dtype: "uint32", shape: [height, wide]})],
      x: [span.start], y: [plot.y_range.start], dw: [span.end - span.start],
      dh: [plot.y_range.end - plot.y_range.start],
    });
    for (const i of offending) if (visible(i)) put(offences, i);
    fill(plot, "latency-offence", offences);
  }

  // Bars: neighbours of one row and outcome that are narrow and closer than a pixel become one.
  function drawTimeline(plot) {
    const {start, end, row, rows, offending, text} = operations;
    const [pixel] = pixels("timeline");
    const columns = ["left", "right", "top", "bottom"];
    const out = WORDS.map(() => table(...columns)), offences = table(...columns), flags = table("x", "y");
    const words = {left: [], middle: [], text: [], ink: []};
    const inks = [...WORDS, "offence"].map((word) => colour(`on-${word}`));
    const pending = new Array(rows.length * 3);
    const put = (into, i, left, right, count) => {
      into.left.push(left);
      into.right.push(Math.max(right, left + pixel));
      into.top.push(row[i] - 0.38);
      into.bottom.push(row[i] + 0.38);
      describe(into, i, count);
      const room = (Math.min(right, span.end) - Math.max(left, span.start)) / pixel;
      if (count === 1 && room > text[i].length * 6.4 + 8 && words.left.length < 400) {
        words.left.push(Math.max(left, span.start));
        words.middle.push(row[i]);
        words.text.push(text[i]);
        words.ink.push(inks[offending.has(i) ? 3 : kind(i)]);
      }
    };
    for (let i = 0; i < start.length; i++) {
      if (!visible(i) || offending.has(i)) continue;
      const slot = row[i] * 3 + kind(i), last = pending[slot], narrow = end[i] - start[i] < WIDE * pixel;
      if (last && last.narrow && narrow && start[i] - last.right < pixel) {
        last.right = Math.max(last.right, end[i]);
        last.count++;
        continue;
      }
      if (last) put(out[kind(i)], last.i, last.left, last.right, last.count);
      pending[slot] = {i, left: start[i], right: end[i], count: 1, narrow};
    }
    pending.forEach((last) => last && put(out[kind(last.i)], last.i, last.left, last.right, last.count));
    for (const i of offending) {
      if (!visible(i)) continue;
      put(offences, i, start[i], Math.max(end[i], start[i] + WIDE * pixel), 1);
      flags.x.push(Math.max(start[i], span.start));
      flags.y.push(row[i] - 0.38);
      describe(flags, i);
    }
    WORDS.forEach((word, at) => fill(plot, `timeline-${word}`, out[at]));
    fill(plot, "timeline-offence", offences);
    fill(plot, "timeline-flag", flags);
    fill(plot, "timeline-words", words);
  }

  // A fault's words, where they fit into its stretch.
  function drawFaults(plot) {
    const [pixel] = pixels("faults");
    for (const source of new Set(plot.renderers.map((renderer) => renderer.data_source))) {
      if (source.name !== "fault-words") continue;
      const {left, right, text} = source.data;
      const shown = [...text].map((words, i) => {
        const room = (Math.min(right[i], span.end) - left[i]) / pixel - 8;
        return words.length * 6.6 <= room ? words : room > 24 ? `${words.slice(0, Math.floor(room / 6.6) - 1)}…` : "";
      });
      source.data = {...source.data, shown};
    }
  }

  const DRAW = {latency: drawLatency, timeline: drawTimeline, faults: drawFaults};

  let due = 0;
  function redraw() {
    due ||= requestAnimationFrame(() => {
      due = 0;
      $("#shown").textContent = `${span.start.toFixed(3)} s to ${span.end.toFixed(3)} s`;
      for (const [name, plot] of plots) DRAW[name]?.(plot);
    });
  }

  function paint(plot) {
    for (const model of plot.references()) {
      const tag = model.tags?.[0], has = (name) => name in model.properties;
      if (typeof tag === "string") {
        const ink = colour(tag), values = {};
        for (const name of ["fill_color", "line_color", "text_color"]) if (has(name)) values[name] = ink;
        model.setv(values);
      } else if (has("major_label_text_color")) {
        const text = colour("text"), muted = colour("muted");
        model.setv({
          major_label_text_color: muted, axis_label_text_color: muted, axis_line_color: colour("line"),
          major_tick_line_color: colour("line"), ...(has("group_text_color") ? {group_text_color: text} : {}),
        });
      } else if (has("grid_line_color")) {
        model.setv({grid_line_color: colour("grid")});
      }
    }
  }

  function show(start, end) {
    const least = 2e-5, width = Math.min(Math.max(end - start, least), whole * 1.04);
    const middle = (start + end) / 2;
    const left = Math.min(Math.max(middle - width / 2, -0.02 * whole), 1.02 * whole - width);
    span.setv({start: left, end: left + width});
  }

  function act(what) {
    const {start, end} = span, width = end - start;
    if (what === "in") show(start + width / 4, end - width / 4);
    if (what === "out") show(start - width / 2, end + width / 2);
    if (what === "left") show(start - width / 3, end - width / 3);
    if (what === "right") show(start + width / 3, end + width / 3);
    if (what === "all") show(0, whole);
  }

  async function jump(start, end) {
    await drawn;
    const room = Math.max((end - start) * 0.15, 0.002);
    show(start - room, end + room);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    $("#operations")?.scrollIntoView({behavior: still ? "auto" : "smooth"});
  }

  async function drawCharts() {
    const script = document.createElement("script");
    script.textContent = await unpack("bokeh");
    document.head.append(script);
    Bokeh.logger.set_level("warn");
    const doc = Bokeh.require("document/document").Document.from_json(data.charts);
    const {ViewManager} = Bokeh.require("core/view_manager");
    ({ndarray} = Bokeh.require("core/util/ndarray"));
    const views = new ViewManager([], Bokeh.index);
    const roots = new Map(doc.roots().map((root) => [root.name, root]));
    span = doc.roots()[0].x_range;
    whole = Math.max(data.seconds, 1e-6);
    span.change.connect(redraw);
    const touch = matchMedia("(pointer: coarse)").matches;
    for (const place of all("[data-chart]")) {
      const name = place.dataset.chart, plot = roots.get(name);
      await rest();
      // A finger scrolls the page; it zooms with the buttons.
      if (touch) plot.toolbar.active_drag = null;
      paint(plot);
      DRAW[name]?.(plot);
      const view = await views.build_view(plot);
      view.build(place);
      plots.set(name, plot);
      place.addEventListener("dblclick", () => act("all"));
      place.addEventListener("keydown", (event) => {
        const what = {ArrowLeft: "left", ArrowRight: "right", "+": "in", "=": "in", "-": "out", "0": "all"}[event.key];
        if (!what || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        act(what);
      });
    }
    redraw();
    const repaint = () => { plots.forEach(paint); redraw(); };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    addEventListener("beforeprint", () => { page.classList.add("paper"); repaint(); });
    addEventListener("afterprint", () => { page.classList.remove("paper"); repaint(); });
    addEventListener("resize", redraw);
  }

  // --- pictures of evidence ------------------------------------------------------------------------------

  // The note below a picture tells of what the pointer or the focus is on; arrow keys go on to the next one.
  function readNotes(picture) {
    const things = [...picture.querySelectorAll("[data-note]")], note = picture.nextElementSibling;
    if (!things.length) return;
    const first = picture.querySelector(".stuck") ?? things[0], rest = note.textContent;
    const tell = (event) => {
      const near = event.target.closest("[data-note]"), thing = picture.contains(near) ? near : null;
      note.textContent = thing?.dataset.note ?? rest;
      note.classList.toggle("stuck", thing ? thing.matches(".stuck") : first.matches(".stuck"));
    };
    first.tabIndex = 0;
    picture.addEventListener("pointerover", tell);
    picture.addEventListener("focusin", tell);
    for (const left of ["pointerleave", "focusout"]) {
      picture.addEventListener(left, () => tell({target: document.activeElement ?? picture}));
    }
    picture.addEventListener("keydown", (event) => {
      const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key], at = things.indexOf(event.target);
      if (!by || at < 0) return;
      event.preventDefault();
      things[(at + by + things.length) % things.length].focus();
    });
  }

  // --- logs ---------------------------------------------------------------------------------------------

  const LEVELS = all("#level option").slice(1).map((option) => option.textContent.split(" ")[0]);

  function drawLog(details) {
    const log = data.logs[Number(details.dataset.log)], lines = details.querySelector(".lines");
    const wanted = $("#text").value.toLowerCase(), least = Number($("#level").value);
    let matches = 0;
    if (!lines) return matches;
    const fragment = document.createDocumentFragment();
    log.lines.forEach((text, i) => {
      if (i === log.head && log.omitted) {
        const cut = document.createElement("div");
        cut.className = "cut";
        cut.textContent = `${log.omitted} are left out here; the whole log is in ${log.path}`;
        fragment.append(cut);
      }
      if (log.levels[i] < least || wanted && !text.toLowerCase().includes(wanted)) return;
      matches++;
      const line = document.createElement("div"), at = log.times[i];
      line.className = LEVELS[log.levels[i]] ?? "";
      const mark = document.createElement(at === null || !span ? "i" : "button");
      if (at !== null) {
        mark.textContent = `${at.toFixed(3)} s`;
        mark.title = "Show this moment in the timeline";
        mark.type = "button";
        mark.dataset.at = at;
      }
      const words = document.createElement("span");
      words.textContent = text;
      line.append(mark, words);
      fragment.append(line);
    });
    lines.replaceChildren(fragment);
    return matches;
  }

  function filterLogs() {
    const filtered = $("#text").value !== "" || $("#level").value !== "-1";
    let matches = 0;
    for (const details of all("details.log")) {
      const log = data.logs[Number(details.dataset.log)], wanted = $("#text").value.toLowerCase();
      const least = Number($("#level").value);
      matches += log.lines.filter((text, i) =>
        log.levels[i] >= least && (!wanted || text.toLowerCase().includes(wanted))).length;
      if (details.open) drawLog(details);
    }
    $("#matches").textContent = filtered ? `${matches.toLocaleString("en")} lines match` : "";
  }

  // --- the page -----------------------------------------------------------------------------------------

  async function copy() {
    const code = $("#command"), button = $("#copy");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);  // no clipboard for this page: ready for Ctrl-C
      button.textContent = "Selected";
      return;
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  async function start() {
    if (document.readyState !== "complete") await new Promise((done) => addEventListener("load", done));
    await idle();
    data = JSON.parse(await unpack("data"));
    if (!data.charts) return;
    if (data.operations) prepare(data.operations);
    await drawCharts();
  }

  all(".picture").forEach(readNotes);
  $("#copy")?.addEventListener("click", copy);
  all(".jump").forEach((button) =>
    button.addEventListener("click", () => jump(Number(button.dataset.start), Number(button.dataset.end))));
  all("[data-do]").forEach((button) => button.addEventListener("click", () => span && act(button.dataset.do)));
  $("#functions")?.addEventListener("change", (event) => {
    shownFs[event.target.checked ? "add" : "delete"](Number(event.target.value));
    redraw();
  });

  const drawn = start().then(() => {
    performance.mark("drawn");
    page.dataset.state = "drawn";
    all("details.log").forEach((details) => {
      details.addEventListener("toggle", () => details.open && drawLog(details));
      if (details.open) drawLog(details);
    });
    $("#filter")?.addEventListener("input", filterLogs);
    $("#filter")?.addEventListener("submit", (event) => event.preventDefault());
    $("#logs").addEventListener("click", (event) => {
      const at = event.target.dataset?.at;
      if (at !== undefined) jump(Number(at) - 0.5, Number(at) + 0.5);
    });
  }).catch((error) => {
    page.dataset.state = "failed";
    const told = document.createElement("p");
    told.className = "warning";
    told.textContent = `The charts and logs could not be drawn: ${error}`;
    $("#about").before(told);
    console.error(error);
  });
  // For tests, and for whoever reads a report in the console.
  window.report = {drawn, act, get span() { return span; }, get plots() { return plots; }};
})();
