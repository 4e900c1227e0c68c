"""Networks of infinite width: Gaussian processes that are drawn at the points where they are evaluated.

``ensemble`` has the networks, and ``process`` their draws. ``kernel`` carries the covariance through the blocks, with
the derivatives in ``jets``. An activation's means are closed forms (``piecewise``), integrals over the angle
(``exponential``, ``bends``) or series (``hermite``). The modules on images are for streams that differ by position.
"""
