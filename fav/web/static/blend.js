// What is done to stylized frames on their way into the film (fav/stylize/blend.py), for one frame in the browser: no network runs.

/** Mix source and stylized picture, both ImageData, into `out`. `mask` is ImageData, white where the style is seen, or null.
 *  Columns before `split` show the source. */
export function mix(source, stylized, out, { strength = 1, colors = false, mask = null, split = 0 }) {
  const a = source.data, b = stylized.data, o = out.data, m = mask?.data, width = source.width;
  for (let at = 0, column = 0; at < a.length; at += 4, column = column + 1 === width ? 0 : column + 1) {
    let red = b[at], green = b[at + 1], blue = b[at + 2];
    if (colors) {
      const step = Math.floor((299 * (red - a[at]) + 587 * (green - a[at + 1]) + 114 * (blue - a[at + 2]) + 500) / 1000);
      red = level(a[at] + step);
      green = level(a[at + 1] + step);
      blue = level(a[at + 2] + step);
    }
    const share = column < split ? 0 : m ? (strength * m[at]) / 255 : strength;
    o[at] = a[at] + (red - a[at]) * share;
    o[at + 1] = a[at + 1] + (green - a[at + 1]) * share;
    o[at + 2] = a[at + 2] + (blue - a[at + 2]) * share;
    o[at + 3] = 255;
  }
  return out;
}

function level(value) {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}
