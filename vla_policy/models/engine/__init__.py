"""The same numbers as the plain networks, faster: weights folded and fused once, nothing computed that is not used.

    linear   one product, prepared for its device (oneDNN blocks, float8)
    memory   freed memory handed back
    fold     a network's weights rewritten: norms, time and projections folded into the products that follow
    stack    a Gemma stack over one static cache of keys and values
    vision   all cameras through SigLIP in one call
    choose   precision and threads of this machine, measured
    graph    one CUDA graph over prefix and all steps
    engine   the calls of the plain model on all of that
    build    compile_engine(model): the way in

docs/performance.md says what is exact and what each step gives.
"""

from vla_policy.models.engine.build import compile_engine, engine_for
from vla_policy.models.engine.engine import Engine, EnginePrefix

__all__ = ["Engine", "EnginePrefix", "compile_engine", "engine_for"]
