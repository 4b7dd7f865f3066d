// What is said: to screen readers politely and seldom, to everybody in a message that goes by
// itself.

import { byId } from "./dom.js";

// Between two announcements; what comes meanwhile waits, and only the last is said.
const QUIET_MS = 4_000;
const TOAST_MS = 7_000;

let lastAt = -Infinity;
let timer = null;
let toastTimer = null;

export function announce(text) {
  const wait = lastAt + QUIET_MS - performance.now();
  clearTimeout(timer);
  if (wait <= 0) say(text);
  else timer = setTimeout(() => say(text), wait);
}

function say(text) {
  lastAt = performance.now();
  byId("announcer").textContent = text;
}

export function toast(text) {
  const element = byId("toast");
  element.textContent = text;
  element.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (element.hidden = true), TOAST_MS);
}

// The tip beside the pointer; null takes it away.
export function tip(text, event) {
  const element = byId("tip");
  element.hidden = text === null;
  if (text === null) return;
  element.textContent = text;
  const { offsetWidth, offsetHeight } = element;
  const left = Math.min(event.clientX + 14, innerWidth - offsetWidth - 6);
  element.style.left = `${Math.max(4, left)}px`;
  const below = event.clientY + 16;
  const top = below + offsetHeight > innerHeight ? event.clientY - offsetHeight - 10 : below;
  element.style.top = `${Math.max(4, top)}px`;
}
