"""Simulation: a declared network in, numbers out. Random networks are sampled, run and attacked with torch.

This package shares no formula with :mod:`advmf.theory`: it is the judge.
"""

from advmf.simulate.attack import Attack, attack, attack_loss, attack_trace, pgd
from advmf.simulate.certify import Bracket, bracket, upper_bound
from advmf.simulate.data import Images, load
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.matrices import GaussianNorms, gaussian_norms
from advmf.simulate.networks import Networks, Trace
from advmf.simulate.opnorm import OperatorNorm, operator_norm
from advmf.simulate.probe import AttackSettings, Probe
from advmf.simulate.sampling import sample
from advmf.simulate.training import Training, suggest_rate, train, training_queries

__all__ = [
    "Attack",
    "AttackSettings",
    "Bracket",
    "Ensemble",
    "GaussianNorms",
    "Images",
    "Networks",
    "OperatorNorm",
    "Probe",
    "Trace",
    "Training",
    "attack",
    "attack_loss",
    "attack_trace",
    "bracket",
    "gaussian_norms",
    "load",
    "operator_norm",
    "pgd",
    "sample",
    "suggest_rate",
    "train",
    "training_queries",
    "upper_bound",
]
