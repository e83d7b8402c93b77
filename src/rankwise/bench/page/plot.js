// SPDX-License-Identifier: Apache-2.0
// Draws quality against a cost: a mark for each row, the Pareto front as a stepped line, yardsticks as dashed lines.
//
// Up is always better, so the axis of a perplexity is upside down. Drawn at the width there is, in pixels, so that text
// has one size on every screen. A value further than three interquartile ranges from the quartiles would press all
// others together: it is drawn at the edge as a triangle.
"use strict";

const MARGIN = { left: 58, right: 16, top: 34, bottom: 44 };
const LABEL_HEIGHT = 13;

/** An SVG element with attributes, as the last child of another. */
function draw(parent, name, attributes, text = "") {
  const element = document.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  parent.append(element);
  return element;
}

/** The value below which a share of the sorted values lies. */
const quantile = (values, share) => values[Math.round(share * (values.length - 1))];

/** Smallest and largest value that is not far off from the others. */
function usual(values) {
  const list = values.toSorted((a, b) => a - b);
  const fence = 3 * (quantile(list, 0.75) - quantile(list, 0.25)) || Infinity;
  const near = list.filter((v) => v >= quantile(list, 0.25) - fence && v <= quantile(list, 0.75) + fence);
  return [near[0], near.at(-1)];
}

/** A function from values to pixels, with room for names after the largest; logarithmic if asked for. */
function makeScale([low, high], [start, end], log, room = 0.06) {
  const map = log ? Math.log10 : (value) => value;
  const span = map(high) - map(low) || 0.5 * Math.abs(map(high)) || 1;
  const [from, to] = [map(low) - 0.06 * span, map(high) + room * span];
  const scale = (value) => start + ((end - start) * (map(value) - from)) / (to - from);
  return Object.assign(scale, { ticks: log ? logTicks(from, to) : linearTicks(from, to) });
}

