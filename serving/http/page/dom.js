// Elements, and numbers and times in words.

/** Make an element: attributes by name, `on*` as listeners, null and false left out; children are nodes or text. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export const byId = (id) => document.getElementById(id);

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en");
const languages = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });
const regions = new Intl.DisplayNames(["en"], { type: "region", fallback: "code" });
const dates = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const times = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });

export const count = (number) => whole.format(number);
export const short = (number) => compact.format(number);

function named(names, code) {
  try { return names.of(code) ?? code; } catch { return code; }
}
export const language = (code) => named(languages, code);
export const country = (code) => named(regions, code);

/** 3:07, or 1:02:03. */
export function duration(seconds) {
  const all = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(all / 3600);
  const minutes = Math.floor(all / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(all % 60)}` : `${minutes}:${two(all % 60)}`;
}

/** "5 hours", from seconds; never more than one unit. */
export function span(seconds) {
  const units = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const [unit, size] = units.find(([, size]) => seconds >= size) ?? ["second", 1];
  const number = Math.max(0, Math.floor(seconds / size));
  return `${number} ${unit}${number === 1 ? "" : "s"}`;
}

export const day = (text) => dates.format(new Date(text));
export const moment = (text) => `${day(text)}, ${times.format(new Date(text))} UTC`;
export const secondsBetween = (earlier, later) => (new Date(later) - new Date(earlier)) / 1000;
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
