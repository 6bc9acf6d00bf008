// Draws a set's harvests over time: records, changes, what changed, seconds; with a line for each mode, and beside it what
// was usual when each came. The table below says the same. Colours are those of the page, in light and dark.
const dark = matchMedia("(prefers-color-scheme: dark)");
const PLOTS = [
  { name: "records", title: "Records", lines: ofModes },
  { name: "changes", title: "Changes", lines: ofModes },
  { name: "kinds", title: "What changed", lines: (data) => Object.entries(data.kinds).map(([label, values]) => ({ label, values })) },
  { name: "seconds", title: "Seconds", lines: ofModes },
];
const LINES = ["--blue", "--warn", "--bad", "--violet"];
const MODES = ["--blue", "--violet", "--warn"];
const BAD = new Set(["rejected", "failed", "dismissed"]);

function colour(name, of) { return getComputedStyle(of).getPropertyValue(name).trim(); }

function ofModes(data, name) {
  const isOne = data.modes.length === 1;
  return data.modes.flatMap((mode, place) => {
    const colour = MODES[place % MODES.length];
    return [
      { label: isOne ? name : mode, values: data[name][mode].number, colour },
      { label: isOne ? "usual" : `usual ${mode}`, values: data[name][mode].usual, colour: isOne ? "--quiet" : colour, isUsual: true },
    ];
  });
}

// What the legend says where the cursor is; where there is none, the last one.
function value(plot, found, place, at) {
  const shown = at === null || at === undefined ? plot.data[place].findLast((each) => each !== null) : found;
  return shown === null || shown === undefined ? "none" : shown.toLocaleString("en");
}

function series(line, place, element) {
  const stroke = colour(line.colour ?? LINES[place % LINES.length], element), bad = colour("--bad", element);
  const isAlone = line.values.filter((each) => each !== null).length === 1;  // no line leads to it
  if (line.isUsual) return { label: line.label, value, stroke, width: 2, dash: [6, 4], spanGaps: true, points: { show: isAlone, size: 6 } };
  if (line.isBad) return { label: line.label, value, stroke: bad, width: 0, points: { show: true, size: 9, stroke: bad, fill: bad } };
  return { label: line.label, value, stroke, width: 2, points: { show: true, size: 6 }, spanGaps: true };
}

function drawn(plot, data, element) {
  const lines = plot.lines(data, plot.name);
  if (plot.name === "records" && data.state.some((state) => BAD.has(state))) {
    const records = data.at.map((_, at) => data.modes.map((mode) => data.records[mode].number[at]).find((each) => each !== null) ?? null);
    lines.push({ label: "not accepted", isBad: true, values: records.map((value, at) => (BAD.has(data.state[at]) ? value : null)) });
  }
  const axis = { stroke: colour("--text", element), grid: { stroke: colour("--grid", element), width: 1 }, ticks: { stroke: colour("--grid", element), width: 1 } };
  const days = (data.at.at(-1) - data.at[0]) / 86400 > 3, day = uPlot.fmtDate(days ? "{MM}-{DD}" : "{MM}-{DD} {HH}:{mm}");
  const began = uPlot.fmtDate("{YYYY}-{MM}-{DD} {HH}:{mm}");
  const moments = (_, ticks) => ticks.map((at) => day(uPlot.tzDate(new Date(at * 1000), data.zone)));
  return new uPlot({
    width: Math.max(element.clientWidth, 240),
    height: 180,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), data.zone),
    scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.08] } },
    axes: [{ ...axis, values: moments, space: days ? 60 : 100 }, { ...axis, size: 60 }],
    series: [{ label: "began", value: (_, found) => began(uPlot.tzDate(new Date((found ?? data.at.at(-1)) * 1000), data.zone)) }, ...lines.map((line, place) => series(line, place, element))],
    cursor: { points: { size: 8 } },
  }, [data.at, ...lines.map((line) => line.values)], element);
}

document.querySelectorAll("[data-plots]").forEach((place) => {
  const data = JSON.parse(place.dataset.plots);
  const figures = PLOTS.map((plot) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption"), box = document.createElement("div");
    figure.className = "plot";
    caption.textContent = plot.title;
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `${plot.title} of its last ${data.at.length} harvests; the table below has the numbers`);
    figure.append(caption, box);
    place.append(figure);
    return { plot, box, chart: null };
  });
  const draw = () => figures.forEach((each) => {
    each.chart?.destroy();
    each.chart = drawn(each.plot, data, each.box);
  });
  draw();
  dark.addEventListener("change", draw);
  new ResizeObserver(() => figures.forEach(({ chart, box }) => {
    const width = Math.max(box.clientWidth, 240);
    if (chart && chart.width !== width) chart.setSize({ width, height: chart.height });
  })).observe(place);
});
