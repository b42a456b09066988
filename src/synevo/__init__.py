"""synevo evolves a trained network into a far smaller one and proves that what it hands back is that network.

Evolutionary synthesis after Shafiee & Wong, *Evolutionary Synthesis of Deep Neural Networks via Synaptic
Cluster-driven Genetic Encoding* (arXiv 1609.01360): an offspring's architecture is sampled from a genetic encoding of
its parent's weights, trained, and becomes the next parent. Start reading at `synevo.evolution`.
"""

__version__ = "0.1.0"
