// The page: what the address asks for is loaded and shown.

import { card, explain, listed, movement, row, segmentInWords, small } from "./cards.js";
import { byId, count, country, day, h, language, moment, plural, secondsBetween, span } from "./dom.js";

const FIRST = 24; // cards before "show all"
const KINDS = { country, language, device: (value) => value };

let asked = 0; // answers to older questions are dropped

/** What the server says; its ids are texts and stay so, because a number here has 53 bits and an id 64. */
async function get(path) {
  const answer = await fetch(path);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(body.found ?? answer.statusText), { problem: body });
  return body;
}

// ---------------------------------------------------------------------------------------------- what is live

function showLive({ live, publications, remarks }) {
  const stale = live.state !== "fresh";
  const known = live.version !== null;
  const title = live.state === "fresh" ? "Fresh" : live.state === "stale" ? "Stale" : "Nothing is live";
  const now = live.checked_at;
  const mark = h("span", { class: "mark", "aria-hidden": "true" }, stale ? "!" : "✓");
  const age = known ? span(secondsBetween(live.as_of, now)) : "";
  const pill = byId("freshness");
  pill.className = `pill ${stale ? "stale" : "fresh"}`;
  pill.replaceChildren(mark, h("span", {}, known ? `${title} · ${age} old` : title));
  pill.hidden = false;
  byId("state").className = `state ${stale ? "stale" : "fresh"}`;
  const rest = known ? secondsBetween(now, live.expires_at) : 0;
  byId("state").replaceChildren(
    mark.cloneNode(true),
    h("div", {}, h("p", { class: "big" }, title), h("p", {}, known
      ? `Knows everything before ${moment(live.as_of)}, ${age} ago. ${rest > 0 ? `Expires in ${span(rest)}.` : `Expired ${span(-rest)} ago: look at the pipeline.`}`
      : live.text)));
  const facts = known ? [
    ["Version", String(live.version)],
    ["Users with a list", count(live.users)],
    ["As of", moment(live.as_of)],
    ["Expires", moment(live.expires_at)],
    ["Model", publications.find((one) => one.version === live.version)?.model_version ?? ""],
  ] : [];
  byId("live-facts").replaceChildren(...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  byId("publications").replaceChildren(...publications.map((one) => h("tr", {},
    h("th", { scope: "row" }, String(one.version)), h("td", {}, h("span", { class: `status at-${one.status}` }, one.status.replace("_", " "))),
    h("td", {}, moment(one.as_of)), h("td", { class: "number" }, count(one.users)), h("td", { class: "model" }, one.model_version))));
  remark(remarks);
  byId("live").hidden = false;
}

/** Say what could not be found out, each once. */
function remark(texts) {
  const said = [...byId("remarks").children].map((item) => item.textContent);
  byId("remarks").append(...texts.map(sentence).filter((text) => !said.includes(text)).map((text) => h("li", {}, text)));
}

function showChoices({ users, segments }) {
  byId("samples").replaceChildren(...users.map(({ user_id: user, actions }) => h("li", {},
    h("a", { href: `?user=${user}`, "data-user": user, title: plural(actions, "action") },
      user, h("span", { class: "muted" }, h("span", { class: "hidden" }, ", "), plural(actions, "action"))))));
  if (!users.length) byId("samples").append(h("li", { class: "remark" }, "No users to suggest: type an id."));
  for (const [kind, words] of Object.entries(KINDS)) {
    const values = (segments[kind] ?? []).map((value) => [value, words(value)]);
    values.sort(([, one], [, other]) => one.localeCompare(other));
    byId(kind).replaceChildren(h("option", { value: "" }, "Any"), ...values.map(([value, name]) => h("option", { value }, name)));
  }
}

// ---------------------------------------------------------------------------------------------- a homepage

function subtitle(page) {
  const made = `${listed(page.items.length)} · as of ${moment(page.as_of)}`;
  const list = page.segment ? `Fallback list for ${segmentInWords(page.segment)}` : "no list at all";
  const badge = {
    own: h("span", { class: "badge" }, "Own list"),
    missing: h("span", { class: "badge other" }, page.user_id === null ? list : `No list of their own · ${list}`),
    expired: h("span", { class: "badge other" }, `Own list has expired · ${list}`),
  }[page.why];
  return [badge, page.stale ? h("span", { class: "badge stale" }, "Stale") : null, h("span", {}, made)].filter(Boolean);
}

function showHomepage({ homepage: page, videos, watched, before, remarks }) {
  byId("title").textContent = page.user_id === null ? "New visitor" : `User ${page.user_id}`;
  document.title = `${byId("title").textContent} · reelflow`;
  byId("subtitle").replaceChildren(...subtitle(page));
  byId("heading").hidden = false;

  byId("watched").hidden = page.user_id === null;
  byId("watched-list").replaceChildren(...watched.videos.map(({ video_id: id, at }) =>
    small(id, videos[id], `${span(secondsBetween(at, page.as_of))} before`)));
  byId("watched-list").hidden = !watched.videos.length;
  byId("watched-remark").hidden = Boolean(watched.videos.length);
  byId("watched-remark").textContent = watched.remark ? sentence(watched.remark) : "Nothing within the look-back.";

  const open = (item, fact) => explain(item, fact, { userId: page.user_id, total: page.items.length, asOf: page.as_of, fallback: page.fallback });
  const cards = page.items.map((item) => card(item, videos[item.video_id], page.as_of, open));
  fillGrid(cards, FIRST);
  showDays(page, videos, before);
  byId("shown").hidden = false;
  remark(remarks);
  byId("said").textContent = `${byId("title").textContent}: ${listed(page.items.length)}`;
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function fillGrid(cards, number) {
  const grid = byId("grid");
  grid.replaceChildren(...cards.slice(0, number));
  const first = grid.querySelector(".card");
  if (first) first.tabIndex = 0;
  const more = byId("more");
  more.hidden = cards.length <= number;
  more.textContent = `Show all ${cards.length}`;
  more.onclick = () => {
    fillGrid(cards, cards.length);
    focusCard([...grid.querySelectorAll(".card")][number]);
  };
}

function showDays(page, videos, before) {
  const today = page.items.map((item) => item.video_id);
  const earlier = new Map(before.videos.map((id, place) => [id, place + 1]));
  const now = new Map(today.map((id, place) => [id, place + 1]));
  const stayed = today.filter((id) => earlier.has(id)).length;
  byId("days-summary").textContent = before.videos.length
    ? `${stayed} of ${listed(today.length)} were there the day before, ${today.length - stayed} are new, ${before.videos.length - stayed} have gone.`
    : `${sentence(before.remark || "there was no list the day before")} It is read from this machine's lake, which keeps a table a day.`;
  byId("before-title").textContent = `The day before · ${day(before.day)}`;
  byId("today-title").textContent = "Live now";
  byId("before").replaceChildren(...before.videos.map((id, place) => {
    const moved = now.has(id) ? { kind: "same", sign: `→ ${now.get(id)}`, words: `now at ${now.get(id)}` } : { kind: "gone", sign: "gone", words: "gone" };
    return row(place + 1, id, videos[id], moved);
  }));
  byId("today").replaceChildren(...today.map((id, place) => row(place + 1, id, videos[id], movement(place + 1, earlier.get(id)))));
  document.querySelector(".days").hidden = !before.videos.length;
}

function fail(error) {
  const { which, found, expected, do: advice } = error.problem ?? {};
  byId("notice").replaceChildren(
    h("strong", {}, which ? `${which}: ${found}` : `The server does not answer: ${error.message}`),
    h("p", {}, which ? `Expected ${expected}. To do: ${advice}.` : "Is it still running? It was started with make serve."));
  byId("notice").hidden = false;
  for (const id of ["heading", "watched", "shown"]) byId(id).hidden = true;
}

// ---------------------------------------------------------------------------------------------- the address

async function load() {
  const turn = ++asked;
  const wanted = new URLSearchParams(location.search);
  const query = new URLSearchParams();
  const user = wanted.get("user");
  if (user) query.set("user_id", user);
  for (const kind of Object.keys(KINDS)) {
    if (wanted.get(kind)) query.set(kind, wanted.get(kind));
    byId(kind).value = wanted.get(kind) ?? "";
  }
  byId("user-id").value = user ?? "";
  for (const link of byId("samples").querySelectorAll("a")) {
    if (link.dataset.user === user) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("main").setAttribute("aria-busy", "true");
  try {
    const found = await get(`/page-data/homepage?${query}`);
    if (turn !== asked) return;
    byId("notice").hidden = true;
    showHomepage(found);
  } catch (error) {
    if (turn === asked) fail(error);
  } finally {
    if (turn === asked) byId("main").removeAttribute("aria-busy");
  }
}

function go(query) {
  history.pushState(null, "", `?${query}`);
  load();
}

byId("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  go(new URLSearchParams({ user: byId("user-id").value.trim() }));
});
byId("visitor-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = Object.keys(KINDS).map((kind) => [kind, byId(kind).value]).filter(([, value]) => value);
  go(new URLSearchParams(chosen.length ? chosen : [["visitor", "any"]]));
});
byId("samples").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(new URLSearchParams({ user: link.dataset.user }));
});
addEventListener("popstate", load);

