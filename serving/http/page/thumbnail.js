// A picture for a video that has none here: drawn from its tags, language and id, always the same one.

const SVG = "http://www.w3.org/2000/svg";

let drawn = 0; // a gradient's id must be its picture's own: one of a hidden picture is not painted

function s(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** FNV-1a: spreads texts evenly over 32 bits. */
function digest(text) {
  let value = 0x811c9dc5;
  for (const character of text) value = Math.imul(value ^ character.codePointAt(0), 0x01000193) >>> 0;
  return value;
}

/** Numbers from 0 to 1 that follow from a seed (mulberry32). */
function numbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const SCENES = [hills, sun, waves, blocks, rings, sheets];

/** One video's picture; videos whose first tags are the same share a colour and a kind of scene. */
export function thumbnail(videoId, fact) {
  const topic = fact?.tags?.[0] ?? fact?.title?.split(" ")[0] ?? videoId;
  const seed = digest(topic);
  const next = numbers(digest(`${topic} ${videoId}`));
  const hue = (seed % 24) * 15 + (next() - 0.5) * 16;
  const tone = (saturation, lightness, turn = 0) => `hsl(${Math.round((hue + turn + 360) % 360)} ${saturation}% ${lightness}%)`;
  const id = `sky-${(drawn += 1)}`;
  const picture = s("svg", { viewBox: "0 0 160 90", preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true", focusable: "false" });
  picture.append(
    s("defs", {}, s("linearGradient", { id, x1: 0, y1: 0, x2: next() < 0.5 ? 0.6 : -0.4, y2: 1 },
      s("stop", { offset: 0, "stop-color": tone(62, 72, 24) }), s("stop", { offset: 1, "stop-color": tone(58, 52, -14) }))),
    s("rect", { width: 160, height: 90, fill: `url(#${id})` }),
  );
  SCENES[(seed >>> 8) % SCENES.length](picture, next, tone);
  return picture;
}

function ridge(next, height, rough) {
  const points = [];
  for (let x = 0; x <= 160; x += 20) points.push([x, height + (next() - 0.5) * rough]);
  let path = `M0 90 L0 ${points[0][1]}`;
  for (let place = 1; place < points.length; place += 1) {
    const [x, y] = points[place];
    const [before, level] = points[place - 1];
    path += ` C${before + 10} ${level} ${x - 10} ${y} ${x} ${y}`;
  }
  return `${path} L160 90 Z`;
}

function hills(picture, next, tone) {
  picture.append(s("circle", { cx: 30 + next() * 100, cy: 20 + next() * 14, r: 8 + next() * 6, fill: tone(80, 92, 40) }));
  [[48, 58], [60, 44], [74, 32]].forEach(([height, light]) => picture.append(s("path", { d: ridge(next, height, 26), fill: tone(48, light, -8) })));
}

function sun(picture, next, tone) {
  const cx = 40 + next() * 80;
  [40, 30, 20].forEach((r, place) => picture.append(s("circle", { cx, cy: 62, r, fill: tone(80, 66 + place * 9, 30), "fill-opacity": 0.55 + place * 0.2 })));
  picture.append(s("path", { d: ridge(next, 68, 6), fill: tone(50, 34, -20) }));
}

function waves(picture, next, tone) {
  for (let place = 0; place < 5; place += 1) {
    picture.append(s("path", { d: ridge(next, 30 + place * 13, 16), fill: tone(55, 66 - place * 8, place * 9), "fill-opacity": 0.8 }));
  }
}

function blocks(picture, next, tone) {
  for (let x = -4; x < 160;) {
    const width = 12 + next() * 16;
    const height = 22 + next() * 48;
    picture.append(s("rect", { x, y: 90 - height, width, height, rx: 2, fill: tone(38, 30 + next() * 24, -16) }));
    x += width + 1.5;
  }
}

function rings(picture, next, tone) {
  const cx = 30 + next() * 100;
  const cy = 20 + next() * 50;
  for (let r = 78; r > 6; r -= 12) picture.append(s("circle", { cx, cy, r, fill: tone(56, 42 + ((78 - r) / 72) * 36, (78 - r) / 3) }));
}

function sheets(picture, next, tone) {
  for (let place = 0; place < 5; place += 1) {
    const x = place * 30 + next() * 18 - 10;
    const turn = (next() - 0.5) * 50;
    picture.append(s("rect", { x, y: 12 + next() * 26, width: 44, height: 60, rx: 6, fill: tone(52, 40 + place * 9, place * 12), "fill-opacity": 0.86, transform: `rotate(${turn.toFixed(1)} ${x + 22} 45)` }));
  }
}
