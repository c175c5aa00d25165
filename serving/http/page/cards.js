// What one video looks like: in the grid, in a strip, in a list of a day, and why it is there.

import { byId, count, country, duration, h, language, plural, secondsBetween, short, span } from "./dom.js";
import { thumbnail } from "./thumbnail.js";

const GENERATORS = {
  retrieval: "Two-tower retrieval",
  wals: "Collaborative filtering (WALS)",
  similar: "Like what was liked",
  local: "Popular nearby",
  trending: "Trending",
  fresh: "New uploads",
  popular: "Popular",
  exploration: "Exploration",
};
const PARTS = {
  ranker: "Ranker",
  retrieval: "Retrieval",
  wals: "Collaborative",
  popular: "Popular",
  local: "Local",
  trend: "Trend",
  fresh: "Fresh",
  sponsored: "Sponsored",
};
const RULES = {
  creators: "Not too much of one creator",
  diversity: "Variety",
  near_duplicates: "Near duplicates",
  language: "Language",
  age: "Age of the video",
  fairness: "Fair shares for creators",
  clickbait: "Clickbait",
  misinformation: "Misinformation",
};

export const titleOf = (id, fact) => fact?.title || `Video ${id}`;
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const creator = (fact) => (fact && fact.creator_id !== null ? `Creator ${fact.creator_id}` : "");

function meta(fact, asOf) {
  if (!fact) return [];
  const age = fact.uploaded_at && asOf ? span(secondsBetween(fact.uploaded_at, asOf)) : null;
  return [
    fact.view_count === null ? null : `${short(fact.view_count)} ${fact.view_count === 1 ? "view" : "views"}`,
    age && `${age} old`,
    fact.language && language(fact.language),
  ].filter(Boolean);
}

function picture(id, fact, rank) {
  return h("div", { class: "thumb" },
    thumbnail(id, fact),
    rank ? h("span", { class: "rank", "aria-hidden": "true" }, String(rank)) : null,
    fact?.duration_seconds ? h("span", { class: "length" }, h("span", { class: "hidden" }, "Length "), duration(fact.duration_seconds)) : null,
  );
}

/** A card of the grid: a button that tells why. */
export function card(item, fact, asOf, open) {
  const title = titleOf(item.video_id, fact);
  const drawn = item.sources.includes("exploration");
  return h("li", {},
    h("button", { class: "card", type: "button", tabindex: "-1", "data-video": item.video_id, onclick: () => open(item, fact) },
      picture(item.video_id, fact, item.rank),
      h("span", { class: "hidden" }, `Rank ${item.rank}: `),
      h("span", { class: "title", dir: "auto", lang: fact?.language ?? null }, title),
      h("span", { class: "meta" }, creator(fact)),
      h("span", { class: "meta" }, meta(fact, asOf).join(" · ")),
      h("span", { class: drawn ? "reason drawn" : "reason" }, sentence(item.reason)),
    ));
}

/** A small card: what was watched. */
export function small(id, fact, when) {
  return h("li", { class: "small" }, picture(id, fact, null),
    h("span", { class: "title", dir: "auto", lang: fact?.language ?? null }, titleOf(id, fact)), h("span", { class: "meta" }, when));
}

/** A row of a day's list; `moved` says what became of it, in words and a sign. */
export function row(rank, id, fact, moved) {
  return h("li", { class: "row" }, h("span", { class: "place" }, String(rank)), picture(id, fact, null),
    h("span", { class: "title", dir: "auto", lang: fact?.language ?? null }, titleOf(id, fact)),
    h("span", { class: `moved ${moved.kind}` }, h("span", { "aria-hidden": "true" }, moved.sign), h("span", { class: "hidden" }, moved.words)));
}

/** What became of a video since the list before, in which it had the rank `before`. */
export function movement(rank, before) {
  if (!before) return { kind: "new", sign: "new", words: "new" };
  if (before === rank) return { kind: "same", sign: "=", words: "same place" };
  const places = Math.abs(before - rank);
  return before > rank ? { kind: "up", sign: `▲ ${places}`, words: `up by ${places}` } : { kind: "down", sign: `▼ ${places}`, words: `down by ${places}` };
}

