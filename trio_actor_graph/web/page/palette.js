// The colours of style.css for what is drawn on a canvas, in the scheme that is in force.

import { STATES } from "./states.js";

const NAMES = ["text", "dim", "line", "panel", "sunken", "accent", "edge"];

let known = null;

// Colours by name: "text", "line", ..., and "fill-running", ...
export function palette() {
  if (known !== null) return known;
  const probe = document.createElement("span");
  document.body.append(probe);
  known = {};
  for (const name of [...NAMES, ...STATES.map((state) => `fill-${state}`)]) {
    probe.style.color = `var(--${name})`;
    known[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return known;
}

// To be called when the scheme has changed.
export function forgetPalette() {
  known = null;
}

let measure = null;

// How wide a text is as the name of a node: .node-name of style.css.
export function textWidth(text) {
  if (measure === null) {
    measure = document.createElement("canvas").getContext("2d");
    measure.font = `600 12.5px ${getComputedStyle(document.body).fontFamily}`;
  }
  return measure.measureText(text).width;
}

// Makes a canvas as fine as the screen and returns its context, in CSS pixels.
export function context(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const wide = Math.round(width * ratio);
  const high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const drawing = canvas.getContext("2d");
  drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
  drawing.clearRect(0, 0, width, height);
  return drawing;
}
