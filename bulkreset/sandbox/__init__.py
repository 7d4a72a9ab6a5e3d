"""Strict stand-ins for the Zoom and Zendesk APIs on loopback, independent of all the rest of this package."""

from bulkreset.sandbox.clock import Clock
from bulkreset.sandbox.faults import FaultRule, parse_rule
from bulkreset.sandbox.policy import ZendeskPolicy, ZoomPolicy
from bulkreset.sandbox.server import Sandbox, serve
from bulkreset.sandbox.spec import (
    Generate,
    SpecError,
    TenantSpec,
    UserSpec,
    generated_user,
    load_specs,
    parse_spec,
)
from bulkreset.sandbox.tenant import Tenant

__all__ = [
    "Clock",
    "FaultRule",
    "Generate",
    "Sandbox",
    "SpecError",
    "Tenant",
    "TenantSpec",
    "UserSpec",
    "ZendeskPolicy",
    "ZoomPolicy",
    "generated_user",
    "load_specs",
    "parse_rule",
    "parse_spec",
    "serve",
]
