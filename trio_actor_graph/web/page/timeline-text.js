// What is written on the timeline: ticks and names.

// 1, 2 or 5 times a power of ten up to a minute, then minutes and hours that divide well.
export function tickStep(least) {
  for (const step of [60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400].filter(() => least > 30)) {
    if (step >= least) return step;
  }
  const power = 10 ** Math.floor(Math.log10(Math.max(1e-4, least)));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least);
}

export function tickText(tick, step) {
  if (Math.abs(tick) < step / 2) return "0";
  if (step >= 60) return `${Math.round(tick / 60)} min`;
  return `${Number(tick.toFixed(4))} s`;
}

const widths = new Map();

// The text, cut to the width: measured by its letters' mean, since measuring each costs more than
// drawing.
export function fitted(drawing, text, width) {
  let letter = widths.get(drawing.font);
  if (letter === undefined)
    widths.set(drawing.font, (letter = drawing.measureText("abcdefghij_nopqrst").width / 18));
  const fits = Math.floor(width / letter);
  if (text.length <= fits) return text;
  return fits < 2 ? "" : `${text.slice(0, fits - 1)}…`;
}
