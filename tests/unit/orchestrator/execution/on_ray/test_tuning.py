"""What Tune is given, and what it may hand on."""

import pytest
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE, _ActorClassCache

from orchestrator.execution.on_ray import tuning


def test_no_key_that_the_driver_has_goes_to_an_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENV_VARS_TO_PROPAGATE:
        monkeypatch.setenv(name, "a secret")
    assert "AWS_SECRET_ACCESS_KEY" in ENV_VARS_TO_PROPAGATE
    options = _ActorClassCache().get(tuning.TrialActor)._default_options
    assert not options.get("runtime_env")
