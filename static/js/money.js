/**
 * Draws the chart of the pages about money from the table below it.
 *
 * The table is the truth and stays readable without scripts; the chart only shows its
 * rows as bars: what was paid is solid, what a subscription covers is hatched on top,
 * and calls of unknown cost are a question mark above, because they have no height.
 */

import { writeDollars } from "./amounts.js";

/* global uPlot */
const NANO_PER_USD = 1e9;
const HEIGHT_PX = 260;
const HATCH_PX = 6;

/**
 * Read the rows of the table.
 *
 * @param {Iterable<{dataset: DOMStringMap}>} rows
 * @returns {{label: string, paid: number, covered: number, calls: number, unknown: number}[]}
 *   amounts in dollars, oldest first
 */
export function readRows(rows) {
  return Array.from(rows, ({ dataset }) => ({
    label: dataset.label,
    paid: Number(dataset.paid) / NANO_PER_USD,
    covered: Number(dataset.covered) / NANO_PER_USD,
    calls: Number(dataset.calls),
    unknown: Number(dataset.unknown),
  }));
}

/** Return the colour that a part of the key has in the theme that is shown. */
function colourOf(key, part) {
  return getComputedStyle(key.querySelector(`.swatch.${part}`)).color;
}

/** Return a hatching in one colour. */
function hatching(colour) {
  const tile = document.createElement("canvas");
  const side = HATCH_PX * devicePixelRatio;
  tile.width = tile.height = side;
  const context = tile.getContext("2d");
  context.strokeStyle = colour;
  context.lineWidth = 2 * devicePixelRatio;
  for (const shift of [-side, 0, side]) {
    context.moveTo(shift, side);
    context.lineTo(shift + side, 0);
  }
  context.stroke();
  return context.createPattern(tile, "repeat");
}

/** Write a question mark above each bar on top of which calls of unknown cost came. */
function markUnknown(plot, rows, colour) {
  const context = plot.ctx;
  context.save();
  context.fillStyle = colour;
  context.textAlign = "center";
  context.textBaseline = "bottom";
  context.font = `700 ${13 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`;
  rows.forEach((row, index) => {
    if (!row.unknown) return;
    const x = plot.valToPos(index, "x", true);
    const y = plot.valToPos(row.paid + row.covered, "y", true);
    context.fillText("?", x, y - 2 * devicePixelRatio);
  });
  context.restore();
}

/** What is said about the bar under the pointer. */
function valueOf(rows, write) {
  return (plot, value, series, index) => (index === null ? "–" : write(rows[index]));
}

function options(rows, width, key) {
  const style = getComputedStyle(document.body);
  const font = `12px ${style.fontFamily}`;
  const line = getComputedStyle(document.querySelector(".table th")).borderBottomColor;
  const axis = { stroke: getComputedStyle(key).color, font, ticks: { show: false } };
  const covered = colourOf(key, "covered");
  const bars = uPlot.paths.bars({ size: [0.7, 40] });
  return {
    width,
    height: HEIGHT_PX,
    cursor: { points: { show: false }, drag: { x: false, y: false } },
    legend: { live: true },
    scales: {
      x: { time: false, range: [-0.6, rows.length - 0.4] },
      // Room for the question marks; a chart of nothing but zeros still has a height.
      y: { range: (plot, low, high) => [0, high > 0 ? high * 1.15 : 1] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 56,
        incrs: [1, 2, 3, 5, 7, 10, 15],
        values: (plot, splits) => splits.map((index) => rows[index]?.label ?? ""),
      },
      {
        ...axis,
        grid: { stroke: line, width: 1 },
        size: (plot, values) => 16 + 7 * Math.max(0, ...(values ?? []).map((text) => text.length)),
        values: (plot, splits) => splits.map(writeDollars),
      },
    ],
    series: [
      { label: "When", value: valueOf(rows, (row) => row.label) },
      {
        label: "By subscription",
        paths: bars,
        points: { show: false },
        stroke: covered,
        width: 1,
        fill: hatching(covered),
        value: valueOf(rows, (row) => writeDollars(row.covered)),
      },
      {
        label: "Paid",
        paths: bars,
        points: { show: false },
        fill: colourOf(key, "paid"),
        width: 0,
        value: valueOf(rows, (row) =>
          row.unknown === row.calls && row.calls ? "unknown" : writeDollars(row.paid)),
      },
      {
        label: "Of unknown cost",
        paths: () => null,
        points: { show: false },
        value: valueOf(rows, (row) => String(row.unknown)),
      },
    ],
    hooks: {
      // Until something is pointed at, the words are about the newest bar.
      ready: [(plot) => plot.setLegend({ idx: rows.length - 1 })],
      draw: [(plot) => markUnknown(plot, rows, colourOf(key, "unknown"))],
    },
  };
}

/** Draw the chart, and draw it again whenever its width or the theme changes. */
function start(place) {
  const box = place.closest("section");
  const key = box.querySelector(".chart-key");
  const table = box.querySelector("[data-chart-rows]");
  const rows = readRows(table.querySelectorAll("tbody tr"));
  const data = [
    rows.map((row, index) => index),
    rows.map((row) => row.paid + row.covered || null),
    rows.map((row) => row.paid || null),
    rows.map(() => null),
  ];
  let plot = null;
  place.hidden = key.hidden = false;
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", "A bar for each row of the table below");

  function draw() {
    plot?.destroy();
    plot = new uPlot(options(rows, place.clientWidth, key), data, place);
    place.dataset.drawn = String(rows.length);
  }
  new ResizeObserver(() => {
    if (plot === null || Math.abs(plot.width - place.clientWidth) > 1) draw();
  }).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new MutationObserver(draw).observe(document.documentElement, {
    attributeFilter: ["data-theme"],
  });
}

if (typeof document !== "undefined") {
  for (const place of document.querySelectorAll("[data-chart]")) start(place);
}
