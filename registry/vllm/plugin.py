"""The entry point `vllm.general_plugins`: adds a resolver that gives registered adapters, verified, to a running vLLM.

vLLM calls `register` in each of its processes, with the small installation of this package too: nothing here needs torch or
imports vllm before that. A resolver gives None for what it does not know, and vLLM asks the next one. What is known and must
not be served is an error instead: None would let another resolver serve something else under the name.

    REGISTRY_VLLM_CACHE   folder for the verified copies; without it no resolver is added
    REGISTRY_HOME         the registry; else `.registry` in the working folder or above it
    REGISTRY_VLLM_BASE    folder of the base that is served, where its name does not lead there
"""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from peft_registry.registry.vllm.resolving import ResolverSettings, resolve
from peft_registry.schemas.errors import KnownError

CACHE_VARIABLE = "REGISTRY_VLLM_CACHE"
BASE_VARIABLE = "REGISTRY_VLLM_BASE"
RESOLVER_NAME = "peft-registry"
_LOGGER = logging.getLogger(__name__)


def register() -> None:
    """Add the resolver to this process of vLLM, if the environment names a folder for the verified copies."""
    cache = os.environ.get(CACHE_VARIABLE)
    if not cache:
        return
    from vllm.lora.resolver import LoRAResolverRegistry

    home, base = os.environ.get("REGISTRY_HOME"), os.environ.get(BASE_VARIABLE)
    settings = ResolverSettings(
        cache=Path(cache).absolute(),
        home=Path(home).absolute() if home else None,
        base=Path(base).absolute() if base else None,
    )
    LoRAResolverRegistry.register_resolver(RESOLVER_NAME, verified_resolver(settings))


def verified_resolver(settings: ResolverSettings) -> Any:  # a LoRAResolver of vLLM
    """A resolver of vLLM that gives verified adapters of a registry."""
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver

    class VerifiedResolver(LoRAResolver):  # type: ignore[misc]  # vLLM is not there when types are checked
        """Adapters by `name:3` or `name@alias`, each verified when it is asked for."""

        async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:  # a LoRARequest of vLLM, or None
            try:
                adapter = await asyncio.to_thread(resolve, settings, base_model_name, lora_name)
            except KnownError as error:
                _LOGGER.error("%s is not served: %s: %s; %s", lora_name, error.what, error.why, error.fix)
                raise
            if adapter is None:
                return None
            _LOGGER.info("%s is %s, verified, at %s", lora_name, adapter.label, adapter.folder)
            return LoRARequest(lora_name=lora_name, lora_int_id=adapter.number, lora_path=str(adapter.folder))

    return VerifiedResolver()