/** The name of a segment in words: "Germany, German, TV". */
export function segmentInWords(name) {
  if (!name || name === "all") return "everybody";
  const words = { country, language, device: (device) => device };
  return name.split("|").map((part) => part.split("=")).map(([kind, value]) => words[kind]?.(value) ?? value).join(", ");
}

/** Open the dialog that says why a video is at its place. */
export async function explain(item, fact, { userId, total, asOf, fallback }) {
  const dialog = byId("why");
  const close = h("button", { class: "close", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×");
  const more = h("div", { class: "more-why", "aria-live": "polite" });
  dialog.replaceChildren(
    close,
    picture(item.video_id, fact, null),
    h("div", { class: "inside" },
      h("p", { class: "label" }, `Rank ${item.rank} of ${total} · video ${item.video_id}`),
      h("h2", { id: "why-title", dir: "auto", lang: fact?.language ?? null }, titleOf(item.video_id, fact)),
      h("p", { class: "meta" }, [creator(fact), ...meta(fact, asOf)].filter(Boolean).join(" · ")),
      fact?.tags?.length ? h("ul", { class: "chips tags", "aria-label": "Tags" }, fact.tags.map((tag) => h("li", { dir: "auto" }, tag))) : null,
      h("p", { class: "because" }, sentence(item.reason)),
      h("h3", {}, "Proposed by"),
      h("ul", { class: "sources" }, item.sources.split("|").map(source)),
      more),
  );
  dialog.showModal();
  close.focus();
  if (fallback) {
    more.append(h("p", { class: "remark" }, "A fallback list is ordered by popularity alone."));
    return;
  }
  const answer = await fetch(`/page-data/users/${userId}/videos/${item.video_id}`);
  const found = answer.ok ? (await answer.json()).row : null;
  more.replaceChildren(...(found ? parts(found) : [h("p", { class: "remark" }, "The list has changed meanwhile: show the page again.")]));
}

function source(text) {
  const [name, place] = text.split(":");
  return h("li", {}, h("span", {}, GENERATORS[name] ?? sentence(name)), h("span", { class: "muted" }, place ? `place ${count(Number(place))}` : "fills the list"));
}

function parts(found) {
  const known = Object.entries(PARTS).map(([key, label]) => ({ label, value: found[`score_${key}`] ?? 0 })).filter(({ value }) => value);
  known.sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
  const most = Math.max(...known.map(({ value }) => Math.abs(value)), 1e-9);
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
  const penalty = found.score - known.reduce((sum, { value }) => sum + value, 0);
  const moves = (found.rules ?? "").split("|").filter(Boolean).map((text) => move(text, found.propensity));
  const bars = known.map(({ label, value }) => {
    const bar = h("span", { class: value < 0 ? "bar-fill below" : "bar-fill" });
    bar.style.setProperty("inline-size", `${((Math.abs(value) / most) * 100).toFixed(1)}%`);
    return h("li", {}, h("span", {}, label), h("span", { class: "bar-room" }, bar), h("span", { class: "number" }, signed(value)));
  });
  return [
    h("h3", {}, `Score ${found.score.toFixed(3)}`),
    known.length ? h("ul", { class: "bars" }, bars) : h("p", { class: "remark" }, "This publication does not say what the score is made of."),
    known.length && Math.abs(penalty) > 0.0005 ? h("p", { class: "remark" }, `${signed(penalty)}, penalties of rules`) : null,
    h("h3", {}, "Rules"),
    moves.length ? h("ul", { class: "sources" }, moves) : h("p", { class: "remark" }, "No rule moved it."),
  ].filter(Boolean);
}

function move(text, propensity) {
  if (text.startsWith("exploration>")) {
    return h("li", {}, h("span", {}, `Exploration drew it for place ${text.split(">")[1]}`), h("span", { class: "muted" }, `chance ${(propensity * 100).toFixed(1)} %`));
  }
  const [name, ranks] = text.split(":");
  const [from, to] = ranks.split(">");
  const words = Number(to) > Number(from) ? "down" : "up";
  return h("li", {}, h("span", {}, RULES[name] ?? sentence(name.replaceAll("_", " "))), h("span", { class: "muted" }, `${words}, from ${from} to ${to}`));
}

export const listed = (number) => plural(number, "video");
