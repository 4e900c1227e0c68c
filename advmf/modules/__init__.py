"""PyTorch modules and declared networks, each from the other.

:func:`~advmf.modules.write.to_torch` writes a sampled network as an ``nn.Module``, and
:func:`~advmf.modules.read.from_torch` reads the law of a module. Nothing here knows the theory.
"""
