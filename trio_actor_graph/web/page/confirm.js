// Asks before harm is done. The harmless answer has the focus, and Escape means it.

import { byId, setText } from "./dom.js";

// Returns null for no, else { checked } with the answer to the choice, if there was one.
export function confirmed({ title, text, yes, choice = null }) {
  const dialog = byId("confirm");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  byId("confirm-choice").hidden = choice === null;
  setText(byId("confirm-check-text"), choice ?? "");
  byId("confirm-check").checked = false;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    const answer = () =>
      resolve(dialog.returnValue === "yes" ? { checked: byId("confirm-check").checked } : null);
    dialog.addEventListener("close", answer, { once: true });
  });
}
