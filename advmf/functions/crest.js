function crest(...values) {
  // The vertex of the parabola through the largest of the values at Chebyshev's points and its neighbours.
  const n = values.length - 1;
  const k = values.indexOf(max(...values));
  if (k <= 0 || k === n) return k < 0 ? NaN : values[k];
  const [low, middle, high] = [k - 1, k, k + 1].map((i) => -cos((PI * i) / n));
  const rise = (values[k] - values[k - 1]) / (middle - low);
  const bend = (rise - (values[k + 1] - values[k]) / (high - middle)) / (high - low);
  return bend > 0 ? values[k] + (rise - bend * (middle - low)) ** 2 / (4 * bend) : values[k];
}
