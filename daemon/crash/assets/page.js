"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const S = data.series, T = data.seconds;
  const charts = [];
  const font = '11px Inter, "Segoe UI", system-ui, sans-serif';

  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.round(s % 60)).padStart(2, "0")}`;
  // As format.py writes numbers: cut, not rounded, so that a chart and a table never differ.
  const cut = (x, digits) => { const p = 10 ** digits; return (Math.trunc(x * p + Math.sign(x) * 1e-6) / p).toFixed(digits); };
  const usd = (v) => {
    if (v == null) return "–";
    const sign = v < 0 ? "-" : "", a = Math.round(Math.abs(v) * 100) / 100;
    for (const [scale, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "K"]])
      if (a >= scale) { const x = a / scale; return `${sign}$${cut(x, x >= 100 ? 0 : x >= 10 ? 1 : 2)}${letter}`; }
    return `${sign}$${a >= 100 || a === Math.trunc(a) ? cut(a, 0) : a.toFixed(2)}`;
  };
  const tidyUsd = (v) => usd(v).replace(/\.0+(?=[KMB]?$)/, "").replace(/(\.\d*?)0+(?=[KMB]$)/, "$1");
  const price = (v) => v == null ? "–" : `$${v >= 1000 ? v.toFixed(0).replace(/\B(?=(\d{3})+(?!\d))/g, ",") : v.toFixed(2)}`;
  const pct = (v) => v == null ? "–" : `${cut(v, Math.abs(v) >= 10 ? 1 : 2)}%`;
  const seconds = (v) => v == null ? "–" : `${cut(v, 1)} s`;
  const tidyPct = (v) => `${+v.toFixed(2)}%`;
  const whole = (v) => v == null ? "–" : String(Math.round(v)).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  const money = (list) => list.map((v) => v / 1e6);

  const counting = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];
  function axes(format) {
    const common = { stroke: css("--soft"), font, grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false } };
    const last = T[T.length - 1];
    return [
      { ...common, space: 60, size: 34, gap: 9, incrs: [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200], values: (u, v) => v.map((s) => last < 600 ? clock(s) : `${Math.round(s / 60)} min`) },
      { ...common, size: 62, values: (u, v) => v.map(format), ...(format === whole ? { incrs: counting } : {}) },
    ];
  }

  // A dashed line at the largest move of a price outside, on every chart over time.
  function furthestLine(u) {
    if (data.furthest_second == null) return;
    const x = Math.round(u.valToPos(data.furthest_second, "x", true)), c = u.ctx;
    c.save(); c.strokeStyle = css("--soft"); c.globalAlpha = .5; c.setLineDash([4, 4]); c.beginPath();
    c.moveTo(x, u.bbox.top); c.lineTo(x, u.bbox.top + u.bbox.height); c.stroke(); c.restore();
  }

  // Spans in which a price was too old to act on, shaded.
  const shade = (stale) => (u) => {
    const c = u.ctx; c.save(); c.fillStyle = css("--stale");
    stale.forEach((old, i) => { if (old) { const x = u.valToPos(T[i], "x", true); c.fillRect(x, u.bbox.top, Math.max(2, u.valToPos(T[Math.min(i + 1, T.length - 1)], "x", true) - x), u.bbox.height); } });
    c.restore();
  };

  // A chart of nothing says so.
  const nothing = (spec) => (u) => {
    if (!spec.zero || spec.series.some((one) => one.data.some((v) => v))) return;
    const c = u.ctx; c.save(); c.fillStyle = css("--soft"); c.font = `${12 * devicePixelRatio}px Inter, "Segoe UI", system-ui, sans-serif`; c.textAlign = "center";
    c.fillText("none", u.bbox.left + u.bbox.width / 2, u.bbox.top + u.bbox.height / 2); c.restore();
  };

  function chart(spec) {
    const host = document.getElementById(spec.id);
    if (!host) return;
    const width = host.clientWidth;
    const options = {
      width, height: spec.height || 230, padding: [10, 22, 0, 0],
      cursor: { sync: { key: spec.sync === false ? `own-${spec.id}` : "time", setSeries: false }, points: { size: 6 }, drag: { x: spec.sync !== false, y: false } },
      legend: { show: spec.sync !== false, live: true, isolate: false, markers: { width: 0, fill: (u, i) => i ? u.series[i]._key : "transparent" } },
      scales: { x: { time: false, ...(spec.xScale || {}) }, y: spec.y || { range: (u, lo, hi) => spec.zero ? [Math.min(0, lo), hi > 0 ? hi * (spec.sync === false ? 1.22 : 1.08) : 1] : uPlot.rangeNum(lo, hi, .08, false) } },
      axes: spec.axes || axes(spec.tick || spec.format),
      // Until a cursor says otherwise, the legend tells how a line ended and what bars come to.
      series: [{ label: spec.xLabel || "time", value: (u, v) => v == null ? (spec.bars ? "in all" : "at the end") : (spec.xFormat || clock)(v) }, ...spec.series.map((one) => ({
        label: one.label, stroke: css(one.color), width: one.width == null ? 1.8 : one.width, fill: one.fill ? (one.fill.startsWith("--") ? css(one.fill) : one.fill) : undefined,
        dash: one.dash, _key: css(one.color), points: { show: !!one.points, size: 6, fill: css(one.color) }, paths: one.paths, show: true,
        value: (u, v, si, i) => spec.format(i == null ? (one.raw ? one.raw.reduce((a, b) => a + b, 0) : one.data[one.data.length - 1]) : one.raw ? one.raw[i] : v),
      }))],
      bands: spec.bands,
      hooks: { ready: spec.sync === false ? [] : [(u) => u.setLegend({ idx: null })], drawClear: spec.sync === false ? [] : [...(spec.under ? [spec.under] : []), furthestLine], draw: [spec.draw || nothing(spec)] },
    };
    charts.push({ plot: new uPlot(options, [spec.x || T, ...spec.series.map((one) => one.data)], host), host, spec });
  }

  // Bars stacked on each other: each series is drawn as its running total, the topmost first.
  function stacked(spec) {
    const size = spec.bars;
    const totals = []; let below = size.x.map(() => 0);
    for (const one of spec.parts) { below = below.map((v, i) => v + one.data[i]); totals.push(below); }
    const paths = uPlot.paths.bars({ size: [.86, 40], align: 1 }), end = T[T.length - 1];
    const series = spec.parts.map((one, i) => ({ label: one.label, color: one.color, fill: one.color, width: 0, paths, data: totals[i], raw: one.data })).reverse();
    const note = document.getElementById(spec.id).previousElementSibling;
    if (!note.dataset.span) { note.dataset.span = "1"; note.textContent += `; a bar is ${clock(size.span)} of market time`; }
    chart({ ...spec, x: size.x, series, zero: true, xScale: { range: (u, lo, hi) => [lo, hi === size.x[size.x.length - 1] ? end : hi] } });
  }

  // Cumulated series into what each of about `most` equal spans of time added.
  function spans(most = 60) {
    const per = Math.max(1, Math.ceil((T.length - 1) / most)), x = [], ends = [];
    for (let i = 0; i + 1 < T.length; i += per) { x.push(T[i]); ends.push([i, Math.min(T.length - 1, i + per)]); }
    return { x, span: T[Math.min(per, T.length - 1)] - T[0], of: (list) => ends.map(([a, b]) => list[b] - list[a]) };
  }

  function prices(bars) {
    for (const market of data.markets) {
      const asset = market.split("-")[0];
      const outside = S[`outside_e8/${asset}`].map((v) => v / 1e8), index = S[`index_e8/${asset}`].map((v) => v / 1e8), mark = S[`mark_e8/${asset}`].map((v) => v / 1e8);
      const under = shade(S[`stale/${asset}`]);
      chart({ id: `price-${asset}`, format: price, under, series: [
        { label: "outside", color: "--outside", data: outside, width: 2.4 },
        { label: "index", color: "--index", data: index, width: 1.6 },
        { label: "mark", color: "--mark", data: mark, width: 1.6 }] });
      const off = (list) => list.map((v, i) => (v / outside[i] - 1) * 100);
      chart({ id: `lag-${asset}`, format: pct, tick: tidyPct, under, height: 170, series: [
        { label: "index off", color: "--index", data: off(index), width: 1.4 },
        { label: "mark off", color: "--mark", data: off(mark), width: 1.4 }] });
    }
  }

  function liquidations(bars) {
    const label = { book: "book", netting: "netting", backstop: "backstop", adl: "ADL" };
    stacked({ id: "stages", bars, format: usd, tick: tidyUsd, height: 280, parts: Object.keys(label).map((stage) => ({ label: label[stage], color: `--${stage}`, data: bars.of(money(S[`stage_usd6/${stage}`])) })) });
    chart({ id: "busy", format: whole, zero: true, series: [{ label: "in liquidation", color: "--violet", fill: "--band", data: S.in_liquidation }] });
    const V = data.value_seconds, value = (p) => S[`value_ppm/p${p}`].map((v) => v / 1e4);
    chart({ id: "values", format: pct, tick: tidyPct, height: 280, x: V, series: [
      { label: "95th", color: "--index", width: .6, data: value("95") }, { label: "75th", color: "--index", width: .6, data: value("75") },
      { label: "median", color: "--index", width: 2.4, data: value("50") },
      { label: "25th", color: "--index", width: .6, data: value("25") }, { label: "5th", color: "--index", width: .6, data: value("05") }],
      bands: [{ series: [1, 5], fill: css("--band") }, { series: [2, 4], fill: css("--band2") }] });
    chart({ id: "below", format: pct, tick: tidyPct, zero: true, x: V, series: [{ label: "below zero", color: "--adl", fill: "--band", data: S["value_ppm/below_zero"].map((v) => v / 1e4) }] });
  }

  function debts(bars) {
    chart({ id: "debts", format: usd, tick: tidyUsd, zero: true, height: 260, series: [
      { label: "outstanding negative equity", color: "--adl", data: money(S.outstanding_usd6), width: 2 },
      { label: "the fund owes", color: "--backstop", data: money(S.fund_owes_usd6), width: 1.6, dash: [5, 4] },
      { label: "winners' claims", color: "--index", data: money(S.claims_usd6), width: 2 }] });
    const worth = S.fund_usd6.map((v, i) => v + S.fund_inventory_usd6[i] - S.fund_owes_usd6[i] - S.fund_borrowed_usd6[i]);
    chart({ id: "fund", format: usd, tick: tidyUsd, zero: true, height: 260, series: [
      { label: "USDC", color: "--book", data: money(S.fund_usd6) },
      { label: "other assets", color: "--backstop", data: money(S.fund_inventory_usd6) },
      { label: "owes the pool", color: "--adl", data: money(S.fund_owes_usd6), dash: [5, 4] },
      { label: "owes lenders", color: "--violet", data: money(S.fund_borrowed_usd6), dash: [5, 4] },
      { label: "left", color: "--ink", data: money(worth), width: 2.4 }] });
    stacked({ id: "deposits", bars, format: usd, tick: tidyUsd, parts: [
      { label: "applied to debts", color: "--adl", data: bars.of(money(S.applied_usd6)) },
      { label: "credited", color: "--book", data: bars.of(money(S.credited_usd6)) }] });
    chart({ id: "held", format: usd, tick: tidyUsd, zero: true, series: [{ label: "held, waiting for the customer", color: "--violet", fill: "--band", data: money(S.held_usd6) }] });
  }

  function gates(bars) {
    stacked({ id: "gate", bars, format: whole, parts: [
      { label: "passed", color: "--book", data: bars.of(S.withdrawals_passed) },
      { label: "queued", color: "--backstop", data: bars.of(S.withdrawals_queued_pool.map((v, i) => v + S.withdrawals_queued_velocity[i])) },
      { label: "refused", color: "--adl", data: bars.of(S.withdrawals_refused) }] });
    chart({ id: "queue", format: whole, zero: true, series: [{ label: "waiting", color: "--backstop", fill: "--band", data: S.queued }] });
    const assets = Object.keys(S).filter((name) => name.startsWith("utilization_ppm/"));
    chart({ id: "utilization", format: pct, tick: tidyPct, y: { range: (u, lo, hi) => [0, Math.max(10, hi * 1.08)] }, series: assets.map((name, i) => ({ label: name.split("/")[1], color: `--a${i % 4}`, data: S[name].map((v) => v / 1e4) })) });
  }

  // Figures above the bars of a sweep.
  function write(u, words, values) {
    const c = u.ctx;
    const face = (size) => `600 ${size * devicePixelRatio}px Inter, "Segoe UI", system-ui, sans-serif`;
    c.save(); c.fillStyle = css("--ink"); c.font = face(11); c.textAlign = "center"; c.textBaseline = "bottom";
    // Between narrow bars the figures are smaller, so that none runs into the next.
    const room = u.valToPos(1, "x", true) - u.valToPos(0, "x", true), widest = Math.max(...words.map((word) => c.measureText(word).width)) + 4 * devicePixelRatio;
    if (widest > room) c.font = face(Math.max(7, 11 * room / widest));
    words.forEach((word, i) => c.fillText(word, u.valToPos(i, "x", true), u.valToPos(Math.max(0, values[i]), "y", true) - 4 * devicePixelRatio));
    c.restore();
  }

  function sweep() {
    const swept = data.sweep;
    if (!swept) return;
    const labels = swept.values, x = labels.map((_, i) => i);
    const format = { usd6: usd, ppm: pct, ms: seconds, count: whole };
    swept.metrics.forEach((metric, m) => {
      const scale = { usd6: 1e6, ppm: 1e4, ms: 1e3, count: 1 }[metric.unit];
      const common = { stroke: css("--soft"), font, ticks: { show: false } };
      const shown = format[metric.unit];
      const values = metric.values.map((v) => v / scale);
      chart({ id: `sweep-${m}`, x, sync: false, draw: (u) => write(u, values.map(shown), values), zero: true, format: shown, xLabel: swept.param, xFormat: (v) => labels[v] ?? "", height: 190,
        xScale: { range: [-.6, labels.length - .4] },
        axes: [{ ...common, size: 30, grid: { show: false }, splits: () => x, values: (u, v) => v.map((i) => labels[i] ?? "") },
               { ...common, size: 62, grid: { stroke: css("--grid"), width: 1 }, ...(metric.unit === "count" ? { incrs: counting } : {}), values: (u, v) => v.map({ usd6: tidyUsd, ppm: tidyPct, ms: (v) => `${+v.toFixed(1)} s`, count: whole }[metric.unit]) }],
        series: [{ label: metric.name, color: metric.color, fill: metric.color, width: 0, paths: uPlot.paths.bars({ size: [.55, 64] }), data: values }] });
    });
  }

  function draw() {
    charts.splice(0).forEach((one) => one.plot.destroy());
    if (T) { const bars = spans(); prices(bars); liquidations(bars); debts(bars); gates(bars); }
    sweep();
    document.body.dataset.charts = String(charts.length);
  }

  draw();
  // Paper has its own width and is white.
  matchMedia("print").addEventListener("change", draw);
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => charts.forEach((one) => one.plot.setSize({ width: one.host.clientWidth, height: one.spec.height || 230 })), 80); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
