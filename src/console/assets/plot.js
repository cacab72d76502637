// What a pointer adds to the drawing of an answer: the values below it. The drawing of the server stays for paper,
// and where this script does not run; the table has all values.
const draw = () => {
  const figure = document.querySelector('[data-plot]:not(.has-live)');
  if (!figure || typeof uPlot !== 'function') return;
  const { seconds, series, stacked, zone, time } = JSON.parse(figure.dataset.plot);
  const place = figure.querySelector('.plot-live');
  const colour = (index) => getComputedStyle(figure.querySelector(`.look-${Math.min(index, 5)}`)).color;
  const ink = () => getComputedStyle(figure).color;
  // Of a stack, the highest part is drawn first, and the others over it.
  const order = series.map((_, index) => index);
  if (stacked) order.reverse();
  const sums = seconds.map(() => 0);
  const heights = series.map(({ values }) => (stacked ? values.map((value, at) => (value === null ? null : (sums[at] += value))) : values));
  const isBars = stacked || series.length === 1;
  const step = seconds.length > 1 ? seconds[1] - seconds[0] : 86400;
  const [day, clock] = [uPlot.fmtDate('{YYYY}-{MM}-{DD}'), uPlot.fmtDate('{HH}:{mm}')];
  const local = (at) => uPlot.tzDate(new Date(at * 1e3), zone);
  const tick = (at) => (clock(local(at)) === '00:00' ? day(local(at)) : clock(local(at)));
  const axis = { stroke: ink, grid: { stroke: () => getComputedStyle(figure).getPropertyValue('border-color') || '#8888', width: 0.5 }, ticks: { show: false } };
  const options = {
    width: 600,
    height: 320,
    tzDate: local,
    cursor: { drag: { x: true, y: false } },
    scales: { x: { range: (plot, first, last) => [first - step / 2, last + step / 2] }, y: { range: (plot, low, high) => [0, high > 0 ? high * 1.05 : 1] } },
    axes: [{ ...axis, space: 90, values: (plot, at) => at.map(tick) }, { ...axis, size: 64 }],
    series: [
      { label: `${time} (${zone})`, value: '{YYYY}-{MM}-{DD} {HH}:{mm}' },
      ...order.map((index) => ({
        label: series[index].name,
        stroke: () => colour(index),
        fill: isBars ? () => colour(index) : undefined,
        width: isBars ? 0 : 2,
        points: { show: !isBars },
        paths: isBars ? uPlot.paths.bars({ size: [0.8, 60] }) : undefined,
        value: (plot, height, at, row) => (row === null || series[index].values[row] === null ? '–' : String(series[index].values[row])),
      })),
    ],
  };
  const plot = new uPlot(options, [seconds, ...order.map((index) => heights[index])], place);
  place.hidden = false;
  place.setAttribute('role', 'img');
  place.setAttribute('aria-label', figure.querySelector('title').textContent);
  figure.classList.add('has-live');
  const fit = () => plot.setSize({ width: place.clientWidth - 16, height: 320 });
  new ResizeObserver(fit).observe(place);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => plot.redraw());
};
draw();
// The answer comes after its page.
document.addEventListener('content', draw);
