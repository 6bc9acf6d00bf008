// Draws a set's harvests over time: records, what changed, seconds; beside them what was usual when each came. The table
// below says the same. Colours are those of the page, in light and dark.
const dark = matchMedia("(prefers-color-scheme: dark)");
const PLOTS = [
  { name: "records", title: "Records", columns: ["records", "usual"] },
  { name: "changes", title: "Changes", columns: ["new", "changed", "deleted", "gone"] },
  { name: "seconds", title: "Seconds", columns: ["seconds", "usual"] },
];
const LINES = ["--blue", "--warn", "--bad", "--violet"];
const BAD = new Set(["rejected", "failed", "dismissed", "superseded"]);

function colour(name, of) { return getComputedStyle(of).getPropertyValue(name).trim(); }

function series(name, place, element, given, isUsual) {
  if (isUsual) return { label: "usual", stroke: colour("--quiet", element), width: 2, dash: [6, 4], spanGaps: true, points: { show: false } };
  const stroke = colour(LINES[place % LINES.length], element), bad = colour("--bad", element);
  const points = { show: true, size: 6 };
  if (given.bad) Object.assign(points, { stroke: bad, fill: bad });
  return { label: name, stroke: given.bad ? bad : stroke, width: given.bad ? 0 : 2, points: { ...points, ...(given.bad ? { size: 9 } : {}) }, spanGaps: !given.bad };
}

function drawn(plot, data, element) {
  const columns = plot.columns.map((name) => [name, data[plot.name][name]]);
  const lines = [{ label: "began", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }], values = [data.at];
  columns.forEach(([name, column], place) => {
    lines.push(series(name, place, element, {}, name === "usual"));
    values.push(column);
  });
  if (plot.name === "records" && data.state.some((state) => BAD.has(state))) {
    lines.push(series("not accepted", 0, element, { bad: true }));
    values.push(columns[0][1].map((value, at) => (BAD.has(data.state[at]) ? value : null)));
  }
  const axis = { stroke: colour("--text", element), grid: { stroke: colour("--grid", element), width: 1 }, ticks: { stroke: colour("--grid", element), width: 1 } };
  const days = (data.at.at(-1) - data.at[0]) / 86400 > 3, day = uPlot.fmtDate(days ? "{MM}-{DD}" : "{MM}-{DD} {HH}:{mm}");
  const moments = (_, ticks) => ticks.map((at) => day(uPlot.tzDate(new Date(at * 1000), data.zone)));
  return new uPlot({
    width: Math.max(element.clientWidth, 240),
    height: 180,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), data.zone),
    scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.08] } },
    axes: [{ ...axis, values: moments, space: days ? 60 : 100 }, { ...axis, size: 60 }],
    series: lines,
    cursor: { points: { size: 8 } },
  }, values, element);
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
