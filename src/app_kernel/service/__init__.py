"""`create_service()`: settings and features in, a FastAPI application out.

app = create_service(name="widget_service", routers=[router], config=ServiceConfig.from_env())
"""

from app_kernel.service.create import create_service

__all__ = ["create_service"]
