"""advmf: derive, typeset, compile and check the mean-field theory of adversarial training.

Names load on first use, so that ``import advmf`` costs nothing and symbolic work never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from advmf.notebook import formulas_in_notebooks, presented_by

__version__ = "0.1.0"


def _late(module: str, name: str) -> Any:
    """A function of a module that is imported when the function is called."""
    return lambda *values: getattr(import_module(module), name)(*values)


for _form, _home in {
    "latex": "emit.latex displayed",
    "known": "emit.latex known",
    "table": "report.shown table",
}.items():
    presented_by(_form, _late(*(f"advmf.{_home}".split())))
for _form in ("page", "plot"):
    presented_by(_form, _late("advmf.report.shown", _form))
formulas_in_notebooks()

_HOME = {
    "advmf.nets": "Activation AvgPool Block ClosedForm Conv Dense Dropout Erf Gelu LayerNorm Mix Net PRESETS Pointwise RMSNorm "
    "ReLULike Residual Serial Sine Stage conv conv_residual plain_residual post_norm pre_norm preactivation pyramid residual "
    "vanilla",
    "advmf.claim": "Claim Claims Equation Regime",
    "advmf.theory.propagation": "growth_rate moments omega",
    "advmf.theory.correlation": "correlation_map depth_scale nngp",
    "advmf.theory.metric": "Metric metric",
    "advmf.theory.profile": "Profile profile",
    "advmf.theory.depth": "DepthLaw depth_law",
    "advmf.theory.norms": "Route beta beta_quantile register_route routes",
    "advmf.theorems.t1_linear_form": "linear_form",
    "advmf.theorems.t1_pixels": "pixel_law",
    "advmf.theorems.t2_adversarial_loss": "loss_bound loss_tail loss_value",
    "advmf.theory.ntk": "ntk",
    "advmf.theory.growth": "growth_order",
    "advmf.theory.dynamics": "share",
    "advmf.theorems.t3_weight_variance": "euler_identity first_order half_life loss_decay variance_slope weight_variance",
    "advmf.theorems.t4_trainability": "escape_time",
    "advmf.theorems.t5_capacity": "capacity capacity_ratio",
    "advmf.theorems.d1_capacity_rate": "capacity_rate",
    "advmf.theorems.d2_finite_width": "FiniteRates finite_rates",
    "advmf.theorems.d2_water_filling": "TrainingFlow loss_life training_flow",
    "advmf.theorems.t6_dimensions": "growth",
    "advmf.theorems.norm_factor": "norm_factor",
    "advmf.experiments.image_kernel": "image_kernel",
    "advmf.experiments.image_metric": "image_metric",
    "advmf.experiments.image_norms": "ImageMetric",
    "advmf.experiments.kernel_flow": "KernelFlow kernel_flow",
    "advmf.experiments.phase": "phase_diagram",
    "advmf.experiments.sweep": "Sweep sweep",
    "advmf.theorems.f1_stream_fluctuation": "stream_fluctuation",
    "advmf.theorems.f2_jacobian_norm": "jacobian_norm",
    "advmf.emit.latex": "latex",
    "advmf.auditing.audit": "audit",
    "advmf.modules.read": "from_torch",
    "advmf.modules.write": "to_torch",
    "advmf.report.explorer": "explorer",
    "advmf.report.paper": "Section document",
    "advmf.theorems.derivations": "derivations",
    "advmf.emit.export": "export",
    "advmf.emit.formats.json_form": "from_json to_json",
    "advmf.emit.kernels": "Kernel kernel",
    "advmf.verify.sources.simulation": "check_all",
    "advmf.verify.own": "check_theorem",
    "advmf.theorems.theorem": "MatrixScale Scale Theorem",
    "advmf.theorems": "register_theorem",
    "advmf.verify.single": "check",
    "advmf.verify.verdict": "Report Reports Verdict",
    "advmf.verify.statistics": "Design",
}
_NAMES = {name: module for module, names in _HOME.items() for name in names.split()}
_MODULES = (
    "simulate", "errors", "symbols", "observables", "nets", "functions", "theory", "theorems", "emit", "verify", "experiments", "report",
    "modules", "auditing",
)  # fmt: skip

__all__ = [*sorted(_NAMES), "simulate", "errors", "symbols", "observables"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"advmf.{name}")
    else:
        raise AttributeError(f"module 'advmf' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
