// Light, dark, or as the system has it; what was chosen is kept in this browser.

import { byId } from "./dom.js";
import { forgetPalette } from "./palette.js";

const CHOICES = ["system", "light", "dark"];
const LABELS = { system: "as the system", light: "light", dark: "dark" };
const KEPT_AS = "trio-actor-graph.theme";

export function startTheme(onChange) {
  const button = byId("theme");
  let choice = kept();
  const apply = () => {
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    button.setAttribute("aria-label", `Colours: ${LABELS[choice]}`);
    button.title = `Colours: ${LABELS[choice]}`;
    forgetPalette();
    onChange();
  };
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    keep(choice);
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}

// Storage may be forbidden; then the choice lasts as long as the page.
function kept() {
  try {
    const choice = localStorage.getItem(KEPT_AS);
    return CHOICES.includes(choice) ? choice : "system";
  } catch {
    return "system";
  }
}

function keep(choice) {
  try {
    localStorage.setItem(KEPT_AS, choice);
  } catch {
    // as above
  }
}
