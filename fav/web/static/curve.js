// Numbers that change over time, as fav/util/curve.py reads them: `0:0,5:1:ease,40:0.3`.

const POINT = /^\s*([0-9]+\.?[0-9]*|\.[0-9]+)([sf]?):([0-9]+\.?[0-9]*|\.[0-9]+)(?::(linear|ease|hold))?\s*$/;

/** The value of a curve at a moment of a video with so many frames a second; null if the text is no curve. */
export function curveAt(text, seconds, rate) {
  const points = text.split(",").map((part) => POINT.exec(part));
  if (points.length < 2 || points.some((point) => !point)) return null;
  const time = points.some((point) => point[2] === "f") ? Math.round(seconds * (rate || 25)) : seconds;
  const known = points.map(([, at, , value, way]) => ({ at: Number(at), value: Number(value), way }));
  const next = known.findIndex((point) => time < point.at);
  if (next === 0) return known[0].value;
  if (next < 0) return known[known.length - 1].value;
  const before = known[next - 1], after = known[next];
  if (after.way === "hold") return before.value;
  let share = (time - before.at) / (after.at - before.at);
  if (after.way === "ease") share = share * share * (3 - 2 * share);
  return before.value + (after.value - before.value) * share;
}
