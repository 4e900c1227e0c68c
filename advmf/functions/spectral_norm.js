function spectral_norm(K, d, r) {
  // E s_1**r of the largest singular value of a K x d Gaussian matrix, as advmf.special.spectral_norm has it.
  const m = min(K, d), n = max(K, d);
  return m >= 1 && n < Infinity && m === floor(m) && n === floor(n) && r > 0 ? spectral_norm.kept(m, n, r) : NaN;
}
spectral_norm.kept = kept((m, n, r) => {
  if (m === 1) return exp((r / 2) * Math.LN2 + log_gamma_ratio(n / 2, r / 2));
  if (m > 128) {
    const mean = -1.206533574582, variance = 1.607781034581, a = sqrt(n - 0.5), b = sqrt(m - 0.5);
    const mu = (a + b) ** 2, ratio = ((a + b) * (1 / a + 1 / b) ** (1 / 3)) / mu, half = r / 2;
    return mu ** half * (1 + half * ratio * mean + ((half * (half - 1)) / 2) * ratio ** 2 * (variance + mean ** 2));
  }
  const { low, nodes } = spectral_norm.law(m, n);
  return nodes.reduce((sum, [s, weight, cdf]) => sum + weight * r * s ** (r - 1) * (1 - cdf), low ** r);
});
spectral_norm.law = kept((m, n) => {
  // The CDF of s_1 is a Pfaffian, integrated panel by panel with 16 Gauss nodes each.
  const order = 16, { x, w, upto } = spectral_norm.rule(order), reach = 10;
  const edge = sqrt(n) + sqrt(m), low = max(0, edge - reach), width = min(1, 2 / sqrt(m));
  const panels = (from, to) => {
    const count = to > from ? ceil((to - from) / width) : 0;
    return Array.from({ length: count }, (_, i) => [from + ((to - from) * i) / count, from + ((to - from) * (i + 1)) / count]);
  };
  const start = min(low, max(0, sqrt(n) - sqrt(m) - reach)), a = n - m - 0.5, size = m + (m % 2);
  const A = Array.from({ length: m }, () => new Float64Array(m)), F = new Float64Array(m), found = [];
  const log_pfaffian = (matrix, border) => {
    const rows = Array.from({ length: size }, (_, i) => Float64Array.from({ length: size }, (_, j) =>
      i < m && j < m ? matrix(i, j) : i === j ? 0 : j === m ? border(i) : -border(j)));
    let sum = 0;
    for (let k = 0; k < size; k++) {
      let best = k;
      for (let i = k + 1; i < size; i++) if (abs(rows[i][k]) > abs(rows[best][k])) best = i;
      [rows[k], rows[best]] = [rows[best], rows[k]];
      const pivot = rows[k][k];
      sum += log(abs(pivot));
      for (let i = k + 1; i < size; i++) {
        const factor = rows[i][k] / pivot;
        if (factor) for (let j = k + 1; j < size; j++) rows[i][j] -= factor * rows[k][j];
      }
    }
    return sum / 2;
  };
  for (const [left, right] of [...panels(start, low), ...panels(low, edge + reach)]) {
    const half = (right - left) / 2, s = x.map((node) => left + half * (1 + node));
    const f = [s.map((z) => exp(0.5 * Math.LN2 + (a + 0.5) * log(z) - (z * z) / 2 - lgamma(a + 1) / 2))];
    for (let k = 0; k < m - 1; k++) {
      const before = k ? f[k - 1] : s.map(() => 0), norm = sqrt((k + 1) * (k + 1 + a));
      f.push(s.map((z, i) => ((z * z - (2 * k + 1 + a)) * f[k][i] - sqrt(k * (k + a)) * before[i]) / norm));
    }
    const inner = f.map((row, k) => x.map((_, i) => F[k] + half * row.reduce((sum, y, j) => sum + y * upto[j][i], 0)));
    const steps = f.map((row, i) => f.slice(0, i).map((other, j) =>
      row.map((y, l) => half * (y * inner[j][l] - inner[i][l] * other[l]))));
    if (left >= low) {
      for (let l = 0; l < order; l++) {
        const at = steps.map((row, i) => row.map((values, j) => {
          let sum = A[i][j];
          for (let k = 0; k < order; k++) sum += values[k] * upto[k][l];
          return sum;
        }));
        const entry = (i, j) => (i === j ? 0 : i > j ? at[i][j] : -at[j][i]);
        found.push([s[l], half * w[l], log_pfaffian(entry, (i) => inner[i][l])]);
      }
    }
    steps.forEach((row, i) => row.forEach((values, j) => (A[i][j] += values.reduce((sum, y, l) => sum + y * w[l], 0))));
    f.forEach((row, k) => (F[k] += half * row.reduce((sum, y, l) => sum + y * w[l], 0)));
  }
  const total = log_pfaffian((i, j) => (i === j ? 0 : i > j ? A[i][j] : -A[j][i]), (i) => F[i]);
  return { low, nodes: found.map(([s, weight, value]) => [s, weight, exp(value - total)]) };
}, 16);
spectral_norm.rule = kept((order) => {
  // Gauss-Legendre nodes and weights, and the matrix that integrates from -1 to each node.
  const legendre = (z) => {
    const p = [1, z];
    for (let k = 1; k <= order; k++) p.push(((2 * k + 1) * z * p[k] - k * p[k - 1]) / (k + 1));
    return p;
  };
  const x = [], w = [];
  for (let i = 0; i < order; i++) {
    let z = -cos((PI * (i + 0.75)) / (order + 0.5)), slope = 1;
    for (let step = 0; step < 50; step++) {
      const p = legendre(z);
      slope = (order * (z * p[order] - p[order - 1])) / (z * z - 1);
      z -= p[order] / slope;
    }
    x.push(z);
    w.push(2 / ((1 - z * z) * slope * slope));
  }
  const p = x.map(legendre);
  const upto = x.map((_, j) => x.map((z, i) => {
    let sum = (w[j] / 2) * (z + 1);
    for (let k = 1; k < order; k++) sum += (w[j] / 2) * p[j][k] * (p[i][k + 1] - p[i][k - 1]);
    return sum;
  }));
  return { x, w, upto };
});
