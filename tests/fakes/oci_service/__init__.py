"""Oracle Cloud on loopback, as far as UICI uses it and as its API reference describes it.

`service` answers requests; `signature` checks who sent them; `resources` holds things whose
lifecycle takes time; `bodies` checks request bodies against the SDK's own models.
"""

from tests.fakes.oci_service.resources import COMPARTMENT, SUBNET
from tests.fakes.oci_service.service import Fault, OciService

__all__ = ["COMPARTMENT", "SUBNET", "Fault", "OciService"]
