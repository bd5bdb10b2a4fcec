"""The engine's own figures, from its Prometheus page."""

from __future__ import annotations

_NAMES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_cache_usage",
    "vllm:prefix_cache_queries_total": "prefix_cache_queries",
    "vllm:prefix_cache_hits_total": "prefix_cache_hits",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "generation_tokens",
    "vllm:request_success_total": "finished",
}
# Any of these moving means that the engine works.
_MOVING = ("prompt_tokens", "generation_tokens", "finished")


def parse(page: str) -> dict[str, float]:
    """The figures we use, by our names; each summed over its labels, 0 when the page lacks it.

    running, waiting: requests; kv_cache_usage: share from 0 to 1; the others count from the start.
    """
    figures = dict.fromkeys(_NAMES.values(), 0.0)
    for line in page.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in _NAMES:
            figures[_NAMES[name]] += float(line.rpartition(" ")[2])
    return figures


def progress(figures: dict[str, float]) -> tuple[float, ...]:
    """What changes whenever the engine gets anything done."""
    return tuple(figures[name] for name in _MOVING)
