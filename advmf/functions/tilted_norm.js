function tilted_norm(K, d, p, q) {
  // The bound on the mean lp -> lq norm by exponential moments, as advmf.special.tilted_norm has it.
  const known = (p === 2 || p === Infinity) && (q === 1 || q === 2);
  return known && K >= 1 && d >= 1 && K < Infinity && d < Infinity ? tilted_norm.kept(K, d, p, q) : NaN;
}
tilted_norm.kept = kept((K, d, p, q) => {
  const { sum, chi } = tilted_norm, a = p === 2 ? 1 : sqrt(d), b = q === 2 ? 1 : sqrt(K);
  const input = p === 2 ? chi : sum, output = q === 2 ? chi : sum;
  const excess = (x) => (input.log_moment(d, exp(x) / a) + output.log_moment(K, exp(x) / b)) / exp(x) - exp(x) / 2;
  const golden = (sqrt(5) - 1) / 2;
  let low = -3, high = log(20 + 2 * sqrt(K + d)), left = high - golden * (high - low), right = low + golden * (high - low);
  let [at_left, at_right] = [excess(left), excess(right)];
  while (high - low > 1e-8) {
    if (at_left < at_right) {
      [high, right, at_right, left] = [right, left, at_left, right - golden * (right - low)];
      at_left = excess(left);
    } else {
      [low, left, at_left, right] = [left, right, at_right, left + golden * (high - left)];
      at_right = excess(right);
    }
  }
  return b * input.mean(d) + a * output.mean(K) + a * b * min(at_left, at_right, 0);
});
// The l1 norm of n Gaussians.
tilted_norm.sum = {
  mean: (n) => n * sqrt(2 / PI),
  log_moment(n, s) {
    const mean = sqrt(2 / PI);
    if (s < 1e-3) return n * s * s * (0.5 - 1 / PI + (s * mean * (4 / PI - 1)) / 6);
    return n * (Math.LN2 + log1p(-erfc(s / Math.SQRT2) / 2) + (s * s) / 2 - s * mean);
  },
};
// Their l2 norm, by the trapezoidal rule in its logarithm around the peak.
tilted_norm.chi = {
  mean: (n) => Math.SQRT2 * exp(log_gamma_ratio(n / 2, 0.5)),
  log_moment(n, s) {
    const angle = asinh(s / (2 * sqrt(n))), { integral } = tilted_norm.chi;
    const peaks = n * angle + (s * sqrt(n) * exp(angle)) / 2 + log(integral(n, s) / integral(n, 0));
    return peaks - s * tilted_norm.chi.mean(n);
  },
  integral(n, s) {
    const rise = s * sqrt(n) * exp(asinh(s / (2 * sqrt(n)))), reach = 13, last = 260;
    const low = n > 50 ? (-1.5 * reach) / sqrt(2 * n + rise) : -1 - 40 / n, high = log1p(reach / sqrt(n + rise));
    let sum = 0;
    for (let i = 0; i <= last; i++) {
      const t = low + ((high - low) * i) / last, e = expm1(t);
      sum += exp(-n * (e + (e * e) / 2 - t) - (rise * e * e) / 2);
    }
    return (sum * (high - low)) / last;
  },
};
