"use strict";
// Moves and scales the picture, and shows what is in a box. The data stands in #data.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const view = document.getElementById("view");
  const svg = view.querySelector("svg");
  const panel = document.getElementById("panel");
  const whole = { width: svg.width.baseVal.value, height: svg.height.baseVal.value };

  // ---- moving and scaling ------------------------------------------------------------------

  const SCALE_MIN = 0.02, SCALE_MAX = 8, READABLE = 0.6;
  let scale = 1, left = 0, top = 0; // what is in the upper left corner of the view, in the picture

  function show() {
    const width = view.clientWidth / scale, height = view.clientHeight / scale;
    svg.setAttribute("viewBox", `${left} ${top} ${width} ${height}`);
  }

  function fit() {
    const fits = Math.min(view.clientWidth / whole.width, view.clientHeight / whole.height);
    scale = Math.min(1.25, fits);
    left = (whole.width - view.clientWidth / scale) / 2;
    top = (whole.height - view.clientHeight / scale) / 2;
    show();
  }

  function begin() {
    fit();
    if (scale < READABLE) { // not all of it can be seen and read at once: begin where work begins
      scale = 0.8;
      left = Math.min(0, (whole.width - view.clientWidth / scale) / 2);
      top = 0;
      show();
    }
  }

  function zoom(factor, x = view.clientWidth / 2, y = view.clientHeight / 2) {
    const next = Math.min(SCALE_MAX, Math.max(SCALE_MIN, scale * factor));
    left += x / scale - x / next;
    top += y / scale - y / next;
    scale = next;
    show();
  }

  function move(x, y) {
    left += x / scale;
    top += y / scale;
    show();
  }

  function reveal(element) {
    const box = element.getBoundingClientRect(), frame = view.getBoundingClientRect();
    let x = 0, y = 0;
    if (box.left < frame.left) x = box.left - frame.left - 40;
    else if (box.right > frame.right) x = box.right - frame.right + 40;
    if (box.top < frame.top) y = box.top - frame.top - 40;
    else if (box.bottom > frame.bottom) y = box.bottom - frame.bottom + 40;
    if (x || y) move(x, y);
  }

  svg.setAttribute("preserveAspectRatio", "xMinYMin meet");
  svg.style.width = svg.style.height = "100%";
  view.style.overflow = "hidden";
  svg.querySelector(".paper").style.display = "none"; // the page is the paper
  begin();
  new ResizeObserver(show).observe(view);

  const pointers = new Map();
  let travelled = 0;
  view.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    travelled = 0;
  });
  addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const x = last.x - event.clientX, y = last.y - event.clientY;
    travelled += Math.abs(x) + Math.abs(y);
    if (travelled > 4) view.classList.add("moving");
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const before = Math.hypot(last.x - other.x, last.y - other.y);
      const now = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      const frame = view.getBoundingClientRect();
      if (before > 0) zoom(now / before, other.x - frame.left, other.y - frame.top);
    } else if (travelled > 4) {
      move(x, y);
    }
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const name of ["pointerup", "pointercancel"]) {
    addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      setTimeout(() => { travelled = 0; }); // after the click that ends a drag, which is none
      view.classList.remove("moving");
    });
  }
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    const frame = view.getBoundingClientRect();
    const lines = event.deltaMode === 1 ? 16 : 1;
    zoom(Math.exp(-event.deltaY * lines * 0.0015), event.clientX - frame.left, event.clientY - frame.top);
  }, { passive: false });

  document.getElementById("closer").onclick = () => zoom(1.25);
  document.getElementById("further").onclick = () => zoom(0.8);
  document.getElementById("all").onclick = fit;

  // ---- what is in a box --------------------------------------------------------------------

  const ROWS_STEP = 200;
  const COLUMNS = ["task", "name", "state", "seconds", "worker", "error"];
  const heading = panel.querySelector("h2"), about = panel.querySelector(".about");
  const search = panel.querySelector("input"), choice = panel.querySelector("select");
  const table = panel.querySelector("table"), more = document.getElementById("more");
  const found = document.getElementById("found");
  let opened = null, members = [], order = { column: -1, sign: 1 }, shown = ROWS_STEP;

  function open(element) {
    if (opened) opened.removeAttribute("aria-expanded");
    opened = element;
    element.setAttribute("aria-expanded", "true");
    const node = data.nodes[element.dataset.node];
    heading.textContent = node.title;
    about.textContent = node.about;
    members = node.members;
    order = { column: -1, sign: 1 };
    shown = ROWS_STEP;
    search.value = "";
    const states = [...new Set(members.map((member) => member[2]))];
    choice.replaceChildren(new Option("all states", ""), ...states.map((state) => new Option(state, state)));
    panel.querySelector(".search").hidden = table.hidden = !members.length;
    panel.hidden = false;
    fill();
    (members.length ? search : panel.querySelector(".close")).focus();
    reveal(element);
  }

  function close() {
    if (panel.hidden) return;
    panel.hidden = true;
    const last = opened;
    opened = null;
    if (last) {
      last.removeAttribute("aria-expanded");
      last.focus();
    }
  }

  function matching() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = members.filter((member) => !choice.value || member[2] === choice.value);
    if (words.length) {
      rows = rows.filter((member) => {
        const text = `#${member[0]} ${member.slice(1).join(" ")}`.toLowerCase();
        return words.every((word) => text.includes(word));
      });
    }
    if (order.column >= 0) {
      rows = [...rows].sort((one, other) => {
        const a = one[order.column], b = other[order.column];
        if (a === b) return one[0] - other[0];
        if (a === null) return 1;
        if (b === null) return -1;
        return (a < b ? -1 : 1) * order.sign;
      });
    }
    return rows;
  }

  function cell(row, text, name = "") {
    const td = row.insertCell();
    td.className = name;
    td.textContent = text;
    return td;
  }

  function seconds(value) {
    if (value === null) return "";
    return value < 1 ? `${(value * 1000).toPrecision(3)} ms` : `${value.toPrecision(4)} s`;
  }

  function fill() {
    const rows = matching();
    const body = document.createElement("tbody");
    for (const member of rows.slice(0, shown)) {
      const row = body.insertRow();
      cell(row, member[0] ? `#${member[0]}` : "", "number");
      cell(row, member[1]);
      cell(row, `${data.marks[member[2]]} ${member[2]}`, `state ${member[2]}`);
      cell(row, seconds(member[3]), "number");
      cell(row, member[4]);
      cell(row, member[5]);
    }
    table.tBodies[0].replaceWith(body);
    [...table.tHead.rows[0].cells].forEach((th, column) => {
      if (column === order.column) th.setAttribute("aria-sort", order.sign > 0 ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
    });
    more.hidden = rows.length <= shown;
    more.textContent = `Show more (${rows.length - shown} left)`;
    found.textContent = members.length ? `${rows.length} of ${members.length} listed` : "";
  }

  const head = table.tHead.insertRow();
  COLUMNS.forEach((name, column) => {
    const th = document.createElement("th"), button = document.createElement("button");
    th.scope = "col";
    if (column === 0 || column === 3) th.className = "number";
    button.textContent = name;
    button.onclick = () => {
      order = { column, sign: order.column === column ? -order.sign : 1 };
      fill();
    };
    th.append(button);
    head.append(th);
  });
  search.oninput = choice.onchange = () => { shown = ROWS_STEP; fill(); };
  more.onclick = () => { shown += ROWS_STEP; fill(); };
  panel.querySelector(".close").onclick = close;

  svg.addEventListener("click", (event) => {
    const element = event.target.closest("[data-node]");
    if (element && travelled <= 4) open(element);
  });
  svg.addEventListener("focusin", (event) => {
    const element = event.target.closest("[data-node]");
    if (element && element.matches(":focus-visible")) reveal(element);
  });

  // ---- keys --------------------------------------------------------------------------------

  const STEP = 80;
  const KEYS = {
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": fit,
    ArrowLeft: () => move(-STEP, 0), ArrowRight: () => move(STEP, 0),
    ArrowUp: () => move(0, -STEP), ArrowDown: () => move(0, STEP),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return close();
    const target = event.target;
    const node = target.closest("[data-node]");
    if (node && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      open(node);
    } else if (!panel.contains(target) && KEYS[event.key]) {
      event.preventDefault();
      KEYS[event.key]();
    }
  });
})();
