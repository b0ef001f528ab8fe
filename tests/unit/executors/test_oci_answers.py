"""Ten thousand answers of a list fit into a small agent."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from executors.oci.answers import Instance, parse
from infrastructure.errors import TemporaryError

BODY: dict[str, Any] = {
    "id": "ocid1.instance.oc1.phx." + 60 * "a",
    "displayName": "web",
    "compartmentId": "ocid1.compartment.oc1.." + 60 * "b",
    "lifecycleState": "RUNNING",
    "shape": "VM.Standard.E4.Flex",
    "shapeConfig": {"ocpus": 1.0, "vcpus": 2, "memoryInGBs": 16.0, "gpus": None},
    "sourceDetails": {"sourceType": "image", "imageId": "ocid1.image.oc1.phx." + 60 * "c"},
    "freeformTags": {},
    "definedTags": {},
    "timeCreated": "2026-01-01T00:00:00Z",
}


def test_a_listed_instance_is_small() -> None:
    text, count = json.dumps(BODY), 500

    def listed() -> list[Instance]:
        return [
            parse(Instance, json.loads(text), what="list", keep_raw=False) for _ in range(count)
        ]

    assert listed()[0].image == BODY["sourceDetails"]["imageId"]  # what is made once is made
    tracemalloc.start()
    try:
        kept = listed()
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(kept) == count
    assert used / count < 1200  # bytes; ten thousand take 12 MB


@pytest.mark.parametrize("wrong", [None, [], "x", {}, {**BODY, "shapeConfig": "large"}])
def test_another_shape_is_told_and_no_traceback(wrong: object) -> None:
    with pytest.raises(TemporaryError, match="list: the answer is not what the API promises"):
        parse(Instance, wrong, what="list")