/** About five round numbers between two. */
function linearTicks(from, to) {
  const rough = (to - from) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(from / step);
  const count = Math.floor(to / step) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Powers of ten between two exponents, with their doubles and fivefolds where there is room. */
function logTicks(from, to) {
  const factors = to - from > 2 ? [1] : [1, 2, 5];
  const powers = Array.from({ length: Math.ceil(to) - Math.floor(from) }, (_, i) => 10 ** (Math.floor(from) + i));
  const ticks = powers.flatMap((power) => factors.map((factor) => factor * power));
  return ticks.filter((tick) => Math.log10(tick) >= from && Math.log10(tick) <= to);
}

/** Draw the rows of a view. */
function drawPlot(rows, x, xTitle, question) {
  const svg = document.querySelector("#plot svg");
  const size = { width: svg.parentElement.clientWidth, height: Math.max(340, Math.min(500, innerHeight * 0.6)) };
  const { left, top } = MARGIN;
  const box = { left, right: size.width - MARGIN.right, top, bottom: size.height - MARGIN.bottom };
  svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  svg.setAttribute("height", size.height);
  svg.setAttribute("aria-label", `${question.quality} against ${xTitle}`);
  svg.replaceChildren();
  const numbered = rows.filter((row) => row.quality !== null);
  const points = numbered.filter((row) => !row.yardstick && row[x] !== null);
  tellAbsent(numbered.filter((row) => !row.yardstick && row[x] === null), xTitle);
  if (!numbered.length) return void draw(svg, "text", { x: 20, y: 40, class: "title" }, "No row here has a number.");
  const scales = fitScales(numbered, points, x, question, box);
  drawAxes(svg, box, scales, xTitle, question);
  for (const row of numbered.filter((row) => row.yardstick)) drawYardstick(svg, row, scales.y, box);
  drawFront(svg, points.filter((row) => row.front.includes(x)), x, scales, box);
  points.sort((a, b) => a[x] - b[x] || a.quality - b.quality);
  for (const row of points) drawPoint(svg, row, x, scales, box);
  drawLabels(points, box);
  walkable([...svg.querySelectorAll(".marker")]);
}

/** Whether the plot is as wide as its place; a phone that hides its address bar changes the height alone. */
function plotFits() {
  const svg = document.querySelector("#plot svg");
  return svg.viewBox.baseVal.width === svg.parentElement.clientWidth;
}

/** Say which rows have no mark, because their cost was not measured. */
function tellAbsent(rows, xTitle) {
  const absent = document.getElementById("absent");
  absent.hidden = !rows.length;
  absent.textContent = `Not in the plot, since there is no ${xTitle}: ${rows.map((row) => row.method).join(", ")}.`;
}

function fitScales(numbered, points, x, { higher_is_better: up }, box) {
  const [worst, best] = usual(numbered.map((row) => row.quality));
  const inside = numbered.filter((row) => row.quality >= worst && row.quality <= best);
  const ends = inside.flatMap((row) => [row.quality - (row.quality_std ?? 0), row.quality + (row.quality_std ?? 0)]);
  const costs = points.length ? points.map((row) => row[x]) : [1];
  const [low, high] = [Math.min(...costs), Math.max(...costs)];
  return {
    x: makeScale([low, high], [box.left, box.right], low > 0 && high > 10 * low, 0.14),
    y: makeScale([Math.min(...ends), Math.max(...ends)], up ? [box.bottom, box.top] : [box.top, box.bottom], false),
  };
}

function drawAxes(svg, box, { x, y }, xTitle, { quality, higher_is_better: up }) {
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
  const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
  for (const tick of y.ticks) {
    draw(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) });
    draw(svg, "text", { x: box.left - 7, y: y(tick) + 4, "text-anchor": "end" }, plain.format(tick));
  }
  for (const tick of x.ticks) {
    draw(svg, "line", { class: "grid", x1: x(tick), x2: x(tick), y1: box.bottom, y2: box.bottom + 5 });
    draw(svg, "text", { x: x(tick), y: box.bottom + 18, "text-anchor": "middle" }, compact.format(tick));
  }
  draw(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom });
  const yTitle = `\u2191 ${quality}${up ? "" : " (axis reversed: less is better)"}`;
  draw(svg, "text", { class: "title", x: 0, y: 14 }, yTitle);
  draw(svg, "text", { class: "title", x: box.right, y: box.bottom + 36, "text-anchor": "end" }, `${xTitle} \u2192`);
}

/** Draw a group that can be pointed at and focused, with its name for screen readers. */
function drawMarker(svg, row, kind) {
  const name = row.line.querySelector("[data-column=quality]").textContent;
  const marker = draw(svg, "g", { class: `marker ${kind}`, role: "img", "aria-label": `${row.method}: ${name}` });
  draw(marker, "title", {}, `${row.method}: ${name}`);
  row.marker = marker;
  return marker;
}

/** A dashed line at the yardstick's quality, or only its name and value at the edge if that is out of the picture. */
function drawYardstick(svg, row, y, box) {
  const marker = drawMarker(svg, row, "yardstick");
  const at = within(box, y(row.quality));
  if (at === y(row.quality)) {
    const spread = Math.abs(y(row.quality + (row.quality_std ?? 0)) - at);
    const [width, height] = [box.right - box.left, 2 * spread];
    draw(marker, "rect", { class: "band", x: box.left, width, y: at - spread, height });
    draw(marker, "line", { class: "sign", x1: box.left, x2: box.right, y1: at, y2: at });
  }
  const baseline = at === box.top ? at + 9 : at - 5;
  const name = draw(marker, "text", { class: "label", x: box.left + 4, y: baseline }, row.method);
  if (at !== y(row.quality)) name.textContent += `: ${far(row)} ${at === box.top ? "\u25B2" : "\u25BC"}`;
}

/** A height in the picture: the edge's for what is beyond it. */
const within = (box, y) => Math.max(box.top, Math.min(box.bottom, y));

/** A value that is not drawn in place, in figures. */
const far = (row) => Number(row.quality.toPrecision(4));

