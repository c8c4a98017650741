"""Running an image before it is published, and comparing its answers with the model's own."""

from servegen.verify.replay import VerifyOptions, image_config, verify
from servegen.verify.sandbox import MEANS, Command, Sandbox, open_sandbox

__all__ = ["MEANS", "Command", "Sandbox", "VerifyOptions", "image_config", "open_sandbox", "verify"]
