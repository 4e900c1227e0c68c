function supremum(f, low, high) {
  // The largest value of f between two ends, from its values at Chebyshev's points.
  const last = 48, middle = (low + high) / 2, half = (high - low) / 2, values = [f(low)];
  for (let i = 1; i < last; i++) values.push(f(middle - half * cos((PI * i) / last)));
  values.push(f(high));
  const k = values.indexOf(max(...values));
  if (k <= 0 || k === last) return k < 0 ? NaN : values[k];
  const [before, here, after] = [k - 1, k, k + 1].map((i) => -cos((PI * i) / last));
  const rise = (values[k] - values[k - 1]) / (here - before);
  const bend = (rise - (values[k + 1] - values[k]) / (after - here)) / (after - before);
  return bend > 0 ? values[k] + (rise - bend * (here - before)) ** 2 / (4 * bend) : values[k];
}
