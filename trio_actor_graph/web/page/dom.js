// Making and changing elements. Text goes in as text only: nothing here, and nothing that uses it,
// parses markup, so a task may be called `<img onerror=...>`.

const SVG = "http://www.w3.org/2000/svg";

// el("button", { class: "quiet", onclick: f, "aria-pressed": "false" }, "Text", otherElement)
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  set(element, properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function svg(tag, properties = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, properties);
  element.append(...children);
  return element;
}

function set(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, String(value));
  }
}

export function byId(id) {
  return document.getElementById(id);
}

// Changing a text to what it already is would make the browser lay out and the reader read again.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

// A state as symbol and word.
export function stateMark(state) {
  return el("span", { class: `state state-${state}` }, icon(state), state);
}

// The same element shows another state later.
export function setStateMark(mark, state) {
  if (mark.lastChild.textContent === state) return;
  mark.className = `state state-${state}`;
  mark.firstChild.firstChild.setAttribute("href", `#i-${state}`);
  mark.lastChild.textContent = state;
}
