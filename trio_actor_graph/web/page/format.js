// Numbers, times and sizes as people read them. All of it is pure.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(number) {
  return whole.format(number);
}

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

// "999", "1.2K": where there is little room.
export function short(number) {
  return compact.format(number);
}

// "1 task", "2,000 tasks".
export function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (value < 0.001) return `${Math.max(0, Math.round(value * 1e6))} µs`;
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 60) return `${value.toFixed(1)} s`;
  const all = Math.round(value);
  const two = (number) => String(number).padStart(2, "0");
  if (all < 3600) return `${Math.floor(all / 60)} min ${two(all % 60)} s`;
  return `${Math.floor(all / 3600)} h ${two(Math.floor((all % 3600) / 60))} min`;
}

export function rate(perSecond) {
  if (perSecond === 0) return "0";
  if (perSecond < 10) return perSecond.toFixed(1);
  return whole.format(perSecond);
}

export function bytes(value) {
  if (value === null || value === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

// A Unix time as the clock on the wall; with thousandths for what is looked at closely.
export function clock(at, { thousandths = false } = {}) {
  if (at === null || at === undefined) return "";
  const date = new Date(at * 1000);
  const text = date.toLocaleTimeString("en-GB");
  return thousandths ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}

export function percent(part, all) {
  if (all === 0) return "0 %";
  // Rounded down: 100 % is said when all have ended, not before.
  return `${Math.floor((part / all) * 100)} %`;
}
