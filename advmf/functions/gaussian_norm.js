function gaussian_norm(n, a) {
  // E ||g_n||_r for a = 1/r, as advmf.special.gaussian_norm_of_inverse has it.
  if (n === Infinity) return n;
  if (!(n >= 1 && a >= 0 && a <= 1)) return NaN;
  if (a === 1) return n * sqrt(2 / PI);
  if (a === 0.5) return sqrt(2) * exp(log_gamma_ratio(n / 2, 0.5));
  return gaussian_norm.kept(n, a);
}
gaussian_norm.kept = kept((n, a) => {
  const spacing = min(0.08, max(0.16 * a, 0.25 / (2 + 2 * log(n))));
  if (a === 0) {
    let sum = 0;
    for (let i = floor(-20 / spacing); i <= ceil(log(40) / spacing); i++) {
      const z = exp(spacing * i);
      sum += spacing * z * z * exp((-z * z) / 2) * n * exp((n - 1) * log1p(-erfc(z / sqrt(2))));
    }
    return sum * sqrt(2 / PI);
  }
  const limit = log(40 + n ** a) + (38 * a) / (2 - a);
  const step = (2 * PI * min(PI / 2, PI / (4 * a))) / 42;
  const masses = [], scales = [];
  for (let j = floor(max(-130, -38 - limit / a) / step); j <= ceil(3.9 / step); j++) {
    const w = step * j;
    masses.push([step * exp(w - exp(w)), step * exp(2 * w - exp(w))]);
    scales.push(exp(a * w));
  }
  let sum = 0;
  for (let i = floor(-20 / spacing); i <= ceil(limit / spacing); i++) {
    const z = exp(spacing * i);
    let b0 = 0, b1 = 0, tail = 0;
    for (let j = 0; j < scales.length; j++) {
      const x = z * scales[j], density = sqrt(2 / PI) * exp((-x * x) / 2) * x;
      b0 += density * masses[j][0];
      b1 += density * masses[j][1];
      tail += erfc(x / sqrt(2)) * masses[j][0];
    }
    const log_m = log1p(-min(tail, 1 - 1e-16));
    sum += z * (n * exp((n - 1) * log_m) * b1 + n * (n - 1) * a * exp((n - 2) * log_m) * b0 ** 2);
  }
  return (spacing * sum) / exp(lgamma(2 - a));
});
