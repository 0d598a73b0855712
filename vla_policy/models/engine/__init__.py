"""The plain networks' numbers, faster: weights folded and fused once, unused results left out.

    linear   one product, prepared for its device (oneDNN blocks, float8)
    memory   freed memory returned to the system
    fold     a network's weights rewritten: norms, time and projections folded into the products that follow
    stack    a Gemma stack over one static cache of keys and values
    vision   all cameras through SigLIP in one call
    choose   precision and threads of this machine, measured
    graph    one CUDA graph over prefix and all steps
    engine   the calls of the plain model on all of that
    build    compile_engine(model): the entry point

docs/performance.md states what is exact, and the gain of each step.
"""

from vla_policy.models.engine.build import compile_engine, engine_for
from vla_policy.models.engine.engine import Engine, EnginePrefix

__all__ = ["Engine", "EnginePrefix", "compile_engine", "engine_for"]
