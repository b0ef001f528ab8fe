"""A narrower policy can only forbid more."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from flows.policy import effective_policy
from infrastructure.config_models import EnvironmentPolicy, Policy
from infrastructure.operations import Risk
from infrastructure.service import Backoff, Freeze, Mode, Overrun, Remediation
from tests.builders import NOW

MODES = st.none() | st.sampled_from(Mode)
RISKS = st.none() | st.sampled_from(Risk)
ATTEMPTS = st.none() | st.integers(0, 100)
BACKOFFS = st.none() | st.builds(
    Backoff,
    initial=st.timedeltas(timedelta(0), timedelta(minutes=1)),
    max=st.timedeltas(timedelta(minutes=1), timedelta(hours=1)),
)
RESTS = st.none() | st.timedeltas(timedelta(0), timedelta(hours=1))
SHARES = st.none() | st.floats(0.01, 1)
OVERRUNS = st.none() | st.sampled_from(Overrun)
FREEZES = st.lists(
    st.builds(Freeze, start=st.just(NOW), reason=st.sampled_from(["a", "b"])), max_size=2
).map(tuple)
PLATFORM = Policy(
    mode=Mode.ENFORCE,
    allow_up_to=Risk.HIGH,
    approve_up_to=Risk.DESTRUCTIVE,
    max_attempts=3,
    backoff=Backoff(initial=timedelta(seconds=30), max=timedelta(minutes=15)),
    cool_down=timedelta(0),
    replica_share=1,
    overrun=Overrun.FINISH,
)


@given(
    st.builds(
        EnvironmentPolicy,
        mode=MODES,
        allow_up_to=RISKS,
        approve_up_to=RISKS,
        max_attempts=ATTEMPTS,
        backoff=BACKOFFS,
        cool_down=RESTS,
        replica_share=SHARES,
        overrun=OVERRUNS,
        freezes=FREEZES,
    ),
    st.builds(
        Remediation,
        mode=MODES,
        max_attempts=ATTEMPTS,
        backoff=BACKOFFS,
        cool_down=RESTS,
        replica_share=SHARES,
        overrun=OVERRUNS,
        freezes=FREEZES,
    ),
    MODES,
)
def test_no_layer_allows_more_than_the_one_above(
    environment: EnvironmentPolicy, remediation: Remediation, run_mode: Mode | None
) -> None:
    result = effective_policy(PLATFORM, environment, remediation, run_mode)
    modes = list(Mode)
    for mode in (PLATFORM.mode, environment.mode, remediation.mode, run_mode):
        assert mode is None or modes.index(result.mode) <= modes.index(mode)
    for limit in (PLATFORM.allow_up_to, environment.allow_up_to):
        assert limit is None or result.allow_up_to.rank <= limit.rank
    for limit in (PLATFORM.approve_up_to, environment.approve_up_to):
        assert limit is None or result.approve_up_to.rank <= limit.rank
    assert result.allow_up_to.rank <= result.approve_up_to.rank
    for count in (PLATFORM.max_attempts, environment.max_attempts, remediation.max_attempts):
        assert count is None or result.max_attempts <= count
    for backoff in (PLATFORM.backoff, environment.backoff, remediation.backoff):
        assert backoff is None or result.backoff.initial >= backoff.initial
    layers = (PLATFORM, environment, remediation)
    assert result.cool_down == max(x.cool_down for x in layers if x.cool_down is not None)
    assert result.replica_share == min(x.replica_share for x in layers if x.replica_share)
    assert result.overrun is Overrun.FINISH or Overrun.STOP in {x.overrun for x in layers}
    assert all(x.overrun is not Overrun.STOP for x in layers) or result.overrun is Overrun.STOP
    assert all(freeze in result.freezes for layer in layers for freeze in layer.freezes)