// ---------------------------------------------------------------------------------------------- keys

function focusCard(target) {
  if (!target) return;
  for (const other of byId("grid").querySelectorAll(".card")) other.tabIndex = other === target ? 0 : -1;
  target.focus();
}

byId("grid").addEventListener("keydown", (event) => {
  const cards = [...byId("grid").querySelectorAll(".card")];
  const place = cards.indexOf(document.activeElement);
  if (place < 0) return;
  const columns = cards.filter((one) => one.offsetTop === cards[0].offsetTop).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -place, End: cards.length - 1 - place };
  if (!(event.key in steps)) return;
  event.preventDefault();
  focusCard(cards[place + steps[event.key]]);
});
byId("grid").addEventListener("focusin", (event) => {
  for (const other of byId("grid").querySelectorAll(".card")) other.tabIndex = other === event.target.closest(".card") ? 0 : -1;
});

const tabs = [byId("tab-grid"), byId("tab-days")];
function choose(tab) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = !chosen;
  }
}
for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = tabs[1 - tabs.indexOf(tab)];
    choose(other);
    other.focus();
  });
}
byId("why").addEventListener("click", (event) => {
  if (event.target === byId("why")) byId("why").close(); // beside it
});

// ---------------------------------------------------------------------------------------------- begin

try {
  const found = await get("/page-data/start");
  showLive(found);
  showChoices(found);
  if (found.live.version === null) {
    throw Object.assign(new Error("nothing is live"), {
      problem: { which: "The serving store", found: "nothing is live yet", expected: "a publication", do: "run the pipeline once, by make run" },
    });
  }
  if (!location.search && found.users.length) history.replaceState(null, "", `?user=${found.users[0].user_id}`);
  await load();
} catch (error) {
  fail(error);
}
document.documentElement.dataset.loaded = "true";
