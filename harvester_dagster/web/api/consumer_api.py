"""The API that consumers use, put together from the routes of each area: `/api/v1`.

Belongs here: what holds for all of it (description, problems, CORS). Does not belong here: any path.
"""

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware

from harvester_dagster.consumers.promotion_watch import PromotionWatch
from harvester_dagster.installation import Installation
from harvester_dagster.web.api import problem_details
from harvester_dagster.web.api.change_routes import ChangeRoutes
from harvester_dagster.web.api.cursors import Cursors, key_of
from harvester_dagster.web.api.document_routes import DocumentRoutes
from harvester_dagster.web.api.export_routes import ExportRoutes
from harvester_dagster.web.api.limits import Bounds
from harvester_dagster.web.api.overwrite_routes import OverwriteRoutes
from harvester_dagster.web.api.search_routes import SearchRoutes
from harvester_dagster.web.api.sitemap_routes import SitemapRoutes
from harvester_dagster.web.api.takedown_routes import TakedownRoutes
from harvester_dagster.web.api.task_routes import TaskRoutes
from harvester_dagster.web.api.vocabulary_routes import VocabularyRoutes

PATH = "/api/v1"
_ABOUT = """What is published, as of one version at a time. A walk along `next` is pinned to the version that it began
with: it repeats nothing and leaves nothing out, whatever is promoted meanwhile."""


def consumer_api(installation: Installation) -> FastAPI:
    """The application, to be mounted at `PATH`."""
    app = FastAPI(
        title=f"{installation.config.platform}: published metadata",
        description=_ABOUT,
        version="1",
        docs_url=None,  # its pages are made of scripts from elsewhere
        redoc_url=None,
    )
    problem_details.handle(app)
    if origins := installation.config.web.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET"], expose_headers=["ETag"])
    cursors = Cursors(key_of(installation.config.web))
    for router in routers(installation, cursors):
        app.include_router(router)
    return app


def routers(installation: Installation, cursors: Cursors) -> list[APIRouter]:
    """The routes of every area, those that are asked most first: to look for the right one takes its time."""
    bounds = Bounds()
    return [
        DocumentRoutes(installation, cursors, bounds).router(),
        ChangeRoutes(installation, cursors, bounds, PromotionWatch(installation.address)).router(),
        ExportRoutes(installation, bounds).router(),
        SitemapRoutes(installation, bounds).router(),
        VocabularyRoutes(installation).router(),
        SearchRoutes(installation).router(),
        OverwriteRoutes(installation).router(),
        TaskRoutes(installation).router(),
        TakedownRoutes(installation).router(),
    ]
