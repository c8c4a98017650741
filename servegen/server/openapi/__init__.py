"""OpenAPI 3.1 of one model's server, and the page that shows it."""

from servegen.server.openapi.document import document
from servegen.server.openapi.page import page

__all__ = ["document", "page"]