function drawPoint(svg, row, x, scales, box) {
  const marker = drawMarker(svg, row, row.front.includes(x) ? "front" : "behind");
  const at = { x: scales.x(row[x]), y: within(box, scales.y(row.quality)) };
  row.at = at;
  row.label = row.method;
  if (at.y !== scales.y(row.quality)) {
    const tip = at.y === box.top ? -5 : 5;
    draw(marker, "path", { class: "sign", d: `M${at.x - 5},${at.y - tip} h10 l-5,${2 * tip} z` });
    row.label = `${row.method}: ${far(row)}`;
    return;
  }
  const [low, high] = [-1, 1].map((sign) => scales.y(row.quality + sign * (row.quality_std ?? 0)));
  draw(marker, "line", { class: "bar", x1: at.x, x2: at.x, y1: low, y2: high });
  draw(marker, "circle", { class: "sign", cx: at.x, cy: at.y, r: 4.5 });
}

/** The stepped line below which every point is dominated. */
function drawFront(svg, front, x, scales, box) {
  if (!front.length) return;
  const step = (row) => `H${scales.x(row[x])} V${within(box, scales.y(row.quality))}`;
  const steps = front.toSorted((a, b) => a[x] - b[x]).map(step);
  const first = steps[0].replace("H", "M").replace(" V", ",");
  draw(svg, "path", { id: "front", d: `${first} ${steps.slice(1).join(" ")} H${box.right}` });
}

/** Whether two rectangles touch. */
const touch = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

/** Places for a label around a point, the nearest first; of the front first above and left of its step. */
function places({ x, y }, width, front) {
  const top = y - LABEL_HEIGHT / 2;
  const above = front ? [{ x: x - width - 5, y: top - 10 }, { x: x - width / 2, y: top - 14 }] : [];
  const beside = [9, 26, 46].flatMap((away) =>
    [0, -13, 13, -26, 26, -39, 39].flatMap((shift) => [
      { x: x + away, y: top + shift, far: away > 9 || Math.abs(shift) > 13 },
      { x: x - away - width, y: top + shift, far: away > 9 || Math.abs(shift) > 13 },
    ]),
  );
  return [...above, ...beside].map((place) => ({ ...place, width, height: LABEL_HEIGHT }));
}

/** Write names where they cover neither marks nor other names, the front's first; what finds no place has none. */
function drawLabels(points, box) {
  const taken = points.map(({ at }) => ({ x: at.x - 6, y: at.y - 6, width: 12, height: 12 }));
  for (const text of document.querySelectorAll("#plot .yardstick .label")) taken.push(text.getBBox());
  const isFront = (row) => row.marker.classList.contains("front");
  for (const row of points.toSorted((a, b) => isFront(b) - isFront(a))) {
    const label = draw(row.marker, "text", { class: "label" }, row.label);
    const free = (p) => p.x > box.left && p.x + p.width < box.right && p.y > box.top - 8 && p.y + p.height < box.bottom;
    const around = places(row.at, label.getComputedTextLength(), isFront(row));
    const place = around.find((p) => free(p) && !taken.some((t) => touch(p, t)));
    if (!place) {
      label.remove();
      continue;
    }
    taken.push(place);
    label.setAttribute("x", place.x);
    label.setAttribute("y", place.y + LABEL_HEIGHT - 3);
    if (place.far) drawLeader(row, place);
  }
}

/** A thin line from a point to its name, where that is not beside it. */
function drawLeader({ marker, at }, place) {
  const x2 = place.x > at.x ? place.x - 1 : place.x + place.width + 1;
  draw(marker, "line", { class: "leader", x1: at.x, y1: at.y, x2, y2: place.y + LABEL_HEIGHT / 2 });
}

/** One tab stop for all marks; the arrow keys go from one to the next. */
function walkable(markers) {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  markers.forEach((marker, index) => {
    marker.setAttribute("tabindex", index ? -1 : 0);
    marker.addEventListener("keydown", (event) => {
      if (!steps[event.key]) return;
      event.preventDefault();
      markers.at((index + steps[event.key]) % markers.length).focus();
    });
  });
}
