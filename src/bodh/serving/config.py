"""The limits of a server: every one of them has a default that keeps a small machine alive."""

from __future__ import annotations

import os

from pydantic import Field

from bodh.config.base import Config


def cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


class ServingConfig(Config):
    """How a server shares the machine, and what it refuses."""

    threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="threads that compute, over all models; None: one a core (more of them wait)",
    )
    decoders: int | None = Field(
        default=None, ge=1, le=256, description="threads that decode uploads; None: one a core"
    )
    batch: int = Field(
        default=32, ge=1, le=1024, description="records computed together at most; nobody waits for a full batch"
    )
    waiting: int = Field(default=256, ge=1, le=65536, description="records that may wait for the model; more get 429")
    requests: int = Field(
        default=64, ge=1, le=4096, description="requests worked on at once, uploads included; more get 429"
    )
    records: int = Field(default=64, ge=1, le=4096, description="records in one request at most; more get 413")
    body_megabytes: float = Field(default=32.0, gt=0, le=1024, description="largest body of a request; more gets 413")
    json_depth: int = Field(default=16, ge=4, le=64, description="nesting of JSON in a request at most")
    json_values: int = Field(default=4_000_000, ge=1000, description="values in one JSON body at most; more get 413")
    seconds: float = Field(default=30.0, gt=0, le=3600, description="time a request may take, upload included")
    tokens: int = Field(
        default=1024,
        ge=1,
        le=2**20,
        description="tokens of a prompt, and of a text that is written, at most; more get 422",
    )
    beams: int = Field(default=16, ge=1, le=256, description="beams of a request at most; more get 422")
    writing: int = Field(
        default=8, ge=1, le=256, description="requests for texts that are written at once, a token each in turn"
    )
    unwritten: int = Field(
        default=32, ge=0, le=4096, description="requests for texts that may wait for their turn; more get 429"
    )
    drain_seconds: int = Field(default=20, ge=0, le=600, description="time that accepted requests get after SIGTERM")

    @property
    def body_bytes(self) -> int:
        """The largest body in bytes."""
        return int(self.body_megabytes * 2**20)
