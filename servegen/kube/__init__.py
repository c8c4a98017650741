"""Kubernetes objects as plain dicts, how they are written, and how they reach a cluster."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
"""A Kubernetes object in the shape of its JSON."""
