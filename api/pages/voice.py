"""What the desk says about the hearing: whether the speech model knows real voices at all."""

from typing import Final

from api.services import Services

SYNTHETIC: Final = "语音模型仅识别合成语音，所有分派须人工确认"


def banner(services: Services) -> str:
    """The permanent banner's text; empty when there is nothing to warn of."""
    # A process without hearing of its own cannot know; the router's reason "unknown_voice" then says it on each case.
    if getattr(services.compute, "knows_only_synthetic", False) and not services.settings.demo_line:
        return SYNTHETIC
    return ""
